"""Finds the driver logs of a run or a task, wherever the service keeps them (spec DEPLOY 9.2, 9.5).

The prefix is the contract: it follows from ids and names alone, so logs of calls that never made a row are
found too. The hint on a row says where the log root is when nobody else does.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from driver_plugin.drivers.rows import LOG_PROPERTY
from driver_plugin.system_logs.location import scope
from driver_plugin.system_logs.store import LISTED, Listing, LogStore, LogStoreError, StoredLog
from kfp_api.messages import PipelineTask

_STORES: Final = ("minio://", "s3://")

OpenRoot = Callable[[str], Awaitable[LogStore]]


class DriverLogs:
    """The driver logs below one log root; the store is opened by the first question.

    Args:
        log_root: as the service has it; ``""`` when only a row's hint can tell.
        open_root: opens the store of a log root.
    """

    def __init__(self, log_root: str, *, open_root: OpenRoot) -> None:
        self._root = log_root.rstrip("/")
        self._open = open_root
        self._store: LogStore | None = None

    @property
    def root(self) -> str:
        """The log root; ``""`` while it is not known."""
        return self._root

    def learn_from(self, row: PipelineTask) -> None:
        """Take the log root from a row's hint, unless it is known.

        A hint is text on a row, which whoever may write the run chose: it never leads to a local directory.
        """
        hint = row.custom_properties.get(LOG_PROPERTY)
        if self._root or not isinstance(hint, str) or not hint.startswith(_STORES):
            return
        root, found, _ = hint.partition(f"/{row.run_id}/")
        if found:
            self._root = root

    async def of_run(self, run_id: str, *, limit: int = LISTED) -> Listing:
        """The logs of a run, the oldest call first.

        Raises:
            LogStoreError: nothing says where logs are, or the store does not answer.
        """
        return await self._list(run_id, limit)

    async def of_task(
        self, run_id: str, *, parent_task_id: str, name: str, iteration_index: int | None
    ) -> Listing:
        """The logs of one task, whether it has a row or not; without a parent it is the root."""
        place = scope(parent_task_id=parent_task_id, task_name=name, iteration_index=iteration_index)
        return await self._list(f"{run_id}/{place}", LISTED)

    async def read(self, log: StoredLog) -> str:
        """The text of a log.

        Raises:
            LogStoreError: it cannot be read.
        """
        store = await self._opened()
        return (await asyncio.to_thread(store.get, log.key)).decode("utf-8", "replace")

    def uri(self, log: StoredLog) -> str:
        """Where a log is, as the service names it."""
        return f"{self._root}/{log.key}"

    async def _list(self, prefix: str, limit: int) -> Listing:
        store = await self._opened()
        return await asyncio.to_thread(lambda: store.list(prefix, limit=limit))

    async def _opened(self) -> LogStore:
        if not self._root:
            raise LogStoreError(
                "nothing says where the driver logs are; give the service's log root with --log-root"
            )
        if self._store is None:
            self._store = await self._open(self._root)
        return self._store

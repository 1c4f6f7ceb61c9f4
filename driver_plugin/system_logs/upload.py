"""Uploads finished logs in the background (spec DEPLOY 9.4).

A reply may wait a moment for its log; the rest happens behind it. A log store that is slow or down is a
warning and a counter, never a different outcome of the call: what waits for upload is bounded, and beyond
the bound logs are dropped, because standard output has the same records.
"""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import structlog

from driver_plugin.metrics import Metrics
from driver_plugin.system_logs.store import LogStore, LogStoreError

_TRIES: Final = 5
_DEADLINE_SECONDS: Final = 60.0
_THREADS: Final = 4
_MAX_PENDING_BYTES: Final = 32 << 20

Pause = Callable[[float], Awaitable[None]]


class LogUploader:
    """Uploads logs to one store, or to none.

    Args:
        store: Where logs go; ``None`` when they stay on standard output.
        metrics: Counts uploads and failures.
        pause: Sleeps between tries; tests give their own.
    """

    def __init__(self, store: LogStore | None, *, metrics: Metrics, pause: Pause = asyncio.sleep) -> None:
        self._store = store
        self._metrics = metrics
        self._pause = pause
        self._pending: set[asyncio.Task[None]] = set()
        self._pending_bytes = 0
        self._threads: ThreadPoolExecutor | None = None

    def start(self, key: str, body: bytes) -> "asyncio.Task[None] | None":
        """Begin an upload; the task never fails. ``None`` when there is no store or no room."""
        if self._store is None:
            return None
        if self._pending_bytes + len(body) > _MAX_PENDING_BYTES:
            self._failed(key, "too many logs wait for upload")
            return None
        self._pending_bytes += len(body)
        task = asyncio.create_task(self._upload(self._store, key, body), name=f"upload {key}")
        self._pending.add(task)
        task.add_done_callback(self._pending.discard)
        return task

    async def flush(self, seconds: float) -> None:
        """Wait for the uploads under way, at most that long; give up on the rest."""
        if self._pending:
            await asyncio.wait(set(self._pending), timeout=seconds)
        for task in set(self._pending):
            task.cancel()
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)

    async def _upload(self, store: LogStore, key: str, body: bytes) -> None:
        try:
            async with asyncio.timeout(_DEADLINE_SECONDS):
                await self._try(store, key, body)
        except LogStoreError as error:
            self._failed(key, str(error))
        except TimeoutError:
            self._failed(key, f"the log store did not answer within {_DEADLINE_SECONDS:g} s")
        else:
            self._metrics.log_uploads.inc()
        finally:
            self._pending_bytes -= len(body)

    async def _try(self, store: LogStore, key: str, body: bytes) -> None:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="log-upload")
        loop = asyncio.get_running_loop()
        for attempt in range(1, _TRIES + 1):
            try:
                await loop.run_in_executor(self._threads, store.put, key, body)
            except LogStoreError:
                if attempt == _TRIES:
                    raise
                await self._pause(0.5 * 2**attempt)
            else:
                return

    def _failed(self, key: str, reason: str) -> None:
        self._metrics.log_upload_failures.inc()
        structlog.get_logger("system-logs").warning("driver log not uploaded", log=key, reason=reason)

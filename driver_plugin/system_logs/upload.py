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

_PAUSES: Final = (1.0, 4.0, 12.0, 30.0)
"""Seconds between five tries, spread over the budget: a store may be down for most of it."""

_DEADLINE_SECONDS: Final = 60.0
_THREADS: Final = 4
_MAX_PENDING_BYTES: Final = 32 << 20

Pause = Callable[[float], Awaitable[None]]
Open = Callable[[], Awaitable[LogStore]]
"""Opens the store; a :class:`LogStoreError` counts like a failing write."""


class LogUploader:
    """Uploads logs to one store, or to none. The store is opened by the first log.

    Args:
        open_store: Opens where logs go; ``None`` when they stay on standard output.
        metrics: Counts uploads and failures.
        pause: Sleeps between tries; tests give their own.
    """

    def __init__(self, open_store: Open | None, *, metrics: Metrics, pause: Pause = asyncio.sleep) -> None:
        self._open = open_store
        self._store: LogStore | None = None
        self._opening = asyncio.Lock()
        self._stopping = asyncio.Event()
        self._metrics = metrics
        self._pause = pause
        self._pending: set[asyncio.Task[None]] = set()
        self._pending_bytes = 0
        self._threads: ThreadPoolExecutor | None = None

    def start(self, key: str, body: bytes) -> "asyncio.Task[None] | None":
        """Begin an upload; the task never fails. ``None`` when there is no store or no room."""
        if self._open is None:
            return None
        if self._pending_bytes + len(body) > _MAX_PENDING_BYTES:
            self._failed(key, "too many logs wait for upload")
            return None
        self._pending_bytes += len(body)
        task = asyncio.create_task(self._upload(self._open, key, body), name=f"upload {key}")
        self._pending.add(task)
        task.add_done_callback(self._pending.discard)
        return task

    @property
    def pending(self) -> int:
        """How many logs are under way or wait for another try."""
        return len(self._pending)

    async def flush(self, seconds: float) -> None:
        """Wait for the uploads under way, at most that long; give up on the rest.

        Uploads that pause before another try go on at once: after this there is none.
        """
        self._stopping.set()
        if self._pending:
            await asyncio.wait(set(self._pending), timeout=seconds)
        given_up = set(self._pending)
        for task in given_up:
            task.cancel()
        await asyncio.gather(*given_up, return_exceptions=True)
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)

    async def _upload(self, open_store: Open, key: str, body: bytes) -> None:
        try:
            async with asyncio.timeout(_DEADLINE_SECONDS):
                await self._try(open_store, key, body)
        except LogStoreError as error:
            self._failed(key, str(error))
        except TimeoutError:
            self._failed(key, f"the log store did not answer within {_DEADLINE_SECONDS:g} s")
        except asyncio.CancelledError:
            self._failed(key, "the service stopped")
            raise
        else:
            self._metrics.log_uploads.inc()
        finally:
            self._pending_bytes -= len(body)

    async def _try(self, open_store: Open, key: str, body: bytes) -> None:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="log-upload")
        loop = asyncio.get_running_loop()
        for pause in (*_PAUSES, None):
            try:
                store = await self._opened(open_store)
                await loop.run_in_executor(self._threads, store.put, key, body)
            except LogStoreError as error:
                if error.refused:
                    # Credentials are rotated: the next try reads them again.
                    self._store = None
                if pause is None:
                    raise
                await self._rest(pause)
            else:
                return

    async def _rest(self, seconds: float) -> None:
        waits = {asyncio.ensure_future(self._pause(seconds)), asyncio.ensure_future(self._stopping.wait())}
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def _opened(self, open_store: Open) -> LogStore:
        async with self._opening:
            if self._store is None:
                self._store = await open_store()
            return self._store

    def _failed(self, key: str, reason: str) -> None:
        self._metrics.log_upload_failures.inc()
        structlog.get_logger("system-logs").warning("driver log not uploaded", log=key, reason=reason)

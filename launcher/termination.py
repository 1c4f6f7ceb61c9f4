"""The launcher is told to stop (spec LAUNCHER A16): who waits gives up, what must be said has seconds."""

import asyncio
import signal
from collections.abc import Awaitable
from typing import Final, TypeVar

from launcher.errors import TerminatedError

T = TypeVar("T")

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


def hold_signals() -> None:
    """Let signals that tell us to stop wait until :meth:`Termination.install`."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)


class Termination:
    """The reaction to SIGTERM and SIGINT: remember the first, wake whoever waits."""

    def __init__(self) -> None:
        self.signal_name = ""
        self.requested = asyncio.Event()
        self.insisted = asyncio.Event()

    def install(self) -> None:
        """Handle SIGTERM and SIGINT on the running loop from here on, those that were held first."""
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self.receive, number.name)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)

    def receive(self, name: str) -> None:
        """A signal of that name arrived."""
        if self.requested.is_set():
            self.insisted.set()
        self.signal_name = self.signal_name or name
        self.requested.set()

    async def guard(self, work: Awaitable[T]) -> T:
        """The result of ``work``, which is cancelled when a signal arrives.

        Raises:
            TerminatedError: a signal arrived before the work was done.
        """
        try:
            return await self.hurry(work, seconds=0)
        except _NoTimeLeftError:
            raise TerminatedError(self.signal_name) from None

    async def hurry(self, work: Awaitable[T], *, seconds: float) -> T:
        """The result of ``work``, which has so many seconds from the first signal on.

        Raises:
            TimeoutError: they are over; the work is cancelled.
        """
        task, told = asyncio.ensure_future(work), asyncio.create_task(self.requested.wait())
        try:
            await asyncio.wait({task, told}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done() and seconds:
                await asyncio.wait({task}, timeout=seconds)
            if not task.done():
                raise _NoTimeLeftError("no time left")
            return await task
        finally:
            told.cancel()
            task.cancel()
            await asyncio.gather(task, told, return_exceptions=True)


class _NoTimeLeftError(TimeoutError):
    """The work was cut short by a signal, and did not time out by itself."""

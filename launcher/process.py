"""Running the user's command: one process group, output teed line by line, signals forwarded (A7, A16)."""

import asyncio
import ctypes
import os
import shutil
import signal
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, BinaryIO, Final, TypeVar

from launcher.errors import LauncherError, TerminatedError, UserCommandError
from launcher.note import note

T = TypeVar("T")

_CHUNK_BYTES: Final = 64 * 1024
_PR_SET_PDEATHSIG: Final = 1
_LIBC: Final = ctypes.CDLL(None, use_errno=True)


def death_signal(number: signal.Signals) -> Callable[[], None]:
    """A ``preexec_fn``: the child gets this signal when its parent dies, however the parent dies (Linux)."""
    parent = os.getpid()

    def arm() -> None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, int(number))
        if os.getppid() != parent:
            # The parent died between fork and here: nobody will send the signal any more.
            os.kill(os.getpid(), signal.SIGKILL)

    return arm


class Termination:
    """The launcher's reaction to SIGTERM and SIGINT: remember the first, wake whoever waits."""

    def __init__(self) -> None:
        self.signal_name = ""
        self.requested = asyncio.Event()
        self.insisted = asyncio.Event()

    def install(self) -> None:
        """Handle SIGTERM and SIGINT on the running loop from here on."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._received, number.name)

    async def guard(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of ``work``, which is cancelled when a signal arrives.

        Raises:
            TerminatedError: a signal arrived before the work was done.
        """
        task, told = asyncio.create_task(work), asyncio.create_task(self.requested.wait())
        try:
            await asyncio.wait({task, told}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise TerminatedError(self.signal_name)
            return await task
        finally:
            told.cancel()
            task.cancel()
            await asyncio.gather(task, told, return_exceptions=True)

    def _received(self, name: str) -> None:
        if self.requested.is_set():
            self.insisted.set()
        self.signal_name = self.signal_name or name
        self.requested.set()


async def run_command(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    log: BinaryIO | None,
    termination: Termination,
    grace_seconds: float,
) -> None:
    """Run ``command`` to its end; its output goes to our stdout and to ``log``.

    Raises:
        UserCommandError: it exited with another status than 0 or was killed by a signal.
        TerminatedError: we were told to stop; the whole process group is gone.
        LauncherError: the command could not be started.
    """
    if shutil.which(command[0], path=environment.get("PATH")) is None:
        raise LauncherError(f'exec: "{command[0]}": executable file not found in $PATH')
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            env=dict(environment),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=death_signal(signal.SIGKILL),
        )
    except OSError as error:
        raise LauncherError(f'exec: "{command[0]}": {error.strerror}') from error
    assert process.stdout is not None
    pump = asyncio.create_task(_pump(process.stdout, _tee(log)))
    ended = asyncio.create_task(process.wait())
    told = asyncio.create_task(termination.requested.wait())
    try:
        await asyncio.wait({ended, told}, return_when=asyncio.FIRST_COMPLETED)
        if not ended.done():
            await _stop_group(process.pid, ended, termination, grace_seconds)
            raise TerminatedError(termination.signal_name)
        status = ended.result()
    finally:
        told.cancel()
        _signal_group(process.pid, signal.SIGKILL)
        await ended
        # A grandchild outside the group may hold the pipe open for ever; the output so far is kept.
        await asyncio.wait({pump}, timeout=grace_seconds)
        pump.cancel()
    if status < 0:
        name = (signal.strsignal(-status) or str(-status)).lower()
        raise UserCommandError(f"signal: {name}", status=128 - status)
    if status > 0:
        raise UserCommandError(f"exit status {status}", status=status)


async def _stop_group(
    group: int, ended: asyncio.Task[int], termination: Termination, grace_seconds: float
) -> None:
    _signal_group(group, signal.SIGTERM)
    insisted = asyncio.create_task(termination.insisted.wait())
    await asyncio.wait({ended, insisted}, timeout=grace_seconds, return_when=asyncio.FIRST_COMPLETED)
    insisted.cancel()


def _signal_group(group: int, number: signal.Signals) -> None:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return


async def _pump(source: asyncio.StreamReader, write: Callable[[bytes], None]) -> None:
    while chunk := await source.read(_CHUNK_BYTES):
        write(chunk)


def _tee(log: BinaryIO | None) -> Callable[[bytes], None]:
    """Write to all that take it: a full disk or a closed terminal never stops the user's command."""
    targets = [sys.stdout.buffer, *([log] if log is not None else [])]

    def write(chunk: bytes) -> None:
        for target in list(targets):
            try:
                target.write(chunk)
                target.flush()
            except OSError as error:
                targets.remove(target)
                note(f"output of the command is no longer written to {target.name}: {error.strerror}")

    return write

"""Running the user's command: one process group, its output carried on, signals forwarded (A7, A16)."""

import asyncio
import ctypes
import os
import shutil
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, BinaryIO, Final

from launcher.command_output import CommandOutput, command_output
from launcher.errors import LauncherError, TerminatedError, UserCommandError
from launcher.termination import Termination

_LAST_WORDS_SECONDS: Final = 1.0
"""How long a stalled terminal may hold the rest of the output back once the launcher was told to stop."""

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
    with command_output(log) as output:
        process = await _start(command, environment, output)
        carrying = asyncio.create_task(output.carry())
        ended = asyncio.create_task(process.wait())
        told = asyncio.create_task(termination.requested.wait())
        try:
            await _first_of(ended, told)
            if not ended.done():
                await _stop_group(process.pid, ended, termination, grace_seconds)
                raise TerminatedError(termination.signal_name)
            # What the command left behind may finish its sentence, and then does not keep the task.
            await _first_of(carrying, told, seconds=grace_seconds)
            status = ended.result()
        finally:
            told.cancel()
            _signal_group(process.pid, signal.SIGKILL)
            await ended
            output.stop()
            with suppress(TimeoutError):
                await termination.hurry(carrying, seconds=_LAST_WORDS_SECONDS)
    if status < 0:
        name = (signal.strsignal(-status) or str(-status)).lower()
        raise UserCommandError(f"signal: {name}", status=128 - status)
    if status > 0:
        raise UserCommandError(f"exit status {status}", status=status)


async def _start(
    command: Sequence[str], environment: Mapping[str, str], output: CommandOutput
) -> asyncio.subprocess.Process:
    try:
        return await asyncio.create_subprocess_exec(
            *command,
            env=dict(environment),
            # Not PIPE: wait() would then last until no grandchild holds the pipe any more.
            stdout=output.write_end,
            stderr=output.write_end,
            start_new_session=True,
            preexec_fn=death_signal(signal.SIGKILL),
        )
    except OSError as error:
        raise LauncherError(f'exec: "{command[0]}": {error.strerror}') from error
    finally:
        os.close(output.write_end)


async def _first_of(*tasks: asyncio.Task[Any], seconds: float | None = None) -> None:
    await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)


async def _stop_group(
    group: int, ended: asyncio.Task[int], termination: Termination, grace_seconds: float
) -> None:
    _signal_group(group, signal.SIGTERM)
    insisted = asyncio.create_task(termination.insisted.wait())
    await _first_of(ended, insisted, seconds=grace_seconds)
    insisted.cancel()


def _signal_group(group: int, number: signal.Signals) -> None:
    # None is left, or what is left runs as somebody else.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)

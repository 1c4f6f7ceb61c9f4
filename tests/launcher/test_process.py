"""The user's command as a process group with an output.

Oracle: spec LAUNCHER A7 and A16, and the kernel: the log's bytes, which processes and descriptors are left.
"""

import asyncio
import fcntl
import os
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from kfp_api.messages import TaskState
from launcher.errors import LauncherError, TerminatedError, UserCommandError
from launcher.process import run_command
from launcher.termination import Termination
from tests.launcher.conftest import Bench


async def run(script: str, log: Path, *, grace: float = 30, termination: Termination | None = None) -> None:
    """Run a shell script; it may take half the grace period at most, so that waiting it out is noticed."""
    with log.open("wb") as file:
        async with asyncio.timeout(grace / 2 if grace >= 10 else 20):
            await run_command(
                ["sh", "-c", script],
                environment=os.environ,
                log=file,
                termination=termination or Termination(),
                grace_seconds=grace,
            )


def descriptors() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir()}


def is_running(process: int) -> bool:
    try:
        status = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    except FileNotFoundError:
        return False
    return "State:\tZ" not in status


def until_gone(process: int) -> None:
    """A killed process needs a moment."""
    deadline = time.monotonic() + 20
    while is_running(process):
        assert time.monotonic() < deadline
        time.sleep(0.01)


async def test_output_is_complete_however_much_it_is(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = descriptors()
    await run("yes 0123456 | head -c 5000000; echo end >&2", tmp_path / "log")
    text = (tmp_path / "log").read_text(encoding="ascii")
    assert (len(text), text[-4:]) == (5_000_004, "end\n")
    assert capfd.readouterr().out == text
    assert descriptors() == before


async def test_what_a_command_leaves_behind_may_finish_its_sentence(tmp_path: Path) -> None:
    """As in ``exec > >(tee file)``: the shell does not wait for the process that still writes."""
    await run("(sleep 0.3; echo late) & echo early", tmp_path / "log")
    assert (tmp_path / "log").read_text(encoding="ascii") == "early\nlate\n"


@pytest.mark.parametrize("start", ["", "setsid"])
async def test_daemon_does_not_keep_the_task(start: str, tmp_path: Path) -> None:
    """It holds the output open. In a session of its own it is out of our reach, and the test ends it."""
    pid = tmp_path / "pid"
    with pytest.raises(UserCommandError, match="exit status 3"):
        await run(f"{start} sleep 600 & echo $! > {pid}; exit 3", tmp_path / "log", grace=0.3)
    daemon = int(pid.read_text(encoding="ascii"))
    if start:
        os.kill(daemon, signal.SIGKILL)
    else:
        await asyncio.to_thread(until_gone, daemon)


async def test_signal_does_not_wait_for_what_a_command_left_behind(tmp_path: Path) -> None:
    """The command itself ended well: whether its outputs are still published is not decided here."""
    termination = Termination()
    asyncio.get_running_loop().call_later(0.3, termination.receive, "SIGTERM")
    started = time.monotonic()
    await run("sleep 600 & exit 0", tmp_path / "log", grace=600, termination=termination)
    assert time.monotonic() - started < 60


async def test_stop_reaches_every_process_of_the_command(tmp_path: Path) -> None:
    termination, pids = Termination(), tmp_path / "pids"
    script = f"sleep 600 & echo $! >> {pids}; sh -c 'echo $$ >> {pids}; exec sleep 600' & wait"
    running = asyncio.create_task(run(script, tmp_path / "log", termination=termination))
    await asyncio.to_thread(until_lines, pids, 2)
    termination.receive("SIGINT")
    with pytest.raises(TerminatedError, match="SIGINT"):
        await running
    for pid in pids.read_text(encoding="ascii").split():
        await asyncio.to_thread(until_gone, int(pid))


def until_lines(path: Path, count: int) -> None:
    deadline = time.monotonic() + 20
    while not path.exists() or len(path.read_text(encoding="ascii").splitlines()) < count:
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("command", ["no-such-command", "/nowhere/command", ""])
async def test_command_that_is_none_is_named(command: str) -> None:
    with pytest.raises(LauncherError, match=f'^exec: "{command}": executable file not found in '):
        await run_command(
            [command], environment=os.environ, log=None, termination=Termination(), grace_seconds=1
        )


async def test_terminal_that_stalls_never_keeps_a_signal_from_us(bench: Bench) -> None:
    """Nobody reads the launcher's stdout, and the command fills it."""
    task = await bench.task()
    reader, writer = os.pipe()
    size = fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, 4096)
    process = subprocess.Popen(  # noqa: ASYNC220 (asyncio would read its output)
        [sys.executable, "-m", "launcher", *bench.flags(task), "--", "yes"],
        stdout=writer,
        stderr=subprocess.DEVNULL,
    )
    os.close(writer)
    try:
        await asyncio.to_thread(until_full, reader, size)
        process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait, 30) == 143
    finally:
        process.kill()
        process.wait()
        os.close(reader)
    assert (await bench.row(task.task_id)).state is TaskState.FAILED


def until_full(pipe: int, size: int) -> None:
    deadline = time.monotonic() + 30
    while int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder) < size:
        assert time.monotonic() < deadline
        time.sleep(0.01)

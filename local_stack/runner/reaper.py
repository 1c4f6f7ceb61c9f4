"""Ends what a runner started when it is killed and cannot do it any more.

A death signal reaches direct children only; executors start processes of their own. The reaper is one
small process per runner that waits for its standard input to close, which the kernel does whenever and
however the runner ends. Then it stops every process that carries the runner's mark in its environment,
removes the containers that are labelled with it, and removes the runner's scratch directory.
"""

import asyncio
import secrets
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from local_stack.runner.container_engine import remove_labelled
from local_stack.runner.processes import kill_marked, marked, send

RUNNER_MARK: Final = "KFP_LOCAL_RUNNER"
PLACE_MARK: Final = "KFP_LOCAL_DATA"
GRACE: Final = 5.0
_POLL: Final = 0.05
_ARGUMENTS: Final = 5


class Reaper:
    """The reaper of one runner. Use as an async context manager around everything that starts processes.

    ``scratch`` is a directory with a short absolute path, there for as long as the runner. Only one runner
    works at one ``place`` at a time: what still runs there when another one enters, it kills.
    """

    scratch: Path

    def __init__(self, place: Path, *, grace_seconds: float = GRACE, engine: str = "") -> None:
        """Prepare; ``engine`` is the command of the container engine that runs executors, if one does."""
        self._place = place
        self._mark = secrets.token_hex(8)
        self._grace = grace_seconds
        self._engine = engine
        self._process: asyncio.subprocess.Process | None = None

    @property
    def marks(self) -> dict[str, str]:
        """Environment of everything that belongs to this runner."""
        return {RUNNER_MARK: self._mark, PLACE_MARK: str(self._place)}

    async def __aenter__(self) -> Self:
        # The reaper of a runner that was just killed gives executors seconds that we do not have.
        kill_marked(PLACE_MARK, str(self._place))
        if self._engine:
            label = f"{PLACE_MARK}={self._place}"
            await asyncio.to_thread(remove_labelled, self._engine, label)
        self.scratch = Path(tempfile.mkdtemp(prefix="kfp-"))
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "local_stack.runner.reaper",
            self._mark,
            str(self._grace),
            str(self.scratch),
            self._engine,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()


def main(mark: str, grace_seconds: float, scratch: Path, engine: str) -> None:
    """Wait for the runner's end, then stop (SIGTERM, later SIGKILL) and remove what it left."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.buffer.read()
    for process in marked(RUNNER_MARK, mark):
        send(process, signal.SIGTERM)
    end = time.monotonic() + grace_seconds
    while marked(RUNNER_MARK, mark) and time.monotonic() < end:
        time.sleep(_POLL)
    kill_marked(RUNNER_MARK, mark)
    if engine:
        remove_labelled(engine, f"{RUNNER_MARK}={mark}")
    shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    assert len(sys.argv) == _ARGUMENTS, "usage: reaper MARK GRACE_SECONDS SCRATCH ENGINE"
    main(sys.argv[1], float(sys.argv[2]), Path(sys.argv[3]), sys.argv[4])

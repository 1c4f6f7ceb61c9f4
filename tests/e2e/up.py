"""``kfp-driver local up`` as a process that tests start, kill and stop."""

import asyncio
import json
import signal
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import JsonValue

from compiler.loading import load_pipeline
from kfp_api.client import KfpApiClient
from kfp_api.messages import Run, RuntimeConfig, TaskState, TaskType
from tests.e2e.conftest import KFP_DRIVER

T = TypeVar("T")
SECONDS = 120
"""Bound of every wait; what is waited for takes a second or a few."""


@dataclass(frozen=True)
class Up:
    """A stack that is up."""

    process: subprocess.Popen[bytes]
    data: Path
    output: Path
    """What it prints."""
    url: str

    def ask(self, question: Callable[[KfpApiClient], Awaitable[T]]) -> T:
        """Ask the stack's API."""

        async def answer() -> T:
            async with KfpApiClient(self.url) as client:
                return await question(client)

        return asyncio.run(answer())

    def submit(self, pipeline: Path, **parameters: JsonValue) -> str:
        """Submit a pipeline file; returns the run's id."""
        run = Run(
            display_name=pipeline.stem,
            pipeline_spec=load_pipeline(pipeline).submission,
            runtime_config=RuntimeConfig(parameters=parameters),
        )
        return self.ask(lambda client: client.create_run(run)).run_id

    def run(self, run_id: str) -> Run:
        return self.ask(lambda client: client.get_run(run_id))

    def wait_for_end(self, run_id: str, *, seconds: float = SECONDS) -> Run:
        wait_until(lambda: self.run(run_id).is_finished, self, seconds=seconds)
        return self.run(run_id)

    def service_pid(self, name: str) -> int:
        """Process id of ``api-server`` or ``driver``, once it is ready."""
        ready = self.data / "services" / f"{name}.ready"
        wait_until(ready.exists, self)
        pid: int = json.loads(ready.read_text(encoding="utf-8"))["pid"]
        return pid

    def kill(self) -> None:
        """SIGKILL the runner; its services and executors die with it."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(timeout=SECONDS)

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(timeout=SECONDS)


@contextmanager
def up(data: Path, *arguments: str) -> Iterator[Up]:
    """Start a stack and wait until it is ready; whatever is left of it at the end is killed."""
    ready = data / "services" / "stack.ready"
    ready.unlink(missing_ok=True)
    command = [*KFP_DRIVER, "local", "up", "--data-dir", str(data), "--port", "0", *arguments]
    output = data.with_name(f"{data.name}.log")
    with output.open("ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        end = time.monotonic() + SECONDS
        while not ready.exists():
            assert process.poll() is None, output.read_text()
            assert time.monotonic() < end, output.read_text()
            time.sleep(0.02)
        yield Up(process, data, output, json.loads(ready.read_text(encoding="utf-8"))["url"])
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(timeout=SECONDS)


def wait_until(condition: Callable[[], bool], stack: Up, *, seconds: float = SECONDS) -> None:
    """Wait for something that the stack does."""
    end = time.monotonic() + seconds
    while not condition():
        assert stack.process.poll() is None, "the stack ended"
        assert time.monotonic() < end
        time.sleep(0.05)


def journal_lines(data: Path) -> int:
    """How many changes of nodes were noted in a data directory that has one run."""
    return sum(path.read_bytes().count(b"\n") for path in data.glob("runs/*/nodes.jsonl"))


def finished_labels(data: Path) -> set[str]:
    """Input ``label`` of the executors whose rows say that they succeeded."""
    query = "SELECT InputParameters FROM tasks WHERE State = ? AND Type = ?"
    with closing(sqlite3.connect(data / "kfp.db")) as database:
        rows = database.execute(query, [TaskState.SUCCEEDED.number, TaskType.RUNTIME.number])
        inputs = [one for (text,) in rows for one in json.loads(text or "[]")]
    return {one["value"] for one in inputs if one["parameter_key"] == "label"}


def starts(record: Path) -> Counter[str]:
    """How often each task's command was started, by the line that it wrote."""
    return Counter(record.read_text(encoding="utf-8").split()) if record.exists() else Counter()

"""``kfp-driver local up``: the stack for as long as it is wanted, and every run that is submitted to it.

Clients talk to the embedded KFP API as to a cluster's. Stopping the stack interrupts its runs; starting it
on the same data directory goes on with them.
"""

import asyncio
import json
import os
import signal
import socket
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from driver_plugin.ready_file import ReadyFile
from driver_plugin.system_logs.ending import ending_of_file
from driver_plugin.system_logs.redaction import secret_texts
from kfp_api.messages import Run
from local_stack.data_directory import DataDirectory
from local_stack.executor_options import ExecutorOptions
from local_stack.executors import Executors, open_executors
from local_stack.local_run import open_machine
from local_stack.run_execution import RunExecution
from local_stack.run_outcome import first_failure
from local_stack.run_queue import RunQueue
from local_stack.run_record import RunOptions
from local_stack.runner.agent_faults import Faults
from local_stack.runner.engine import Observer
from local_stack.runner.nodes import Node, Phase
from local_stack.terminal import Progress, Screen, duration_text, task_path

_READY_FILE: Final = "stack.ready"


class PortInUseError(Exception):
    """Somebody listens on the port that was asked for; the text is one line for the user."""

    exit_code = 2


@dataclass(frozen=True, kw_only=True)
class UpRequest:
    """What the user asked for; ``api_port`` 0 takes any free port."""

    data_directory: Path
    api_port: int
    max_pods: int
    max_runs: int
    executors: ExecutorOptions = field(default_factory=ExecutorOptions)
    faults: Faults | None = None
    options: RunOptions = field(default_factory=RunOptions)


@dataclass(frozen=True, kw_only=True)
class RunningStack:
    """A stack that is up, as others see it; ``api_url`` is empty while it starts."""

    pid: int
    since: str
    command: str
    api_url: str


def running_stack(data: DataDirectory) -> RunningStack | None:
    """The stack that is up on a data directory, if one is."""
    holder = data.holder()
    if not holder or not holder.get("stays"):
        return None
    ready = _read_json(data.services / _READY_FILE)
    return RunningStack(
        pid=holder["pid"],
        since=holder["since"],
        command=holder["command"],
        api_url=ready.get("url", "") if ready.get("pid") == holder["pid"] else "",
    )


def serve_stack(request: UpRequest, screen: Screen | None = None) -> int:
    """Keep the stack up until SIGINT or SIGTERM; returns the exit code, 0 when it was told to stop.

    Raises:
        Exception: with ``exit_code`` 2 where the data directory is in use, 1 where a service failed.
    """
    executors = open_executors(request.executors)
    data = DataDirectory.at(request.data_directory)
    console = screen or Screen.of()
    with data.locked(stays=True):
        _check_port(request.api_port)
        lines = Screen(console.stream, live=False, colour=console.colour)
        return asyncio.run(_serve(data, request, executors, lines))


def _check_port(port: int) -> None:
    """Say what is wrong before anything is started."""
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind(("127.0.0.1", port))
        except OSError as error:
            told = f"port {port} of 127.0.0.1: {error.strerror}"
            raise PortInUseError(f"{told}; choose another one with --port (0: any free one)") from error


async def _serve(data: DataDirectory, request: UpRequest, executors: Executors, screen: Screen) -> int:
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    console = _Console(screen)
    ready = ReadyFile(data.services / _READY_FILE)
    async with open_machine(
        data,
        max_pods=request.max_pods,
        executors=executors,
        api_port=request.api_port,
        faults=request.faults,
    ) as machine:
        queue = RunQueue(machine, options=request.options, max_runs=request.max_runs, audience=console)
        serving = asyncio.ensure_future(queue.serve())
        keeping = asyncio.ensure_future(machine.stack.keep_running(lambda text: console.note(None, text)))
        stopping = asyncio.ensure_future(stopped.wait())
        ready.write({"pid": os.getpid(), "url": machine.stack.api_url})
        _welcome(screen, machine.stack.api_url, data)
        if executors.remark:
            screen.line(screen.paint(f"  {executors.remark}", "dim"))
        try:
            done, _ = await asyncio.wait({serving, keeping, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ready.remove()
            for task in (serving, keeping, stopping):
                task.cancel()
            await asyncio.wait({serving, keeping, stopping})
        if keeping in done:
            raise keeping.result()
        if serving in done:
            serving.result()
    screen.line("stopped; unfinished runs go on at the next start")
    return 0


def _welcome(screen: Screen, api_url: str, data: DataDirectory) -> None:
    screen.line(f"KFP API at {api_url}")
    for text in (
        f'  Python:  kfp.Client(host="{api_url}").create_run_from_pipeline_package("pipeline.yaml")',
        f"  data:    {data.root}",
        f"  stop:    Ctrl-C or kfp-driver local stop{data.option}; unfinished runs go on at the next start",
    ):
        screen.line(screen.paint(text, "dim"))


class _Console:
    """Tells on one screen what happens to all runs, each line with the name of its run."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._executions: dict[str, tuple[RunExecution, datetime]] = {}

    def started(self, execution: RunExecution) -> Observer:
        run, name = execution.run, execution.workflow.name
        self._executions[run.run_id] = (execution, datetime.now(UTC))
        self.note(
            run, f"{'goes on' if execution.continues else 'started'}: {run.display_name} ({run.run_id})"
        )
        if execution.without_effect:
            self.note(run, execution.without_effect)
        return Progress(self._screen, name, label=f"[{name}]").observe

    def ended(self, run: Run, root: Node) -> None:
        execution, started = self._executions[run.run_id]
        seconds = (datetime.now(UTC) - started).total_seconds()
        succeeded = root.phase is Phase.SUCCEEDED
        self.note(run, f"{'succeeded' if succeeded else 'failed'} in {duration_text(seconds)}")
        failure = first_failure(execution.engine.nodes) if execution.engine and not succeeded else None
        if failure is not None:
            name = task_path(execution.workflow.name, failure.name)
            self.note(run, f"task {name} failed: {failure.message}")
            log = execution.pods.log_file(failure.id)
            if log.exists():
                given = run.runtime_config.parameters if run.runtime_config else {}
                for line in ending_of_file(log, secrets=secret_texts(given)):
                    self.note(run, f"  | {line}")
                self.note(run, f"task log {log}")
        del self._executions[run.run_id]

    def note(self, run: Run | None, text: str) -> None:
        at_work = self._executions.get(run.run_id) if run else None
        name = at_work[0].workflow.name if at_work else run.run_id if run else ""
        prefix = f"[{name}]  " if name else ""
        for line in text.splitlines():
            self._screen.line(f"{prefix}{line}")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}

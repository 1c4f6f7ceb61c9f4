"""The local runner: what a task of a parallel loop costs beside the start of its process."""

import asyncio
import os
import resource
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from measure import Rows
from service import loop_pipeline

from kfp_api.messages import Run, RuntimeState
from local_stack import run_execution
from local_stack.data_directory import DataDirectory
from local_stack.executors import ExecutorOptions, open_executors
from local_stack.local_run import open_machine
from local_stack.run_execution import Machine, RunExecution
from local_stack.run_record import RunOptions
from local_stack.runner.engine import PodRequest, PodResult
from local_stack.runner.nodes import Phase
from local_stack.runner.pod_process import LocalPods

ITERATIONS: Final = 200
CORES: Final = os.cpu_count() or 1


class NoPods(LocalPods):
    """Pods that succeed without a process."""

    async def run(self, request: PodRequest) -> PodResult:  # noqa: ARG002 (the interface)
        """Succeed."""
        return PodResult(phase=Phase.SUCCEEDED, exit_code=0)


def measure(directory: Path) -> Rows:
    """Run the loop with and without executors, and start as many bare processes."""
    spec = loop_pipeline(ITERATIONS)
    # Its command writes nothing.
    del spec["components"]["comp-work"]["outputDefinitions"]
    stack = asyncio.run(_with_machine(directory / "stack", lambda machine: _run(machine, spec, NoPods)))
    whole = asyncio.run(_with_machine(directory / "whole", lambda machine: _run(machine, spec, LocalPods)))
    launcher = asyncio.run(_processes([sys.executable, "-c", "import launcher.__main__, launcher.task"]))
    bare = asyncio.run(_processes([sys.executable, "-c", "pass"]))
    loop = f"loop of {ITERATIONS} trivial tasks, {CORES} at once"
    return [
        (f"{loop}: per task, everything", f"{whole:.0f} ms"),
        (f"{loop}: per task, without executors (runner, driver, API)", f"{stack:.0f} ms"),
        (f"{ITERATIONS} processes, {CORES} at once: per process, launcher imported", f"{launcher:.0f} ms"),
        (f"{ITERATIONS} processes, {CORES} at once: per process, bare Python", f"{bare:.0f} ms"),
        ("resident at the end: runner", f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MiB"),
    ]


async def _with_machine(directory: Path, work: Callable[[Machine], Awaitable[float]]) -> float:
    async with open_machine(
        DataDirectory.at(directory), max_pods=CORES, executors=open_executors(ExecutorOptions())
    ) as machine:
        return await work(machine)


async def _run(machine: Machine, spec: dict[str, object], pods: type[LocalPods]) -> float:
    """Milliseconds per task of one run."""
    created = await machine.client.create_run(Run(display_name="loop", pipeline_spec=spec))
    run = await machine.client.get_run(created.run_id)
    run_execution.LocalPods = pods
    execution = await RunExecution.open(machine, run, RunOptions(cache=False))
    begin = time.perf_counter()
    root = await execution.execute(observer=lambda _node: None, warn=lambda _text: None)
    seconds = time.perf_counter() - begin
    if root.phase is not Phase.SUCCEEDED:
        raise SystemExit(f"the loop failed: {root.message}")
    assert (await machine.client.get_run(run.run_id)).state is RuntimeState.SUCCEEDED
    return seconds / ITERATIONS * 1000


async def _processes(command: list[str]) -> float:
    """Milliseconds per process."""
    slots = asyncio.Semaphore(CORES)

    async def one() -> None:
        async with slots:
            process = await asyncio.create_subprocess_exec(*command)
            await process.wait()

    begin = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(ITERATIONS)))
    return (time.perf_counter() - begin) / ITERATIONS * 1000

"""One run in the foreground: from the pipeline file, or from where a run was left, to the exit code.

Pipeline, parameters and workflow are checked before anything is started or written. Then the services
start, the run is created, found or opened again through the KFP API, and executed. Whatever ends the run,
the services and all executors are stopped before the function returns.
"""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from compiler.loading import load_pipeline
from compiler.options import CompilerOptions
from compiler.parameters import check_parameters, parse_parameters
from kfp_api.client import KfpApiClient
from kfp_api.errors import KfpApiError
from kfp_api.messages import Run, RuntimeConfig, RuntimeState
from kfp_api.named_runs import NoSuchRunError, find_run
from local_stack.data_directory import DataDirectory, refusal
from local_stack.executor_options import ExecutorOptions
from local_stack.executors import Executors, open_executors
from local_stack.run_execution import Machine, RunExecution, compile_manifest
from local_stack.run_outcome import RunOutcome, show_outcome
from local_stack.run_queue import unfinished_runs
from local_stack.run_record import RunOptions, RunRecords
from local_stack.run_report import in_order_of_work
from local_stack.runner.agent_faults import Faults
from local_stack.runner.nodes import Node, Phase
from local_stack.runner.python_environment import PythonEnvironment
from local_stack.runner.reaper import Reaper
from local_stack.runner.workflow import load_workflow
from local_stack.stack import LocalStack
from local_stack.terminal import Progress, Screen
from local_stack.workflow_file import (
    WorkflowFileError,
    compiled_parameters,
    read_workflow,
    with_parameters,
)

OpenRun = Callable[[KfpApiClient], Awaitable[Run]]
"""Creates, finds or opens again the run that is to be executed."""


class LocalRunError(Exception):
    """The run could not be carried out; the text is for the user."""

    exit_code = 1


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """What the user asked for. ``parameters`` are ``NAME=VALUE`` texts.

    ``workflow`` is a Workflow that runs instead of what the pipeline is compiled to.
    """

    pipeline: Path
    workflow: Path | None = None
    parameters: tuple[str, ...] = ()
    data_directory: Path
    run_name: str | None = None
    max_pods: int = 1
    executors: ExecutorOptions = field(default_factory=ExecutorOptions)
    faults: Faults | None = None
    options: RunOptions = field(default_factory=RunOptions)


@dataclass(frozen=True)
class _NewRun:
    """What a run that is new gets; one that goes on keeps what it has."""

    options: RunOptions = field(default_factory=RunOptions)
    workflow: Mapping[str, Any] | None = None


class _Interruption:
    """SIGINT and SIGTERM: the first stops the run, the second lets nothing take its time."""

    def __init__(self) -> None:
        self.number: int | None = None
        self.execution: RunExecution | None = None
        self._task = asyncio.current_task()

    @property
    def name(self) -> str:
        """Name of the first signal, empty when there was none."""
        return "" if self.number is None else signal.Signals(self.number).name

    @contextmanager
    def installed(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        numbers = (signal.SIGINT, signal.SIGTERM)
        for number in numbers:
            loop.add_signal_handler(number, self._received, number)
        try:
            yield
        finally:
            for number in numbers:
                loop.remove_signal_handler(number)

    def _received(self, number: int) -> None:
        first = self.number is None
        self.number = self.number or number
        if self.execution is not None:
            self.execution.terminate()
            if not first:
                self.execution.pods.hurry()
        elif first and self._task is not None:
            self._task.cancel()


def run_pipeline(request: RunRequest, screen: Screen | None = None) -> int:
    """Run a pipeline to its end; returns the exit code.

    Raises:
        Exception: with ``exit_code`` 2 where pipeline, parameters or data directory are wrong, and
            nothing was left behind; with ``exit_code`` 1 where a service failed.
    """
    pipeline = load_pipeline(request.pipeline)
    spec = pipeline.spec
    parameters = parse_parameters(request.parameters, spec)
    workflow = read_workflow(request.workflow) if request.workflow is not None else None
    if workflow is not None:
        parameters = compiled_parameters(workflow) | parameters
    check_parameters(spec, parameters)
    data = DataDirectory.at(request.data_directory)
    run = Run(
        display_name=request.run_name or spec.pipeline_info.display_name or spec.pipeline_info.name,
        pipeline_spec=pipeline.submission,
        runtime_config=RuntimeConfig(parameters=dict(parameters), pipeline_root=str(data.artifacts)),
    )
    if workflow is None:
        trial = compile_manifest(
            pipeline,
            parameters=parameters,
            pipeline_root=str(data.artifacts),
            run=run,
            name="trial",
            options=CompilerOptions(),
        )
        load_workflow(trial)
    elif not request.options.cache:
        raise WorkflowFileError("--no-cache compiles drivers that use no cache; a given Workflow has its own")
    else:
        workflow = with_parameters(workflow, spec, parameters, pipeline_root=str(data.artifacts))

    async def create(client: KfpApiClient) -> Run:
        return await client.get_run((await client.create_run(run)).run_id)

    return _run(
        data,
        create,
        screen,
        max_pods=request.max_pods,
        executors=request.executors,
        new=_NewRun(replace(request.options, given_workflow=workflow is not None), workflow),
        faults=request.faults,
    )


def resume_run(
    data_directory: Path,
    name: str,
    *,
    max_pods: int,
    executors: ExecutorOptions | None = None,
    screen: Screen | None = None,
) -> int:
    """Go on with an interrupted run, the latest one when ``name`` is empty; returns the exit code.

    Raises:
        Exception: with ``exit_code`` 2 where there is no such run or it is finished.
    """
    data = _with_runs(data_directory)

    async def find(client: KfpApiClient) -> Run:
        if name:
            found = await find_run(client, name)
            if found.is_finished:
                raise NoSuchRunError(
                    f"run {found.run_id} has ended {found.state.value}; local retry repeats failed runs"
                )
            return await client.get_run(found.run_id)
        waiting = [run async for run in unfinished_runs(client)]
        if not waiting:
            raise NoSuchRunError(f"no run in {data.root} is unfinished; local retry repeats failed ones")
        return await client.get_run(waiting[-1].run_id)

    return _run(data, find, screen, max_pods=max_pods, executors=executors)


def retry_run(
    data_directory: Path,
    name: str,
    *,
    max_pods: int,
    executors: ExecutorOptions | None = None,
    screen: Screen | None = None,
) -> int:
    """Run the failed parts of a finished run again; returns the exit code.

    Raises:
        Exception: with ``exit_code`` 2 where there is no such run or it did not fail.
    """
    data = _with_runs(data_directory)

    async def reopen(client: KfpApiClient) -> Run:
        found = await find_run(client, name)
        if not found.is_finished:
            raise NoSuchRunError(
                f"run {found.run_id} is unfinished; kfp-driver local resume{data.option} goes on with it"
            )
        if found.state is not RuntimeState.FAILED:
            raise NoSuchRunError(f"run {found.run_id} is {found.state.value}; only failed runs are retried")
        await client.retry_run(found.run_id)
        return await client.get_run(found.run_id)

    return _run(data, reopen, screen, max_pods=max_pods, executors=executors)


def _with_runs(data_directory: Path) -> DataDirectory:
    """A data directory that runs were executed in; looking for a run in another one would make it."""
    data = DataDirectory.at(data_directory)
    if not data.database.is_file():
        raise NoSuchRunError(f"there are no runs in {data.root}; --data-dir names another data directory")
    return data


def _run(
    data: DataDirectory,
    open_run: OpenRun,
    screen: Screen | None,
    *,
    max_pods: int,
    executors: ExecutorOptions | None = None,
    new: _NewRun | None = None,
    faults: Faults | None = None,
) -> int:
    opened = open_executors(executors or ExecutorOptions())
    with data.locked():
        machine = open_machine(data, max_pods=max_pods, executors=opened, faults=faults)
        return asyncio.run(_to_exit_code(data, machine, open_run, screen or Screen.of(), new or _NewRun()))


async def _to_exit_code(
    data: DataDirectory,
    opening: AbstractAsyncContextManager[Machine],
    open_run: OpenRun,
    screen: Screen,
    new: _NewRun,
) -> int:
    interruption = _Interruption()
    with interruption.installed():
        try:
            async with opening as machine:
                outcome = await _execute(machine, open_run, screen, interruption, new)
        except asyncio.CancelledError:
            if interruption.number is None:
                raise
            screen.line("stopped before the run started")
            return 128 + interruption.number
        except KfpApiError as error:
            raise LocalRunError(f"the embedded KFP API: {error}") from error
        except (OSError, ExceptionGroup) as error:
            reason = refusal(error)
            if not reason:
                raise
            raise LocalRunError(
                f"data directory {data.root}: {reason}; when that is mended, kfp-driver local "
                f"resume{data.option} goes on with the run"
            ) from error
    show_outcome(screen, outcome, stopped_by=interruption.name)
    if interruption.number is not None:
        return 128 + interruption.number
    return 0 if outcome.root.phase is Phase.SUCCEEDED else 1


@asynccontextmanager
async def open_machine(
    data: DataDirectory,
    *,
    max_pods: int,
    executors: Executors,
    api_port: int = 0,
    faults: Faults | None = None,
) -> AsyncIterator[Machine]:
    """Start what runs need: Python environment, reaper, services, client.

    Raises:
        StackError: a service did not start.
    """
    python = PythonEnvironment(data.python)
    python.ensure()
    async with AsyncExitStack() as opened:
        reaper = await opened.enter_async_context(Reaper(data.root, engine=executors.engine))
        stack = await opened.enter_async_context(LocalStack(data, api_port=api_port))
        client = await opened.enter_async_context(KfpApiClient(stack.api_url))
        yield Machine(
            data=data,
            stack=stack,
            client=client,
            python=python,
            reaper=reaper,
            records=RunRecords(data),
            pod_slots=asyncio.Semaphore(max_pods),
            executors=executors,
            faults=faults,
        )


async def _execute(
    machine: Machine,
    open_run: OpenRun,
    screen: Screen,
    interruption: _Interruption,
    new: _NewRun,
) -> RunOutcome:
    run = await open_run(machine.client)
    others = [one async for one in unfinished_runs(machine.client) if one.run_id != run.run_id]
    execution = await RunExecution.open(machine, run, new.options, workflow=new.workflow)
    _introduce(screen, execution, machine.data, waiting=len(others))
    if machine.executors.remark:
        screen.line(screen.paint(machine.executors.remark, "dim"))
    progress = Progress(screen, execution.workflow.name)
    started = datetime.now(UTC)
    interruption.execution = execution
    try:
        root = await _supervised(machine, execution, progress)
    finally:
        progress.close()
    tasks = [task async for task in machine.client.iterate_tasks(run.run_id)]
    assert execution.engine is not None
    return RunOutcome(
        data=machine.data,
        workflow_name=execution.workflow.name,
        root=root,
        nodes=execution.engine.nodes,
        tasks=in_order_of_work(tasks, execution.pipeline.spec),
        pods=execution.pods,
        cached=progress.cached,
        seconds=(datetime.now(UTC) - started).total_seconds(),
    )


def _introduce(screen: Screen, execution: RunExecution, data: DataDirectory, *, waiting: int) -> None:
    again = "  (goes on)" if execution.continues else ""
    screen.line(f"run {execution.run.run_id}  {execution.run.display_name}{again}")
    if execution.without_effect:
        screen.line(screen.paint(execution.without_effect, "dim"))
    if waiting:
        what = "1 other run is" if waiting == 1 else f"{waiting} other runs are"
        hint = f"{what} unfinished here; kfp-driver local resume{data.option} goes on"
        screen.line(screen.paint(hint, "dim"))


async def _supervised(machine: Machine, execution: RunExecution, progress: Progress) -> Node:
    """Execute the run while its services are kept running.

    Raises:
        StackError: a service cannot be kept running; every executor has ended, the run can go on later.
    """
    running = asyncio.ensure_future(execution.execute(observer=progress.observe, warn=progress.note))
    keeping = asyncio.ensure_future(machine.stack.keep_running(progress.note))
    drawing = asyncio.ensure_future(progress.refresh())
    try:
        await asyncio.wait({running, keeping}, return_when=asyncio.FIRST_COMPLETED)
        if not running.done():
            raise keeping.result()
        return running.result()
    finally:
        for task in (running, keeping, drawing):
            task.cancel()
        await asyncio.wait({running, keeping, drawing})

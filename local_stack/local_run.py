"""One pipeline, one run, on this machine: from the pipeline file to the exit code.

Pipeline, parameters and workflow are checked before anything is started or written. Then the services
start, the run is created through the KFP API, the engine executes the workflow, and this process plays
KFP's persistence agent: it reports the run's state. Whatever ends the run, the services and all executors
are stopped before the function returns.
"""

import asyncio
import shutil
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from pydantic import JsonValue

from compiler.finalize import finalize_workflow
from compiler.loading import load_pipeline
from compiler.options import CompilerOptions
from compiler.parameters import check_parameters, parse_parameters
from compiler.workflow import compile_workflow
from kfp_api.client import KfpApiClient
from kfp_api.errors import KfpApiError
from kfp_api.ir.load import Pipeline
from kfp_api.messages import Run, RuntimeConfig
from kfp_api.wire import format_timestamp
from local_stack.data_directory import DataDirectory
from local_stack.run_outcome import RunOutcome, show_outcome
from local_stack.run_report import in_order_of_work
from local_stack.runner.agent import PluginAgent
from local_stack.runner.engine import Engine
from local_stack.runner.nodes import Node, Phase
from local_stack.runner.pod_build import ConfigDirectories
from local_stack.runner.pod_process import LocalPods, PodSettings
from local_stack.runner.python_environment import PipInstall, PythonEnvironment
from local_stack.runner.reaper import RUN_MARK, Reaper
from local_stack.runner.state import StateDirectory
from local_stack.runner.workflow import Workflow, generated_name, load_workflow
from local_stack.stack import LocalStack
from local_stack.terminal import Progress, Screen

NAMESPACE: Final = "local"
_ALWAYS_IGNORED: Final = ("securityContext", "serviceAccountName", "executorPlugins", "ttlStrategy")


class LocalRunError(Exception):
    """The run could not be carried out; the text is for the user."""

    exit_code = 1


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """What the user asked for. ``parameters`` are ``NAME=VALUE`` texts."""

    pipeline: Path
    parameters: tuple[str, ...] = ()
    data_directory: Path
    run_name: str | None = None
    pip_install: PipInstall = PipInstall.AUTO
    max_pods: int = 1
    cache: bool = True
    timeout_seconds: float | None = None
    fix_retries: bool = False


@dataclass(frozen=True, kw_only=True)
class _Job:
    """A checked request."""

    request: RunRequest
    pipeline: Pipeline
    parameters: Mapping[str, JsonValue]
    display_name: str
    data: DataDirectory

    def workflow(self, *, name: str, run_id: str, options: CompilerOptions) -> Workflow:
        """The workflow of this job, bound to a run."""
        compiled = compile_workflow(
            self.pipeline,
            parameters=self.parameters,
            display_name=self.display_name,
            pipeline_root=str(self.data.artifacts),
            options=replace(options, cache_disabled=not self.request.cache),
            warn=lambda _text: None,
        )
        manifest = finalize_workflow(
            compiled, run_id=run_id, namespace=NAMESPACE, display_name=self.display_name, name=name
        )
        workflow = load_workflow(manifest, run_id=run_id)
        if self.request.timeout_seconds is not None:
            return replace(workflow, deadline_seconds=self.request.timeout_seconds)
        return workflow


class _Interruption:
    """SIGINT and SIGTERM: the first stops the run, the second lets nothing take its time."""

    def __init__(self) -> None:
        self.number: int | None = None
        self.engine: Engine | None = None
        self.pods: LocalPods | None = None
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
        if self.engine is not None:
            self.engine.terminate()
            if not first and self.pods is not None:
                self.pods.hurry()
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
    check_parameters(spec, parameters)
    job = _Job(
        request=request,
        pipeline=pipeline,
        parameters=parameters,
        display_name=request.run_name or spec.pipeline_info.display_name or spec.pipeline_info.name,
        data=DataDirectory.at(request.data_directory),
    )
    name = generated_name(spec.pipeline_info.name.rsplit("/", 1)[-1] + "-")
    job.workflow(name=name, run_id="0", options=CompilerOptions())
    with job.data.locked():
        return asyncio.run(_run(job, name, screen or Screen.of()))


async def _run(job: _Job, name: str, screen: Screen) -> int:
    interruption = _Interruption()
    with interruption.installed():
        try:
            outcome = await _with_stack(job, name, screen, interruption)
        except asyncio.CancelledError:
            if interruption.number is None:
                raise
            screen.line("stopped before the run started")
            return 128 + interruption.number
        except KfpApiError as error:
            raise LocalRunError(f"the embedded KFP API: {error}") from error
    outcome = replace(outcome, tasks=in_order_of_work(outcome.tasks, job.pipeline.spec))
    show_outcome(screen, outcome, stopped_by=interruption.name)
    if interruption.number is not None:
        return 128 + interruption.number
    return 0 if outcome.root.phase is Phase.SUCCEEDED else 1


async def _with_stack(job: _Job, name: str, screen: Screen, interruption: _Interruption) -> RunOutcome:
    python = PythonEnvironment(job.data.python)
    python.ensure()
    workspace = job.data.workspace(name)
    async with (
        Reaper(name) as reaper,
        LocalStack(job.data, workspace=workspace) as stack,
        KfpApiClient(stack.api_url) as client,
    ):
        await _settle_interrupted_runs(client)
        run = await client.create_run(
            Run(
                display_name=job.display_name,
                pipeline_spec=job.pipeline.submission,
                runtime_config=RuntimeConfig(
                    parameters=dict(job.parameters), pipeline_root=str(job.data.artifacts)
                ),
            )
        )
        options = CompilerOptions(server_address=stack.api_host, server_port=stack.api_port)
        workflow = job.workflow(name=name, run_id=run.run_id, options=options)
        if workflow.volume_claims:
            workspace.mkdir(parents=True)
        screen.line(f"run {run.run_id}  {job.display_name}")
        unusual = [field for field in workflow.ignored_fields if not field.endswith(_ALWAYS_IGNORED)]
        if unusual:
            screen.line(screen.paint(f"without effect on this machine: {', '.join(unusual)}", "dim"))
        state = StateDirectory(job.data.run(name))
        state.create(workflow.document)
        pods = LocalPods(
            workflow,
            PodSettings(
                directory=state.pods,
                workspace=workspace,
                config=ConfigDirectories(job.data.secrets, job.data.configmaps),
                python=python,
                pip_install=job.request.pip_install,
                scratch=reaper.scratch,
                variables={
                    "KFP_API_URL": stack.api_url,
                    "KFP_WORKSPACE_PATH": str(workspace),
                    RUN_MARK: name,
                },
            ),
        )
        progress = Progress(screen, name)
        await client.report_workflow(_report(workflow, Phase.RUNNING))
        started = datetime.now(UTC)

        def observe(node: Node) -> None:
            state.record(node)
            progress.observe(node)

        metadata = {"name": workflow.name, "namespace": workflow.namespace, "uid": workflow.uid}
        async with PluginAgent(
            stack.driver_url, workflow_metadata=metadata, token_file=stack.token_file
        ) as agent:
            engine = Engine(
                workflow,
                plugins=agent,
                pods=pods,
                max_pods=job.request.max_pods,
                observer=observe,
                warn=progress.note,
                fix_retries=job.request.fix_retries,
            )
            interruption.engine, interruption.pods = engine, pods
            try:
                root = await _supervised(engine, stack, progress)
            finally:
                progress.close()
                state.flush()
        await client.report_workflow(_report(workflow, root.phase, root.finished))
        seconds = (datetime.now(UTC) - started).total_seconds()
        tasks = [task async for task in client.iterate_tasks(run.run_id)]
    _remove_workspace(workspace, root)
    return RunOutcome(
        data=job.data,
        workflow_name=name,
        root=root,
        nodes=engine.nodes,
        tasks=tasks,
        pods=pods,
        cached=progress.cached,
        seconds=seconds,
    )


async def _supervised(engine: Engine, stack: LocalStack, progress: Progress) -> Node:
    """Run the engine, and end it when a service dies.

    Raises:
        StackError: a service died; every executor has ended.
    """
    running = asyncio.ensure_future(engine.run())
    watching = asyncio.ensure_future(stack.wait_for_failure())
    drawing = asyncio.ensure_future(progress.refresh())
    try:
        await asyncio.wait({running, watching}, return_when=asyncio.FIRST_COMPLETED)
        if not running.done():
            engine.terminate()
            await running
            raise watching.result()
        return running.result()
    finally:
        for task in (running, watching, drawing):
            task.cancel()
        await asyncio.wait({running, watching, drawing})


async def _settle_interrupted_runs(client: KfpApiClient) -> None:
    """End the runs of a runner that was killed: nobody executes them any more."""
    page_token = ""
    while True:
        page = await client.list_runs(page_size=200, page_token=page_token)
        for run in page.runs:
            if not run.is_finished:
                await client.report_workflow(_interrupted(run))
        if not (page_token := page.next_page_token):
            return


def _interrupted(run: Run) -> dict[str, Any]:
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {"name": run.display_name, "labels": {"pipeline/runid": run.run_id}},
        "spec": {},
        "status": {"phase": Phase.FAILED.value, "finishedAt": format_timestamp(datetime.now(UTC))},
    }


def _report(workflow: Workflow, phase: Phase, finished: datetime | None = None) -> dict[str, Any]:
    """The workflow as KFP's persistence agent would report it."""
    status: dict[str, Any] = {"phase": phase.value, "startedAt": format_timestamp(workflow.created)}
    if phase.fulfilled:
        status["finishedAt"] = format_timestamp(finished or datetime.now(UTC))
    metadata = dict(workflow.document["metadata"]) | {"uid": workflow.uid}
    return {
        "apiVersion": workflow.document["apiVersion"],
        "kind": "Workflow",
        "metadata": metadata,
        "spec": {},
        "status": status,
    }


def _remove_workspace(workspace: Path, root: Node) -> None:
    """The claim of a workspace goes with a run that succeeded."""
    if root.phase is Phase.SUCCEEDED and workspace.exists():
        shutil.rmtree(workspace.parent, ignore_errors=True)

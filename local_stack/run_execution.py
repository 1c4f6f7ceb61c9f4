"""Executes one run of the KFP API on this machine, from wherever it stands to its end.

A run may be new, interrupted by a killed runner, or opened again by RetryRun; all three are the same work:
the workflow is executed from its root, and what the history on disk says is not done again. This module
plays KFP's persistence agent too: it reports the run's state, the terminal one only after every executor
has stopped.
"""

import asyncio
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from pydantic import JsonValue

from compiler.finalize import finalize_workflow
from compiler.options import CompilerOptions
from compiler.parameters import check_parameters
from compiler.workflow import compile_workflow
from kfp_api.client import KfpApiClient
from kfp_api.ir.load import Pipeline
from kfp_api.messages import Run, RuntimeState, TaskState
from kfp_api.run_view import RunCache, RunView
from kfp_api.wire import format_timestamp
from local_stack.data_directory import DataDirectory
from local_stack.executors import Executors
from local_stack.lost_executors import SpokenFor
from local_stack.run_record import RunOptions, RunRecord, RunRecords, retries_of
from local_stack.runner.agent import PluginAgent
from local_stack.runner.agent_faults import Faults
from local_stack.runner.container_runtime import Mount, PodSettings
from local_stack.runner.engine import Engine, Observer
from local_stack.runner.errors import RunnerError
from local_stack.runner.history import StateDirectory, kept_by_retry
from local_stack.runner.nodes import Node, Phase
from local_stack.runner.pod_build import ConfigDirectories
from local_stack.runner.pod_process import LocalPods
from local_stack.runner.python_environment import PythonEnvironment
from local_stack.runner.reaper import Reaper
from local_stack.runner.workflow import Workflow, load_workflow
from local_stack.stack import LocalStack
from propagation.statuses import propagate_statuses

NAMESPACE: Final = "local"
_ALWAYS_IGNORED: Final = ("securityContext", "serviceAccountName", "executorPlugins", "ttlStrategy")
_WORKSPACE: Final = {"accessModes": ["ReadWriteOnce"]}
"""What an administrator's default adds to a workspace of which the pipeline gives only the size."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What all runs on this machine share. ``pod_slots`` limits the executors of all of them together."""

    data: DataDirectory
    stack: LocalStack
    client: KfpApiClient
    python: PythonEnvironment
    reaper: Reaper
    records: RunRecords
    pod_slots: asyncio.Semaphore
    executors: Executors
    faults: Faults | None = None


class RunExecution:
    """One run at work."""

    @classmethod
    async def open(
        cls,
        machine: Machine,
        run: Run,
        options: RunOptions,
        *,
        workflow: Mapping[str, Any] | None = None,
    ) -> "RunExecution":
        """Bind a run to its directory, which is made when the run is new.

        Args:
            machine: where it runs.
            run: as the API has it now.
            options: for a run that is new; one that goes on keeps its own.
            workflow: what to run for a run that is new, instead of what its pipeline is compiled to.

        Raises:
            InvalidPipelineError, CompilerError, RunnerError: the run cannot be executed.
            KfpApiError: its pipeline cannot be read.
        """
        pipeline = await RunView(machine.client, run.run_id, cache=RunCache()).pipeline()
        return cls(machine, run, pipeline, options, workflow)

    def __init__(
        self,
        machine: Machine,
        run: Run,
        pipeline: Pipeline,
        options: RunOptions,
        workflow: Mapping[str, Any] | None = None,
    ) -> None:
        self.run = run
        self.pipeline = pipeline
        self._machine = machine
        record = machine.records.get(run.run_id) or machine.records.create(
            run.run_id, pipeline_name=self.pipeline.spec.pipeline_info.name, options=options
        )
        self.record = record
        self.state = StateDirectory(machine.data.run(record.workflow_name))
        self.workflow = self._load_workflow(record, workflow)
        self.history = self._load_history()
        self.pods = LocalPods(
            self.workflow,
            self._pod_settings(),
            runtime=machine.executors.runtime,
            enforcer=machine.executors.enforcer,
            accelerators=machine.executors.accelerators,
            was_done=self._was_done,
        )
        self.engine: Engine | None = None
        self._terminated = run.state is RuntimeState.CANCELING

    @property
    def continues(self) -> bool:
        """Whether something of the run was done before."""
        return bool(self.history)

    @property
    def without_effect(self) -> str:
        """One line on what the workflow asks for and does not get here; empty where it is nothing unusual."""
        unusual = [name for name in self.workflow.ignored_fields if not name.endswith(_ALWAYS_IGNORED)]
        return f"without effect on this machine: {', '.join(unusual)}" if unusual else ""

    def terminate(self) -> None:
        """Stop the run: it ends FAILED once its executors have stopped."""
        self._terminated = True
        if self.engine is not None:
            self.engine.terminate()

    async def execute(self, *, observer: Observer, warn: Callable[[str], None]) -> Node:
        """Run to the end and report it; returns the root node. A cancellation leaves the run as it is."""
        machine, workflow = self._machine, self.workflow
        if workflow.volume_claims:
            self._workspace.mkdir(parents=True, exist_ok=True)
        await machine.client.report_workflow(report(workflow, Phase.RUNNING))
        if (await machine.client.get_run(self.run.run_id)).state is RuntimeState.CANCELING:
            # It was terminated before we took it.
            self._terminated = True

        def observe(node: Node) -> None:
            self.state.record(node)
            observer(node)

        metadata = {"name": workflow.name, "namespace": workflow.namespace, "uid": workflow.uid}
        async with PluginAgent(
            machine.stack.driver_url,
            workflow_metadata=metadata,
            token_file=machine.stack.token_file,
            secret=self._config.secret,
            faults=machine.faults,
            reconciliation=self.record.options.reconciliation,
        ) as agent:
            self.engine = Engine(
                workflow,
                plugins=agent,
                pods=SpokenFor(self.pods, client=machine.client, run_id=self.run.run_id, warn=warn),
                pod_slots=machine.pod_slots,
                history=self.history,
                observer=observe,
                kept=self.state.synced,
                warn=warn,
                fix_retries=self.record.options.fix_retries,
            )
            if self._terminated:
                self.engine.terminate()
            try:
                root = await self.engine.run()
            finally:
                self.state.close()
        await machine.client.report_workflow(report(workflow, root.phase, root.finished, root.message))
        if root.phase is Phase.SUCCEEDED and self._workspace.exists():
            # The claim of a workspace goes with a run that succeeded.
            await asyncio.to_thread(shutil.rmtree, self._workspace.parent, ignore_errors=True)
        return root

    @property
    def _config(self) -> ConfigDirectories:
        return ConfigDirectories(self._machine.data.secrets, self._machine.data.configmaps)

    @property
    def _workspace(self) -> Path:
        return self._machine.data.workspace(self.record.workflow_name)

    def _load_workflow(self, record: RunRecord, given: Mapping[str, Any] | None) -> Workflow:
        manifest = self.state.manifest()
        if manifest is None:
            if given is not None:
                manifest = bound_manifest(given, run=self.run, name=record.workflow_name)
            elif record.options.given_workflow:
                raise RunnerError("its Workflow was not stored before the runner was killed; start it again")
            else:
                manifest = self._compiled(record)
            load_workflow(manifest, run_id=self.run.run_id)
            self.state.create(manifest)
        workflow = load_workflow(manifest, run_id=self.run.run_id)
        workflow = replace(workflow, created=record.created)
        if record.options.timeout_seconds is not None:
            return replace(workflow, deadline_seconds=record.options.timeout_seconds)
        return workflow

    def _compiled(self, record: RunRecord) -> dict[str, Any]:
        config = self.run.runtime_config
        return compile_manifest(
            self.pipeline,
            parameters=config.parameters if config else {},
            pipeline_root=(config.pipeline_root if config else "") or str(self._machine.data.artifacts),
            run=self.run,
            name=record.workflow_name,
            options=CompilerOptions(
                server_address=self._machine.stack.api_host,
                server_port=self._machine.stack.api_port,
                cache_disabled=not record.options.cache,
            ),
        )

    def _load_history(self) -> dict[str, Node]:
        """The nodes on disk; after a retry by the user, those that it keeps."""
        nodes, retries = self.state.nodes(), retries_of(self.run)
        if retries > self.record.retries:
            nodes = kept_by_retry(nodes)
            # In this order: a kill in between repeats the first step, which then changes nothing.
            self.state.rewrite(nodes.values())
            self.record = replace(self.record, retries=retries)
            self._machine.records.save(self.record)
        return nodes

    def _pod_settings(self) -> PodSettings:
        machine = self._machine
        return PodSettings(
            directory=self.state.pods,
            workspace=self._workspace,
            config=self._config,
            python=machine.python,
            pip_install=self.record.options.pip_install,
            scratch=machine.reaper.scratch,
            claims=machine.data.claims,
            mounts=self._mounts(),
            variables={
                "KFP_API_URL": machine.stack.api_url,
                "KFP_LAUNCHER_CONFIG_DIR": str(machine.stack.launcher_config),
                **machine.reaper.marks,
            },
        )

    def _mounts(self) -> list[Mount]:
        """What pods with a file system of their own see of this machine: artifacts under their URIs first."""
        data, config = self._machine.data, self.run.runtime_config
        roots, shown = [data.artifacts], [self._machine.stack.launcher_config]
        if config and config.pipeline_root.startswith("/"):
            roots.append(Path(config.pipeline_root))
        if data.secrets.is_dir():
            shown.append(data.secrets)
        for root in roots:
            root.mkdir(parents=True, exist_ok=True)
        return [
            *(Mount(root, str(root)) for root in roots),
            *(Mount(place, str(place), read_only=True) for place in shown),
            *self._machine.executors.mounts,
        ]

    async def _was_done(self, task_id: str) -> bool:
        """Whether an executor that was cut off had done all of its work; its ancestors then learn of it.

        A launcher writes SUCCEEDED after everything else but the states of the ancestors.
        """
        client, run_id = self._machine.client, self.run.run_id
        row = await client.get_task(run_id, task_id)
        if row.state is not TaskState.SUCCEEDED:
            return False
        await propagate_statuses(RunView(client, run_id, cache=RunCache()), row)
        return True


def compile_manifest(
    pipeline: Pipeline,
    *,
    parameters: Mapping[str, JsonValue],
    pipeline_root: str,
    run: Run,
    name: str,
    options: CompilerOptions,
) -> dict[str, Any]:
    """The workflow of a run, as KFP's API server would submit it.

    Raises:
        CompilerError: the pipeline or its parameters are wrong.
    """
    check_parameters(pipeline.spec, parameters)
    compiled = compile_workflow(
        pipeline,
        parameters=parameters,
        display_name=run.display_name,
        pipeline_root=pipeline_root,
        options=replace(options, default_workspace=_WORKSPACE),
        warn=lambda _text: None,
    )
    return finalize_workflow(
        compiled, run_id=run.run_id, namespace=NAMESPACE, display_name=run.display_name, name=name
    )


def bound_manifest(workflow: Mapping[str, Any], *, run: Run, name: str) -> dict[str, Any]:
    """A Workflow from elsewhere, bound to a run as KFP's API server would."""
    return finalize_workflow(
        dict(workflow), run_id=run.run_id, namespace=NAMESPACE, display_name=run.display_name, name=name
    )


def report(
    workflow: Workflow, phase: Phase, finished: datetime | None = None, message: str = ""
) -> dict[str, Any]:
    """The workflow as KFP's persistence agent would report it."""
    status: dict[str, Any] = {"phase": phase.value, "startedAt": format_timestamp(workflow.created)}
    if message:
        status["message"] = message
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


def report_unstarted(run: Run, message: str) -> dict[str, Any]:
    """The report of a run that cannot be executed: it failed, and why."""
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {"name": run.display_name, "labels": {"pipeline/runid": run.run_id}},
        "spec": {},
        "status": {
            "phase": Phase.FAILED.value,
            "message": message,
            "finishedAt": format_timestamp(datetime.now(UTC)),
        },
    }

"""The drivers on a real KFP API: runs that tests drive call by call, as Argo and the launcher would."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from driver_plugin.argo.arguments import DriverCall
from driver_plugin.argo.driver_type import DriverType
from driver_plugin.argo.replies import DriverResult
from driver_plugin.drivers.dispatch import DriverServices, run_driver
from driver_plugin.errors import DriverFailure
from driver_plugin.system_logs.capture import InvocationLog
from kfp_api.client import KfpApiClient
from kfp_api.messages import (
    Artifact,
    ArtifactType,
    CreateArtifactRequest,
    InputOutputs,
    IOParameter,
    PipelineTask,
    Run,
    RuntimeConfig,
    TaskPod,
    TaskPodType,
    TaskState,
)
from kfp_api.run_view import RunView
from kfp_api.transport import ApiCall
from propagation.output_identity import output_type_and_producer
from propagation.outputs import propagate_outputs
from propagation.statuses import propagate_statuses
from tests.driver_plugin.drivers.pipelines import Json

NAMESPACE = "team-a"
RUN_NAME = "demo-x7k2p"
PIPELINE_ROOT = "s3://bucket/root"


@dataclass(kw_only=True)
class Stack:
    """Services against one server, and the requests they made."""

    client: KfpApiClient
    services: DriverServices
    requests: list[ApiCall] = field(default_factory=list)
    runtime_args: dict[str, str] = field(default_factory=dict)
    """What configures a plugin, where there is one to be configured."""

    async def start(self, spec: Json, **parameters: Any) -> "DrivenRun":
        """Submit a run and drive its root."""
        run = await self.submit(spec, **parameters)
        run.root = (await run.drive_root()).task_id
        return run

    async def submit(self, spec: Json, **parameters: Any) -> "DrivenRun":
        """Submit a run; nothing is driven yet."""
        run = await self.client.create_run(
            Run(
                display_name="Demo",
                pipeline_spec=spec,
                runtime_config=RuntimeConfig(parameters=parameters, pipeline_root=PIPELINE_ROOT),
            )
        )
        return DrivenRun(stack=self, run_id=run.run_id, spec=spec, parameters=parameters)


@dataclass(kw_only=True)
class DrivenRun:
    """One run under test."""

    stack: Stack
    run_id: str
    spec: Json
    parameters: dict[str, Any]
    root: str = ""
    log: InvocationLog = field(default_factory=lambda: InvocationLog("inv-1", level="DEBUG"))

    def call(
        self, kind: DriverType, name: str = "", parent: str = "", index: int | None = None
    ) -> DriverCall:
        """A call as the compiler's templates make it."""
        return DriverCall(
            type=kind,
            pipeline_name=self.spec["pipelineInfo"]["name"],
            run_id=self.run_id,
            run_name=RUN_NAME,
            run_display_name="",
            parent_task_id=parent,
            task_name=name,
            iteration_index=index,
            namespace=NAMESPACE,
            workflow_name=RUN_NAME,
            workflow_uid="uid-1",
            runtime_config={"parameterValues": self.parameters} if kind is DriverType.ROOT_DAG else None,
            kubernetes_config=None,
            cache_disabled=False,
            publish_logs=True,
            log_level="1",
            ca_cert_path="",
            http_proxy="",
            https_proxy="",
            no_proxy="",
            default_run_as_user=None,
            default_run_as_group=None,
            default_run_as_non_root=None,
            default_host_users=None,
            runtime_args={},
            warnings=(),
        )

    async def drive(self, call: DriverCall, *, uri: str = "") -> DriverResult:
        """One driver call with a log of its own."""
        self.log = InvocationLog("inv-1", uri=uri, level="DEBUG")
        return await run_driver(call, self.stack.services, self.log)

    async def drive_root(self) -> DriverResult:
        return await self.drive(self.call(DriverType.ROOT_DAG))

    async def dag(
        self, name: str, parent: str = "", index: int | None = None, **changes: Any
    ) -> DriverResult:
        call = self.call(DriverType.DAG, name, parent or self.root, index)
        return await self.drive(replace(call, **changes))

    async def container(
        self, name: str, parent: str = "", index: int | None = None, **changes: Any
    ) -> DriverResult:
        call = self.call(DriverType.CONTAINER, name, parent or self.root, index)
        return await self.drive(replace(call, **changes))

    async def failing(
        self, kind: DriverType, name: str, parent: str = "", index: int | None = None, **changes: Any
    ) -> DriverFailure:
        """The failure of a call that must fail."""
        try:
            await self.drive(replace(self.call(kind, name, parent or self.root, index), **changes))
        except DriverFailure as failure:
            return failure
        raise AssertionError(f"{name} did not fail")

    async def row(self, task_id: str) -> PipelineTask:
        return await self.stack.client.get_task(self.run_id, task_id)

    async def rows(self, name: str = "") -> list[PipelineTask]:
        """All rows of the run, or those with that name."""
        every = [row async for row in self.stack.client.iterate_tasks(self.run_id)]
        return [row for row in every if name in ("", row.name)]

    async def states(self) -> dict[str, str]:
        """State by ``name`` or ``name[index]``."""
        return {
            row.name if row.iteration_index is None else f"{row.name}[{row.iteration_index}]": row.state.value
            for row in await self.rows()
        }

    async def finish(
        self,
        task_id: str,
        outputs: Json | None = None,
        *,
        artifacts: dict[str, str] | None = None,
        state: TaskState = TaskState.SUCCEEDED,
    ) -> None:
        """Play the launcher: publish outputs and the final state, propagate both."""
        client, row = self.stack.client, await self.row(task_id)
        for key, uri in (artifacts or {}).items():
            await client.create_artifact(
                CreateArtifactRequest(
                    artifact=Artifact(name=key, type=ArtifactType.Dataset, uri=uri, namespace=NAMESPACE),
                    run_id=self.run_id,
                    task_id=task_id,
                    producer_key=key,
                    iteration_index=row.iteration_index,
                )
            )
        kind, producer = output_type_and_producer(row.name, row.iteration_index)
        patch = PipelineTask(
            state=state,
            end_time=datetime.now(UTC),
            pods=[TaskPod(name="pod", uid="uid", type=TaskPodType.EXECUTOR)],
            outputs=InputOutputs(
                parameters=[
                    IOParameter(parameter_key=key, value=value, type=kind, producer=producer)
                    for key, value in (outputs or {}).items()
                ]
            ),
        )
        row = await client.update_task(self.run_id, task_id, patch)
        view = RunView(client, self.run_id, cache=self.stack.services.run_cache)
        await propagate_outputs(view, row)
        await propagate_statuses(view, row)


def inputs_of(row: PipelineTask) -> dict[str, Any]:
    """Values of a row's input parameters."""
    return {entry.parameter_key: entry.value for entry in row.input_parameters}


def outputs_of(row: PipelineTask) -> dict[str, Any]:
    """Values of a row's output parameters."""
    return {entry.parameter_key: entry.value for entry in row.output_parameters}

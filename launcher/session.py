"""What one launcher works on: its task row, its place in the pipeline, its stores (spec LAUNCHER A3).

The run is read for its pipeline only, task rows one by one, and the row of the enclosing DAG by importers
only, as far as one child needs it: it lists all its children, and a loop's all items, so that reading it for
each of them would cost the square of their number.
"""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from kfp_api.client import KfpApiClient
from kfp_api.credentials import TokenFileCredentials
from kfp_api.ir.executor_input import DEFAULT_WORKSPACE_PATH
from kfp_api.ir.pipeline import ComponentSpec, PipelineSpec
from kfp_api.messages import PipelineTask, StatusMetadata, TaskPod, TaskPodType
from kfp_api.run_view import RunCache, RunView
from launcher.configuration import ConfigurationReader
from launcher.errors import LauncherError
from launcher.flags import CommandLine
from launcher.kubernetes import Kubernetes
from launcher.retry_index import retry_index
from launcher.stores.access import Stores
from resolver.parent_inputs import inputs_of_parents
from resolver.scope import ScopePath

TOKEN_PATH: Final = Path("/var/run/secrets/kfp/token")
_GRPC_PORT: Final = "8887"
_REST_PORT: Final = "8888"
_RETRY_SECONDS: Final = 300.0


@dataclass(frozen=True, kw_only=True)
class TaskSession:
    """One task of one run, as the launcher sees it; ``attempt_index`` counts the pods of its retries.

    ``task`` is the row as it was when this attempt began; ``parent`` is read for importers only, for which no
    driver has looked at it. ``workflow_name`` is empty where Argo did not tell: it is no flag of KFP's
    launcher.
    """

    client: KfpApiClient
    view: RunView
    stores: Stores
    run_id: str
    workflow_name: str
    namespace: str
    task_name: str
    parent_task_id: str
    pod: TaskPod
    workspace: str
    spec: PipelineSpec
    scope: ScopePath
    iteration_index: int | None
    task: PipelineTask
    parent: PipelineTask | None
    attempt_index: int

    @property
    def component(self) -> ComponentSpec:
        """The component that the task runs."""
        assert self.scope.last is not None
        return self.scope.last.component

    async def write(self, patch: PipelineTask) -> None:
        """Write a sparse patch to our row; its inputs, however long, do not come back."""
        await self.client.write_task(self.run_id, self.task.task_id, patch)
        self.view.remember_identity(self.task)

    async def write_state(self, patch: PipelineTask) -> PipelineTask:
        """Write a patch that changes our row's state; the row as far as its ancestors look at it."""
        await self.write(patch)
        return self.task.model_copy(update={"state": patch.state})

    def with_message(self, message: str) -> StatusMetadata:
        """Status metadata with ``message`` and every property of the row: the server replaces it whole."""
        return StatusMetadata(message=message, custom_properties=self.task.custom_properties)


async def open_session(
    line: CommandLine,
    client: KfpApiClient,
    *,
    environment: Mapping[str, str],
    task: PipelineTask | None,
    ca_file: str = "",
) -> TaskSession:
    """Read the pipeline and find the task's component in it.

    Args:
        line: the launcher's command line.
        client: open client of the KFP API.
        environment: process environment.
        task: our row; ``None`` for importers, which create it themselves.
        ca_file: trust anchors for object stores; empty uses the system's.

    Raises:
        LauncherError: the task is not part of the pipeline.
        KfpApiError: the API refused or could not be reached.
    """
    values = line.values
    view = RunView(client, values["run_id"], cache=RunCache())
    pipeline = await view.pipeline()
    index = line.iteration_index
    if task is not None and task.iteration_index is not None:
        index = task.iteration_index
    parent = None
    if task is not None and task.scope_path:
        enclosing = task.scope_path.rpartition(".")[0]
    else:
        parent = await view.parent_of_one(
            values["parent_task_id"],
            index,
            # Where the task stands is known only then: what any task of that name takes.
            inputs=inputs_of_parents(pipeline.spec, values["task_name"]),
        )
        enclosing = parent.scope_path
    try:
        scope = ScopePath.from_dot(pipeline.spec, enclosing).push(values["task_name"])
    except ValueError as error:
        raise LauncherError(f"failed to build scope path: {error}") from error
    kubernetes = Kubernetes.in_cluster(environment)
    runtime = (await view.facts()).runtime_config
    return TaskSession(
        client=client,
        view=view,
        stores=Stores(
            reader=ConfigurationReader(environment, namespace=values["namespace"], kubernetes=kubernetes),
            environment=environment,
            run_root=runtime.pipeline_root if runtime else "",
            ca_file=ca_file,
        ),
        run_id=values["run_id"],
        workflow_name=environment.get("ARGO_WORKFLOW_NAME", ""),
        namespace=values["namespace"],
        task_name=values["task_name"],
        parent_task_id=values["parent_task_id"],
        pod=TaskPod(name=values["pod_name"], uid=values["pod_uid"], type=TaskPodType.EXECUTOR),
        workspace=environment.get("KFP_WORKSPACE_PATH") or DEFAULT_WORKSPACE_PATH,
        spec=pipeline.spec,
        scope=scope,
        iteration_index=index,
        task=task or PipelineTask(),
        parent=parent,
        attempt_index=await retry_index(
            environment, kubernetes, namespace=values["namespace"], pod_name=values["pod_name"]
        ),
    )


def with_task(session: TaskSession, task: PipelineTask) -> TaskSession:
    """The same session on the given row."""
    return replace(session, task=task)


def api_client(line: CommandLine, environment: Mapping[str, str]) -> KfpApiClient:
    """The client for this launcher: address by flags and environment, token from its projected file.

    ``KFP_API_URL`` wins; port 8887 means KFP's gRPC port, whose REST neighbour is 8888.

    Raises:
        LauncherError: the address is no address, or the certificate authority cannot be read.
    """
    values = line.values
    url = environment.get("KFP_API_URL") or _url_of_flags(line, environment)
    credentials = TokenFileCredentials(TOKEN_PATH) if TOKEN_PATH.exists() else None
    verify: ssl.SSLContext | bool = True
    try:
        if values["ca_cert_path"]:
            verify = ssl.create_default_context()
            verify.load_verify_locations(values["ca_cert_path"])
        return KfpApiClient(
            url, credentials=credentials, verify=verify, retry_deadline_seconds=_RETRY_SECONDS
        )
    except OSError as error:
        raise LauncherError(f"failed to use the CA certificate {values['ca_cert_path']}: {error}") from error
    except ValueError as error:
        raise LauncherError(str(error)) from error


def _url_of_flags(line: CommandLine, environment: Mapping[str, str]) -> str:
    scheme = "https" if line.is_true("ml_pipeline_tls_enabled") else "http"
    address, port = line.values["ml_pipeline_server_address"], line.values["ml_pipeline_server_port"]
    of_environment = environment.get("KFP_API_ADDRESS", ""), environment.get("KFP_API_PORT", "")
    if not (address and port) and all(of_environment):
        address, port = of_environment
    if port == _GRPC_PORT:
        port = environment.get("KFP_API_REST_PORT") or _REST_PORT
    return f"{scheme}://{address}:{port}"

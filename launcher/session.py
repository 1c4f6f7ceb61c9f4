"""What one launcher works on: its task row, the DAG above it, and the specs on the way (spec LAUNCHER A3).

The run is read for its pipeline only; task rows are read one by one, so the cost of a task does not grow
with the run.
"""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from kfp_api.client import KfpApiClient
from kfp_api.credentials import TokenFileCredentials
from kfp_api.ir.pipeline import ComponentSpec, PipelineSpec
from kfp_api.messages import PipelineTask, StatusMetadata, TaskPod, TaskPodType, TaskState
from kfp_api.run_view import RunCache, RunView
from launcher.errors import LauncherError
from launcher.flags import CommandLine
from resolver.scope import ScopePath

TOKEN_PATH: Final = Path("/var/run/secrets/kfp/token")
_GRPC_PORT: Final = "8887"
_REST_PORT: Final = "8888"


@dataclass(frozen=True, kw_only=True)
class TaskSession:
    """One task of one run, as the launcher sees it; ``attempt_index`` counts the pods of its retries."""

    client: KfpApiClient
    view: RunView
    run_id: str
    namespace: str
    task_name: str
    pod: TaskPod
    workspace: str
    spec: PipelineSpec
    scope: ScopePath
    parent: PipelineTask
    iteration_index: int | None
    task: PipelineTask
    attempt_index: int

    @property
    def component(self) -> ComponentSpec:
        """The component that the task runs."""
        assert self.scope.last is not None
        return self.scope.last.component

    async def update(self, patch: PipelineTask) -> None:
        """Write a sparse patch to our row."""
        updated = await self.client.update_task(self.run_id, self.task.task_id, patch)
        self.view.remember(updated)

    def with_message(self, message: str) -> StatusMetadata:
        """Status metadata with ``message`` and every property of the row: the server replaces it whole."""
        return StatusMetadata(message=message, custom_properties=self.task.custom_properties)

    def started(self) -> PipelineTask:
        """The patch that shows this attempt as running (spec LAUNCHER A4, step 0)."""
        pods = [pod for pod in self.task.pods if (pod.name, pod.uid) != (self.pod.name, self.pod.uid)]
        had_message = self.task.status_metadata is not None and self.task.status_metadata.message
        return PipelineTask(
            pods=[*pods, self.pod],
            state=TaskState.RUNNING,
            status_metadata=self.with_message("") if had_message else None,
        )


async def open_session(
    line: CommandLine, client: KfpApiClient, *, environment: Mapping[str, str], task: PipelineTask | None
) -> TaskSession:
    """Read the parent and the pipeline, and find the task's component.

    Args:
        line: the launcher's command line.
        client: open client of the KFP API.
        environment: process environment (``KFP_WORKSPACE_PATH``).
        task: our row; ``None`` for importers, which create it themselves.

    Raises:
        LauncherError: the task is not part of the pipeline.
        KfpApiError: the API refused or could not be reached.
    """
    values = line.values
    view = RunView(client, values["run_id"], cache=RunCache())
    parent = await view.task(values["parent_task_id"])
    pipeline = await view.pipeline()
    try:
        scope = ScopePath.from_dot(pipeline.spec, parent.scope_path).push(values["task_name"])
    except ValueError as error:
        raise LauncherError(f"failed to build scope path: {error}") from error
    index = int(values["iteration_index"])
    if task is not None and task.iteration_index is not None:
        index = task.iteration_index
    return TaskSession(
        client=client,
        view=view,
        run_id=values["run_id"],
        namespace=values["namespace"],
        task_name=values["task_name"],
        pod=TaskPod(name=values["pod_name"], uid=values["pod_uid"], type=TaskPodType.EXECUTOR),
        workspace=environment.get("KFP_WORKSPACE_PATH", "/kfp-workspace"),
        spec=pipeline.spec,
        scope=scope,
        parent=parent,
        iteration_index=index if index >= 0 else None,
        task=task or PipelineTask(),
        attempt_index=retry_index(environment),
    )


def retry_index(environment: Mapping[str, str]) -> int:
    """Which attempt of the pod this is: ``KFP_RETRY_INDEX``, 0 when the task has no retries."""
    text = environment.get("KFP_RETRY_INDEX", "")
    return int(text) if text.isdecimal() else 0


def with_task(session: TaskSession, task: PipelineTask) -> TaskSession:
    """The same session on the given row."""
    return replace(session, task=task)


def api_client(line: CommandLine, environment: Mapping[str, str]) -> KfpApiClient:
    """The client for this launcher: address by flags and environment, token from its projected file.

    ``KFP_API_URL`` wins; port 8887 means KFP's gRPC port, whose REST neighbour is 8888.
    """
    values = line.values
    url = environment.get("KFP_API_URL", "")
    if not url:
        scheme = "https" if line.is_true("ml_pipeline_tls_enabled") else "http"
        address, port = values["ml_pipeline_server_address"], values["ml_pipeline_server_port"]
        if not (address and port):
            address = environment.get("KFP_API_ADDRESS", address)
            port = environment.get("KFP_API_PORT", port)
        if port == _GRPC_PORT:
            port = environment.get("KFP_API_REST_PORT", _REST_PORT)
        url = f"{scheme}://{address}:{port}"
    credentials = TokenFileCredentials(TOKEN_PATH) if TOKEN_PATH.exists() else None
    verify: ssl.SSLContext | bool = True
    if values["ca_cert_path"]:
        verify = ssl.create_default_context()
        verify.load_verify_locations(values["ca_cert_path"])
    return KfpApiClient(url, credentials=credentials, verify=verify, retry_deadline_seconds=300.0)

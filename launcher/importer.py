"""The importer: registers an existing object as an artifact (spec LAUNCHER B).

No driver runs for it; the launcher creates the task row and is the whole task.
"""

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

from pydantic import JsonValue

from kfp_api.checked_creation import stored_artifacts
from kfp_api.ir.pipeline import ImporterSpec
from kfp_api.messages import (
    Artifact,
    ArtifactType,
    CreateArtifactRequest,
    PipelineTask,
    TaskState,
    TaskType,
    TypeAttributes,
)
from kfp_api.wire import UNSET, format_timestamp
from launcher.artifact_types import artifact_type
from launcher.beginning import show_running
from launcher.causes import cause_of
from launcher.errors import LauncherError
from launcher.flags import CommandLine
from launcher.paths import workspace_path
from launcher.publisher import own_artifact, pass_on_outputs
from launcher.session import TaskSession, with_task
from resolver.context import ResolveContext
from resolver.expressions import ExpressionEngine
from resolver.inputs import resolve_inputs
from resolver.parameters import resolve_parameter_or_pipeline_channel


async def create_row(session: TaskSession, line: CommandLine) -> TaskSession:
    """The session with our task row, which is created or the one of an earlier attempt.

    An importer that will turn out to be wrong has a row, too: enclosing DAGs count on it.

    Raises:
        KfpApiError: the API refused or stayed out of reach.
    """
    entry = session.scope.last
    assert entry is not None
    assert entry.task is not None
    task = await session.client.create_task(
        PipelineTask(
            name=session.task_name,
            display_name=entry.task.task_info.name or session.task_name,
            run_id=session.run_id,
            parent_task_id=session.parent_task_id,
            type=TaskType.IMPORTER,
            state=TaskState.RUNNING,
            scope_path=session.scope.dot,
            create_time=datetime.now(UTC),
            pods=[session.pod],
            type_attributes=TypeAttributes(
                download_to_workspace=_is_for_workspace(line), iteration_index=session.iteration_index
            ),
        )
    )
    if session.pod not in task.pods:
        # Upstream answers an existing row without its artifacts.
        task = await session.client.get_task(session.run_id, task.task_id)
    return with_task(session, task)


async def run_importer(session: TaskSession, line: CommandLine) -> None:
    """Build the artifact, record it as our output, and pass it up the DAG.

    Raises:
        LauncherError: the URI or the type cannot be imported.
        ResolutionError: an input of the importer cannot be resolved.
        KfpApiError: the API refused or stayed out of reach.
    """
    await show_running(session)
    spec = _parse_spec(line)
    values = await _resolved_values(session)
    uri = _artifact_uri(spec, values)
    kind, mark = artifact_type(spec.type_schema)
    if uri.startswith("oci://"):
        if kind is not ArtifactType.Model:
            raise LauncherError(f'the type of an OCI artifact must be system.Model, not "{kind}"')
        if spec.download_to_workspace:
            raise LauncherError(f"{uri} is an OCI artifact and cannot be downloaded to the workspace")
    if spec.download_to_workspace:
        await _download(session, uri)
    metadata = {
        str(_fill(key, values)): _fill(value, values)
        for key, value in spec.metadata.items()
        if value is not UNSET
    }
    outputs = list(session.component.output_definitions.artifacts)
    if len(outputs) != 1:
        raise LauncherError("failed to extract output artifact name from componentOutputSpec")
    artifact = Artifact(
        name=uri.rstrip("/").rpartition("/")[2],
        type=kind,
        uri=uri,
        metadata={**metadata, **mark},
        namespace=session.namespace,
    )
    request = CreateArtifactRequest(
        artifact=artifact,
        run_id=session.run_id,
        task_id=session.task.task_id,
        producer_key=outputs[0],
        iteration_index=session.iteration_index,
        reuse_if_exists=not spec.reimport,
    )
    # A repeated attempt keeps what its row has: a second import of the same object would be a second output.
    created = []
    if not stored_artifacts(session.task.output_artifacts, request):
        created.append(own_artifact(session, outputs[0], await session.client.create_artifact(request)))
    await pass_on_outputs(session, created)


def _parse_spec(line: CommandLine) -> ImporterSpec:
    """The importer's spec from the command line.

    Raises:
        LauncherError: it is not an ImporterSpec.
    """
    try:
        return ImporterSpec.parse(json.loads(line.values["importer_spec"]))
    except (ValueError, RecursionError) as error:
        raise LauncherError(f"failed to unmarshal importer spec: {cause_of(error)}") from error


def _is_for_workspace(line: CommandLine) -> bool:
    """Whether the object goes to the workspace; a spec that cannot be read fails later, on its row."""
    try:
        return _parse_spec(line).download_to_workspace
    except LauncherError:
        return False


async def _download(session: TaskSession, uri: str) -> None:
    """Bring the object to its place in the workspace, where its consumers look for it."""
    try:
        path = workspace_path(uri, session.workspace)
        found = await asyncio.to_thread(session.stores.download, uri, path)
    except LauncherError as error:
        raise LauncherError(f"failed to download {uri} to the workspace: {error}") from error
    if not found:
        raise LauncherError(f"failed to import {uri}: nothing is stored there")


async def _resolved_values(session: TaskSession) -> dict[str, JsonValue]:
    """The importer's input parameters by name, as the driver resolves those of any task."""
    assert session.parent is not None
    run = await session.view.run()
    created = format_timestamp(run.created_at) if run.created_at else ""
    context = ResolveContext(
        spec=session.spec,
        run_id=session.run_id,
        run_name=session.workflow_name,
        run_display_name=run.display_name,
        create_time_utc=created,
        schedule_time_utc=format_timestamp(run.scheduled_at) if run.scheduled_at else created,
        scope=session.scope,
        parent=session.parent,
        rows=session.view,
        iteration_index=session.iteration_index,
        workspace_path=session.workspace,
        expressions=ExpressionEngine(),
    )
    resolved = await resolve_inputs(context)
    return {entry.parameter_key: entry.value for entry in resolved.parameters if entry.value is not UNSET}


def _artifact_uri(spec: ImporterSpec, values: dict[str, JsonValue]) -> str:
    source = spec.artifact_uri
    uri: Any = None
    if source.constant is not UNSET:
        uri = source.constant
    elif source.constant_value is not None:
        uri = source.constant_value.string_value
    elif source.runtime_parameter:
        uri = values.get(source.runtime_parameter)
    if not isinstance(uri, str) or not uri:
        raise LauncherError("the importer's artifact URI is empty or not a string")
    return uri


def _fill(value: JsonValue, values: dict[str, JsonValue]) -> JsonValue:
    """Replace parameter placeholders in metadata; a text that is one placeholder keeps the value's type."""
    if isinstance(value, str):
        name = value.removeprefix("{{$.inputs.parameters['").removesuffix("']}}")
        if value == f"{{{{$.inputs.parameters['{name}']}}}}" and name in values:
            return values[name]
        return resolve_parameter_or_pipeline_channel(value, values)
    if isinstance(value, list):
        return [_fill(item, values) for item in value]
    if isinstance(value, dict):
        return {str(_fill(key, values)): _fill(item, values) for key, item in value.items()}
    return value

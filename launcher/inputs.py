"""What a container task works on: its executor input, read, placed and fetched (spec LAUNCHER A4 to A6)."""

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from kfp_api.ir.executor_input import ArtifactList, ExecutorInput, RuntimeArtifact
from kfp_api.ir.pipeline import ComponentSpec
from launcher.artifact_types import is_metric
from launcher.errors import LauncherError
from launcher.modelcars import wait_for_model
from launcher.note import note
from launcher.paths import (
    OCI,
    WORKSPACE_MARK,
    UnsupportedSchemeError,
    artifact_path,
    is_in_workspace,
    local_path,
    workspace_path,
)
from launcher.stores.access import Stores
from resolver.context import DEFAULT_WORKSPACE_PATH

EXECUTOR_LOGS: Final = "executor-logs"
FALLBACK_OUTPUT_FILE: Final = "/tmp/kfp_outputs/output_metadata.json"  # noqa: S108 (KFP's contract)


def parse_input(text: str) -> ExecutorInput:
    """The executor input from its JSON, or from the file that ``@path`` names.

    Raises:
        LauncherError: it is no executor input, or has no outputs section.
    """
    try:
        if text.startswith("@"):
            text = Path(text[1:]).read_text(encoding="utf-8")
        executor_input = ExecutorInput.parse(json.loads(text))
    except (OSError, ValidationError, ValueError, RecursionError) as error:
        raise LauncherError(f"failed to unmarshall executor input: {error}") from error
    if executor_input.outputs is None:
        raise LauncherError("executor input has no outputs section")
    return executor_input


def rebase_outputs(executor_input: ExecutorInput, directory: str) -> ExecutorInput:
    """Move parameter files below ``directory``: on one machine, tasks share ``/tmp`` (spec LAUNCHER E5.2)."""
    outputs = executor_input.outputs
    if not directory or outputs is None:
        return executor_input
    parameters = {
        name: parameter.model_copy(update={"output_file": f"{directory}/{name}"})
        for name, parameter in outputs.parameters.items()
    }
    output_file = outputs.output_file
    if output_file in ("", FALLBACK_OUTPUT_FILE):
        output_file = f"{directory}/output_metadata.json"
    moved = outputs.model_copy(update={"parameters": parameters, "output_file": output_file})
    return executor_input.model_copy(update={"outputs": moved})


def as_user_code_sees_it(executor_input: ExecutorInput, workspace: str) -> ExecutorInput:
    """Artifacts in a workspace that is not where the SDK looks are plain paths, without the mark (E5.2)."""
    inputs = executor_input.inputs
    if workspace == DEFAULT_WORKSPACE_PATH or inputs is None:
        return executor_input

    def seen(artifact: RuntimeArtifact) -> RuntimeArtifact:
        if not is_in_workspace(artifact):
            return artifact
        metadata = {key: value for key, value in artifact.metadata.items() if key != WORKSPACE_MARK}
        place = workspace_path(artifact.uri, workspace)
        return artifact.model_copy(update={"uri": place, "metadata": metadata})

    artifacts = {
        key: ArtifactList(artifacts=[seen(artifact) for artifact in value.artifacts])
        for key, value in inputs.artifacts.items()
    }
    return executor_input.model_copy(update={"inputs": inputs.model_copy(update={"artifacts": artifacts})})


def make_output_directories(executor_input: ExecutorInput, workspace: str) -> None:
    """Create the directory of everything that user code writes; the log sees to its own.

    Raises:
        LauncherError: a directory cannot be made, or an output artifact has no local path.
    """
    outputs = executor_input.outputs
    assert outputs is not None
    paths = [parameter.output_file for parameter in outputs.parameters.values()]
    paths.append(outputs.output_file)
    for key, artifacts in outputs.artifacts.items():
        if key == EXECUTOR_LOGS:
            continue
        for artifact in artifacts.artifacts:
            try:
                paths.append(artifact_path(artifact, workspace))
            except UnsupportedSchemeError as error:
                raise LauncherError(f'output artifact "{artifact.name}": {error}') from error
    for path in filter(None, paths):
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LauncherError(f"failed to create directory of {path}: {error.strerror}") from error


def stored_uris(executor_input: ExecutorInput) -> Iterator[str]:
    """URIs of all artifacts that are fetched or stored, so that stores can be checked beforehand.

    The log is left out: whether it can be kept never decides about a task.
    """
    for _, artifact in _fetched(executor_input):
        yield artifact.uri
    outputs = executor_input.outputs
    assert outputs is not None
    for key, artifacts in outputs.artifacts.items():
        for artifact in artifacts.artifacts:
            kept_in_row = is_metric(artifact.type) or artifact.uri.startswith(OCI)
            if key != EXECUTOR_LOGS and artifact.uri and not kept_in_row:
                yield artifact.uri


async def fetch_inputs(
    executor_input: ExecutorInput,
    *,
    component: ComponentSpec,
    stores: Stores,
    workspace: str,
    environment: Mapping[str, str],
) -> None:
    """Bring every input artifact to its local path; models in images are waited for.

    Raises:
        LauncherError: an artifact cannot be fetched, or nothing is stored where it should be.
    """
    for artifacts in executor_input.input_artifacts.values():
        for artifact in artifacts.artifacts:
            if artifact.uri.startswith(OCI) and not is_in_workspace(artifact):
                await wait_for_model(artifact_path(artifact, workspace), environment)
    declared = component.input_definitions.artifacts
    for key, artifact in _fetched(executor_input, say=note):
        try:
            path = artifact_path(artifact, workspace)
            found = await asyncio.to_thread(stores.download, artifact.uri, path)
        except LauncherError as error:
            what = f'input artifact "{key}" from remote storage URI "{artifact.uri}"'
            raise LauncherError(f"failed to download {what}: {error}") from error
        optional = key in declared and declared[key].is_optional
        if not found and not optional and not is_metric(artifact.type):
            raise LauncherError(f'input artifact "{key}" is empty: nothing is stored at "{artifact.uri}"')


def _fetched(
    executor_input: ExecutorInput, *, say: Callable[[str], None] | None = None
) -> Iterator[tuple[str, RuntimeArtifact]]:
    """The input artifacts that come from a store; the others are in the workspace, an image or a row."""
    for key, artifacts in sorted(executor_input.input_artifacts.items()):
        for artifact in artifacts.artifacts:
            if not artifact.uri or artifact.uri.startswith(OCI) or is_in_workspace(artifact):
                continue
            try:
                local_path(artifact.uri)
            except UnsupportedSchemeError as error:
                if say is not None:
                    say(f'input artifact "{key}" is not fetched: {error}')
                continue
            yield key, artifact

"""Files of a container task: directories for what it writes, artifacts that it reads (spec LAUNCHER A6)."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from kfp_api.ir.executor_input import ExecutorInput, RuntimeArtifact
from kfp_api.ir.pipeline import ComponentSpec
from launcher.artifact_types import is_metric
from launcher.errors import LauncherError
from launcher.executor_input import EXECUTOR_LOGS
from launcher.modelcars import wait_for_model
from launcher.note import note
from launcher.paths import (
    OCI,
    UnsupportedSchemeError,
    artifact_path,
    is_in_workspace,
    local_path,
)
from launcher.stores.access import Stores


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

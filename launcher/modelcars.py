"""Models in OCI images: a sidecar shows them under a path, and stops when we say so (spec LAUNCHER A20)."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from launcher.environment import seconds
from launcher.errors import LauncherError
from launcher.executor_input import parse_input
from launcher.note import note
from launcher.paths import OCI, local_path

_POLL_SECONDS: Final = 0.5
_TIMEOUT_SECONDS: Final = 1800.0


async def wait_for_model(path: str, environment: Mapping[str, str]) -> None:
    """Wait until a model's sidecar has shown it at ``path``; ``KFP_MODELCAR_TIMEOUT`` seconds at most.

    Raises:
        LauncherError: the time is over, or the path cannot be looked at.
    """
    limit = seconds(environment, "KFP_MODELCAR_TIMEOUT", default=_TIMEOUT_SECONDS)
    try:
        async with asyncio.timeout(limit):
            while not _is_there(path):  # noqa: ASYNC110 (the sidecar tells by a file, not by an event)
                await asyncio.sleep(_POLL_SECONDS)
    except TimeoutError as error:
        raise LauncherError(f"the model did not appear at {path} within {limit:g} s") from error
    except OSError as error:
        raise LauncherError(f"looking for the model at {path} failed: {error.strerror}") from error


def _is_there(path: str) -> bool:
    try:
        Path(path).stat()
    except FileNotFoundError:
        return False
    return True


def release_modelcars(executor_input: str) -> None:
    """Tell the sidecar of every OCI input that the task is over, however it ended; a failure is noted only.

    Args:
        executor_input: as on the command line; one that cannot be read has no sidecars.
    """
    for uri in sorted(_model_uris(executor_input)):
        mark = Path(local_path(uri)).parent / "launcher-complete"
        try:
            mark.touch()
        except OSError as error:
            note(f"the model's sidecar cannot be told the end by {mark}: {error.strerror}")


def _model_uris(executor_input: str) -> set[str]:
    if OCI not in executor_input and not executor_input.startswith("@"):
        return set()
    try:
        parsed = parse_input(executor_input)
    except LauncherError:
        return set()
    return {
        artifact.uri
        for artifacts in parsed.input_artifacts.values()
        for artifact in artifacts.artifacts
        if artifact.uri.startswith(OCI)
    }

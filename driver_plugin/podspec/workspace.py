"""The run's workspace: which tasks need it, and the claim behind it (spec PODSPEC 5.7).

Argo creates and owns the claim, from the Workflow's volume claim template; the driver only refers to it.
"""

import re
from collections.abc import Iterator
from typing import Final

from driver_plugin.podspec.errors import PodSpecError
from driver_plugin.podspec.pod import WORKSPACE_VOLUME
from kfp_api.ir.executor_input import DEFAULT_WORKSPACE_PATH, ExecutorInputs
from kfp_api.wire import Value

_PLACEHOLDER: Final = "{{$.workspace_path}}"
_METADATA_KEY: Final = "_kfp_workspace"


def workspace_claim(run_name: str) -> str:
    """Name of the run's workspace claim, as Argo makes it.

    Raises:
        PodSpecError: there is no run name to build it from.
    """
    if not run_name:
        raise PodSpecError("run name is required when workspace is used")
    return f"{run_name}-{WORKSPACE_VOLUME}"


def uses_workspace(inputs: ExecutorInputs | None, workspace_path: str = DEFAULT_WORKSPACE_PATH) -> bool:
    """Whether a task with these inputs needs the workspace.

    That is: a string anywhere in its parameters names a path in the workspace, or an input artifact lies
    there.
    """
    if inputs is None:
        return False
    mention = _mention(workspace_path)
    return any(
        _PLACEHOLDER in text or mention.search(text)
        for value in inputs.parameter_values.values()
        for text in _strings(value)
    ) or any(
        artifact.metadata.get(_METADATA_KEY) is True
        for artifacts in inputs.artifacts.values()
        for artifact in artifacts.artifacts
    )


def _mention(workspace_path: str) -> re.Pattern[str]:
    """The path where it starts a path and ends at a segment: not ``/kfp-workspace2``, not inside a URL."""
    return re.compile(rf"(?<![\w./~%@+-]){re.escape(workspace_path)}(?![\w~%@+-]|\.\w)")


def _strings(value: Value) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from _strings(item)

"""The patch as text that survives Argo's substitutions and the kubelet's expansion (spec PODSPEC 2.5).

Argo puts the text through template substitution several times and quotes it with Go's rules in between;
the kubelet expands ``$(NAME)`` and collapses ``$$`` in commands and arguments. So: pure ASCII, no ``{{``
anywhere, DEL escaped, and every ``$`` of *data* doubled where it stands in a command line. Text that
component authors wrote is never doubled, they rely on Kubernetes' rules.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from driver_plugin.podspec.errors import PodSpecError
from driver_plugin.system_logs.redaction import HIDDEN
from kfp_api.ir.executor_input import ExecutorInput, executor_input_text, integral
from kfp_api.wire import UNSET

MAX_PATCH_BYTES: Final = 512 * 1024
"""A larger patch does not fit into the status of a Workflow beside everything else that lies there."""


def escape_dollars(data: str) -> str:
    """``data`` such that the kubelet's expansion gives it back unchanged."""
    return data.replace("$", "$$")


def encode_patch(patch: Mapping[str, Any]) -> str:
    """The JSON text of a patch; the same patch always gives the same text.

    Raises:
        PodSpecError: the text exceeds :data:`MAX_PATCH_BYTES`.
    """
    text = json.dumps(patch, ensure_ascii=True, separators=(",", ":"), sort_keys=True, allow_nan=False)
    text = text.replace("{{", r"\u007b\u007b").replace("\x7f", r"\u007f")
    if len(text) > MAX_PATCH_BYTES:
        raise PodSpecError(
            f"the pod spec patch has {len(text)} bytes, more than the {MAX_PATCH_BYTES} that a Workflow can "
            "carry; pass large values as artifacts"
        )
    return text


def encode_executor_input(executor_input: ExecutorInput, *, limit: int) -> str:
    """The value of ``--executor_input``: JSON with every ``$`` doubled.

    Raises:
        PodSpecError: the text exceeds ``limit`` bytes; the message names the largest parameter.
    """
    text = escape_dollars(executor_input_text(executor_input))
    size = _size(text)
    if size > limit:
        raise PodSpecError(
            f"the executor input has {size} bytes, more than the {limit} that a command line can carry"
            f"{_largest_parameter(executor_input)}"
        )
    return text


def redacted_patch(patch: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of ``patch`` for logs: no literal environment value, no executor input.

    Arguments of main hold substituted parameter values and are left out as well; their number stays.
    """
    copy: dict[str, Any] = {**patch}
    for group in ("containers", "initContainers"):
        if group in patch:
            copy[group] = [_redacted_container(container) for container in patch[group]]
    return copy


def _redacted_container(container: Mapping[str, Any]) -> dict[str, Any]:
    copy = {**container}
    if "env" in copy:
        copy["env"] = [
            {**variable, "value": HIDDEN} if "value" in variable else variable for variable in copy["env"]
        ]
    if copy.get("name") == "main":
        command = list(copy.get("command", ()))
        if "--executor_input" in command:
            command[command.index("--executor_input") + 1] = HIDDEN
        copy["command"] = command
        copy["args"] = [f"{HIDDEN} ({len(copy.get('args', ()))} arguments)"]
    return copy


def _largest_parameter(executor_input: ExecutorInput) -> str:
    sizes = {
        key: _size(escape_dollars(_json(value)))
        for key, value in executor_input.parameter_values.items()
        if value is not UNSET
    }
    if not sizes:
        return ""
    largest = max(sizes, key=lambda key: sizes[key])
    return f'; the largest parameter is "{largest}" with {sizes[largest]} bytes; pass it as an artifact'


def _json(value: object) -> str:
    return json.dumps(integral(value), ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def _size(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))

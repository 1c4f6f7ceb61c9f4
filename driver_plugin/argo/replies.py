"""What the service answers to ``template.execute``: Argo node results (spec DRIVER 1.4, LAUNCHER D3).

Promises: every output that a template of either dialect may declare is present, whatever happened,
because Argo never applies ``valueFrom.default`` to a plugin node; every value is a string, booleans in
lower case; each name appears once; the message is not empty, stays below 1 KiB and went through the
redaction filter; a failure carries no ``requeue``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from driver_plugin.argo.driver_type import DriverType
from driver_plugin.system_logs.redaction import clean

FAILURE_PREFIX: Final = "kfp-driver: "
"""Retry expressions of workflows test for this text (spec LAUNCHER D6)."""

MESSAGE_LIMIT: Final = 1023
"""Bytes of a node message in UTF-8: below 1 KiB."""

REQUEUE: Final[Mapping[str, Any]] = {"node": {}, "requeue": "2s"}
"""Still working: nothing is written to the workflow, the agent calls again."""

NOT_OURS: Final[Mapping[str, Any]] = {}
"""The template belongs to another plugin: the agent asks the next one."""

_CUT: Final = " ... "


@dataclass(frozen=True, kw_only=True)
class DriverResult:
    """What a driver decided. Also what a failing driver knew so far."""

    task_id: str = ""
    """Id of the created or reused task row."""
    iteration_count: int = 0
    """Items of a loop, also when its condition is false; 0 for everything else."""
    condition: bool | None = None
    """Outcome of the trigger condition; ``None`` when the task has none."""
    cached: bool = False
    """CONTAINER: a cache hit, so no executor starts."""
    pod_spec_patch: str = ""
    """CONTAINER: encoded JSON; empty when cached, skipped or a platform operation."""


def succeeded(
    call_type: DriverType, result: DriverResult, *, message: str, driver_log_uri: str
) -> dict[str, Any]:
    """The reply of a driver that finished. ``message`` must not be empty (spec LAUNCHER D5)."""
    return {
        "node": {
            "phase": "Succeeded",
            "message": shorten(clean(message)),
            "outputs": {"parameters": _parameters(call_type, result, driver_log_uri)},
        }
    }


def failed(
    call_type: DriverType | None,
    error_text: str,
    *,
    invocation_id: str,
    result: DriverResult,
    driver_log_uri: str,
) -> dict[str, Any]:
    """The reply of a driver that failed: what is known, and safe defaults for the rest.

    ``call_type`` is ``None`` when the call never said what it is; then the outputs of all types are given.
    """
    return {
        "node": {
            "phase": "Failed",
            "message": failure_message(error_text, invocation_id),
            "outputs": {"parameters": _parameters(call_type, result, driver_log_uri)},
        }
    }


def failure_message(error_text: str, invocation_id: str) -> str:
    """``kfp-driver: <error> (invocation <id>)``, redacted, below 1 KiB, cut in the middle of the error."""
    suffix = f" (invocation {invocation_id})"
    room = MESSAGE_LIMIT - len(FAILURE_PREFIX) - len(suffix)
    return f"{FAILURE_PREFIX}{shorten(clean(error_text), room)}{suffix}"


def shorten(text: str, limit: int = MESSAGE_LIMIT) -> str:
    """``text`` in at most ``limit`` bytes of UTF-8; what is too much goes from the middle."""
    encoded = text.encode("utf-8", "replace")
    if len(encoded) <= limit:
        return encoded.decode("utf-8")
    room = limit - len(_CUT)
    head, tail = encoded[: room - room // 2], encoded[len(encoded) - room // 2 :]
    return head.decode("utf-8", "ignore") + _CUT + tail.decode("utf-8", "ignore")


def _parameters(
    call_type: DriverType | None, result: DriverResult, driver_log_uri: str
) -> list[dict[str, str]]:
    # Both row id names go into every reply, so that templates of either dialect find their output.
    values = {"parent-dag-task-id-path": result.task_id, "task-id": result.task_id}
    values["condition"] = "nil" if result.condition is None else str(result.condition).lower()
    if call_type is not DriverType.CONTAINER:
        values["iteration-count"] = str(result.iteration_count)
    if call_type is None or call_type is DriverType.CONTAINER:
        values["cached-decision"] = str(result.cached).lower()
        values["pod-spec-patch"] = result.pod_spec_patch
    values["driver-log-uri"] = driver_log_uri
    return [{"name": name, "value": value} for name, value in values.items()]

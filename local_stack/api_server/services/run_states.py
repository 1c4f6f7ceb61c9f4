"""How a run's state moves: reports of its workflow, and termination (spec KFP_API 6.5).

PENDING to RUNNING to SUCCEEDED or FAILED; a terminated run passes through CANCELING and ends FAILED. A
finished run is re-opened by RetryRun only; a report that comes late changes nothing.
"""

from datetime import datetime
from typing import Any, Final

import orjson

from kfp_api.messages import TERMINAL_RUN_STATES, RuntimeState
from kfp_api.wire import Timestamp, ValidationError, WireMessage
from local_stack.api_server.errors import InvalidInputError
from local_stack.api_server.services.run_access import authorize_run
from local_stack.api_server.services.runs import set_run_columns
from local_stack.api_server.services.settlement import settle_running_tasks
from local_stack.api_server.storage.encoding import json_text, timestamp, unix_seconds
from local_stack.api_server.storage.links import Wire
from local_stack.api_server.storage.run_rows import RunRow, require_run
from local_stack.api_server.storage.transaction import Transaction

RUN_ID_LABEL: Final = "pipeline/runid"

_STATE_OF_PHASE: Final = {
    "Pending": RuntimeState.PENDING,
    "Running": RuntimeState.RUNNING,
    "Succeeded": RuntimeState.SUCCEEDED,
    "Failed": RuntimeState.FAILED,
    "Error": RuntimeState.FAILED,
}

_INTERNAL: Final = 13
"""``google.rpc`` code of a run that failed for a reason of its own."""

_TERMINABLE: Final = frozenset(
    {
        RuntimeState.PENDING,
        RuntimeState.RUNNING,
        RuntimeState.PAUSED,
        RuntimeState.RUNTIME_STATE_UNSPECIFIED,
    }
)


class _Finish(WireMessage):
    """The one timestamp of a workflow's status that matters here."""

    finished_at: Timestamp | None = None


def terminate_run(tx: Transaction, run_id: str) -> Wire:
    """Ask for the end of a run: CANCELING, which its runner sees and reports as FAILED when all stopped.

    Raises:
        ResourceNotFoundError: there is none with that id.
        InvalidInputError: it is finished or being terminated.
    """
    authorize_run(tx, "terminate", run_id)
    row = require_run(tx.connection, run_id)
    if RuntimeState[row.State] not in _TERMINABLE:
        raise InvalidInputError(f"Failed to terminate a run {run_id}. Row not found")
    set_run_columns(tx, run_id, State=RuntimeState.CANCELING.value, Conditions="Terminating")
    return {}


def report_workflow(tx: Transaction, text: object) -> Wire:
    """Take the state of a run from its workflow, a JSON text; the last report settles its tasks.

    Raises:
        InvalidInputError: not a workflow, or one without the run's label.
        ResourceNotFoundError: the label names no run.
    """
    workflow = _workflow(text)
    name, run_id = _member(workflow, "metadata").get("name"), _run_id(workflow)
    row = require_run(tx.connection, run_id)
    tx.caller.authorize("report", "workflows", namespace=row.Namespace)
    reported = _reported_state(workflow)
    current = RuntimeState[row.State]
    if reported is None or current in TERMINAL_RUN_STATES or not _moves(current, reported):
        return {}
    columns: dict[str, Any] = {
        "State": reported.value,
        "Conditions": str(_member(workflow, "status").get("phase")),
        "StateHistory": run_history(row, reported, tx.now, reason=_reason(workflow, reported)),
    }
    if isinstance(name, str) and name:
        columns["Name"] = name
    if reported in TERMINAL_RUN_STATES:
        columns["FinishedAtInSec"] = _finish_seconds(workflow) or tx.now
        settle_running_tasks(tx, run_id)
    set_run_columns(tx, run_id, **columns)
    return {}


def run_history(row: RunRow, state: RuntimeState, now: int, *, reason: str = "") -> str:
    """A run's state history with ``state`` added, unless it is the last entry already.

    ``reason`` becomes the error of the entry, a ``google.rpc.Status``.
    """
    history = orjson.loads(row.StateHistory or "[]")
    if history and history[-1].get("state") == state.value:
        return str(row.StateHistory)
    entry: dict[str, Any] = {"update_time": timestamp(now), "state": state.value}
    if reason:
        entry["error"] = {"code": _INTERNAL, "message": reason}
    return json_text([*history, entry])


def _reason(workflow: dict[str, Any], reported: RuntimeState) -> str:
    message = _member(workflow, "status").get("message")
    return message if isinstance(message, str) and reported is RuntimeState.FAILED else ""


def _moves(current: RuntimeState, reported: RuntimeState) -> bool:
    """Whether a report of an unfinished run brings news; a run never falls back."""
    if reported is current:
        return False
    if current is RuntimeState.CANCELING:
        return reported in TERMINAL_RUN_STATES
    return reported is not RuntimeState.PENDING


def _reported_state(workflow: dict[str, Any]) -> RuntimeState | None:
    state = _STATE_OF_PHASE.get(str(_member(workflow, "status").get("phase", "")))
    if state in TERMINAL_RUN_STATES:
        return state
    return RuntimeState.CANCELING if _member(workflow, "spec").get("activeDeadlineSeconds") == 0 else state


def _workflow(text: object) -> dict[str, Any]:
    if not isinstance(text, str) or not text:
        raise InvalidInputError("the body must be a JSON string that holds the workflow's JSON")
    try:
        workflow = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InvalidInputError(f"the workflow is not JSON: {error}") from error
    if not isinstance(workflow, dict):
        raise InvalidInputError("the workflow is not a JSON object")
    return workflow


def _run_id(workflow: dict[str, Any]) -> str:
    run_id = _member(_member(workflow, "metadata"), "labels").get(RUN_ID_LABEL)
    if not isinstance(run_id, str) or not run_id:
        raise InvalidInputError(f"the workflow has no label {RUN_ID_LABEL}")
    return run_id


def _finish_seconds(workflow: dict[str, Any]) -> int:
    finished_at: datetime | None = None
    reported = _member(workflow, "status").get("finishedAt")
    try:
        finished_at = _Finish.from_wire({"finished_at": reported}).finished_at
    except ValidationError as error:
        raise InvalidInputError("status.finishedAt of the workflow is not an RFC 3339 time") from error
    return unix_seconds(finished_at)


def _member(document: dict[str, Any], name: str) -> dict[str, Any]:
    found = document.get(name)
    return found if isinstance(found, dict) else {}

"""One sparse patch merged into one task row (spec KFP_API 4.2): what T2, T3 and the server itself write."""

from collections.abc import Mapping
from typing import Any, Final

import orjson
import structlog
from sqlalchemy import select, update

from kfp_api.messages import PRESERVED_STATES, PipelineTask, TaskState, TaskType
from local_stack.api_server.errors import AlreadyExistsError, InvalidInputError
from local_stack.api_server.services.logical_key import logical_key
from local_stack.api_server.services.parameter_merge import merge_parameters
from local_stack.api_server.services.task_checks import check_task_fields
from local_stack.api_server.services.terminal_runs import refuse_update_when_terminal
from local_stack.api_server.storage.encoding import (
    as_value,
    json_text,
    parameter_wire,
    timestamp,
    unix_seconds,
)
from local_stack.api_server.storage.schema import has_id, tasks
from local_stack.api_server.storage.task_rows import TaskRow, find_by_logical_key, require_parent
from local_stack.api_server.storage.transaction import Transaction

_DONE: Final = frozenset(state.number for state in PRESERVED_STATES)

_log = structlog.get_logger(__name__)


def appended_history(stored: str | None, state: TaskState, now: int) -> str:
    """A state history with ``state`` added, unless it is the last entry already."""
    history = orjson.loads(stored or "[]")
    if history and history[-1].get("state") == state.value:
        return stored or "[]"
    return json_text([*history, {"update_time": timestamp(now), "state": state.value}])


def stored_attributes(patch: PipelineTask) -> str:
    """``tasks.TypeAttrs``: "null" where the message is unset."""
    return "null" if patch.type_attributes is None else json_text(patch.type_attributes.to_wire())


def stored_status_metadata(patch: PipelineTask) -> str | None:
    """``tasks.StatusMetadata``: ``None`` where the message is unset."""
    return None if patch.status_metadata is None else json_text(as_value(patch.status_metadata.to_wire()))


def stored_pods(patch: PipelineTask) -> str:
    """``tasks.Pods``."""
    return json_text([pod.to_wire() for pod in patch.pods])


def apply_patch(tx: Transaction, row: TaskRow, patch: PipelineTask) -> None:
    """Merge ``patch`` into ``row``, writing only what changes.

    Raises:
        ApiError: a field is too long, the run is finished, or the identity is taken.
    """
    check_task_fields(patch)
    values = _patched_columns(tx, row, patch)
    changed = {name: value for name, value in values.items() if getattr(row, name) != value}
    if not changed:
        return
    refuse_update_when_terminal(tx, row.RunUUID, row.UUID)
    if "ParentTaskUUID" in changed and changed["ParentTaskUUID"] is not None:
        _refuse_cycle(tx, row.UUID, changed["ParentTaskUUID"])
    key = changed.get("LogicalKey")
    if key is not None and find_by_logical_key(tx.connection, key) is not None:
        raise AlreadyExistsError(
            f"another task of run {row.RunUUID} has the identity given to task {row.UUID}"
        )
    tx.connection.execute(update(tasks).where(has_id(tasks, row.UUID)).values(changed))


def _patched_columns(tx: Transaction, row: TaskRow, patch: PipelineTask) -> dict[str, Any]:
    """The columns that the patch speaks of, with their new values."""
    values: dict[str, Any] = {
        column: value
        for column, value in (
            ("Name", patch.name),
            ("DisplayName", patch.display_name),
            ("Fingerprint", patch.cache_fingerprint),
            ("Type", patch.type.number),
            ("FinishedInSec", unix_seconds(patch.end_time)),
        )
        if value
    }
    if patch.state is not TaskState.RUNTIME_STATE_UNSPECIFIED:
        values["State"] = patch.state.number
        values["StateHistory"] = appended_history(row.StateHistory, patch.state, tx.now)
        if patch.state is TaskState.RUNNING and row.State in _DONE:
            _log.warning(
                "a task whose work was done runs again", run_id=row.RunUUID, task_id=row.UUID, name=row.Name
            )
        if _starts_anew(row, patch) and not tx.config.strict_upstream:
            values["FinishedInSec"] = 0
    if patch.pods:
        values["Pods"] = stored_pods(patch)
    if patch.status_metadata is not None:
        values["StatusMetadata"] = stored_status_metadata(patch)
    if patch.type_attributes is not None:
        values["TypeAttrs"] = stored_attributes(patch)
        values["IterationIndex"] = patch.iteration_index
    if patch.parent_task_id is not None:
        if patch.parent_task_id:
            require_parent(tx.connection, patch.parent_task_id, row.RunUUID, whose="the task")
        values["ParentTaskUUID"] = patch.parent_task_id or None
    values.update(_merged_parameters(row, patch))
    if values.keys() & {"Name", "Type", "ParentTaskUUID", "IterationIndex"}:
        values["LogicalKey"] = _key_after(row, values)
    return values


def _merged_parameters(row: TaskRow, patch: PipelineTask) -> dict[str, str]:
    sent_of_column = {"InputParameters": patch.input_parameters, "OutputParameters": patch.output_parameters}
    return {
        column: json_text(
            merge_parameters(
                orjson.loads(getattr(row, column) or "[]"), [parameter_wire(entry) for entry in sent]
            )
        )
        for column, sent in sent_of_column.items()
        if sent
    }


def _starts_anew(row: TaskRow, patch: PipelineTask) -> bool:
    """Whether a new attempt begins, which has not ended, whatever the row says of the old one."""
    return (
        patch.state is TaskState.RUNNING
        and row.State != TaskState.RUNNING.number
        and not unix_seconds(patch.end_time)
    )


def _key_after(row: TaskRow, values: Mapping[str, Any]) -> str | None:
    """The logical key of the row once ``values`` are written."""
    return logical_key(
        run_id=row.RunUUID,
        parent_task_id=values.get("ParentTaskUUID", row.ParentTaskUUID) or "",
        scope_path=row.ScopePath or "",
        name=values.get("Name", row.Name) or "",
        task_type=TaskType.from_number(values.get("Type", row.Type)),
        iteration_index=values.get("IterationIndex", row.IterationIndex),
    )


def _refuse_cycle(tx: Transaction, task_id: str, parent_id: str) -> None:
    """A task cannot be its own ancestor; existing rows form a forest, so the walk up ends."""
    ancestor: str | None = parent_id
    while ancestor is not None:
        if ancestor == task_id:
            raise InvalidInputError(
                f"parent_task_id of task {task_id} must not be the task itself or one of its descendants"
            )
        ancestor = tx.connection.execute(
            select(tasks.c.ParentTaskUUID).where(has_id(tasks, ancestor))
        ).scalar_one_or_none()

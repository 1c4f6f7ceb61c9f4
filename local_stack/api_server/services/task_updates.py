"""UpdateTask and UpdateTasksBulk: sparse patches of task rows (spec KFP_API 4.2 and 4.3)."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson
import structlog
from sqlalchemy import select, update

from kfp_api.messages import PRESERVED_STATES, PipelineTask, TaskState, TaskType
from local_stack.api_server.errors import AlreadyExistsError, ApiError, InvalidInputError
from local_stack.api_server.services.logical_key import logical_key
from local_stack.api_server.services.parameter_merge import merge_parameters
from local_stack.api_server.services.run_access import authorize_run
from local_stack.api_server.services.task_checks import check_task_body, check_task_fields
from local_stack.api_server.services.terminal_runs import refuse_update_when_terminal
from local_stack.api_server.storage.encoding import (
    as_value,
    json_text,
    parameter_wire,
    timestamp,
    unix_seconds,
)
from local_stack.api_server.storage.links import Wire
from local_stack.api_server.storage.schema import has_id, tasks
from local_stack.api_server.storage.task_rows import (
    TaskRow,
    find_by_logical_key,
    hydrated,
    hydrated_task,
    require_parent,
    require_task,
)
from local_stack.api_server.storage.transaction import Transaction

_DONE: Final = frozenset(state.number for state in PRESERVED_STATES)

_log = structlog.get_logger(__name__)


def update_task(tx: Transaction, run_id: str, task_id: str, patch: PipelineTask) -> Wire:
    """Merge ``patch`` into a row and answer the row, hydrated.

    Raises:
        ApiError: a check of the specification fails; nothing is written.
    """
    if patch.task_id not in ("", task_id):
        raise InvalidInputError("Task ID in path parameter does not match task ID in request body")
    check_task_body(patch, run_id)
    authorize_run(tx, "update", run_id)
    row = require_task(tx.connection, task_id)
    if row.RunUUID != run_id:
        raise InvalidInputError("Task run_id in path parameter does not match the existing task run_id")
    apply_patch(tx, row, patch)
    return hydrated_task(tx.connection, require_task(tx.connection, task_id))


def update_tasks_bulk(tx: Transaction, run_id: str, patches: Mapping[str, PipelineTask]) -> Wire:
    """Merge all patches or none; the answer maps each id to its hydrated row.

    Raises:
        ApiError: a check fails for any entry; nothing is written.
    """
    if not patches:
        raise InvalidInputError("UpdateTasksBulkRequest must contain at least one task")
    for task_id, patch in patches.items():
        if not task_id:
            raise InvalidInputError("Task ID is required")
        if patch.task_id not in ("", task_id):
            raise InvalidInputError(
                f"Task ID in map key does not match task ID in task detail for task {task_id}"
            )
        check_task_body(patch, run_id)
    authorize_run(tx, "update", run_id)
    ids = sorted(patches)
    for row in _rows_of_run(tx, run_id, ids):
        try:
            apply_patch(tx, row, patches[row.UUID])
        except ApiError as error:
            # KFP's own server has one transaction per task: what came before the failure stays.
            error.keeps_writes = tx.config.strict_upstream
            raise
    updated = [require_task(tx.connection, task_id) for task_id in ids]
    return {"tasks": dict(zip(ids, hydrated(tx.connection, updated), strict=True))}


def _rows_of_run(tx: Transaction, run_id: str, ids: Sequence[str]) -> list[TaskRow]:
    rows = []
    for task_id in ids:
        row = require_task(tx.connection, task_id)
        if row.RunUUID != run_id:
            raise InvalidInputError(f"Task {task_id} does not belong to run {run_id}")
        rows.append(row)
    return rows


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

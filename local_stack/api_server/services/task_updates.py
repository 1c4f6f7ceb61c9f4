"""UpdateTask and UpdateTasksBulk: sparse patches of task rows (spec KFP_API 4.2 and 4.3)."""

from collections.abc import Mapping, Sequence

from kfp_api.messages import PipelineTask
from local_stack.api_server.errors import ApiError, InvalidInputError
from local_stack.api_server.services.run_access import authorize_run
from local_stack.api_server.services.server_propagation import propagate_from
from local_stack.api_server.services.task_checks import check_task_body
from local_stack.api_server.services.task_patches import apply_patch
from local_stack.api_server.storage.links import Wire
from local_stack.api_server.storage.task_rows import (
    TaskRow,
    brief_task,
    hydrated,
    hydrated_task,
    require_task,
)
from local_stack.api_server.storage.transaction import Transaction


def update_task(
    tx: Transaction, run_id: str, task_id: str, patch: PipelineTask, *, minimal: bool = False
) -> Wire:
    """Merge ``patch`` into a row and answer the row: hydrated, or if ``minimal`` without all that grows.

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
    propagate_from(tx, run_id, [task_id])
    updated = require_task(tx.connection, task_id)
    return brief_task(updated) if minimal else hydrated_task(tx.connection, updated)


def update_tasks_bulk(
    tx: Transaction, run_id: str, patches: Mapping[str, PipelineTask], *, minimal: bool = False
) -> Wire:
    """Merge all patches or none; the answer maps each id to its hydrated row, or if ``minimal`` is empty.

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
    propagate_from(tx, run_id, ids)
    if minimal:
        return {}
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

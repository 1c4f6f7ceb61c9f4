"""CreateTask, GetTask, ListTasks and FindCachedTask (spec KFP_API 4.1, 4.4, 4.5)."""

from sqlalchemy import ColumnElement, insert, select

from kfp_api.messages import PipelineTask, TaskState
from local_stack.api_server.errors import (
    InvalidInputError,
    PermissionDeniedError,
)
from local_stack.api_server.services.logical_key import logical_key
from local_stack.api_server.services.run_access import authorize_run, run_namespace
from local_stack.api_server.services.server_propagation import propagate_from
from local_stack.api_server.services.task_checks import check_task_body, check_task_fields
from local_stack.api_server.services.task_patches import (
    stored_attributes,
    stored_pods,
    stored_status_metadata,
)
from local_stack.api_server.services.terminal_runs import refuse_create_when_terminal
from local_stack.api_server.storage.child_view import ChildView
from local_stack.api_server.storage.encoding import json_text, parameter_wire, timestamp, unix_seconds
from local_stack.api_server.storage.fields import TASKS
from local_stack.api_server.storage.links import Wire
from local_stack.api_server.storage.listing import PageRequest, read_page
from local_stack.api_server.storage.schema import tasks
from local_stack.api_server.storage.task_rows import (
    brief_task,
    find_by_logical_key,
    fresh_task,
    hydrated,
    hydrated_task,
    require_parent,
    require_task,
    task_for_child,
)
from local_stack.api_server.storage.transaction import Transaction, new_id


def create_task(tx: Transaction, run_id: str, task: PipelineTask | None) -> Wire:
    """Insert a task, or answer the row that has its logical key, unchanged and hydrated.

    Raises:
        ApiError: a check of the specification fails; nothing is written.
    """
    if task is None:
        raise InvalidInputError("Task is required")
    check_task_body(task, run_id)
    check_task_fields(task)
    authorize_run(tx, "update", run_id)
    parent_id = task.parent_task_id or None
    if parent_id is not None:
        require_parent(tx.connection, parent_id, run_id, whose="the task")
    namespace = run_namespace(tx, run_id)
    key = logical_key(
        run_id=run_id,
        parent_task_id=parent_id or "",
        scope_path=task.scope_path,
        name=task.name,
        task_type=task.type,
        iteration_index=task.iteration_index,
    )
    existing = None if key is None else find_by_logical_key(tx.connection, key)
    if existing is not None:
        return hydrated_task(tx.connection, existing)
    refuse_create_when_terminal(tx, run_id, "task")
    task_id = new_id()
    create_second = unix_seconds(task.create_time)
    tx.connection.execute(
        insert(tasks).values(
            UUID=task_id,
            Namespace=namespace,
            RunUUID=run_id,
            Pods=stored_pods(task),
            CreatedAtInSec=create_second or tx.now,
            StartedInSec=0 if create_second else tx.now,
            FinishedInSec=unix_seconds(task.end_time),
            Fingerprint=task.cache_fingerprint,
            Name=task.name,
            DisplayName=task.display_name,
            ParentTaskUUID=parent_id,
            State=task.state.number,
            StatusMetadata=stored_status_metadata(task),
            StateHistory=_first_history(task, tx.now),
            InputParameters=json_text([parameter_wire(entry) for entry in task.input_parameters]),
            OutputParameters=json_text([parameter_wire(entry) for entry in task.output_parameters]),
            Type=task.type.number,
            TypeAttrs=stored_attributes(task),
            IterationIndex=task.iteration_index,
            ScopePath=task.scope_path,
            LogicalKey=key,
        )
    )
    propagate_from(tx, run_id, [task_id])
    return fresh_task(require_task(tx.connection, task_id))


def _first_history(task: PipelineTask, now: int) -> str:
    history = [entry.to_wire() for entry in task.state_history]
    last = task.state_history[-1].state if task.state_history else TaskState.RUNTIME_STATE_UNSPECIFIED
    if task.state not in (TaskState.RUNTIME_STATE_UNSPECIFIED, last):
        history.append({"update_time": timestamp(now), "state": task.state.value})
    return json_text(history)


def get_task(tx: Transaction, run_id: str, task_id: str, *, view: ChildView | None = None) -> Wire:
    """One task of the run, hydrated or as a child sees it.

    Raises:
        ResourceNotFoundError: there is no such task.
        InvalidInputError: it belongs to another run.
    """
    authorize_run(tx, "get", run_id)
    row = require_task(tx.connection, task_id)
    if row.RunUUID != run_id:
        raise InvalidInputError(f"Task {task_id} does not belong to run {run_id}")
    return hydrated_task(tx.connection, row) if view is None else task_for_child(tx.connection, row, view)


def list_tasks(
    tx: Transaction, run_id: str, parent_id: str, request: PageRequest, *, minimal: bool = False
) -> Wire:
    """A page of the run's tasks, or of the direct children of ``parent_id``; an unknown run has none.

    They are hydrated, or if ``minimal`` without all that grows with a run.

    Raises:
        ApiError: unknown or foreign parent, bad page, order or filter.
    """
    authorize_run(tx, "get", run_id)
    scope: list[ColumnElement[bool]] = [tasks.c.RunUUID == run_id]
    if parent_id:
        require_parent(tx.connection, parent_id, run_id, whose="run_id")
        scope.append(tasks.c.ParentTaskUUID == parent_id)
    page = read_page(tx.connection, TASKS, scope=scope, request=request)
    rows = [brief_task(row) for row in page.rows] if minimal else hydrated(tx.connection, page.rows)
    return page.answer("tasks", rows)


def find_cached_task(
    tx: Transaction, *, namespace: str, cache_fingerprint: str, bound_run_id: str = ""
) -> Wire:
    """The newest SUCCEEDED task with that fingerprint; ``{}`` when there is none.

    ``bound_run_id`` (header ``x-kfp-bound-run-id``) names the run that the caller's token is bound to.

    Raises:
        InvalidInputError: no fingerprint, or no namespace in multi-user mode.
        PermissionDeniedError: the bound run lives in another namespace.
    """
    if not cache_fingerprint:
        raise InvalidInputError("cache_fingerprint is required")
    if tx.multi_user and not namespace:
        raise InvalidInputError("namespace is required in multi-user mode")
    if tx.multi_user and bound_run_id and run_namespace(tx, bound_run_id) != namespace:
        raise PermissionDeniedError(f"bound run {bound_run_id} is not in namespace {namespace}")
    tx.caller.authorize("list", "runs", namespace=namespace, run_id=bound_run_id)
    row = tx.connection.execute(
        select(tasks)
        .where(
            tasks.c.Fingerprint == cache_fingerprint,
            tasks.c.State == TaskState.SUCCEEDED.number,
            tasks.c.Namespace == tx.stored_namespace(namespace),
        )
        .order_by(tasks.c.CreatedAtInSec.desc(), tasks.c.UUID.desc())
        .limit(1)
    ).one_or_none()
    return {} if row is None else {"task": hydrated(tx.connection, [row], children=False)[0]}

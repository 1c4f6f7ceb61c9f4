"""Task rows: reading them by key, and writing them down as the API shows them.

Stored JSON is already in wire form and goes into answers as text, so that an answer costs no parsing.
Only the rows asked for are read, never a run's other tasks.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from sqlalchemy import Connection, Row, select

from kfp_api.messages import TaskState, TaskType
from local_stack.api_server.errors import InvalidInputError, ResourceNotFoundError
from local_stack.api_server.storage.child_view import ChildView
from local_stack.api_server.storage.encoding import present, stored_json, timestamp
from local_stack.api_server.storage.links import Wire, artifact_groups, chunks
from local_stack.api_server.storage.schema import has_id, tasks

TaskRow = Row[Any]


def find_task(connection: Connection, task_id: str) -> TaskRow | None:
    """The row with that id."""
    return connection.execute(select(tasks).where(has_id(tasks, task_id))).one_or_none()


def require_task(connection: Connection, task_id: str) -> TaskRow:
    """The row with that id.

    Raises:
        ResourceNotFoundError: there is none.
    """
    row = find_task(connection, task_id)
    if row is None:
        raise ResourceNotFoundError(f"task {task_id} not found")
    return row


def require_parent(connection: Connection, parent_id: str, run_id: str, *, whose: str) -> TaskRow:
    """The row of a parent, which must be of the run.

    Raises:
        ResourceNotFoundError: there is none.
        InvalidInputError: it belongs to another run.
    """
    parent = require_task(connection, parent_id)
    if parent.RunUUID != run_id:
        raise InvalidInputError(f"parent_task_id must belong to the same run as {whose}")
    return parent


def find_by_logical_key(connection: Connection, key: str) -> TaskRow | None:
    """The row with that logical key."""
    return connection.execute(select(tasks).where(tasks.c.LogicalKey == key)).one_or_none()


def hydrated(connection: Connection, rows: Sequence[TaskRow], *, children: bool = True) -> list[Wire]:
    """The rows as answers: with artifacts and, unless refused, child tasks."""
    ids = [row.UUID for row in rows]
    groups = artifact_groups(connection, ids)
    listed = _children(connection, rows) if children else {}
    return [_task_wire(row, groups.get(row.UUID, ([], [])), listed.get(row.UUID, [])) for row in rows]


def hydrated_task(connection: Connection, row: TaskRow) -> Wire:
    """One row as an answer, with artifacts and child tasks."""
    return hydrated(connection, [row])[0]


def fresh_task(row: TaskRow) -> Wire:
    """A row that was just inserted as an answer: it has neither artifacts nor children."""
    return _task_wire(row, ([], []), [])


def brief_task(row: TaskRow) -> Wire:
    """What a row is and how it stands, without what grows with a run: pods, history, children, data."""
    return present(
        {
            "name": row.Name or None,
            "display_name": row.DisplayName or None,
            "task_id": row.UUID,
            "run_id": row.RunUUID,
            "create_time": timestamp(row.CreatedAtInSec) if row.CreatedAtInSec else None,
            "end_time": timestamp(row.FinishedInSec) if row.FinishedInSec else None,
            "state": TaskState.from_number(row.State).value if row.State else None,
            "status_metadata": stored_json(row.StatusMetadata, absent=None),
            "type": TaskType.from_number(row.Type).value if row.Type else None,
            "type_attributes": stored_json(row.TypeAttrs, absent="null"),
            "parent_task_id": row.ParentTaskUUID,
            "scope_path": row.ScopePath or None,
        }
    )


def task_for_child(connection: Connection, row: TaskRow, view: ChildView) -> Wire:
    """What a child needs of a row: what it is, and its inputs as the child sees them."""
    groups, _ = artifact_groups(connection, [row.UUID]).get(row.UUID, ([], []))
    parameters = view.parameters(orjson.loads(row.InputParameters or "[]"))
    inputs = present({"parameters": parameters, "artifacts": view.artifacts(groups) or None})
    return {**brief_task(row), "inputs": inputs}


def _children(connection: Connection, parents: Sequence[TaskRow]) -> Mapping[str, list[Wire]]:
    """Direct children by (create time, id), of the parent's own run only."""
    found: dict[str, list[Wire]] = {}
    for run_id in dict.fromkeys(row.RunUUID for row in parents):
        for ids in chunks([row.UUID for row in parents if row.RunUUID == run_id]):
            # The order is that of the index, one parent after the other.
            rows = connection.execute(
                select(tasks.c.ParentTaskUUID, tasks.c.UUID, tasks.c.Name)
                .where(tasks.c.RunUUID == run_id, tasks.c.ParentTaskUUID.in_(ids))
                .order_by(tasks.c.ParentTaskUUID, tasks.c.CreatedAtInSec, tasks.c.UUID)
            )
            for parent_id, task_id, name in rows:
                child = present({"task_id": task_id, "name": name or None})
                found.setdefault(parent_id, []).append(child)
    return found


def _task_wire(row: TaskRow, groups: tuple[list[Wire], list[Wire]], children: list[Wire]) -> Wire:
    grows = {
        "pods": stored_json(row.Pods, absent="[]"),
        "cache_fingerprint": row.Fingerprint or None,
        "state_history": stored_json(row.StateHistory, absent="[]"),
        "child_tasks": children or None,
        "inputs": _io_wire(row.InputParameters, groups[0]),
        "outputs": _io_wire(row.OutputParameters, groups[1]),
    }
    return {**brief_task(row), **present(grows)}


def _io_wire(parameters: str, groups: list[Wire]) -> Wire:
    return present({"parameters": stored_json(parameters, absent="[]"), "artifacts": groups or None})

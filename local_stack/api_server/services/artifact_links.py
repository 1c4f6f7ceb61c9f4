"""CreateArtifactTask, CreateArtifactTasksBulk and ListArtifactTasks (spec KFP_API 5.4 and 5.5).

A link is unique by artifact, task, type, iteration and key. Creating one that exists answers the stored
link: a driver that crashed between two calls can repeat them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, ColumnElement, Row, Table, select

from kfp_api.messages import OUTPUT_LINK_TYPES, ArtifactTask, IOType
from local_stack.api_server.errors import InternalError, InvalidInputError, ResourceNotFoundError
from local_stack.api_server.services import limits
from local_stack.api_server.services.link_rows import NewLink, find_link, insert_link
from local_stack.api_server.services.run_access import authorize_run
from local_stack.api_server.services.server_propagation import propagate_from
from local_stack.api_server.services.terminal_runs import refuse_create_when_terminal
from local_stack.api_server.storage.fields import ARTIFACT_TASKS
from local_stack.api_server.storage.links import Wire, chunks, link_wire
from local_stack.api_server.storage.listing import PageRequest, read_page
from local_stack.api_server.storage.schema import artifact_tasks, artifacts, tasks
from local_stack.api_server.storage.task_rows import require_task
from local_stack.api_server.storage.transaction import Transaction


@dataclass(frozen=True, kw_only=True)
class LinkScope:
    """What ListArtifactTasks asks for: OR inside a list, AND between lists."""

    task_ids: Sequence[str] = ()
    run_ids: Sequence[str] = ()
    artifact_ids: Sequence[str] = ()
    type: IOType = IOType.UNSPECIFIED


def create_artifact_task(tx: Transaction, link: ArtifactTask | None) -> Wire:
    """Insert a link, or answer the stored one.

    Raises:
        ApiError: a check of the specification fails; nothing is written.
    """
    if link is None:
        raise InvalidInputError("artifact_task is required")
    stored = store_link(tx, link)
    _propagate_late_outputs(tx, [link])
    return link_wire(stored)


def create_artifact_tasks_bulk(tx: Transaction, links: Sequence[ArtifactTask]) -> Wire:
    """Insert the links that are missing, all or none; the answer has one element per request element.

    Raises:
        ApiError: a check fails for any entry; nothing is written.
    """
    if not links:
        raise InvalidInputError("CreateArtifactTasksBulkRequest must contain at least one artifact_task")
    for link in links:
        _check_fields(link)
    if any(link.run_id != links[0].run_id for link in links):
        raise InvalidInputError("CreateArtifactTasksBulkRequest must use a single run_id")
    stored = [store_link(tx, link) for link in links]
    _propagate_late_outputs(tx, links)
    return {"artifact_tasks": [link_wire(row) for row in stored]}


def _propagate_late_outputs(tx: Transaction, links: Sequence[ArtifactTask]) -> None:
    """Outputs of a cached task are linked after its row was created in its final state."""
    outputs = [link for link in links if link.type in OUTPUT_LINK_TYPES]
    if outputs:
        propagate_from(tx, outputs[0].run_id, dict.fromkeys(link.task_id for link in outputs))


def list_artifact_tasks(tx: Transaction, scope: LinkScope, request: PageRequest) -> Wire:
    """A page of links.

    Raises:
        InvalidInputError: no list, an empty id, bad page, order or filter.
        ResourceNotFoundError: an unknown task or artifact id; unknown runs just match nothing.
    """
    lists: list[tuple[str, Sequence[str], Column[Any]]] = [
        ("task_ids", scope.task_ids, artifact_tasks.c.TaskID),
        ("run_ids", scope.run_ids, artifact_tasks.c.RunUUID),
        ("artifact_ids", scope.artifact_ids, artifact_tasks.c.ArtifactID),
    ]
    if not any(ids for _, ids, _ in lists):
        raise InvalidInputError("At least one filter (task_ids, run_ids, or artifact_ids) is required")
    conditions: list[ColumnElement[bool]] = []
    for name, ids, column in lists:
        if not all(ids):
            raise InvalidInputError(f"{name} must not contain empty values")
        if ids:
            conditions.append(column.in_(ids))
    for run_id in dict.fromkeys(scope.run_ids):
        authorize_run(tx, "get", run_id)
    runs_of_tasks = _column(tx, tasks, "RunUUID", scope.task_ids, what="task")
    for run_id in dict.fromkeys(runs_of_tasks.values()):
        authorize_run(tx, "get", run_id)
    namespaces = _column(tx, artifacts, "Namespace", scope.artifact_ids, what="artifact")
    for namespace in dict.fromkeys(namespaces.values()):
        if tx.multi_user and not namespace:
            raise InvalidInputError("an artifact without a namespace cannot be listed in multi-user mode")
        tx.caller.authorize("get", "runs", namespace=namespace)
    if scope.type is not IOType.UNSPECIFIED:
        conditions.append(artifact_tasks.c.Type == scope.type.number)
    page = read_page(tx.connection, ARTIFACT_TASKS, scope=conditions, request=request)
    return page.answer("artifact_tasks", [link_wire(row) for row in page.rows])


def store_link(tx: Transaction, link: ArtifactTask) -> Row[Any]:
    """Check a link and find or insert it.

    Raises:
        ApiError: a check of the specification fails.
    """
    new = _checked(tx, link)
    stored = find_link(tx, new)
    if stored is not None and tx.config.strict_upstream:
        raise InternalError("the artifact-task link exists already")
    if stored is None:
        refuse_create_when_terminal(tx, new.run_id, "artifact-task")
        insert_link(tx, new)
        stored = find_link(tx, new)
        assert stored is not None
    return stored


def _check_fields(link: ArtifactTask) -> None:
    for field, missing in (
        ("artifact_id", not link.artifact_id),
        ("task_id", not link.task_id),
        ("run_id", not link.run_id),
        ("type", link.type is IOType.UNSPECIFIED),
        ("producer", link.producer is None),
        ("key", not link.key),
    ):
        if missing:
            raise InvalidInputError(f"artifact_task.{field} is required")
    limits.check_length("artifact_task.key", link.key, limits.KEY)


def _checked(tx: Transaction, link: ArtifactTask) -> NewLink:
    _check_fields(link)
    authorize_run(tx, "update", link.run_id)
    task = require_task(tx.connection, link.task_id)
    if task.RunUUID != link.run_id:
        raise InvalidInputError("artifact_task.run_id must match the task's run_id")
    namespaces = _column(tx, artifacts, "Namespace", [link.artifact_id], what="artifact")
    if tx.multi_user:
        check_same_namespace(artifact=namespaces[link.artifact_id], task=task.Namespace)
        tx.caller.authorize("create", "artifacts", namespace=task.Namespace, run_id=link.run_id)
    assert link.producer is not None
    return NewLink(
        artifact_id=link.artifact_id,
        task_id=link.task_id,
        run_id=link.run_id,
        type=link.type,
        key=link.key,
        task_name=link.producer.task_name,
        iteration=link.producer.iteration,
    )


def check_same_namespace(*, artifact: str, task: str) -> None:
    """In multi-user mode an artifact lives where its task, and so its run, does.

    Raises:
        InvalidInputError: it does not, or has no namespace.
    """
    if not artifact or artifact != task:
        raise InvalidInputError(
            "artifact, task, and run must be in the same namespace: "
            f"artifact={artifact} task={task} run={task}"
        )


def _column(tx: Transaction, table: Table, name: str, ids: Sequence[str], *, what: str) -> dict[str, str]:
    """A column of the rows with these ids, which must exist, by id."""
    found: dict[str, str] = {}
    for piece in chunks(ids):
        rows = tx.connection.execute(select(table.c.UUID, table.c[name]).where(table.c.UUID.in_(piece)))
        found.update((row_id, value) for row_id, value in rows)
    if missing := set(ids) - found.keys():
        raise ResourceNotFoundError(f"{what} {min(missing)} not found")
    return found

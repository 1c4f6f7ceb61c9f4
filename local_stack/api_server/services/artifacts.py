"""CreateArtifact, CreateArtifactsBulk, GetArtifact and ListArtifacts (spec KFP_API 5.1 to 5.3).

An artifact is created together with its output link, in one transaction. Namespaces are demanded in every
mode, as KFP does, and blanked where there are no tenants.
"""

import hashlib
from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import insert, select

from kfp_api.messages import Artifact, ArtifactType, CreateArtifactRequest, IOType
from local_stack.api_server.errors import InvalidInputError, ResourceNotFoundError
from local_stack.api_server.services import limits
from local_stack.api_server.services.artifact_links import check_same_namespace
from local_stack.api_server.services.link_rows import NewLink, find_link, insert_link
from local_stack.api_server.services.run_access import authorize_run
from local_stack.api_server.services.terminal_runs import refuse_create_when_terminal
from local_stack.api_server.storage.encoding import as_value, canonical_json
from local_stack.api_server.storage.fields import ARTIFACTS
from local_stack.api_server.storage.filters import exact_uri
from local_stack.api_server.storage.links import Wire, artifact_wire
from local_stack.api_server.storage.listing import Page, PageRequest, read_page
from local_stack.api_server.storage.schema import artifacts, has_id
from local_stack.api_server.storage.task_rows import TaskRow, require_task
from local_stack.api_server.storage.transaction import Transaction, new_id

_NEEDS_METADATA: Final = frozenset(
    {ArtifactType.ClassificationMetric, ArtifactType.SlicedClassificationMetric}
)


def create_artifact(tx: Transaction, request: CreateArtifactRequest) -> Wire:
    """Insert an artifact with its output link, or re-use an equal artifact when the request says so.

    Raises:
        ApiError: a check of the specification fails; nothing is written.
    """
    artifact = check_artifact_request(request)
    _authorize(tx, request, artifact)
    task = _task_of(tx, request, artifact)
    if not request.reuse_if_exists:
        refuse_create_when_terminal(tx, request.run_id, "artifact")
        return _insert_with_link(tx, request, artifact, task)
    key = identity_key(artifact)
    found = _reusable(tx, artifact, key)
    if found is None:
        refuse_create_when_terminal(tx, request.run_id, "artifact")
        return _insert_with_link(tx, request, artifact, task, key=key)
    link = _output_link(request, task, artifact_id=found.UUID)
    if find_link(tx, link) is None:
        refuse_create_when_terminal(tx, request.run_id, "artifact-task")
        insert_link(tx, link)
    return artifact_wire(found)


def create_artifacts_bulk(tx: Transaction, requests: Sequence[CreateArtifactRequest]) -> Wire:
    """Insert all artifacts with their links, or none; the answer is in request order.

    Raises:
        ApiError: a check fails for any entry; nothing is written.
    """
    if not requests:
        raise InvalidInputError("CreateArtifactsBulkRequest must contain at least one artifact")
    checked = []
    for position, request in enumerate(requests):
        try:
            checked.append((request, check_artifact_request(request)))
        except InvalidInputError as error:
            raise InvalidInputError(f"artifacts[{position}]: {error}") from error
    expected = checked[0][1].namespace
    for request, artifact in checked:
        if artifact.namespace != expected:
            raise InvalidInputError(
                "CreateArtifactsBulkRequest must use a single namespace: "
                f"expected {expected}, got {artifact.namespace}"
            )
        if request.reuse_if_exists:
            raise InvalidInputError(
                "CreateArtifactsBulk does not support reuse_if_exists; use CreateArtifact for find-or-create"
            )
    created = []
    for request, artifact in checked:
        _authorize(tx, request, artifact)
        task = _task_of(tx, request, artifact)
        refuse_create_when_terminal(tx, request.run_id, "artifact")
        created.append(_insert_with_link(tx, request, artifact, task))
    return {"artifacts": created}


def get_artifact(tx: Transaction, artifact_id: str) -> Wire:
    """One artifact.

    Raises:
        ResourceNotFoundError: there is none with that id.
    """
    row = tx.connection.execute(select(artifacts).where(has_id(artifacts, artifact_id))).one_or_none()
    if row is None:
        raise ResourceNotFoundError(f"artifact {artifact_id} not found")
    if tx.multi_user and not row.Namespace:
        raise InvalidInputError(f"artifact {artifact_id} has no namespace")
    tx.caller.authorize("get", "artifacts", namespace=row.Namespace)
    return artifact_wire(row)


def list_artifacts(tx: Transaction, namespace: str, request: PageRequest) -> Wire:
    """A page of a namespace's artifacts; all matches at once for a filter that is exactly one URI.

    Raises:
        InvalidInputError: bad page, order or filter.
    """
    if tx.multi_user and not namespace:
        raise InvalidInputError("namespace is required in multi-user mode")
    tx.caller.authorize("list", "artifacts", namespace=namespace)
    uri = exact_uri(request.filter)
    here = artifacts.c.Namespace == tx.stored_namespace(namespace)
    if uri is not None:
        rows = tx.connection.execute(
            select(artifacts)
            .where(here, artifacts.c.URIHash == uri_hash(uri))
            .where(artifacts.c["URI"] == uri)
            .order_by(artifacts.c.CreatedAtInSec, artifacts.c.UUID)
        ).all()
        page = Page(rows=rows, next_page_token="", total_size=len(rows))
    else:
        page = read_page(tx.connection, ARTIFACTS, scope=[here] if tx.multi_user else [], request=request)
    return page.answer("artifacts", [artifact_wire(row) for row in page.rows])


def check_artifact_request(request: CreateArtifactRequest) -> Artifact:
    """The artifact of a valid request, checked in KFP's order.

    Raises:
        InvalidInputError: the first check that fails.
    """
    artifact = request.artifact
    if artifact is None:
        raise InvalidInputError("Artifact is required")
    for failed, message in (
        (artifact.artifact_id, "Artifact ID should not be set on create"),
        (not artifact.namespace, "Artifact namespace is required"),
        (artifact.type is ArtifactType.TYPE_UNSPECIFIED, "Artifact type is required"),
        (not artifact.name, "Artifact name is required"),
        (not request.run_id, "Run ID is required"),
        (not request.task_id, "Task ID is required"),
        (not request.producer_key, "Producer key is required"),
        (
            artifact.type is ArtifactType.Metric and artifact.number_value is None,
            "number_value is required for a Metric artifact",
        ),
        (
            artifact.type in _NEEDS_METADATA and not artifact.metadata,
            f"No metric or metadata was found for {artifact.type.value} artifact",
        ),
    ):
        if failed:
            raise InvalidInputError(message)
    limits.check_length("name", artifact.name, limits.NAME)
    limits.check_length("uri", artifact.uri, limits.URI)
    limits.check_length("producer_key", request.producer_key, limits.KEY)
    limits.check_finite("number_value", artifact.number_value)
    return artifact


def identity_key(artifact: Artifact) -> str:
    """What ``reuse_if_exists`` compares, as one hash; private to a database."""
    document = [
        artifact.type.number,
        artifact.uri or "",
        artifact.name,
        artifact.description,
        as_value(artifact.metadata),
        artifact.number_value,
    ]
    return hashlib.sha256(canonical_json(document).encode()).hexdigest()


def uri_hash(uri: str | None) -> str:
    """``artifacts.URIHash``."""
    return hashlib.sha256(uri.encode()).hexdigest() if uri else ""


def _authorize(tx: Transaction, request: CreateArtifactRequest, artifact: Artifact) -> None:
    tx.caller.authorize("create", "artifacts", namespace=artifact.namespace, run_id=request.run_id)
    authorize_run(tx, "update", request.run_id)


def _task_of(tx: Transaction, request: CreateArtifactRequest, artifact: Artifact) -> TaskRow:
    task = require_task(tx.connection, request.task_id)
    if task.RunUUID != request.run_id:
        raise InvalidInputError("Task ID does not belong to this Run ID")
    if tx.multi_user:
        check_same_namespace(artifact=artifact.namespace, task=task.Namespace)
    return task


def _reusable(tx: Transaction, artifact: Artifact, key: str) -> Any:
    """The stored artifact that is equal: by key, else the oldest with the same URI."""
    namespace = tx.stored_namespace(artifact.namespace)
    found = tx.connection.execute(
        select(artifacts).where(artifacts.c.Namespace == namespace, artifacts.c.IdentityKey == key)
    ).one_or_none()
    if found is not None or not artifact.uri:
        return found
    return tx.connection.execute(
        select(artifacts)
        .where(
            artifacts.c.Namespace == namespace,
            artifacts.c.URIHash == uri_hash(artifact.uri),
            artifacts.c["URI"] == artifact.uri,
            artifacts.c.Type == artifact.type.number,
            artifacts.c.Name == artifact.name,
            artifacts.c.Description == artifact.description,
            artifacts.c.Metadata == canonical_json(as_value(artifact.metadata)),
            artifacts.c.NumberValue.is_not_distinct_from(artifact.number_value),
        )
        .order_by(artifacts.c.CreatedAtInSec, artifacts.c.UUID)
        .limit(1)
    ).one_or_none()


def _insert_with_link(
    tx: Transaction,
    request: CreateArtifactRequest,
    artifact: Artifact,
    task: TaskRow,
    *,
    key: str | None = None,
) -> Wire:
    artifact_id = new_id()
    tx.connection.execute(
        insert(artifacts).values(
            UUID=artifact_id,
            Namespace=tx.stored_namespace(artifact.namespace),
            Type=artifact.type.number,
            URI=artifact.uri,
            URIHash=uri_hash(artifact.uri),
            Name=artifact.name,
            Description=artifact.description,
            CreatedAtInSec=tx.now,
            LastUpdateInSec=tx.now,
            Metadata=canonical_json(as_value(artifact.metadata)),
            NumberValue=artifact.number_value,
            IdentityKey=key,
        )
    )
    insert_link(tx, _output_link(request, task, artifact_id=artifact_id))
    return artifact_wire(tx.connection.execute(select(artifacts).where(has_id(artifacts, artifact_id))).one())


def _output_link(request: CreateArtifactRequest, task: TaskRow, *, artifact_id: str) -> NewLink:
    in_loop = request.iteration_index is not None
    return NewLink(
        artifact_id=artifact_id,
        task_id=task.UUID,
        run_id=task.RunUUID,
        type=IOType.ITERATOR_OUTPUT if in_loop else IOType.OUTPUT,
        key=request.producer_key,
        task_name=task.Name or "",
        iteration=request.iteration_index,
    )

"""Pipelines and their versions: uploaded once, run by reference (spec KFP_API 7.2)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, delete, insert, select

from local_stack.api_server.errors import AlreadyExistsError, InvalidInputError, ResourceNotFoundError
from local_stack.api_server.services import limits
from local_stack.api_server.services.run_checks import check_pipeline
from local_stack.api_server.storage.encoding import json_text, present, stored_json, timestamp
from local_stack.api_server.storage.fields import PIPELINE_VERSIONS, PIPELINES
from local_stack.api_server.storage.links import Wire
from local_stack.api_server.storage.listing import PageRequest, read_page
from local_stack.api_server.storage.schema import has_id, pipeline_versions, pipelines
from local_stack.api_server.storage.transaction import Transaction, new_id

PipelineRow = Row[Any]
VersionRow = Row[Any]


@dataclass(frozen=True, kw_only=True)
class Upload:
    """An uploaded file and what its sender said of it. ``document`` is the form in which runs carry it."""

    document: Mapping[str, Any]
    name: str
    display_name: str
    description: str
    tags: Mapping[str, str]


def create_pipeline(tx: Transaction, upload: Upload, namespace: str) -> Wire:
    """Store a pipeline with its first version; answers the pipeline.

    Raises:
        InvalidInputError: not a pipeline, or a field that is too long.
        AlreadyExistsError: the name is taken.
    """
    _check(upload)
    namespace = tx.stored_namespace(namespace)
    tx.caller.authorize("create", "pipelines", namespace=namespace)
    if _named(tx, upload.name, namespace) is not None:
        raise AlreadyExistsError(
            f"Failed to create a new pipeline. The name {upload.name} already exists. "
            "Please specify a new name"
        )
    pipeline_id = new_id()
    tx.connection.execute(
        insert(pipelines).values(
            UUID=pipeline_id,
            CreatedAtInSec=tx.now,
            Name=upload.name,
            DisplayName=upload.display_name,
            Description=upload.description,
            Namespace=namespace,
            Tags=json_text(upload.tags),
        )
    )
    _insert_version(tx, pipeline_id, upload)
    return _pipeline_wire(_require_pipeline(tx, pipeline_id))


def create_version(tx: Transaction, pipeline_id: str, upload: Upload) -> Wire:
    """Store a further version; answers it.

    Raises:
        InvalidInputError: not a pipeline, no such pipeline to add it to, or a field that is too long.
        AlreadyExistsError: the pipeline has a version of that name.
    """
    _check(upload)
    pipeline = _find_pipeline(tx, pipeline_id)
    if pipeline is None:
        raise InvalidInputError(f"Failed to create a pipeline version: Pipeline {pipeline_id} not found")
    tx.caller.authorize("create", "pipelines", namespace=pipeline.Namespace)
    taken = tx.connection.execute(
        select(pipeline_versions.c.UUID).where(
            pipeline_versions.c.PipelineId == pipeline_id, pipeline_versions.c.Name == upload.name
        )
    ).first()
    if taken is not None:
        raise AlreadyExistsError(
            f"Failed to create a new pipeline version. The name {upload.name} already exist. "
            "Specify a new name"
        )
    return _version_wire(require_version(tx, _insert_version(tx, pipeline_id, upload)))


def get_pipeline(tx: Transaction, pipeline_id: str) -> Wire:
    """One pipeline.

    Raises:
        ResourceNotFoundError: there is none with that id.
    """
    row = _require_pipeline(tx, pipeline_id)
    tx.caller.authorize("get", "pipelines", namespace=row.Namespace)
    return _pipeline_wire(row)


def get_pipeline_by_name(tx: Transaction, name: str, namespace: str) -> Wire:
    """One pipeline by its name within a namespace.

    Raises:
        ResourceNotFoundError: there is none of that name.
    """
    namespace = tx.stored_namespace(namespace)
    tx.caller.authorize("get", "pipelines", namespace=namespace)
    row = _named(tx, name, namespace)
    if row is None:
        raise ResourceNotFoundError(f"Namespace/Pipeline {namespace}/{name} not found")
    return _pipeline_wire(row)


def list_pipelines(tx: Transaction, namespace: str, request: PageRequest) -> Wire:
    """A page of a namespace's pipelines.

    Raises:
        InvalidInputError: bad page, order or filter.
    """
    namespace = tx.stored_namespace(namespace)
    tx.caller.authorize("list", "pipelines", namespace=namespace)
    here = pipelines.c.Namespace == namespace
    page = read_page(tx.connection, PIPELINES, scope=[here], request=request)
    return page.answer("pipelines", [_pipeline_wire(row) for row in page.rows])


def delete_pipeline(tx: Transaction, pipeline_id: str, *, cascade: bool) -> Wire:
    """Remove a pipeline; its versions only with ``cascade``. Runs keep the spec they were created with.

    Raises:
        ResourceNotFoundError: there is none with that id.
        InvalidInputError: it has versions, and ``cascade`` was not asked for.
    """
    row = _require_pipeline(tx, pipeline_id)
    tx.caller.authorize("delete", "pipelines", namespace=row.Namespace)
    version = None if cascade else latest_version(tx, pipeline_id)
    if version is not None:
        raise InvalidInputError(
            f"Failed to delete pipeline with id {pipeline_id} as it has existing pipeline versions "
            f"(e.g. {version.UUID}). Set cascade=true to delete all versions"
        )
    tx.connection.execute(delete(pipelines).where(has_id(pipelines, pipeline_id)))
    return {}


def get_version(tx: Transaction, pipeline_id: str, version_id: str) -> Wire:
    """One version of a pipeline.

    Raises:
        ResourceNotFoundError: the pipeline has none with that id.
    """
    return _version_wire(_version_of(tx, pipeline_id, version_id, verb="get"))


def list_versions(tx: Transaction, pipeline_id: str, request: PageRequest) -> Wire:
    """A page of a pipeline's versions; an unknown pipeline has none.

    Raises:
        InvalidInputError: bad page, order or filter.
    """
    pipeline = _find_pipeline(tx, pipeline_id)
    if pipeline is not None:
        tx.caller.authorize("list", "pipelines", namespace=pipeline.Namespace)
    scope = [pipeline_versions.c.PipelineId == pipeline_id]
    page = read_page(tx.connection, PIPELINE_VERSIONS, scope=scope, request=request)
    return page.answer("pipeline_versions", [_version_wire(row) for row in page.rows])


def delete_version(tx: Transaction, pipeline_id: str, version_id: str) -> Wire:
    """Remove a version. Runs keep the spec they were created with.

    Raises:
        ResourceNotFoundError: the pipeline has none with that id.
    """
    _version_of(tx, pipeline_id, version_id, verb="delete")
    tx.connection.execute(delete(pipeline_versions).where(has_id(pipeline_versions, version_id)))
    return {}


def require_version(tx: Transaction, version_id: str) -> VersionRow:
    """The version with that id, of whatever pipeline.

    Raises:
        ResourceNotFoundError: there is none.
    """
    row = tx.connection.execute(
        select(pipeline_versions).where(has_id(pipeline_versions, version_id))
    ).one_or_none()
    if row is None:
        raise ResourceNotFoundError(f"PipelineVersion {version_id} not found")
    return row


def latest_version(tx: Transaction, pipeline_id: str) -> VersionRow | None:
    """The newest version of a pipeline; of those created in the same second, the last by id."""
    return tx.connection.execute(
        select(pipeline_versions)
        .where(pipeline_versions.c.PipelineId == pipeline_id)
        .order_by(pipeline_versions.c.CreatedAtInSec.desc(), pipeline_versions.c.UUID.desc())
        .limit(1)
    ).one_or_none()


def _version_of(tx: Transaction, pipeline_id: str, version_id: str, *, verb: str) -> VersionRow:
    tx.caller.authorize(verb, "pipelines", namespace=_require_pipeline(tx, pipeline_id).Namespace)
    row = require_version(tx, version_id)
    if row.PipelineId != pipeline_id:
        raise ResourceNotFoundError(f"PipelineVersion {version_id} not found")
    return row


def _check(upload: Upload) -> None:
    check_pipeline(upload.document)
    limits.check_length("name", upload.name, limits.NAME)
    limits.check_length("display_name", upload.display_name, limits.RUN_TEXT)


def _insert_version(tx: Transaction, pipeline_id: str, upload: Upload) -> str:
    version_id = new_id()
    tx.connection.execute(
        insert(pipeline_versions).values(
            UUID=version_id,
            CreatedAtInSec=tx.now,
            Name=upload.name,
            DisplayName=upload.display_name,
            PipelineId=pipeline_id,
            Description=upload.description,
            PipelineSpec=json_text(upload.document),
            Tags=json_text(upload.tags),
        )
    )
    return version_id


def _find_pipeline(tx: Transaction, pipeline_id: str) -> PipelineRow | None:
    return tx.connection.execute(select(pipelines).where(has_id(pipelines, pipeline_id))).one_or_none()


def _require_pipeline(tx: Transaction, pipeline_id: str) -> PipelineRow:
    row = _find_pipeline(tx, pipeline_id)
    if row is None:
        raise ResourceNotFoundError(f"Pipeline {pipeline_id} not found")
    return row


def _named(tx: Transaction, name: str, namespace: str) -> PipelineRow | None:
    return tx.connection.execute(
        select(pipelines).where(pipelines.c.Name == name, pipelines.c.Namespace == namespace)
    ).one_or_none()


def _pipeline_wire(row: PipelineRow) -> Wire:
    return present(
        {
            "pipeline_id": row.UUID,
            "display_name": row.DisplayName,
            "name": row.Name,
            "description": row.Description or None,
            "created_at": timestamp(row.CreatedAtInSec),
            "namespace": row.Namespace or None,
            "tags": stored_json(row.Tags, absent="{}"),
        }
    )


def _version_wire(row: VersionRow) -> Wire:
    return present(
        {
            "pipeline_id": row.PipelineId,
            "pipeline_version_id": row.UUID,
            "display_name": row.DisplayName,
            "name": row.Name,
            "description": row.Description or None,
            "created_at": timestamp(row.CreatedAtInSec),
            "pipeline_spec": stored_json(row.PipelineSpec, absent=None),
            "tags": stored_json(row.Tags, absent="{}"),
        }
    )

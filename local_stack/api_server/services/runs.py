"""CreateRun, GetRun, ListRuns, archive, unarchive and delete (spec KFP_API 6.1 to 6.4).

Creating a run stores it as PENDING and nothing else: whoever executes it reports its states.
"""

from dataclasses import dataclass
from typing import Any, Final

import orjson
from sqlalchemy import ColumnElement, delete, insert, select, update

from kfp_api.messages import Run, RuntimeState, StorageState, ViewMode
from local_stack.api_server.errors import (
    AlreadyExistsError,
    BadRequestError,
    FailedPreconditionError,
    InvalidInputError,
    ResourceNotFoundError,
)
from local_stack.api_server.services import limits
from local_stack.api_server.services.experiments import default_experiment_id, require_experiment
from local_stack.api_server.services.parameter_macros import expand_macros
from local_stack.api_server.services.pipelines import latest_version, require_version
from local_stack.api_server.services.run_access import authorize_run
from local_stack.api_server.services.run_checks import check_parameters, check_pipeline, check_plugins_input
from local_stack.api_server.storage.encoding import as_value, json_text, timestamp, unix_seconds
from local_stack.api_server.storage.fields import RUNS
from local_stack.api_server.storage.links import Wire
from local_stack.api_server.storage.listing import MAX_PAGE_SIZE, PageRequest, read_page
from local_stack.api_server.storage.run_rows import require_run, runs_wire
from local_stack.api_server.storage.schema import experiments, has_id, run_details
from local_stack.api_server.storage.transaction import Transaction, new_id

_SERVICE_ACCOUNT: Final = "pipeline-runner"

_UNROUTABLE: Final = frozenset("/:")
"""Characters that a path segment cannot carry before a custom method."""


def create_run(tx: Transaction, run: Run) -> Wire:
    """Check and store a run, in state PENDING.

    Raises:
        ApiError: a check of the specification fails; nothing is written.
    """
    if run.plugins_output:
        raise BadRequestError("plugins_output is output only and must not be set")
    if not run.display_name:
        raise InvalidInputError("The run name is empty. Please specify a valid name")
    limits.check_length("display_name", run.display_name, limits.RUN_TEXT)
    limits.check_length("description", run.description, limits.RUN_TEXT)
    limits.check_length("service_account", run.service_account, limits.RUN_TEXT)
    limits.check_length("run_id", run.run_id, limits.KEY)
    if _UNROUTABLE & set(run.run_id):
        raise InvalidInputError('run_id must not contain "/" or ":"')
    if tx.multi_user and not run.experiment_id:
        raise InvalidInputError("Experiment id can not be empty in multi-user mode")
    experiment = require_experiment(tx, run.experiment_id or default_experiment_id(tx))
    tx.caller.authorize("create", "runs", namespace=experiment.Namespace)
    source = _source(tx, run)
    pipeline = check_pipeline(source.document)
    check_plugins_input(run.plugins_input)
    run_id = run.run_id or new_id()
    scheduled = unix_seconds(run.scheduled_at)
    given = run.runtime_config.parameters if run.runtime_config else {}
    parameters = {
        name: expand_macros(value, run_id=run_id, now=tx.now, scheduled=scheduled or None)
        if isinstance(value, str)
        else as_value(value)
        for name, value in given.items()
    }
    check_parameters(pipeline, parameters)
    if tx.connection.execute(select(run_details.c.UUID).where(has_id(run_details, run_id))).first():
        raise AlreadyExistsError(f"Run {run_id} already exists")
    state = RuntimeState.PENDING.value
    storage_state = run.storage_state
    if storage_state is StorageState.STORAGE_STATE_UNSPECIFIED:
        storage_state = StorageState.AVAILABLE
    tx.connection.execute(
        insert(run_details).values(
            UUID=run_id,
            DisplayName=run.display_name,
            Name=run.display_name,
            Description=run.description,
            ServiceAccount=run.service_account or _SERVICE_ACCOUNT,
            Namespace=experiment.Namespace,
            ExperimentUUID=experiment.UUID,
            StorageState=storage_state.value,
            State=state,
            Conditions="Pending",
            CreatedAtInSec=tx.now,
            ScheduledAtInSec=scheduled or tx.now,
            FinishedAtInSec=0,
            StateHistory=json_text([{"update_time": timestamp(tx.now), "state": state}]),
            PipelineSpecManifest=json_text(as_value(source.document)),
            RuntimeParameters=json_text(parameters),
            PipelineRoot=run.runtime_config.pipeline_root if run.runtime_config else "",
            PluginsInput=json_text(as_value(run.plugins_input)),
            PipelineId=source.pipeline_id,
            PipelineVersionId=source.version_id,
            PipelineName=pipeline.spec.pipeline_info.name,
            JobUUID=run.recurring_run_id,
        )
    )
    tx.connection.execute(
        update(experiments).where(has_id(experiments, experiment.UUID)).values(LastRunCreatedAtInSec=tx.now)
    )
    return _shown(tx, run_id, ViewMode.DEFAULT)


@dataclass(frozen=True, kw_only=True)
class _Source:
    """What a run executes, and the stored version that it is, if it is one."""

    document: Any
    pipeline_id: str | None = None
    version_id: str | None = None


def _source(tx: Transaction, run: Run) -> _Source:
    reference = run.pipeline_version_reference
    if run.pipeline_spec is not None and reference is not None:
        raise InvalidInputError("a run has a pipeline_spec or a pipeline_version_reference, not both")
    if run.pipeline_spec is not None:
        return _Source(document=run.pipeline_spec)
    if reference is None:
        raise InvalidInputError("a run needs a pipeline_spec or a pipeline_version_reference")
    version_id, pipeline_id = reference.pipeline_version_id, reference.pipeline_id
    try:
        version = require_version(tx, version_id) if version_id else latest_version(tx, pipeline_id)
    except ResourceNotFoundError as error:
        raise InvalidInputError(str(error)) from error
    if version is None:
        raise InvalidInputError(f"Pipeline {pipeline_id} has no version")
    if pipeline_id not in ("", version.PipelineId):
        raise InvalidInputError(
            f"Pipeline version {version_id} belongs to pipeline {version.PipelineId} (not {pipeline_id})"
        )
    return _Source(
        document=orjson.loads(version.PipelineSpec), pipeline_id=version.PipelineId, version_id=version.UUID
    )


def get_run(tx: Transaction, run_id: str, view: ViewMode) -> Wire:
    """One run; FULL with all its tasks and always its pipeline spec.

    Raises:
        ResourceNotFoundError: there is none with that id.
    """
    authorize_run(tx, "get", run_id)
    return _shown(tx, run_id, view)


def _shown(tx: Transaction, run_id: str, view: ViewMode) -> Wire:
    row = require_run(tx.connection, run_id)
    return runs_wire(tx.connection, [row], view, prefer_spec=view is ViewMode.FULL)[0]


def list_runs(
    tx: Transaction, *, namespace: str, experiment_id: str, view: ViewMode, request: PageRequest
) -> Wire:
    """A page of runs, archived ones included; FULL pages are capped. An experiment wins over a namespace.

    Raises:
        ResourceNotFoundError: unknown experiment.
        InvalidInputError: bad page, order or filter.
    """
    scope: list[ColumnElement[bool]] = []
    if experiment_id:
        namespace = require_experiment(tx, experiment_id).Namespace
        scope.append(run_details.c.ExperimentUUID == experiment_id)
    elif tx.multi_user:
        if not namespace:
            raise InvalidInputError("experiment_id or namespace is required in multi-user mode")
        scope.append(run_details.c.Namespace == namespace)
    tx.caller.authorize("list", "runs", namespace=namespace)
    cap = min(MAX_PAGE_SIZE, tx.config.full_view_page_size) if view is ViewMode.FULL else MAX_PAGE_SIZE
    page = read_page(tx.connection, RUNS, scope=scope, request=request, cap=cap)
    return page.answer("runs", runs_wire(tx.connection, page.rows, view, prefer_spec=False))


def archive_run(tx: Transaction, run_id: str) -> Wire:
    """Mark a run archived; it stays writable and a cache source.

    Raises:
        ResourceNotFoundError: there is none with that id.
    """
    require_run(tx.connection, run_id)
    authorize_run(tx, "archive", run_id)
    set_run_columns(tx, run_id, StorageState=StorageState.ARCHIVED.value)
    return {}


def unarchive_run(tx: Transaction, run_id: str) -> Wire:
    """Make a run available again.

    Raises:
        ResourceNotFoundError: there is none with that id.
        FailedPreconditionError: its experiment is archived.
    """
    authorize_run(tx, "unarchive", run_id)
    row = require_run(tx.connection, run_id)
    experiment_state = tx.connection.execute(
        select(experiments.c.StorageState).where(has_id(experiments, row.ExperimentUUID))
    ).scalar_one_or_none()
    if experiment_state == StorageState.ARCHIVED.value:
        raise FailedPreconditionError(
            f"Run {run_id} cannot be unarchived: its experiment {row.ExperimentUUID} is archived"
        )
    set_run_columns(tx, run_id, StorageState=StorageState.AVAILABLE.value)
    return {}


def delete_run(tx: Transaction, run_id: str) -> Wire:
    """Remove a run with its tasks and links; artifacts stay.

    Raises:
        ResourceNotFoundError: there is none with that id.
    """
    require_run(tx.connection, run_id)
    authorize_run(tx, "delete", run_id)
    tx.connection.execute(delete(run_details).where(has_id(run_details, run_id)))
    return {}


def set_run_columns(tx: Transaction, run_id: str, **columns: Any) -> None:
    """Change columns of one run."""
    tx.connection.execute(update(run_details).where(has_id(run_details, run_id)).values(columns))

"""Run rows: reading them, and writing them down as the API shows them in both view modes."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, func, select

from kfp_api.messages import ViewMode
from local_stack.api_server.errors import ResourceNotFoundError
from local_stack.api_server.storage.encoding import present, stored_json, timestamp
from local_stack.api_server.storage.links import Wire, chunks
from local_stack.api_server.storage.schema import has_id, run_details, tasks
from local_stack.api_server.storage.task_rows import hydrated

RunRow = Row[Any]


def require_run(connection: Connection, run_id: str) -> RunRow:
    """The row with that id.

    Raises:
        ResourceNotFoundError: there is none.
    """
    row = connection.execute(select(run_details).where(has_id(run_details, run_id))).one_or_none()
    if row is None:
        raise ResourceNotFoundError(f"Run {run_id} not found")
    return row


def runs_wire(
    connection: Connection, rows: Sequence[RunRow], view: ViewMode, *, prefer_spec: bool
) -> list[Wire]:
    """Runs as answers.

    ``prefer_spec`` shows ``pipeline_spec`` also where a pipeline version is recorded (GetRun FULL).
    """
    ids = [row.UUID for row in rows]
    counts: dict[str, int] = {}
    for piece in chunks(ids):
        counted = connection.execute(
            select(tasks.c.RunUUID, func.count()).where(tasks.c.RunUUID.in_(piece)).group_by(tasks.c.RunUUID)
        )
        counts.update((run_id, count) for run_id, count in counted)
    answers = []
    for row in rows:
        wire = _run_wire(row, prefer_spec=prefer_spec)
        if counts.get(row.UUID):
            wire["task_count"] = counts[row.UUID]
            if view is ViewMode.FULL:
                wire["tasks"] = _all_tasks(connection, row.UUID)
        answers.append(wire)
    return answers


def _all_tasks(connection: Connection, run_id: str) -> list[Wire]:
    rows = connection.execute(
        select(tasks).where(tasks.c.RunUUID == run_id).order_by(tasks.c.CreatedAtInSec, tasks.c.UUID)
    ).all()
    return hydrated(connection, rows)


def _run_wire(row: RunRow, *, prefer_spec: bool) -> Wire:
    shows_reference = row.PipelineVersionId and not (prefer_spec and row.PipelineSpecManifest)
    return present(
        {
            "experiment_id": row.ExperimentUUID or None,
            "run_id": row.UUID,
            "display_name": row.DisplayName,
            "storage_state": row.StorageState,
            "description": row.Description or None,
            "pipeline_version_reference": _pipeline_version(row) if shows_reference else None,
            "pipeline_spec": None if shows_reference else stored_json(row.PipelineSpecManifest, absent=""),
            "runtime_config": _runtime_config(row),
            "service_account": row.ServiceAccount or None,
            "created_at": timestamp(row.CreatedAtInSec),
            "scheduled_at": timestamp(row.ScheduledAtInSec),
            "finished_at": timestamp(row.FinishedAtInSec),
            "state": row.State,
            "recurring_run_id": row.JobUUID or None,
            "state_history": stored_json(row.StateHistory, absent="[]"),
            "plugins_input": stored_json(row.PluginsInput, absent="{}"),
        }
    )


def _pipeline_version(row: RunRow) -> Wire:
    return present({"pipeline_id": row.PipelineId or None, "pipeline_version_id": row.PipelineVersionId})


def _runtime_config(row: RunRow) -> Wire | None:
    config = present(
        {
            "parameters": stored_json(row.RuntimeParameters, absent="{}"),
            "pipeline_root": row.PipelineRoot or None,
        }
    )
    return config or None

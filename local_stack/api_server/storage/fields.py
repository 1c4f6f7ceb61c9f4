"""What each list call can sort and filter by, under the API's names (spec KFP_API 8.2)."""

from typing import Final

from sqlalchemy import Table

from kfp_api.messages import ArtifactType, IOType, RuntimeState, StorageState, TaskState, TaskType
from local_stack.api_server.storage.filters import FieldKind, ListField
from local_stack.api_server.storage.listing import Listing
from local_stack.api_server.storage.schema import (
    artifact_tasks,
    artifacts,
    experiments,
    pipeline_versions,
    pipelines,
    run_details,
    tasks,
)


def _columns(table: Table, names: dict[str, str], kind: FieldKind = FieldKind.TEXT) -> dict[str, ListField]:
    return {name: ListField(table.c[column], kind) for name, column in names.items()}


_TASK_STATE: Final = ListField(tasks.c.State, FieldKind.ENUM_NUMBER, TaskState)

TASKS: Final = Listing(
    name="tasks",
    table=tasks,
    default_sort="create_time",
    fields={
        **_columns(
            tasks,
            {
                "name": "Name",
                "display_name": "DisplayName",
                "task_id": "UUID",
                "run_id": "RunUUID",
                "cache_fingerprint": "Fingerprint",
                "parent_task_id": "ParentTaskUUID",
                "scope_path": "ScopePath",
                "pods": "Pods",
                "status_metadata": "StatusMetadata",
                "state_history": "StateHistory",
                "type_attributes": "TypeAttrs",
                "inputs": "InputParameters",
                "outputs": "OutputParameters",
            },
        ),
        **_columns(
            tasks,
            {"create_time": "CreatedAtInSec", "start_time": "StartedInSec", "end_time": "FinishedInSec"},
            FieldKind.TIMESTAMP,
        ),
        "status": _TASK_STATE,
        "state": _TASK_STATE,
        "type": ListField(tasks.c.Type, FieldKind.ENUM_NUMBER, TaskType),
    },
    filter_only={"iteration_index": ListField(tasks.c.IterationIndex, FieldKind.NUMBER)},
)

ARTIFACTS: Final = Listing(
    name="artifacts",
    table=artifacts,
    default_sort="created_at",
    fields={
        **_columns(
            artifacts,
            {
                "artifact_id": "UUID",
                "id": "UUID",
                "namespace": "Namespace",
                "uri": "URI",
                "name": "Name",
                "description": "Description",
                "metadata": "Metadata",
            },
        ),
        **_columns(
            artifacts,
            {"created_at": "CreatedAtInSec", "last_update": "LastUpdateInSec"},
            FieldKind.TIMESTAMP,
        ),
        "type": ListField(artifacts.c.Type, FieldKind.ENUM_NUMBER, ArtifactType),
        "number_value": ListField(artifacts.c.NumberValue, FieldKind.NUMBER),
    },
)

ARTIFACT_TASKS: Final = Listing(
    name="artifact_tasks",
    table=artifact_tasks,
    default_sort="id",
    fields={
        **_columns(
            artifact_tasks,
            {
                "id": "UUID",
                "artifact_id": "ArtifactID",
                "task_id": "TaskID",
                "run_id": "RunUUID",
                "key": "ArtifactKey",
                "producer": "Producer",
            },
        ),
        "type": ListField(artifact_tasks.c.Type, FieldKind.ENUM_NUMBER, IOType),
    },
)

_RUN_STATE: Final = ListField(run_details.c.State, FieldKind.ENUM_NAME, RuntimeState)

RUNS: Final = Listing(
    name="runs",
    table=run_details,
    default_sort="created_at",
    fields={
        **_columns(
            run_details,
            {
                "run_id": "UUID",
                "id": "UUID",
                "display_name": "DisplayName",
                "name": "DisplayName",
                "description": "Description",
                "namespace": "Namespace",
                "experiment_id": "ExperimentUUID",
                "state_history": "StateHistory",
                "recurring_run_id": "JobUUID",
            },
        ),
        **_columns(
            run_details,
            {
                "created_at": "CreatedAtInSec",
                "finished_at": "FinishedAtInSec",
                "scheduled_at": "ScheduledAtInSec",
            },
            FieldKind.TIMESTAMP,
        ),
        "storage_state": ListField(run_details.c.StorageState, FieldKind.ENUM_NAME, StorageState),
        "status": _RUN_STATE,
        "state": _RUN_STATE,
    },
)

EXPERIMENTS: Final = Listing(
    name="experiments",
    table=experiments,
    default_sort="created_at",
    fields={
        **_columns(
            experiments,
            {
                "experiment_id": "UUID",
                "id": "UUID",
                "display_name": "Name",
                "name": "Name",
                "description": "Description",
                "namespace": "Namespace",
            },
        ),
        **_columns(
            experiments,
            {"created_at": "CreatedAtInSec", "last_run_created_at": "LastRunCreatedAtInSec"},
            FieldKind.TIMESTAMP,
        ),
        "storage_state": ListField(experiments.c.StorageState, FieldKind.ENUM_NAME, StorageState),
    },
)

PIPELINES: Final = Listing(
    name="pipelines",
    table=pipelines,
    default_sort="created_at",
    fields={
        **_columns(
            pipelines,
            {
                "pipeline_id": "UUID",
                "id": "UUID",
                "name": "Name",
                "display_name": "DisplayName",
                "description": "Description",
                "namespace": "Namespace",
            },
        ),
        **_columns(pipelines, {"created_at": "CreatedAtInSec"}, FieldKind.TIMESTAMP),
    },
)

PIPELINE_VERSIONS: Final = Listing(
    name="pipeline_versions",
    table=pipeline_versions,
    default_sort="created_at",
    fields={
        **_columns(
            pipeline_versions,
            {
                "pipeline_version_id": "UUID",
                "id": "UUID",
                "name": "Name",
                "display_name": "DisplayName",
                "description": "Description",
                "pipeline_spec": "PipelineSpec",
            },
        ),
        **_columns(pipeline_versions, {"created_at": "CreatedAtInSec"}, FieldKind.TIMESTAMP),
    },
)

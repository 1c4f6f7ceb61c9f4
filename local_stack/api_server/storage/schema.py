"""Tables and indexes of the embedded server (spec KFP_API section 12).

Table and column names are those of KFP's own database, so that the two stores can be compared. Added are
``tasks.IterationIndex``, a copy of the type attribute that filters can use, ``Tags`` of pipelines as one
column instead of a table, and indexes that keep the questions of drivers (children by name, by state, in
order) and of the runner (unfinished runs) from growing. JSON columns hold the wire form: snake_case names,
enum names, 64-bit integers as strings.
"""

from typing import Final

from sqlalchemy import (
    Column,
    ColumnElement,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

SCHEMA_VERSION: Final = 2
"""Stored in ``PRAGMA user_version``. Every step up has a migration (:mod:`.migrations`)."""

NO_ITERATION: Final = -1
"""``artifact_tasks.Iteration`` of a link outside loops."""

metadata = MetaData()


def has_id(table: Table, row_id: str) -> ColumnElement[bool]:
    """The condition that picks the row with that id."""
    return table.c["UUID"] == row_id


def _text(name: str, *, nullable: bool = False, default: str | None = None) -> Column[str]:
    return Column(name, Text, nullable=nullable, server_default=default)


def _seconds(name: str, *, nullable: bool = False) -> Column[int]:
    return Column(name, Integer, nullable=nullable, server_default="0")


alembic_version = Table("alembic_version", metadata, Column("version_num", String(32), primary_key=True))
"""Alembic's own table, so that its tools read a database that it did not create."""

experiments = Table(
    "experiments",
    metadata,
    Column("UUID", Text, primary_key=True),
    _text("Name"),
    _text("Description"),
    _seconds("CreatedAtInSec"),
    _seconds("LastRunCreatedAtInSec"),
    _text("Namespace"),
    _text("StorageState"),
    Index("idx_name_namespace", "Name", "Namespace", unique=True),
)

default_experiments = Table(
    "default_experiments", metadata, Column("DefaultExperimentId", Text, primary_key=True)
)

run_details = Table(
    "run_details",
    metadata,
    Column("UUID", Text, primary_key=True),
    _text("DisplayName"),
    _text("Name"),
    _text("Description"),
    _text("ServiceAccount"),
    _text("Namespace"),
    _text("ExperimentUUID"),
    _text("StorageState"),
    _text("State"),
    _text("Conditions"),
    _seconds("CreatedAtInSec"),
    _seconds("ScheduledAtInSec"),
    _seconds("FinishedAtInSec"),
    _text("StateHistory"),
    _text("PipelineSpecManifest"),
    _text("RuntimeParameters"),
    _text("PipelineRoot"),
    _text("PluginsInput"),
    _text("PipelineId", nullable=True),
    _text("PipelineVersionId", nullable=True),
    _text("PipelineName", nullable=True),
    _text("JobUUID"),
    Index("idx_run_created", "CreatedAtInSec", "UUID"),
    Index("idx_run_experiment_created", "ExperimentUUID", "CreatedAtInSec", "UUID"),
    Index("idx_run_state", "State", "CreatedAtInSec", "UUID"),
)

pipelines = Table(
    "pipelines",
    metadata,
    Column("UUID", Text, primary_key=True),
    _seconds("CreatedAtInSec"),
    _text("Name"),
    _text("DisplayName"),
    _text("Description"),
    _text("Namespace"),
    _text("Tags"),
    Index("namespace_name", "Name", "Namespace", unique=True),
    Index("idx_pipelines_created", "CreatedAtInSec", "UUID"),
)

pipeline_versions = Table(
    "pipeline_versions",
    metadata,
    Column("UUID", Text, primary_key=True),
    _seconds("CreatedAtInSec"),
    _text("Name"),
    _text("DisplayName"),
    Column("PipelineId", Text, ForeignKey("pipelines.UUID", ondelete="CASCADE"), nullable=False),
    _text("Description"),
    _text("PipelineSpec"),
    _text("Tags"),
    Index("idx_pipelineid_name", "PipelineId", "Name", unique=True),
    Index("idx_pipeline_versions_created", "PipelineId", "CreatedAtInSec", "UUID"),
)

tasks = Table(
    "tasks",
    metadata,
    Column("UUID", Text, primary_key=True),
    _text("Namespace"),
    Column("RunUUID", Text, ForeignKey("run_details.UUID", ondelete="CASCADE"), nullable=False),
    _text("Pods"),
    _seconds("CreatedAtInSec"),
    _seconds("StartedInSec", nullable=True),
    _seconds("FinishedInSec", nullable=True),
    _text("Fingerprint"),
    _text("Name", nullable=True),
    _text("DisplayName", nullable=True),
    Column("ParentTaskUUID", Text, ForeignKey("tasks.UUID", ondelete="CASCADE"), nullable=True),
    Column("State", Integer, nullable=False),
    _text("StatusMetadata", nullable=True),
    _text("StateHistory", nullable=True),
    _text("InputParameters", nullable=True),
    _text("OutputParameters", nullable=True),
    Column("Type", Integer, nullable=False),
    _text("TypeAttrs"),
    Column("IterationIndex", Integer, nullable=True),
    _text("ScopePath", nullable=True),
    _text("LogicalKey", nullable=True),
    Index("idx_tasks_uuid_run", "UUID", "RunUUID", unique=True),
    Index("idx_tasks_logical_key", "LogicalKey", unique=True),
    Index("idx_parent_task_uuid", "ParentTaskUUID"),
    Index("idx_task_created_timestamp", "CreatedAtInSec"),
    Index("idx_task_started_timestamp", "StartedInSec"),
    Index("idx_task_finished_timestamp", "FinishedInSec"),
    Index("idx_task_type", "Type"),
    Index("idx_parent_run", "RunUUID", "ParentTaskUUID", "CreatedAtInSec", "UUID", "Name"),
    Index("idx_run_created_order", "RunUUID", "CreatedAtInSec", "UUID"),
    Index("idx_run_state_parent", "RunUUID", "State", "ParentTaskUUID"),
    Index("idx_parent_name", "RunUUID", "ParentTaskUUID", "Name", "IterationIndex"),
)
Index(
    "idx_task_cache_lookup",
    tasks.c.Fingerprint,
    tasks.c.State,
    tasks.c.Namespace,
    tasks.c.CreatedAtInSec.desc(),
)

artifacts = Table(
    "artifacts",
    metadata,
    Column("UUID", Text, primary_key=True),
    _text("Namespace"),
    Column("Type", Integer, nullable=True),
    _text("URI", nullable=True),
    _text("URIHash", nullable=True),
    _text("Name", nullable=True),
    _text("Description", nullable=True),
    _seconds("CreatedAtInSec"),
    _seconds("LastUpdateInSec"),
    _text("Metadata", nullable=True),
    Column("NumberValue", Float, nullable=True),
    _text("IdentityKey", nullable=True),
    Index("idx_type_namespace", "Namespace", "Type"),
    Index("idx_namespace_urihash", "Namespace", "URIHash"),
    Index("idx_artifact_identity", "Namespace", "IdentityKey", unique=True),
    Index("idx_artifact_created_timestamp", "CreatedAtInSec", "UUID"),
    Index("idx_artifact_last_update_timestamp", "LastUpdateInSec"),
)

artifact_tasks = Table(
    "artifact_tasks",
    metadata,
    Column("UUID", Text, primary_key=True),
    Column("ArtifactID", Text, ForeignKey("artifacts.UUID", ondelete="CASCADE"), nullable=False),
    _text("TaskID"),
    Column("RunUUID", Text, ForeignKey("run_details.UUID", ondelete="CASCADE"), nullable=False),
    Column("Type", Integer, nullable=False),
    Column("Iteration", Integer, nullable=False, server_default=str(NO_ITERATION)),
    _text("Producer", nullable=True),
    _text("ArtifactKey", default=""),
    ForeignKeyConstraint(["TaskID", "RunUUID"], ["tasks.UUID", "tasks.RunUUID"], ondelete="CASCADE"),
    UniqueConstraint("ArtifactID", "TaskID", "Type", "Iteration", "ArtifactKey", name="UniqueLink"),
    Index("idx_link_artifact_id", "ArtifactID"),
    Index("idx_link_task_run", "TaskID", "RunUUID"),
    Index("idx_link_run_id", "RunUUID"),
)

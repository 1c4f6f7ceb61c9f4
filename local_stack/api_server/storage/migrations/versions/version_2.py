"""Pipelines and their versions; unfinished runs, and children by name, are found by index."""

from alembic import op
from sqlalchemy import Column, ForeignKey, Integer, Text

revision = "2"
down_revision = "1"


def upgrade() -> None:
    """Add the tables and the indexes."""
    op.drop_index("idx_parent_name", "tasks")
    op.create_index("idx_parent_name", "tasks", ["RunUUID", "ParentTaskUUID", "Name", "IterationIndex"])
    op.create_index("idx_run_state", "run_details", ["State", "CreatedAtInSec", "UUID"])
    op.create_table(
        "pipelines",
        Column("UUID", Text, primary_key=True),
        Column("CreatedAtInSec", Integer, nullable=False, server_default="0"),
        Column("Name", Text, nullable=False),
        Column("DisplayName", Text, nullable=False),
        Column("Description", Text, nullable=False),
        Column("Namespace", Text, nullable=False),
        Column("Tags", Text, nullable=False),
    )
    op.create_index("namespace_name", "pipelines", ["Name", "Namespace"], unique=True)
    op.create_index("idx_pipelines_created", "pipelines", ["CreatedAtInSec", "UUID"])
    op.create_table(
        "pipeline_versions",
        Column("UUID", Text, primary_key=True),
        Column("CreatedAtInSec", Integer, nullable=False, server_default="0"),
        Column("Name", Text, nullable=False),
        Column("DisplayName", Text, nullable=False),
        Column("PipelineId", Text, ForeignKey("pipelines.UUID", ondelete="CASCADE"), nullable=False),
        Column("Description", Text, nullable=False),
        Column("PipelineSpec", Text, nullable=False),
        Column("Tags", Text, nullable=False),
    )
    op.create_index("idx_pipelineid_name", "pipeline_versions", ["PipelineId", "Name"], unique=True)
    op.create_index(
        "idx_pipeline_versions_created", "pipeline_versions", ["PipelineId", "CreatedAtInSec", "UUID"]
    )

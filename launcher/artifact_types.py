"""KFP's artifact types: schema titles of the pipeline, types of the API (spec LAUNCHER A9)."""

import re
from collections.abc import Mapping
from typing import Final

from pydantic import JsonValue

from kfp_api.ir.pipeline import ArtifactTypeSchema
from kfp_api.messages import ArtifactType
from launcher.errors import LauncherError

SCHEMA_TITLE_KEY: Final = "_kfp_schema_title"
"""Metadata key that keeps a schema title which the API has no type for."""

ARTIFACT_TYPES: Final[Mapping[str, ArtifactType]] = {
    "system.Artifact": ArtifactType.Artifact,
    "system.Dataset": ArtifactType.Dataset,
    "system.Model": ArtifactType.Model,
    "system.Metrics": ArtifactType.Metric,
    "system.ClassificationMetrics": ArtifactType.ClassificationMetric,
    "system.SlicedClassificationMetrics": ArtifactType.SlicedClassificationMetric,
    "system.HTML": ArtifactType.HTML,
    "system.Markdown": ArtifactType.Markdown,
}
METRIC_TITLES: Final = frozenset(
    title for title, kind in ARTIFACT_TYPES.items() if kind.value.endswith("Metric")
)
"""Types whose content is metadata of the row: nothing is stored at their URI."""


def artifact_type(schema: ArtifactTypeSchema | None) -> tuple[ArtifactType, dict[str, JsonValue]]:
    """The API type of a declared type, and the metadata that keeps a title which the API does not know.

    Raises:
        LauncherError: the type is given by URI, which KFP does not support.
    """
    if schema is None:
        return ArtifactType.Artifact, {}
    if schema.schema_uri:
        raise LauncherError("artifact types given by schemaUri are not supported")
    title = _title(schema)
    if not title or title in ARTIFACT_TYPES:
        return ARTIFACT_TYPES.get(title, ArtifactType.Artifact), {}
    return ArtifactType.Artifact, {SCHEMA_TITLE_KEY: title}


def is_metric(schema: ArtifactTypeSchema | None) -> bool:
    """Whether an artifact's content is metadata of its row."""
    return schema is not None and _title(schema) in METRIC_TITLES


def _title(schema: ArtifactTypeSchema) -> str:
    """The schema's title: given, or the ``title:`` line of an instance schema; its full text without one."""
    if schema.schema_title or not schema.instance_schema:
        return schema.schema_title or ""
    match = re.search(r"^title:\s*(\S+)", schema.instance_schema, re.MULTILINE)
    return match.group(1) if match else schema.instance_schema

"""From resolved inputs to the executor input, and to the artifact links of the task row (spec RESOLVER 9)."""

from collections.abc import Iterator, Mapping
from typing import Final

from kfp_api.ir.executor_input import ArtifactList, ExecutorInputs, RuntimeArtifact
from kfp_api.ir.pipeline import ArtifactTypeSchema
from kfp_api.messages import Artifact, ArtifactTask, ArtifactType, IOProducer, IOType
from kfp_api.wire import UNSET, Value
from resolver.context import ResolveContext
from resolver.errors import ResolutionError
from resolver.inputs import ResolvedArtifacts, ResolvedInputs
from resolver.outputs import all_known

SCHEMA_TITLES: Final[Mapping[ArtifactType, str]] = {
    ArtifactType.TYPE_UNSPECIFIED: "system.Artifact",
    ArtifactType.Artifact: "system.Artifact",
    ArtifactType.Model: "system.Model",
    ArtifactType.Dataset: "system.Dataset",
    ArtifactType.HTML: "system.HTML",
    ArtifactType.Markdown: "system.Markdown",
    ArtifactType.Metric: "system.Metrics",
    ArtifactType.ClassificationMetric: "system.ClassificationMetrics",
    ArtifactType.SlicedClassificationMetric: "system.SlicedClassificationMetrics",
}
SCHEMA_TITLE_KEY: Final = "_kfp_schema_title"
WORKSPACE_KEY: Final = "_kfp_workspace"


async def build_executor_inputs(context: ResolveContext, resolved: ResolvedInputs) -> ExecutorInputs:
    """The inputs as user code gets them; stored artifacts stay as they are.

    Raises:
        ResolutionError: a parameter without value, or an artifact without name and URI.
    """
    in_workspace = await workspace_artifacts(context, resolved) or frozenset()
    return ExecutorInputs(
        parameter_values=_parameter_values(context, resolved),
        artifacts=_artifact_lists(context, resolved, in_workspace),
    )


def input_artifact_links(resolved: ResolvedInputs, *, run_id: str, task_id: str) -> list[ArtifactTask]:
    """The links to create between a task row and its input artifacts.

    The links of a list carry the position as iteration, so that order and repeated artifacts survive.

    Raises:
        ResolutionError: an artifact without id.
    """
    links: list[ArtifactTask] = []
    for entry in resolved.artifacts:
        for position, artifact in enumerate(entry.artifacts):
            if not artifact.artifact_id:
                raise ResolutionError("artifact id is required")
            producer = entry.producer
            if len(entry.artifacts) > 1:
                producer = IOProducer(task_name=producer.task_name, iteration=position)
            links.append(
                ArtifactTask(
                    artifact_id=artifact.artifact_id,
                    run_id=run_id,
                    task_id=task_id,
                    type=entry.type,
                    producer=producer,
                    key=entry.key,
                )
            )
    return links


def _parameter_values(context: ResolveContext, resolved: ResolvedInputs) -> dict[str, Value]:
    """Values by key; the items of a loop head as one list under its item input."""
    values: dict[str, Value] = {}
    iterator = context.task_spec.parameter_iterator
    items: list[Value] = []
    for entry in resolved.parameters:
        if entry.value is UNSET:
            raise ResolutionError(
                f"failed to convert inputs to executor inputs: parameter {entry.parameter_key} has no value"
            )
        if entry.type is IOType.ITERATOR_INPUT:
            items.append(entry.value)
        else:
            values[entry.parameter_key] = entry.value
    if iterator is not None:
        values[iterator.item_input] = [item for item in items if item is not UNSET]
    return values


def _artifact_lists(
    context: ResolveContext, resolved: ResolvedInputs, in_workspace: frozenset[str]
) -> dict[str, ArtifactList]:
    lists: dict[str, list[RuntimeArtifact]] = {}
    for entry in resolved.artifacts:
        declared = context.component.input_definitions.artifacts.get(entry.key)
        is_list = declared is not None and declared.is_artifact_list
        runtime = lists.setdefault(entry.key, [])
        runtime += [
            artifact
            for group in _groups(entry, is_list=is_list)
            for artifact in _runtime_artifacts(group, in_workspace)
        ]
    return {key: ArtifactList(artifacts=artifacts) for key, artifacts in lists.items()}


def _groups(entry: ResolvedArtifacts, *, is_list: bool) -> Iterator[tuple[Artifact, ...]]:
    """The artifacts by the output that they came from; unknown in a list, each is taken for one."""
    sizes = entry.groups
    if sizes is None:
        sizes = (1,) * len(entry.artifacts) if is_list else (len(entry.artifacts),)
    start = 0
    for size in sizes:
        yield entry.artifacts[start : start + size]
        start += size


def _runtime_artifacts(group: tuple[Artifact, ...], in_workspace: frozenset[str]) -> list[RuntimeArtifact]:
    """One runtime artifact each; the metrics of one output are merged into one."""
    if len(group) > 1 and all(artifact.type is ArtifactType.Metric for artifact in group):
        return [_runtime_artifact(group[0], _merged_metadata(group), in_workspace)]
    return [_runtime_artifact(one, _metadata(one), in_workspace) for one in group]


def _runtime_artifact(
    artifact: Artifact, metadata: dict[str, Value], in_workspace: frozenset[str]
) -> RuntimeArtifact:
    if not artifact.name and not artifact.uri:
        raise ResolutionError(
            "failed to convert inputs to executor inputs: artifact name or uri cannot be empty"
        )
    if artifact.artifact_id in in_workspace:
        metadata = metadata | {WORKSPACE_KEY: True}
    return RuntimeArtifact(
        name=artifact.name,
        type=ArtifactTypeSchema(schema_title=_schema_title(artifact)),
        uri=artifact.uri or "",
        metadata=metadata,
        artifact_id=artifact.artifact_id,
    )


def _custom_title(artifact: Artifact) -> str:
    title = artifact.metadata.get(SCHEMA_TITLE_KEY)
    return title if isinstance(title, str) else ""


def _schema_title(artifact: Artifact) -> str:
    return _custom_title(artifact) or SCHEMA_TITLES[artifact.type]


def _metadata(artifact: Artifact) -> dict[str, Value]:
    """A copy of the stored metadata without our marker; a metric's number under its name."""
    metadata: dict[str, Value] = dict(artifact.metadata)
    if _custom_title(artifact):
        del metadata[SCHEMA_TITLE_KEY]
    if artifact.type is ArtifactType.Metric and artifact.number_value is not None:
        metadata.setdefault(artifact.name, artifact.number_value)
    return metadata


def _merged_metadata(group: tuple[Artifact, ...]) -> dict[str, Value]:
    """Metadata of all metrics of one output; later entries win, and so do numbers over metadata."""
    merged: dict[str, Value] = {}
    for artifact in group:
        merged |= _metadata(artifact)
        if artifact.number_value is not None:
            merged[artifact.name] = artifact.number_value
    return merged


async def workspace_artifacts(context: ResolveContext, resolved: ResolvedInputs) -> frozenset[str] | None:
    """Ids of the input artifacts that importers of this run downloaded into the workspace.

    The rows that the inputs were read from say it, or the parent's driver has noted it. Only where neither
    does are the run's importers asked for, which are as many as the loops around them have iterations.

    Returns:
        ``None`` for a pipeline that has no such importer.
    """
    deployment = context.spec.deployment_spec
    has_importer = deployment is not None and any(
        executor.importer is not None and executor.importer.download_to_workspace
        for executor in deployment.executors.values()
    )
    if not has_importer:
        return None
    known = all_known(entry.in_workspace for entry in resolved.artifacts if entry.artifacts)
    if known is None:
        rows = await context.rows.workspace_importers()
        known = frozenset(
            artifact.artifact_id
            for row in rows
            for entry in row.output_artifacts
            for artifact in entry.artifacts
        )
    given = {artifact.artifact_id for entry in resolved.artifacts for artifact in entry.artifacts}
    return known & given - {""}

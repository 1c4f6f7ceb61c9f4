"""Input artifacts: what a task wires, from its parent's inputs or from sibling outputs (spec RESOLVER 6)."""

from collections.abc import Sequence
from dataclasses import dataclass

from kfp_api.ir.pipeline import InputArtifact, InputArtifactSpec
from kfp_api.known_parent import ITERATOR_INPUTS, WORKSPACE_PROPERTY, iteration_of
from kfp_api.messages import Artifact, IOArtifact, IOProducer, IOType, PipelineTask
from resolver.concurrency import in_order
from resolver.context import ResolveContext, shortened
from resolver.errors import NullInputError, ResolutionError
from resolver.outputs import ARTIFACTS, read_output
from resolver.values import go_json


@dataclass(frozen=True)
class ResolvedArtifacts:
    """The artifacts of one input entry.

    ``groups`` are the sizes of the runs of artifacts that came from one output each, in order; ``None``
    where that is unknown, because the parent handed them down. ``producer`` carries the iteration of a single
    artifact; the links of a list carry positions (spec RESOLVER 9.3). ``in_workspace`` are the ids of those
    that an importer downloaded into the workspace; ``None`` where that is unknown.
    """

    key: str
    type: IOType
    producer: IOProducer
    artifacts: tuple[Artifact, ...]
    groups: tuple[int, ...] | None = None
    in_workspace: frozenset[str] | None = frozenset()


async def resolve_artifacts(context: ResolveContext) -> list[ResolvedArtifacts]:
    """The task's input artifacts, sorted by key; optional ones that are absent are left out.

    Raises:
        ResolutionError: names the input.
    """
    wired = context.task_spec.inputs.artifacts
    resolved = await in_order(_wired(context, key) for key in sorted(wired))
    iterator = context.task_spec.artifact_iterator
    item_input = iterator.item_input if iterator else ""
    declared = context.component.input_definitions.artifacts
    for key in sorted(declared.keys() - wired.keys() - {item_input}):
        if not declared[key].is_optional:
            raise ResolutionError(f'no value provided for non-optional artifact "{key}"')
    return [entry for entry in resolved if entry is not None]


async def _wired(context: ResolveContext, key: str) -> ResolvedArtifacts | None:
    spec = context.task_spec.inputs.artifacts[key]
    declared = context.component.input_definitions.artifacts.get(key, InputArtifact())
    try:
        found = await _resolve(context, key, spec)
        if found is not None or declared.is_optional:
            return found
        if spec.component_input_artifact is not None and declared.is_artifact_list:
            # An empty list leaves no link on the parent's row.
            producer = context.producer(context.parent.name)
            return ResolvedArtifacts(key, IOType.COMPONENT_INPUT, producer, ())
        raise NullInputError("the resolved input artifact is null")
    except ResolutionError as error:
        spec_text = shortened(go_json(spec.to_json()))
        raise error.within(f"failed to resolve input artifact {key} with spec {spec_text}: ") from error


async def _resolve(context: ResolveContext, key: str, spec: InputArtifactSpec) -> ResolvedArtifacts | None:
    if spec.component_input_artifact is not None:
        return _component_input(context, key, spec.component_input_artifact)
    if spec.task_output_artifact is not None:
        output = spec.task_output_artifact
        return await _task_output(context, key, output.producer_task, output.output_artifact_key)
    kind = next(iter(sorted(spec.model_fields_set)), "none")
    raise ResolutionError(f"artifact spec of type {kind} not implemented yet")


def _component_input(context: ResolveContext, key: str, source: str) -> ResolvedArtifacts | None:
    if not source:
        raise ResolutionError("empty component input")
    matches = [entry for entry in context.parent.input_artifacts if entry.artifact_key == source]
    if not matches:
        return None
    items = [entry for entry in matches if entry.type in ITERATOR_INPUTS]
    if items:
        artifacts: Sequence[Artifact] = [_item(context, items, source)]
        first = items[0]
    else:
        index = context.iteration_index
        same = [entry for entry in matches if index is not None and iteration_of(entry) == index]
        chosen = matches if len(matches) == 1 else (same or matches)
        artifacts = [artifact for entry in chosen for artifact in entry.artifacts]
        first = chosen[0]
    return ResolvedArtifacts(
        key,
        IOType.COMPONENT_INPUT,
        context.passed_down(first.producer),
        tuple(artifacts),
        in_workspace=_noted_in_workspace(context.parent),
    )


def _noted_in_workspace(parent: PipelineTask) -> frozenset[str] | None:
    """What the parent's driver noted; a retry of the run may have wiped the note off the row."""
    noted = parent.custom_properties.get(WORKSPACE_PROPERTY)
    return frozenset(str(one) for one in noted) if isinstance(noted, list) else None


def _item(context: ResolveContext, items: Sequence[IOArtifact], source: str) -> Artifact:
    """The loop item of this iteration, whether the server merged the items into one entry or not."""
    index = context.iteration_index
    if index is not None:
        merged = items[0].artifacts if len(items) == 1 else []
        if len(merged) > 1 and index < len(merged):
            return merged[index]
        for entry in items:
            if len(entry.artifacts) == 1 and (iteration_of(entry) or 0) == index:
                return entry.artifacts[0]
    raise ResolutionError(
        f"no value for iteration {-1 if index is None else index} of input artifact {source}"
    )


async def _task_output(
    context: ResolveContext, key: str, producer_task: str, output_key: str
) -> ResolvedArtifacts | None:
    row = await context.sibling(producer_task)
    found = None
    if row is not None:
        scope = context.scope.parent.push(producer_task)
        found = await read_output(context.rows, ARTIFACTS, row, scope, key=output_key)
    if found is None:
        if context.tolerates_failed_producers:
            return None
        if row is None:
            raise ResolutionError(f"producerTask task {context.sibling_name(producer_task)} not found")
        raise ResolutionError(
            f"artifact with producer key {output_key} not found in outputs of task {producer_task}"
        )
    return ResolvedArtifacts(
        key,
        IOType.COLLECTED_INPUTS if found.collected else IOType.TASK_OUTPUT_INPUT,
        context.producer(producer_task),
        tuple(artifact for group in found.groups for artifact in group),
        tuple(len(group) for group in found.groups),
        in_workspace=found.in_workspace,
    )

"""Entry point: all inputs of one task, in a stable order (spec RESOLVER 3.2).

Resolution writes nothing and may be repeated: same rows in, same result out.
"""

from dataclasses import dataclass

from kfp_api.messages import IOParameter
from resolver.artifacts import ResolvedArtifacts, resolve_artifacts
from resolver.concurrency import together
from resolver.context import ResolveContext
from resolver.errors import ResolutionError
from resolver.iterators import artifact_items, parameter_items
from resolver.parameters import resolve_parameters

__all__ = ["ResolvedArtifacts", "ResolvedInputs", "resolve_inputs"]


@dataclass(frozen=True)
class ResolvedInputs:
    """A task's inputs: entries sorted by key, loop items last and in order.

    ``iteration_count`` is ``None`` for a task that is no loop.
    """

    parameters: tuple[IOParameter, ...]
    artifacts: tuple[ResolvedArtifacts, ...]
    iteration_count: int | None


async def resolve_inputs(context: ResolveContext) -> ResolvedInputs:
    """Resolve every input that the task wires or its component declares.

    Raises:
        ResolutionError: an input cannot be resolved; names the task and the input. Errors of the row source
            pass through.
    """
    try:
        return await _resolve(context.joined())
    except ResolutionError as error:
        raise error.within(f'task "{context.task_key}": ') from error


async def _resolve(context: ResolveContext) -> ResolvedInputs:
    task = context.task_spec
    if task.parameter_iterator is not None and task.artifact_iterator is not None:
        raise ResolutionError("cannot have both parameter and artifact iterators")
    parameters, artifacts = await together(resolve_parameters(context), resolve_artifacts(context))
    try:
        if task.parameter_iterator is not None:
            items = parameter_items(task.parameter_iterator, context.task_key, parameters)
            return ResolvedInputs((*parameters, *items), tuple(artifacts), len(items))
        if task.artifact_iterator is not None:
            links = artifact_items(task.artifact_iterator, context.task_key, artifacts)
            return ResolvedInputs(tuple(parameters), (*artifacts, *links), len(links))
    except ResolutionError as error:
        raise error.within("resolving the items of the loop: ") from error
    return ResolvedInputs(tuple(parameters), tuple(artifacts), None)

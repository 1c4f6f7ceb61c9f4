"""Which outputs a parent gets from a child: pure rules over the pipeline spec (spec DRIVER 4.4).

:func:`climb` walks from a task to the root and says what to write. It is a generator that *asks* for the
rows it needs and is sent them, so that the same rules run over the KFP API (:mod:`propagation.outputs`)
and over rows in memory (:func:`climb_in_memory`, for the embedded server). It asks for a parent only when
the pipeline's selectors say that the parent gets something.
"""

from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, auto

from kfp_api.ir.pipeline import (
    ArtifactSelector,
    ComponentSpec,
    DagSpec,
    ParameterSelector,
    ParameterType,
    PipelineSpec,
)
from kfp_api.messages import (
    ArtifactTask,
    InputOutputs,
    IOParameter,
    IOProducer,
    IOType,
    PipelineTask,
    TaskType,
)
from kfp_api.wire import Unset
from propagation.batch import WriteBatch, merged_parameters
from propagation.errors import PropagationError
from resolver.errors import ResolutionError
from resolver.scope import ScopeEntry, ScopePath


class Need(Enum):
    """How much of a row a question wants."""

    IDENTITY = auto()
    """What never changes: name, type, attributes, parent."""
    OUTPUTS = auto()
    """The row with its present outputs."""


@dataclass(frozen=True)
class Question:
    """A row that the rules need to go on."""

    task_id: str
    need: Need


@dataclass(frozen=True)
class Offer:
    """Outputs that travel up: parameters, and links whose ``task_id`` is the row that has them."""

    parameters: tuple[IOParameter, ...]
    artifacts: tuple[ArtifactTask, ...]

    def __bool__(self) -> bool:
        return bool(self.parameters or self.artifacts)


@dataclass(frozen=True)
class _Level:
    """One row of the walk with its place in the pipeline."""

    row: PipelineTask
    entry: ScopeEntry

    @property
    def is_loop(self) -> bool:
        return self.entry.is_loop or self.row.type is TaskType.LOOP

    @property
    def is_nested_loop(self) -> bool:
        """A loop inside an iteration of another one: it has one value per outer iteration."""
        return self.is_loop and self.row.iteration_index is not None


def own_outputs(task: PipelineTask) -> Offer:
    """What a row has to offer."""
    links = [
        ArtifactTask(
            artifact_id=artifact.artifact_id,
            run_id=task.run_id,
            task_id=task.task_id,
            type=output.type,
            producer=output.producer,
            key=output.artifact_key,
        )
        for output in task.output_artifacts
        for artifact in output.artifacts
    ]
    return Offer(tuple(task.output_parameters), tuple(links))


def scope_of(spec: PipelineSpec, task: PipelineTask) -> ScopePath:
    """Where a row stands in the pipeline; :class:`PropagationError` when its scope path leads nowhere."""
    try:
        return ScopePath.from_dot(spec, task.scope_path)
    except ResolutionError as error:
        raise PropagationError(f"task {task.task_id}: {error}") from error


def climb(
    spec: PipelineSpec, task: PipelineTask, batch: WriteBatch, *, into_loops: bool = True
) -> Generator[Question, PipelineTask, None]:
    """Queue in ``batch`` what every ancestor of ``task`` gets from its outputs.

    Args:
        spec: the run's pipeline.
        task: the producing row, with its outputs.
        batch: receives links and sparse patches; what is queued in it for a row counts as stored.
        into_loops: whether loop heads get anything; without, the walk ends below the first one, and
            :func:`climb_from_ended_loop` does the rest when the loop ends.

    Yields:
        Questions for rows; the answer is sent in.
    """
    scope = scope_of(spec, task)
    entry = scope.last
    if entry is None:
        return
    yield from _climb_on(scope, _Level(task, entry), own_outputs(task), batch, into_loops=into_loops)


def climb_from_ended_loop(
    spec: PipelineSpec, loop: PipelineTask, children: Iterable[PipelineTask], batch: WriteBatch
) -> Generator[Question, PipelineTask, None]:
    """Queue in ``batch`` what a loop head gets from all its children, and its ancestors from it.

    Args:
        spec: the run's pipeline.
        loop: the loop head.
        children: its finished children, with their outputs.
        batch: as in :func:`climb`.

    Yields:
        As :func:`climb`; nothing is asked about the children.
    """
    scope = scope_of(spec, loop)
    entry = scope.last
    if entry is None:
        return
    head = _Level(loop, entry)
    received = [
        _received(selected, child=level, parent=head)
        for level in (_Level(child, _entry_below(scope, child)) for child in children)
        if (selected := _selected(_handed_up(level, batch), level.entry.key, entry.component))
    ]
    offer = Offer(
        tuple(parameter for one in received for parameter in one.parameters),
        tuple(link for one in received for link in one.artifacts),
    )
    _queue(offer, head, batch)
    yield from _climb_on(scope, head, offer, batch, into_loops=True)


def _entry_below(scope: ScopePath, child: PipelineTask) -> ScopeEntry:
    try:
        entry = scope.push(child.name).last
    except ResolutionError as error:
        raise PropagationError(f"task {child.task_id}: {error}") from error
    assert entry is not None
    return entry


def _handed_up(child: _Level, batch: WriteBatch) -> Offer:
    """What a finished child of a loop head offers to it."""
    offer = own_outputs(child.row)
    return _one_per_outer_iteration(offer, child.row, batch) if child.is_nested_loop else offer


def _climb_on(
    scope: ScopePath, child: _Level, offer: Offer, batch: WriteBatch, *, into_loops: bool
) -> Generator[Question, PipelineTask, None]:
    """Carry ``offer``, which is stored at ``child``, to the ancestors."""
    while child.row.parent_task_id and offer:
        scope = scope.parent
        parent_entry = scope.last
        if parent_entry is None or parent_entry.component.dag is None:
            return
        if parent_entry.is_loop and not into_loops:
            return
        selected = _selected(offer, child.entry.key, parent_entry.component)
        if not selected:
            return
        if child.is_nested_loop:
            row = yield Question(child.row.task_id, Need.OUTPUTS)
            selected = _selected(
                _one_per_outer_iteration(offer, row, batch), child.entry.key, parent_entry.component
            )
        parent = _Level((yield Question(child.row.parent_task_id, Need.IDENTITY)), parent_entry)
        offer = _received(selected, child=child, parent=parent)
        _queue(offer, parent, batch)
        child = parent


def _queue(offer: Offer, level: _Level, batch: WriteBatch) -> None:
    for link in offer.artifacts:
        batch.link(link)
    if offer.parameters:
        batch.update(level.row.task_id, PipelineTask(outputs=InputOutputs(parameters=list(offer.parameters))))


def climb_in_memory(
    spec: PipelineSpec, task: PipelineTask, rows: Mapping[str, PipelineTask], batch: WriteBatch
) -> None:
    """:func:`climb` over rows by task id, which must hold the task's ancestors with their outputs."""

    def read(question: Question) -> PipelineTask:
        row = rows.get(question.task_id)
        if row is None:
            raise PropagationError(f"parent task {question.task_id} not found for task {task.task_id}")
        return row

    answer_at_once(climb(spec, task, batch), read)


def answer_at_once(
    walk: Generator[Question, PipelineTask, None], read: Callable[[Question], PipelineTask]
) -> None:
    """Carry a walk of the rules to its end with rows that can be read without waiting."""
    try:
        question = next(walk)
        while True:
            question = walk.send(read(question))
    except StopIteration:
        return


def missing_outputs(component: ComponentSpec, row: PipelineTask) -> bool:
    """Whether a row lacks an output that its component declares."""
    declared = component.output_definitions
    return not (
        declared.parameters.keys() <= {parameter.parameter_key for parameter in row.output_parameters}
        and declared.artifacts.keys() <= {artifact.artifact_key for artifact in row.output_artifacts}
    )


@dataclass(frozen=True)
class _Selection:
    """Offered outputs with the names under which the parent takes them."""

    parameters: tuple[tuple[str, IOParameter], ...]
    artifacts: tuple[tuple[str, ArtifactTask], ...]

    def __bool__(self) -> bool:
        return bool(self.parameters or self.artifacts)


def _selected(offer: Offer, child_key: str, component: ComponentSpec) -> _Selection:
    """What the parent's selectors take of ``offer``; its output names in sorted order."""
    dag, declared = component.dag or DagSpec(), component.output_definitions
    return _Selection(
        tuple(
            (name, parameter)
            for parameter in offer.parameters
            for name in sorted(declared.parameters.keys() & dag.outputs.parameters.keys())
            if ParameterSelector(producer_subtask=child_key, output_parameter_key=parameter.parameter_key)
            in dag.outputs.parameters[name].selectors
        ),
        tuple(
            (name, link)
            for link in offer.artifacts
            for name in sorted(declared.artifacts.keys() & dag.outputs.artifacts.keys())
            if ArtifactSelector(producer_subtask=child_key, output_artifact_key=link.key)
            in dag.outputs.artifacts[name].artifact_selectors
        ),
    )


def _received(selected: _Selection, *, child: _Level, parent: _Level) -> Offer:
    """The parent's entries for what it selected."""
    first = child.entry.component.dag is None
    declared = parent.entry.component.output_definitions

    def recorded(
        incoming_type: IOType, incoming: IOProducer | None, *, is_list: bool
    ) -> tuple[IOType, IOProducer]:
        kind = _type(incoming_type, parent=parent, first=first, is_list=is_list)
        iteration = incoming.iteration if incoming else None
        if parent.is_loop and child.row.iteration_index is not None:
            # A DAG between the producer and the loop has dropped the iteration: the row that crosses knows.
            iteration = child.row.iteration_index
        return kind, IOProducer(
            task_name=child.entry.key, iteration=iteration if kind is IOType.ITERATOR_OUTPUT else None
        )

    parameters = []
    for name, parameter in selected.parameters:
        is_list = declared.parameters[name].declared_type is ParameterType.LIST
        kind, producer = recorded(parameter.type, parameter.producer, is_list=is_list)
        parameters.append(
            IOParameter(value=parameter.value, type=kind, parameter_key=name, producer=producer)
        )
    artifacts = []
    for name, link in selected.artifacts:
        kind, producer = recorded(link.type, link.producer, is_list=declared.artifacts[name].is_artifact_list)
        artifacts.append(
            ArtifactTask(
                artifact_id=link.artifact_id,
                run_id=link.run_id,
                task_id=parent.row.task_id,
                type=kind,
                producer=producer,
                key=name,
            )
        )
    return Offer(tuple(parameters), tuple(artifacts))


def _type(incoming: IOType, *, parent: _Level, first: bool, is_list: bool) -> IOType:
    """The first matching row of the table in DRIVER 4.4; only a leaf's own outputs are the first level."""
    if parent.is_loop:
        return IOType.ITERATOR_OUTPUT
    if parent.row.type is TaskType.CONDITION_BRANCH and not is_list:
        return IOType.ONE_OF_OUTPUT
    return IOType.OUTPUT if first else incoming


def _one_per_outer_iteration(offer: Offer, loop: PipelineTask, batch: WriteBatch) -> Offer:
    """A nested loop's outputs as its parent sees them: per key the list over its iterations.

    The entries are typed OUTPUT, without an iteration of their own: a list is one value, and a later,
    longer one must replace it.
    """
    every = merged_parameters(loop.output_parameters, batch.outputs_of(loop.task_id))
    offered = {parameter.parameter_key for parameter in offer.parameters}
    parameters = []
    for key in sorted(offered):
        entries = [
            entry for entry in every if entry.parameter_key == key and entry.type is IOType.ITERATOR_OUTPUT
        ]
        entries.sort(key=_iteration)
        parameters.append(
            IOParameter(
                value=[entry.value for entry in entries if not isinstance(entry.value, Unset)],
                type=IOType.OUTPUT,
                parameter_key=key,
                producer=IOProducer(task_name=loop.name),
            )
        )
    artifacts = tuple(
        link.model_copy(update={"type": IOType.OUTPUT, "producer": IOProducer(task_name=loop.name)})
        for link in offer.artifacts
    )
    return Offer(tuple(parameters), artifacts)


def _iteration(parameter: IOParameter) -> int:
    iteration = parameter.producer.iteration if parameter.producer else None
    return -1 if iteration is None else iteration

"""Reading a producer's output by following the IR's selectors down to the producing rows (spec RESOLVER 7.2).

What an ancestor row carries of its descendants' outputs is only the fallback: propagation loses iterations,
order and nesting. Loop heads and nested DAGs are recognised from the spec, never from the type of a row.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import ClassVar, Final, Generic, TypeVar

from pydantic import JsonValue

from kfp_api.ir.pipeline import ComponentSpec, DagSpec
from kfp_api.known_parent import iteration_of
from kfp_api.messages import Artifact, IOArtifact, IOParameter, IOType, PipelineTask, TaskType
from kfp_api.wire import UNSET
from resolver.concurrency import in_order
from resolver.errors import ResolutionError
from resolver.rows import TaskRows, choose, find_child
from resolver.scope import ScopePath

MAX_COLLECTED: Final = 100_000
"""Artifacts of one output; alternatives that are joined again and again would be any number."""


@dataclass(frozen=True)
class ParameterOutput:
    """The value of an output parameter; ``collected`` when it was gathered from loop iterations."""

    value: JsonValue
    collected: bool = False


@dataclass(frozen=True)
class ArtifactOutput:
    """The artifacts of an output, one group per output of a producing leaf task.

    ``in_workspace`` are the ids of those that their importer downloaded into the workspace; ``None`` where
    the rows that produced them were not read.
    """

    groups: tuple[tuple[Artifact, ...], ...]
    collected: bool = False
    in_workspace: frozenset[str] | None = frozenset()


Found = TypeVar("Found")
Entry = TypeVar("Entry", bound=IOParameter | IOArtifact)


class OutputKind(ABC, Generic[Found, Entry]):
    """What differs between parameters and artifacts while outputs are read."""

    name: ClassVar[str]

    @abstractmethod
    def selectors(self, dag: DagSpec, key: str) -> list[tuple[str, str]] | None:
        """Pairs of subtask and output key that may provide an output; ``None`` when it is not declared."""

    @abstractmethod
    def entries(self, row: PipelineTask, key: str) -> list[Entry]:
        """The entries of that key among the row's own or propagated outputs."""

    @abstractmethod
    def found(self, entry: Entry, row: PipelineTask) -> Found:
        """The output that one entry of ``row`` holds."""

    @abstractmethod
    def collect(self, outputs: Iterable[Found]) -> Found:
        """The outputs of several iterations as one, in that order."""

    @abstractmethod
    def joins_branches(self, component: ComponentSpec, key: str) -> bool:
        """Whether all present alternatives are joined, where otherwise the first one counts."""

    def own(self, row: PipelineTask, key: str) -> Found | None:
        """Output of a leaf row: of several entries the one of the row's own iteration, else the last."""
        entries = self.entries(row, key)
        same = [entry for entry in entries if iteration_of(entry) == row.iteration_index]
        return self.found((same or entries)[-1], row) if entries else None

    def propagated(self, row: PipelineTask, key: str) -> Found | None:
        """What was propagated to a row that is no leaf (spec RESOLVER 7.1).

        Raises:
            ResolutionError: entries of one key contradict each other.
        """
        entries = self.entries(row, key)
        if not entries:
            is_empty_loop = row.type is TaskType.LOOP and row.iteration_count == 0
            return self.collect([]) if is_empty_loop else None
        if len(entries) == 1 and entries[0].type is not IOType.ITERATOR_OUTPUT:
            return self.found(entries[0], row)
        if any(entry.type is not IOType.ITERATOR_OUTPUT for entry in entries):
            raise ResolutionError(f"encountered a non iterator output that has the same producer key ({key})")
        return self.collect(self.found(entry, row) for entry in _by_iteration(entries, key))


class _ParameterOutputs(OutputKind[ParameterOutput, IOParameter]):
    name = "parameter"

    def selectors(self, dag: DagSpec, key: str) -> list[tuple[str, str]] | None:
        output = dag.outputs.parameters.get(key)
        if output is None:
            return None
        return [(one.producer_subtask, one.output_parameter_key) for one in output.selectors]

    def entries(self, row: PipelineTask, key: str) -> list[IOParameter]:
        return [entry for entry in row.output_parameters if entry.parameter_key == key]

    def found(self, entry: IOParameter, row: PipelineTask) -> ParameterOutput:
        del row
        return ParameterOutput(None if entry.value is UNSET else entry.value)

    def collect(self, outputs: Iterable[ParameterOutput]) -> ParameterOutput:
        return ParameterOutput([output.value for output in outputs], collected=True)

    def joins_branches(self, component: ComponentSpec, key: str) -> bool:
        del component, key
        return False


class _ArtifactOutputs(OutputKind[ArtifactOutput, IOArtifact]):
    name = "artifact"

    def selectors(self, dag: DagSpec, key: str) -> list[tuple[str, str]] | None:
        output = dag.outputs.artifacts.get(key)
        if output is None:
            return None
        return [(one.producer_subtask, one.output_artifact_key) for one in output.artifact_selectors]

    def entries(self, row: PipelineTask, key: str) -> list[IOArtifact]:
        return [entry for entry in row.output_artifacts if entry.artifact_key == key]

    def found(self, entry: IOArtifact, row: PipelineTask) -> ArtifactOutput:
        return ArtifactOutput((tuple(entry.artifacts),), in_workspace=_in_workspace(entry, row))

    def collect(self, outputs: Iterable[ArtifactOutput]) -> ArtifactOutput:
        every = list(outputs)
        groups = tuple(islice((group for output in every for group in output.groups), MAX_COLLECTED + 1))
        if len(groups) > MAX_COLLECTED:
            raise ResolutionError(f"an output has more than {MAX_COLLECTED} artifacts")
        in_workspace = all_known(output.in_workspace for output in every)
        return ArtifactOutput(groups, collected=True, in_workspace=in_workspace)

    def joins_branches(self, component: ComponentSpec, key: str) -> bool:
        declared = component.output_definitions.artifacts.get(key)
        return declared is not None and declared.is_artifact_list


def _in_workspace(entry: IOArtifact, row: PipelineTask) -> frozenset[str] | None:
    if row.type is TaskType.RUNTIME:
        return frozenset()
    if row.type is not TaskType.IMPORTER:
        return None
    downloaded = row.type_attributes is not None and row.type_attributes.download_to_workspace
    return frozenset(artifact.artifact_id for artifact in entry.artifacts if downloaded)


def all_known(sets: Iterable[frozenset[str] | None]) -> frozenset[str] | None:
    """The union; ``None`` if one of the sets is not known."""
    every = list(sets)
    known = [one for one in every if one is not None]
    return frozenset().union(*known) if len(known) == len(every) else None


PARAMETERS: Final = _ParameterOutputs()
ARTIFACTS: Final = _ArtifactOutputs()


async def read_output(
    rows: TaskRows, kind: OutputKind[Found, Entry], row: PipelineTask, scope: ScopePath, *, key: str
) -> Found | None:
    """The output ``key`` of the task whose row is ``row`` and whose path is ``scope``; ``None`` if missing.

    Raises:
        ResolutionError: propagated entries contradict each other, or rows nest without end.
    """
    return await _OutputReader(rows, kind).read(row, scope, key)


class _OutputReader(Generic[Found, Entry]):
    """Follows selectors from one consumer's output downwards.

    Each output of a row is read once: alternatives of alternatives, which meet again and again further down,
    cost their number and not its power.
    """

    def __init__(self, rows: TaskRows, kind: OutputKind[Found, Entry]) -> None:
        self.rows = rows
        self.kind = kind
        self._known: dict[tuple[str, str], Found | None] = {}

    async def read(self, row: PipelineTask, scope: ScopePath, key: str) -> Found | None:
        """The output ``key`` of a row."""
        output = (row.task_id, key)
        if output not in self._known:
            self._known[output] = await self._read(row, scope, key)
        return self._known[output]

    async def _read(self, row: PipelineTask, scope: ScopePath, key: str) -> Found | None:
        entry = scope.last
        if entry is None or entry.component.dag is None:
            return self.kind.own(row, key)
        pairs = self.kind.selectors(entry.component.dag, key)
        if pairs is None:
            return self.kind.propagated(row, key)
        joins = self.kind.joins_branches(entry.component, key)
        dag = _DagOutput(self, row, scope, pairs, joins=joins)
        if entry.is_loop:
            return await dag.collected(key)
        found = await dag.first_present()
        return self.kind.propagated(row, key) if found is None else found


class _DagOutput(Generic[Found, Entry]):
    """One declared output of one DAG row."""

    def __init__(
        self,
        reader: _OutputReader[Found, Entry],
        row: PipelineTask,
        scope: ScopePath,
        pairs: Sequence[tuple[str, str]],
        *,
        joins: bool,
    ) -> None:
        self._reader = reader
        self._rows = reader.rows
        self._kind = reader.kind
        self._row = row
        self._pairs = pairs
        self._subtasks = list(dict.fromkeys(subtask for subtask, _ in pairs))
        self._scope = cache(scope.push)
        self._joins = joins and len(pairs) > 1

    async def first_present(self) -> Found | None:
        """The first alternative that has the output, in a DAG that is no loop."""
        index = self._row.iteration_index
        found = await in_order(
            find_child(self._rows, self._row, subtask, under_loop=False, iteration_index=index)
            for subtask in self._subtasks
        )
        return await self._alternatives(found)

    async def collected(self, key: str) -> Found | None:
        """The outputs of all iterations of a loop head, in order; iterations without output are left out.

        Asks once per producing task, whatever the number of iterations.
        """
        answers = await in_order(self._children(subtask) for subtask in self._subtasks)
        count = self._row.iteration_count
        found: dict[tuple[int, str], PipelineTask | None] = {}
        for subtask, children in zip(self._subtasks, answers, strict=True):
            for child in children:
                index = child.iteration_index
                if index is not None and index >= 0 and (count is None or index < count):
                    other = found.get((index, subtask))
                    rows = [child] if other is None else [other, child]
                    found[index, subtask] = choose(rows, self._row, subtask, index)
        if not any(answers) and not await self._rows.has_children(self._row.task_id):
            if self._kind.entries(self._row, key):
                return self._kind.propagated(self._row, key)
            # Without children a loop of some length was skipped by its own condition.
            return None if count else self._kind.collect([])
        readings = (
            self._alternatives([found.get((index, subtask)) for subtask in self._subtasks])
            for index in sorted({index for index, _ in found})
        )
        outputs = [await one for one in readings] if self._leaves_only() else await in_order(readings)
        return self._kind.collect(output for output in outputs if output is not None)

    async def _children(self, subtask: str) -> Sequence[PipelineTask]:
        return await self._rows.children(self._row.task_id, subtask, None)

    def _leaves_only(self) -> bool:
        """Whether reading the children asks no further questions."""
        entries = [self._scope(subtask).last for subtask in self._subtasks]
        return all(entry is not None and entry.component.dag is None for entry in entries)

    async def _alternatives(self, rows: Sequence[PipelineTask | None]) -> Found | None:
        """What the selectors find below ``rows``, which are those of the subtasks."""
        present: list[Found] = []
        children = dict(zip(self._subtasks, rows, strict=True))
        for subtask, output_key in self._pairs:
            child = children[subtask]
            if child is None:
                continue
            found = await self._reader.read(child, self._scope(subtask), output_key)
            if found is not None and not self._joins:
                return found
            if found is not None:
                present.append(found)
        if len(present) <= 1:
            return present[0] if present else None
        return self._kind.collect(present)


def _by_iteration(entries: list[Entry], key: str) -> list[Entry]:
    """Entries ordered by iteration when each has one, else as listed."""
    numbered: dict[int, Entry] = {}
    for entry in entries:
        index = iteration_of(entry)
        if index is None:
            return entries
        if index in numbered:
            raise ResolutionError(
                f"iterator outputs with producer key {key} have duplicate iteration index {index}"
            )
        numbered[index] = entry
    return [entry for _, entry in sorted(numbered.items())]

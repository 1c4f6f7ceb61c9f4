"""A DAG row as its children see it; of a loop's items, each child is given only those of its iteration.

A loop head lists one input per item. A child that got them all would walk as many entries as the loop has
iterations, and the whole loop their square (spec DRIVER 14). The items are sorted out once, when the row is
remembered, and shared by everything that is handed out.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Generic, Self, TypeVar

from kfp_api.messages import (
    InputOutputs,
    IOArtifact,
    IOParameter,
    IOType,
    PipelineTask,
    StatusMetadata,
)

ITERATOR_INPUTS: Final = frozenset({IOType.ITERATOR_INPUT, IOType.ITERATOR_INPUT_RAW})
"""Inputs of a loop head that are its items."""

_PLUGIN_PROPERTIES: Final = "plugins."
"""Custom properties under this prefix are handed down to children (spec DRIVER 12.4)."""

WORKSPACE_PROPERTY: Final = "kfp_driver_workspace_artifacts"
"""Custom property of a DAG row: ids of those of its input artifacts that lie in the workspace.

Its driver learns that from the importers' rows and notes it, so that no child asks the run for them again.
"""

_Entry = TypeVar("_Entry", IOParameter, IOArtifact)


def iteration_of(entry: IOParameter | IOArtifact) -> int | None:
    """The iteration in an entry's producer, if it has one."""
    return entry.producer.iteration if entry.producer else None


@dataclass(frozen=True, kw_only=True)
class KnownParent:
    """What never changes of a DAG row once its driver succeeded: place, inputs, and what it hands down."""

    row: PipelineTask
    parameters: "_Entries[IOParameter]"
    artifacts: "_Entries[IOArtifact]"

    @classmethod
    def of(cls, task: PipelineTask) -> Self:
        """What the children of ``task`` see of it; state and outputs are left out."""
        row = identity(task)
        properties = {
            key: value
            for key, value in task.custom_properties.items()
            if key.startswith(_PLUGIN_PROPERTIES) or key == WORKSPACE_PROPERTY
        }
        if properties:
            row = row.model_copy(update={"status_metadata": StatusMetadata(custom_properties=properties)})
        return cls(
            row=row,
            parameters=_Entries.sort_out(
                task.input_parameters, is_item=_is_item, key=lambda entry: entry.parameter_key
            ),
            artifacts=_Entries.sort_out(
                task.input_artifacts, is_item=_is_single_item, key=lambda entry: entry.artifact_key
            ),
        )

    def seen_from(self, iteration_index: int | None) -> PipelineTask:
        """The row for a child of that iteration; ``None`` outside loops.

        Of an input whose items lack this iteration, the first item stays: that there are items, but no
        value for this child, is an error of the child and must not look like an input that was not given.
        """
        inputs = InputOutputs(
            parameters=self.parameters.seen_from(iteration_index),
            artifacts=self.artifacts.seen_from(iteration_index),
        )
        return self.row.model_copy(update={"inputs": inputs})


@dataclass(frozen=True)
class _Entries(Generic[_Entry]):
    """Inputs of one kind: those for every child, and the items by input and iteration."""

    shared: list[_Entry]
    items: dict[str, dict[int | None, list[_Entry]]]

    @classmethod
    def sort_out(
        cls, entries: Iterable[_Entry], *, is_item: Callable[[_Entry], bool], key: Callable[[_Entry], str]
    ) -> "_Entries[_Entry]":
        found = cls([], {})
        for entry in entries:
            if is_item(entry):
                iterations = found.items.setdefault(key(entry), {})
                iterations.setdefault(iteration_of(entry), []).append(entry)
            else:
                found.shared.append(entry)
        return found

    def seen_from(self, iteration_index: int | None) -> list[_Entry]:
        seen = list(self.shared)
        for iterations in self.items.values():
            mine = iterations.get(iteration_index) if iteration_index is not None else None
            seen += mine or next(iter(iterations.values()))[:1]
        return seen


def identity(task: PipelineTask) -> PipelineTask:
    """What never changes of any row: name, type, attributes, parent and scope path, nothing else."""
    return PipelineTask(
        name=task.name,
        task_id=task.task_id,
        run_id=task.run_id,
        type=task.type,
        type_attributes=task.type_attributes,
        parent_task_id=task.parent_task_id or None,
        scope_path=task.scope_path,
    )


def _is_item(entry: IOParameter) -> bool:
    return entry.type in ITERATOR_INPUTS


def _is_single_item(entry: IOArtifact) -> bool:
    """An entry into which the server merged all items is found by position, whatever the iteration."""
    return entry.type in ITERATOR_INPUTS and len(entry.artifacts) == 1 and iteration_of(entry) is not None

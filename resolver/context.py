"""What a resolution starts from: a task's place in the pipeline, its parent row, and the source of rows."""

import re
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

from pydantic import JsonValue

from kfp_api.ir.executor_input import DEFAULT_WORKSPACE_PATH
from kfp_api.ir.pipeline import ComponentSpec, PipelineSpec, TaskSpec, TriggerStrategy
from kfp_api.messages import IOProducer, IOType, PipelineTask
from kfp_api.shortening import beginning
from resolver.errors import ResolutionError
from resolver.expressions import ExpressionEngine
from resolver.parent_inputs import ParentParameters
from resolver.rows import JoinedRows, TaskRows, find_child, unique_name
from resolver.scope import ScopeEntry, ScopePath


@dataclass(frozen=True, kw_only=True)
class ResolveContext:
    """Everything that the inputs of one task depend on (spec RESOLVER 3.1).

    ``scope`` includes the task itself; of ``parent``, id, name and inputs are used. Times are RFC 3339 UTC in
    seconds.
    ``iteration_index`` is ``None`` outside loops; 0 is an iteration.
    """

    spec: PipelineSpec
    run_id: str
    run_name: str
    run_display_name: str
    create_time_utc: str
    schedule_time_utc: str
    scope: ScopePath
    parent: PipelineTask
    rows: TaskRows
    iteration_index: int | None
    expressions: ExpressionEngine
    workspace_path: str = DEFAULT_WORKSPACE_PATH

    def __post_init__(self) -> None:
        if not self.parent.task_id:
            raise ResolutionError("parent task is required")
        if self.iteration_index is not None and self.iteration_index < 0:
            raise ResolutionError(f"iteration index {self.iteration_index} is negative")

    @cached_property
    def _entry(self) -> tuple[ScopeEntry, TaskSpec]:
        entry = self.scope.last
        if entry is None or entry.task is None:
            raise ResolutionError("the root DAG has no inputs to resolve")
        return entry, entry.task

    @property
    def task_key(self) -> str:
        """Key of the task in its DAG; not the display name."""
        return self._entry[0].key

    @property
    def task_spec(self) -> TaskSpec:
        """The task, as its DAG declares it."""
        return self._entry[1]

    @property
    def component(self) -> ComponentSpec:
        """The component that the task runs."""
        return self._entry[0].component

    @cached_property
    def parent_parameters(self) -> ParentParameters:
        """The parent's input parameters, which its children may take as theirs."""
        return ParentParameters(self.parent.input_parameters, self.iteration_index)

    @property
    def tolerates_failed_producers(self) -> bool:
        """Whether a missing producer or output counts as null (spec RESOLVER 5.2)."""
        return self.task_spec.trigger_policy.strategy is TriggerStrategy.ALL_UPSTREAM_TASKS_COMPLETED

    def producer(self, task_name: str) -> IOProducer:
        """A producer record of this task's inputs: who made it, and this task's iteration, if any."""
        return IOProducer(task_name=task_name, iteration=self.iteration_index)

    def passed_down(self, producer: IOProducer | None) -> IOProducer:
        """The producer of an input that the parent hands down: the parent's record, in this iteration."""
        if producer is None:
            return self.producer(self.parent.name)
        return producer if self.iteration_index is None else self.producer(producer.task_name)

    async def sibling(self, name: str) -> PipelineTask | None:
        """The row of another task of the same DAG, of the same iteration."""
        above = self.scope.parent.last
        return await find_child(
            self.rows,
            self.parent,
            name,
            under_loop=above is not None and above.is_loop,
            iteration_index=self.iteration_index,
        )

    def sibling_name(self, name: str) -> str:
        """How a sibling is named in errors."""
        return unique_name(name, self.parent.task_id, self.iteration_index)

    def joined(self) -> "ResolveContext":
        """This context with a row source that asks each question once."""
        return self if isinstance(self.rows, JoinedRows) else replace(self, rows=JoinedRows(self.rows))


@dataclass(frozen=True)
class ResolvedValue:
    """A value and where it came from; ``value`` is ``None`` for null and for nothing at all.

    ``from_output`` marks the value of an existing task output, whose null has rules of its own.
    """

    value: JsonValue
    type: IOType
    producer: IOProducer
    from_output: bool = False


_SPEC_TEXT_LIMIT: Final = 300


def shortened(text: str) -> str:
    """A piece of the pipeline for an error text: one line of bounded length."""
    return beginning(re.sub(r"\s+", " ", text), _SPEC_TEXT_LIMIT)

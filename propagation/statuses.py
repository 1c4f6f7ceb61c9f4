"""A task that ended may end its ancestors: the walk up, with counting reads (spec DRIVER 4.3 and 14).

Every caller writes its own row before it walks, so two children that end together cannot both miss each
other. Patches are sparse: state and end time, nothing that a sibling could be writing at the same moment.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

from kfp_api.ir.pipeline import DagSpec, PipelineSpec
from kfp_api.messages import TERMINAL_STATES, PipelineTask, TaskState
from kfp_api.run_view import RunView
from propagation.errors import PropagationError
from propagation.loop_size import loop_size
from propagation.output_rules import missing_outputs, scope_of
from propagation.republish import restore_outputs, was_reset
from propagation.state_rules import ChildCounts, dag_of, omitted_children
from resolver.scope import ScopeEntry, ScopePath

_UNSETTLED = (TaskState.RUNNING, TaskState.FAILED)


async def propagate_statuses(run: RunView, task: PipelineTask) -> None:
    """Bring the states of all ancestors of ``task`` up to date.

    Ancestors are counted, not read: the row of a loop head lists all its items and children.

    Args:
        run: the run.
        task: the row whose state was just written; a root row is evaluated itself.

    Raises:
        KfpApiError: a read or write failed. The caller's own task is not touched by this: it keeps the
            state that it has, and the next task that ends evaluates the same ancestors.
    """
    spec = (await run.pipeline()).spec
    if not task.parent_task_id:
        await _evaluate(run, spec, _Dag.of(task.task_id, scope_of(spec, task)), failed_child=False)
        return
    current = task
    while current.parent_task_id:
        dag = _Dag.of(current.parent_task_id, scope_of(spec, current).parent, child=current)
        written = await _evaluate(run, spec, dag, failed_child=current.state is TaskState.FAILED)
        if written is None:
            return
        current = written


async def state_from_children(run: RunView, task_id: str) -> TaskState | None:
    """The state that a DAG row has if no further child starts; ``None`` while one runs, or without any.

    Raises:
        KfpApiError: a read failed.
    """
    if await run.count_children(task_id, state=TaskState.FAILED):
        return TaskState.FAILED
    if await run.count_children(task_id, state=TaskState.RUNNING):
        return None
    return await _aggregate(run, task_id, await run.count_children(task_id))


@dataclass(frozen=True)
class _Dag:
    """A DAG row as far as it is known without reading it: its id, and its place as its child's tells it."""

    task_id: str
    entry: ScopeEntry
    spec: DagSpec
    child: PipelineTask | None

    @classmethod
    def of(cls, task_id: str, scope: ScopePath, *, child: PipelineTask | None = None) -> Self:
        entry = scope.last
        if entry is None:
            raise PropagationError(f"parent task {task_id} has no scope path")
        return cls(task_id, entry, dag_of(entry.component, task_id), child)

    @property
    def is_loop(self) -> bool:
        return self.entry.is_loop


async def _evaluate(
    run: RunView, spec: PipelineSpec, dag: _Dag, *, failed_child: bool
) -> PipelineTask | None:
    """Write the state that a row gets from its children; ``None`` where it keeps the one it has."""
    state = TaskState.FAILED if failed_child else await _decide(run, spec, dag)
    if state is None:
        return None
    patch = PipelineTask(state=state)
    if state in TERMINAL_STATES:
        if state is not TaskState.FAILED:
            await _complete_outputs(run, dag)
        patch = PipelineTask(state=state, end_time=datetime.now(UTC).replace(microsecond=0))
    written = await run.client.write_task(run.run_id, dag.task_id, patch)
    if written is None:
        written = (await run.task_identity(dag.task_id)).model_copy(update={"state": state})
    run.remember_identity(written)
    return written


async def _decide(run: RunView, spec: PipelineSpec, dag: _Dag) -> TaskState | None:
    if await run.count_children(dag.task_id, states=_UNSETTLED):
        return await _unsettled(run, dag)
    total = await run.count_children(dag.task_id)
    if not total:
        return None
    iterations = await loop_size(run, dag.task_id, dag.child) if dag.is_loop else 1
    expected = len(dag.spec.tasks) * iterations
    if total < expected:
        expected -= await _omitted(run, spec, dag, missing=expected - total)
    if total < expected:
        return await _recovered(run, dag)
    # A last child may have started between the two counts; now that all rows are there, none can.
    if await run.count_children(dag.task_id, states=_UNSETTLED):
        return await _unsettled(run, dag)
    return await _aggregate(run, dag.task_id, total)


async def _omitted(run: RunView, spec: PipelineSpec, dag: _Dag, *, missing: int) -> int:
    """How many child rows will never exist; rows are listed only where they can make up for the missing."""
    skipped = await run.count_children(dag.task_id, state=TaskState.SKIPPED)
    if skipped * (len(dag.spec.tasks) - 1) < missing:
        return 0
    rows = await run.children_in_state(dag.task_id, TaskState.SKIPPED)
    return omitted_children(spec, dag.spec, rows, is_loop=dag.is_loop)


async def _unsettled(run: RunView, dag: _Dag) -> TaskState | None:
    """A child is RUNNING or FAILED: one failure decides, whatever the others do."""
    if await run.count_children(dag.task_id, state=TaskState.FAILED):
        return TaskState.FAILED
    return await _recovered(run, dag)


async def _recovered(run: RunView, dag: _Dag) -> TaskState | None:
    """An unfinished row without failed children goes back to RUNNING if a failed attempt had ended it."""
    return TaskState.RUNNING if await run.is_in_state(dag.task_id, TaskState.FAILED) else None


async def _aggregate(run: RunView, task_id: str, total: int) -> TaskState | None:
    cached = await run.count_children(task_id, state=TaskState.CACHED)
    skipped = 0 if cached else await run.count_children(task_id, state=TaskState.SKIPPED)
    return ChildCounts(total=total, cached=cached, skipped=skipped).aggregate


async def _complete_outputs(run: RunView, dag: _Dag) -> None:
    """See to it that a DAG that ends has the outputs it declares.

    A loop head gets those of its iterations now: launchers leave them out, because every write of a loop
    head is answered with all its items and children. Any DAG may have lost its outputs in a retry of the
    run while its own driver does not run again.
    """
    declared = dag.entry.component.output_definitions
    if not declared.parameters and not declared.artifacts:
        return
    fresh = await run.task(dag.task_id, fresh=True)
    if dag.is_loop or (was_reset(fresh) and missing_outputs(dag.entry.component, fresh)):
        await restore_outputs(run, fresh)

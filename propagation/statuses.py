"""A task that ended may end its ancestors: the walk up, with counting reads (spec DRIVER 4.3 and 14).

Every caller writes its own row before it walks, so two children that end together cannot both miss each
other. Patches are sparse: state and end time, nothing that a sibling could be writing at the same moment.
"""

from datetime import UTC, datetime

from kfp_api.ir.pipeline import DagSpec, PipelineSpec
from kfp_api.messages import TERMINAL_STATES, PipelineTask, TaskState, TaskType
from kfp_api.run_view import RunView
from propagation.errors import PropagationError
from propagation.output_rules import missing_outputs, scope_of
from propagation.outputs import propagate_outputs
from propagation.republish import restore_outputs, was_reset
from propagation.state_rules import (
    ChildCounts,
    aggregate_state,
    dag_of,
    expected_children,
    omitted_children,
)
from resolver.scope import ScopeEntry

_UNSETTLED = (TaskState.RUNNING, TaskState.FAILED)

__all__ = ["aggregate_state", "propagate_statuses"]


async def propagate_statuses(run: RunView, task: PipelineTask) -> None:
    """Bring the states of all ancestors of ``task`` up to date.

    Args:
        run: the run.
        task: the row whose state was just written; a root row is evaluated itself.

    Raises:
        KfpApiError: a read or write failed. The caller's own task is not touched by this: it keeps the
            state that it has, and the next task that ends evaluates the same ancestors.
    """
    spec = (await run.pipeline()).spec
    if not task.parent_task_id:
        await _evaluate(run, spec, task, failed_child=False)
        return
    current = task
    while current.parent_task_id:
        parent = await run.task_identity(current.parent_task_id)
        state = await _evaluate(run, spec, parent, failed_child=current.state is TaskState.FAILED)
        if state is None:
            return
        current = parent.model_copy(update={"state": state})


async def _evaluate(
    run: RunView, spec: PipelineSpec, row: PipelineTask, *, failed_child: bool
) -> TaskState | None:
    """Write the state that ``row`` gets from its children; ``None`` where it keeps the one it has."""
    entry = scope_of(spec, row).last
    if entry is None:
        raise PropagationError(f"parent task {row.task_id} has no scope path")
    dag = dag_of(entry.component, row)
    state = TaskState.FAILED if failed_child else await _decide(run, spec, row, entry, dag)
    if state is None:
        return None
    patch = PipelineTask(state=state)
    if state in TERMINAL_STATES:
        if state is not TaskState.FAILED:
            await _complete_outputs(run, row, entry)
        patch = PipelineTask(state=state, end_time=datetime.now(UTC).replace(microsecond=0))
    run.remember(await run.client.update_task(run.run_id, row.task_id, patch))
    return state


async def _decide(
    run: RunView, spec: PipelineSpec, row: PipelineTask, entry: ScopeEntry, dag: DagSpec
) -> TaskState | None:
    is_loop = entry.is_loop or row.type is TaskType.LOOP
    expected = expected_children(dag, row, is_loop=is_loop)
    if await run.count_children(row.task_id, states=_UNSETTLED):
        return await _unsettled(run, row)
    total = await run.count_children(row.task_id)
    if not total:
        return None
    if total < expected:
        skipped = await run.children_in_state(row.task_id, TaskState.SKIPPED)
        expected -= omitted_children(spec, dag, skipped, is_loop=is_loop) if skipped else 0
    if total < expected:
        return await _recovered(run, row)
    # A last child may have started between the two counts; now that all rows are there, none can.
    if await run.count_children(row.task_id, states=_UNSETTLED):
        return await _unsettled(run, row)
    return await _aggregate(run, row, total)


async def _unsettled(run: RunView, row: PipelineTask) -> TaskState | None:
    """A child is RUNNING or FAILED: one failure decides, whatever the others do."""
    if await run.count_children(row.task_id, state=TaskState.FAILED):
        return TaskState.FAILED
    return await _recovered(run, row)


async def _recovered(run: RunView, row: PipelineTask) -> TaskState | None:
    """An unfinished row without failed children goes back to RUNNING if a failed attempt had ended it."""
    return TaskState.RUNNING if await run.is_in_state(row.task_id, TaskState.FAILED) else None


async def _aggregate(run: RunView, row: PipelineTask, total: int) -> TaskState | None:
    cached = await run.count_children(row.task_id, state=TaskState.CACHED)
    skipped = 0 if cached else await run.count_children(row.task_id, state=TaskState.SKIPPED)
    return ChildCounts(total=total, cached=cached, skipped=skipped).aggregate


async def _complete_outputs(run: RunView, row: PipelineTask, entry: ScopeEntry) -> None:
    """See to it that a DAG that ends has the outputs it declares.

    A retry of the run may have cleared them while its own driver does not run again; and the list that a
    nested loop hands to the iteration around it is complete only now.
    """
    declared = entry.component.output_definitions
    if not declared.parameters and not declared.artifacts:
        return
    is_nested_loop = entry.is_loop and row.iteration_index is not None
    fresh = await run.task(row.task_id, fresh=True)
    if was_reset(fresh) and missing_outputs(entry.component, fresh):
        await restore_outputs(run, fresh)
    elif is_nested_loop:
        await propagate_outputs(run, fresh)

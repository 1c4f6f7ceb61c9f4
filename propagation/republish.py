"""Outputs of children that a retry kept travel up once more (spec DRIVER 4.5, LAUNCHER part C).

A run retry clears the outputs of the rows that it resets, while their finished children stay and never
propagate again.
"""

from kfp_api.messages import PRESERVED_STATES, PipelineTask, TaskState
from kfp_api.run_view import RunView
from propagation.batch import WriteBatch
from propagation.output_rules import climb_from_ended_loop, missing_outputs, own_outputs, scope_of
from propagation.outputs import answer, queue_outputs


async def republish_outputs(run: RunView, task: PipelineTask) -> None:
    """Restore on a DAG row and its ancestors the outputs of the row's finished children.

    Nothing is written when the row and all its ancestors have every output that they declare. A caller
    that knows the row to be new need not call this at all.

    Raises:
        KfpApiError: a read or write failed; repeating the call is safe.
    """
    row = await run.task(task.task_id, fresh=True)
    if await _lacks_outputs(run, row):
        await restore_outputs(run, row)


async def restore_outputs(run: RunView, row: PipelineTask) -> None:
    """Propagate the outputs of all finished children of ``row``, in one batch."""
    batch = WriteBatch(run.run_id)
    spec = (await run.pipeline()).spec
    children = [
        child
        for child in await run.all_children(row.task_id)
        if child.state in PRESERVED_STATES and own_outputs(child)
    ]
    entry = scope_of(spec, row).last
    if entry is not None and entry.is_loop:
        await answer(run, climb_from_ended_loop(spec, row, children, batch))
    else:
        for child in children:
            await queue_outputs(run, child, batch)
    for task_id in dict.fromkeys(link.task_id for link in batch.links):
        batch.drop_links(link.identity for link in own_outputs(await run.task(task_id, fresh=True)).artifacts)
    await batch.flush(run.client)


def was_reset(row: PipelineTask) -> bool:
    """Whether a row went back to RUNNING after it had failed."""
    states = [entry.state for entry in row.state_history]
    if TaskState.FAILED not in states:
        return False
    return TaskState.RUNNING in states[states.index(TaskState.FAILED) :]


async def _lacks_outputs(run: RunView, row: PipelineTask) -> bool:
    """Whether the row or one of its ancestors lacks an output that its component declares."""
    spec = (await run.pipeline()).spec
    while True:
        entry = scope_of(spec, row).last
        if entry is None:
            return False
        if missing_outputs(entry.component, row):
            return True
        if not row.parent_task_id:
            return False
        row = await run.task(row.parent_task_id)

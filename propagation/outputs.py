"""Outputs of a task travel up to every DAG that declares them (spec DRIVER 4.4): the asking and writing.

The rules are :mod:`propagation.output_rules`. Nothing is read where the pipeline's selectors take nothing;
ancestors come from the identity cache; the writes are links first, then one bulk update of sparse patches.
"""

from collections.abc import Generator

from kfp_api.messages import PipelineTask
from kfp_api.run_view import RunView
from propagation.batch import WriteBatch
from propagation.output_rules import Need, Question, climb


async def propagate_outputs(run: RunView, task: PipelineTask, *, into_loops: bool = True) -> None:
    """Give all ancestors of ``task`` the outputs that they declare and that come from it.

    Args:
        run: the run.
        task: the producing row; it is read again if it carries no outputs object.
        into_loops: whether loop heads get theirs now. Every write of a loop head is answered with all its
            items and children; a caller that sees to the end of the loop by
            :func:`~propagation.statuses.propagate_statuses` may leave them until then.

    Raises:
        KfpApiError: a read or write failed; repeating the call is safe.
    """
    if not task.parent_task_id:
        return
    batch = WriteBatch(run.run_id)
    await queue_outputs(run, task, batch, into_loops=into_loops)
    await batch.flush(run.client)


async def queue_outputs(
    run: RunView, task: PipelineTask, batch: WriteBatch, *, into_loops: bool = True
) -> None:
    """Queue in ``batch`` what the ancestors of ``task`` get; several tasks may share one batch."""
    pipeline = await run.pipeline()
    if task.outputs is None:
        task = await run.task(task.task_id, fresh=True)
    await answer(run, climb(pipeline.spec, task, batch, into_loops=into_loops))


async def answer(run: RunView, walk: Generator[Question, PipelineTask, None]) -> None:
    """Carry a walk of the rules to its end, with the rows that it asks for."""
    try:
        question = next(walk)
        while True:
            if question.need is Need.OUTPUTS:
                row = await run.task(question.task_id, fresh=True)
            else:
                row = await run.task_identity(question.task_id)
            question = walk.send(row)
    except StopIteration:
        return

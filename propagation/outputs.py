"""Outputs of a task travel up to every DAG that declares them (spec DRIVER 4.4): the asking and writing.

The rules are :mod:`propagation.output_rules`. Nothing is read where the pipeline's selectors take nothing;
ancestors come from the identity cache; the writes are links first, then one bulk update of sparse patches.
"""

from kfp_api.messages import PipelineTask
from kfp_api.run_view import RunView
from propagation.batch import WriteBatch
from propagation.output_rules import Need, climb


async def propagate_outputs(run: RunView, task: PipelineTask) -> None:
    """Give all ancestors of ``task`` the outputs that they declare and that come from it.

    Args:
        run: the run.
        task: the producing row; it is read again if it carries no outputs object.

    Raises:
        KfpApiError: a read or write failed; repeating the call is safe.
    """
    if not task.parent_task_id:
        return
    batch = WriteBatch(run.run_id)
    await queue_outputs(run, task, batch)
    await batch.flush(run.client)


async def queue_outputs(run: RunView, task: PipelineTask, batch: WriteBatch) -> None:
    """Queue in ``batch`` what the ancestors of ``task`` get; several tasks may share one batch."""
    pipeline = await run.pipeline()
    if task.outputs is None:
        task = await run.task(task.task_id, fresh=True)
    walk = climb(pipeline.spec, task, batch)
    try:
        question = next(walk)
        while True:
            if question.need is Need.OUTPUTS:
                answer = await run.task(question.task_id, fresh=True)
            else:
                answer = await run.task_identity(question.task_id)
            question = walk.send(answer)
    except StopIteration:
        return

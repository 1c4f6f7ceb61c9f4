"""What a row that ended inside the driver owes to the rest of the run: outputs first, status last.

In this order no consumer starts before the outputs that it reads are there (spec DRIVER 7.4). Every step
may be repeated.
"""

from driver_plugin.drivers.bootstrap import Invocation
from driver_plugin.drivers.cache_lookup import adopted_outputs, output_links
from driver_plugin.system_logs.capture import InvocationLog
from kfp_api.errors import KfpApiError
from kfp_api.messages import PipelineTask
from kfp_api.run_view import RunView
from propagation.outputs import propagate_outputs
from propagation.statuses import propagate_statuses


async def walk_statuses(run: RunView, row: PipelineTask, log: InvocationLog) -> None:
    """Propagate the final state of ``row`` to its ancestors (spec DRIVER 4.3).

    A walk that fails is logged and fails nothing: the next row that ends repeats it, and the server
    settles what is left when the run ends.
    """
    run.forget_children()
    try:
        await propagate_statuses(run, row)
    except KfpApiError as error:
        log.warning("status propagation failed", task_id=row.task_id, error=str(error))


async def adopt_outputs(work: Invocation, source: PipelineTask) -> PipelineTask:
    """Link the output artifacts of ``source`` to the call's row; returns the row as it is then."""
    outputs = adopted_outputs(
        source, task_name=work.call.task_name, iteration_index=work.call.iteration_index
    )
    links = output_links(outputs, run_id=work.call.run_id, task_id=work.writer.task_id)
    if links:
        await work.run.client.create_artifact_tasks(links)
    return work.writer.row.model_copy(update={"outputs": outputs})


async def publish(work: Invocation, row: PipelineTask) -> None:
    """Propagate outputs and final state of the call's row, which comes with all of its outputs."""
    await propagate_outputs(work.run, row)
    await walk_statuses(work.run, row, work.log)

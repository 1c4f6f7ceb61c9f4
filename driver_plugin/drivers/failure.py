"""Failure finalisation: the row of a failed call says FAILED and why (spec DRIVER 9.1).

No step of it masks the error that made the call fail; each is logged instead.
"""

from driver_plugin.drivers.completion import walk_statuses
from driver_plugin.drivers.rows import TaskRowWriter
from driver_plugin.system_logs.capture import InvocationLog
from kfp_api.errors import KfpApiError
from kfp_api.run_view import RunView


async def finalise_failure(run: RunView, writer: TaskRowWriter, message: str, log: InvocationLog) -> None:
    """Mark the call's row FAILED with ``message``, secrets taken out, then its ancestors.

    A repetition of finished work leaves its row alone; only its reply fails.
    """
    try:
        row = await writer.fail(log.redact(message))
    except KfpApiError as error:
        log.warning("failed row not recorded", error=str(error))
        return
    if row is None:
        log.info("row keeps its state, its work was done before", task_id=writer.task_id)
        return
    log.info("row failed", task_id=row.task_id)
    await walk_statuses(run, row, log)

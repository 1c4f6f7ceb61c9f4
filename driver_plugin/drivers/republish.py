"""Outputs of children that a retry kept, published again on a row that was reset (spec DRIVER 4.5)."""

from driver_plugin.drivers.bootstrap import Invocation
from driver_plugin.errors import DriverError
from kfp_api.errors import KfpApiError
from kfp_api.messages import TaskType
from propagation.republish import republish_outputs


async def republish(work: Invocation) -> None:
    """Republish on the call's row; rows known to be new need no call.

    Raises:
        DriverError: names the step; as retryable as its cause.
    """
    row = work.writer.row
    try:
        await republish_outputs(work.run, row)
    except KfpApiError as error:
        where = " for root DAG" if row.type is TaskType.ROOT else ""
        raise DriverError(f"failed to republish preserved child outputs{where}: {error}") from error

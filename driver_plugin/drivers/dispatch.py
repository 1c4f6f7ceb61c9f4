"""One driver call from arguments to result: find the place, run the driver, keep the row honest.

Whatever fails, the row of the call says so, unless trying again may help: an outage leaves the row as it
is, and the same call is made again (spec DRIVER 9.1, 9.2).
"""

import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from driver_plugin.argo.arguments import DriverCall
from driver_plugin.argo.driver_type import DriverType
from driver_plugin.argo.replies import DriverResult
from driver_plugin.drivers.bootstrap import (
    Invocation,
    Place,
    check_call,
    locate,
    with_pipeline_name_of_spec,
)
from driver_plugin.drivers.container import drive_container
from driver_plugin.drivers.dag import drive_dag
from driver_plugin.drivers.failure import finalise_failure
from driver_plugin.drivers.plugin_steps import end_plugins
from driver_plugin.drivers.root_dag import drive_root_dag
from driver_plugin.drivers.rows import TaskRowWriter
from driver_plugin.drivers.services import DriverServices
from driver_plugin.drivers.skeleton import skeleton_row
from driver_plugin.errors import DriverError, DriverFailure, is_retryable
from driver_plugin.system_logs.capture import InvocationLog
from kfp_api.errors import KfpApiError
from kfp_api.ir.load import InvalidPipelineError
from kfp_api.messages import TaskState
from kfp_api.run_view import RunView
from resolver.errors import ResolutionError

DRIVERS: Final[Mapping[DriverType, Callable[[Invocation], Awaitable[DriverResult]]]] = {
    DriverType.ROOT_DAG: drive_root_dag,
    DriverType.DAG: drive_dag,
    DriverType.CONTAINER: drive_container,
}

_EXPECTED: Final = (DriverError, ResolutionError, KfpApiError, InvalidPipelineError)


async def run_driver(call: DriverCall, services: DriverServices, log: InvocationLog) -> DriverResult:
    """Run one driver to its end.

    Raises:
        DriverFailure: the call failed; ``partial`` holds what its node may publish, the text is for
            the user, the cause says whether trying again may help.
    """
    run = RunView(services.client, call.run_id, cache=services.run_cache)
    try:
        place = await locate(call, run)
    except _EXPECTED as error:
        raise DriverFailure(str(error), partial=DriverResult()) from error
    call = with_pipeline_name_of_spec(call, place.spec, log)
    work = _begin(call, services, log, run=run, place=place)
    try:
        check_call(call, place)
        return await DRIVERS[call.type](work)
    except _EXPECTED as error:
        if not is_retryable(error):
            await finalise_failure(run, work.writer, str(error), log)
            await end_plugins(work, TaskState.FAILED)
        raise DriverFailure(str(error), partial=work.partial) from error
    except Exception:
        await finalise_failure(run, work.writer, f"internal error (invocation {log.invocation_id})", log)
        await end_plugins(work, TaskState.FAILED)
        raise


async def give_up(call: DriverCall, services: DriverServices, log: InvocationLog, message: str) -> None:
    """Mark the row of a call FAILED that no more is tried for, as far as that can be done.

    For the end of an outage's budget: :func:`run_driver` leaves the row alone while trying again may help.
    """
    run = RunView(services.client, call.run_id, cache=services.run_cache)
    try:
        place = await locate(call, run)
    except _EXPECTED as error:
        log.warning("failed row not recorded", error=str(error))
        return
    await finalise_failure(run, _begin(call, services, log, run=run, place=place).writer, message, log)


def _begin(
    call: DriverCall, services: DriverServices, log: InvocationLog, *, run: RunView, place: Place
) -> Invocation:
    """The call with its place found and its row's identity fixed; nothing is written yet."""
    writer = TaskRowWriter(
        run, skeleton=skeleton_row(call, place, services.settings), marker=str(uuid.uuid4()), log_uri=log.uri
    )
    plugins = services.plugins.plugins(call.runtime_args, log=log)
    return Invocation(
        call=call, services=services, log=log, run=run, place=place, writer=writer, plugins=plugins
    )


__all__ = ["DriverServices", "give_up", "run_driver"]

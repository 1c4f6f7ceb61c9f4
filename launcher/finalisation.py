"""The end of a task, whichever it is: final state, message, and the way up the DAG (spec LAUNCHER A13).

A failed walk leaves a succeeded task succeeded: its outputs are complete, and the next task that ends
evaluates the same ancestors.
"""

import asyncio
from datetime import UTC, datetime
from typing import Final

from kfp_api.client import KfpApiClient
from kfp_api.errors import KfpApiError
from kfp_api.messages import PipelineTask, StatusMetadata, TaskState
from launcher.errors import TerminatedError
from launcher.flags import CommandLine
from launcher.note import note
from launcher.session import TaskSession
from propagation.statuses import propagate_statuses

_TERMINATION_SECONDS: Final = 8.0


async def finish(session: TaskSession, failure: Exception | None) -> bool:
    """Write the final state and pass it up the DAG; whether the row holds it."""
    recorded = False
    try:
        async with asyncio.timeout(_limit(failure)):
            row = await session.update(_final_patch(failure, session.task))
            recorded = True
            await propagate_statuses(session.view, row)
    except (KfpApiError, TimeoutError) as error:
        what = "the states of the enclosing DAGs" if recorded else "the task's final state"
        note(f"{what} could not be written: {str(error) or 'no time left'}")
    return recorded


async def fail_unopened(line: CommandLine, client: KfpApiClient, failure: Exception) -> None:
    """Leave no row running when start-up failed."""
    run_id, task_id = line.values["run_id"], line.values["task_id"]
    if not task_id:
        return
    try:
        async with asyncio.timeout(_limit(failure)):
            row = await client.get_task(run_id, task_id)
            await client.update_task(run_id, task_id, _final_patch(failure, row))
    except (KfpApiError, TimeoutError) as error:
        note(f"the task could not be marked as failed: {str(error) or 'no time left'}")


def _final_patch(failure: Exception | None, row: PipelineTask) -> PipelineTask:
    """The sparse patch of the final state, with every property that the row has."""
    ended = datetime.now(UTC)
    if failure is None:
        return PipelineTask(state=TaskState.SUCCEEDED, end_time=ended)
    told = isinstance(failure, TerminatedError)
    message = str(failure) if told else f"failed to execute component: {failure}"
    metadata = StatusMetadata(message=message, custom_properties=row.custom_properties)
    return PipelineTask(state=TaskState.FAILED, end_time=ended, status_metadata=metadata)


def _limit(failure: Exception | None) -> float | None:
    """Seconds that writing the final state may take; no limit beyond the client's while nobody waits."""
    return _TERMINATION_SECONDS if isinstance(failure, TerminatedError) else None

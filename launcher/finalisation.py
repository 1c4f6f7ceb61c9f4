"""The end of a task, whichever it is: final state, message, and the way up the DAG (spec LAUNCHER A13).

A failed walk leaves a succeeded task succeeded: its outputs are complete, and the next task that ends
evaluates the same ancestors.
"""

from datetime import UTC, datetime
from typing import Final

from kfp_api.client import KfpApiClient
from kfp_api.errors import KfpApiError
from kfp_api.messages import PipelineTask, StatusMetadata, TaskState
from launcher.errors import TerminatedError
from launcher.flags import CONTAINER, CommandLine
from launcher.note import note
from launcher.session import TaskSession
from launcher.termination import Termination
from propagation.statuses import propagate_statuses

_TERMINATION_SECONDS: Final = 8.0
"""How long writing the final state may take from the signal on that tells the launcher to stop."""


async def finish(session: TaskSession, failure: Exception | None, termination: Termination) -> bool:
    """Write the final state and pass it up the DAG; whether the row holds it."""
    recorded = False

    async def write() -> None:
        nonlocal recorded
        row = await session.write_state(_final_patch(failure, session.task))
        recorded = True
        await propagate_statuses(session.view, row)

    try:
        await termination.hurry(write(), seconds=_TERMINATION_SECONDS)
    except (KfpApiError, TimeoutError) as error:
        what = "the states of the enclosing DAGs" if recorded else "the task's final state"
        note(f"{what} could not be written: {error}")
    return recorded


async def fail_unopened(
    line: CommandLine, client: KfpApiClient, failure: Exception, termination: Termination
) -> None:
    """Leave no row running when start-up failed; an importer's, which we create ourselves, is not there."""
    run_id, task_id = line.values["run_id"], line.values["task_id"]
    if line.values["executor_type"] != CONTAINER:
        return

    async def write() -> None:
        row = await client.get_task(run_id, task_id)
        await client.write_task(run_id, task_id, _final_patch(failure, row))

    try:
        await termination.hurry(write(), seconds=_TERMINATION_SECONDS)
    except (KfpApiError, TimeoutError) as error:
        note(f"the task could not be marked as failed: {error}")


def _final_patch(failure: Exception | None, row: PipelineTask) -> PipelineTask:
    """The sparse patch of the final state, with every property that the row has."""
    ended = datetime.now(UTC)
    if failure is None:
        return PipelineTask(state=TaskState.SUCCEEDED, end_time=ended)
    told = isinstance(failure, TerminatedError)
    message = str(failure) if told else f"failed to execute component: {failure}"
    metadata = StatusMetadata(message=message, custom_properties=row.custom_properties)
    return PipelineTask(state=TaskState.FAILED, end_time=ended, status_metadata=metadata)

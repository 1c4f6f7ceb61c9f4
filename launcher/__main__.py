"""``python -m launcher``: run one task of a KFP run, with the command line of KFP's own launcher.

Exit status: 0 when the task succeeded, 1 when it failed, 2 for a wrong command line, 143 when it was told
to stop. ``KFP_LAUNCHER_PROPAGATE_EXIT=1`` returns the user command's own status instead of 1.
"""

import asyncio
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from kfp_api.client import KfpApiClient
from kfp_api.errors import KfpApiError
from kfp_api.messages import PipelineTask, StatusMetadata, TaskState
from launcher import flags
from launcher.attempt import note, run_container
from launcher.errors import LauncherError, TerminatedError, UserCommandError
from launcher.flags import CONTAINER, CommandLine
from launcher.importer import create_row, parse_spec, run_importer
from launcher.process import Termination
from launcher.session import TaskSession, api_client, open_session
from propagation.statuses import propagate_statuses
from resolver.errors import ResolutionError

_TERMINATION_SECONDS: Final = 8.0
_FAILURES: Final = (LauncherError, KfpApiError, ResolutionError)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the launcher; returns its exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if any(argument in ("-h", "-help", "--help") for argument in arguments[:1]):
        print(flags.usage())  # noqa: T201
        return 0
    try:
        line = flags.parse(arguments)
        if line.values["copy"]:
            shutil.copy(sys.argv[0], line.values["copy"])
            Path(line.values["copy"]).chmod(0o555)
            return 0
        flags.check_required(line)
        return asyncio.run(_run(line, os.environ))
    except (LauncherError, OSError) as error:
        note(str(error))
        return error.exit_status if isinstance(error, LauncherError) else 1


async def _run(line: CommandLine, environment: Mapping[str, str]) -> int:
    termination = Termination()
    termination.install()
    async with api_client(line, environment) as client:
        try:
            session = await termination.guard(_open(line, client, environment))
        except _FAILURES as error:
            note(f"failed to execute launcher: {error}")
            await _fail_unopened(line, client, error)
            return _exit_status(error, environment)
        failure = await _execute(session, line, environment, termination)
        recorded = await _finish(session, failure)
    if failure is None:
        return 0 if recorded else 1
    note(f"failed to execute launcher: failed to execute component: {failure}")
    return _exit_status(failure, environment)


def _exit_status(failure: Exception, environment: Mapping[str, str]) -> int:
    if isinstance(failure, UserCommandError) and environment.get("KFP_LAUNCHER_PROPAGATE_EXIT") == "1":
        return failure.user_status
    return failure.exit_status if isinstance(failure, LauncherError) else 1


async def _open(line: CommandLine, client: KfpApiClient, environment: Mapping[str, str]) -> TaskSession:
    if line.values["executor_type"] == CONTAINER:
        task = await client.get_task(line.values["run_id"], line.values["task_id"])
        return await open_session(line, client, environment=environment, task=task)
    session = await open_session(line, client, environment=environment, task=None)
    return await create_row(session, parse_spec(line))


async def _execute(
    session: TaskSession, line: CommandLine, environment: Mapping[str, str], termination: Termination
) -> Exception | None:
    """Do the task's work; the failure, if it failed."""
    try:
        if line.values["executor_type"] == CONTAINER:
            await run_container(session, line, environment=environment, termination=termination)
        else:
            await termination.guard(run_importer(session, parse_spec(line)))
    except _FAILURES as error:
        return error
    return None


async def _finish(session: TaskSession, failure: Exception | None) -> bool:
    """Write the final state and pass it up the DAG; whether the row holds it (spec LAUNCHER A13).

    A failed walk leaves a succeeded task succeeded: its outputs are complete, and the next task that ends
    evaluates the same ancestors.
    """
    recorded = False
    try:
        async with asyncio.timeout(_limit(failure)):
            await session.update(_final_patch(failure, session.task))
            recorded = True
            row = await session.view.task(session.task.task_id, fresh=True)
            await propagate_statuses(session.view, row)
    except (*_FAILURES, TimeoutError) as error:
        what = "the states of the enclosing DAGs" if recorded else "the task's final state"
        note(f"{what} could not be written: {str(error) or 'no time left'}")
    return recorded


async def _fail_unopened(line: CommandLine, client: KfpApiClient, failure: Exception) -> None:
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


if __name__ == "__main__":
    sys.exit(main())

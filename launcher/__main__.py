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
            session = await _open(line, client, environment)
        except _FAILURES as error:
            note(f"failed to execute launcher: {error}")
            await _fail_unopened(line, client, str(error))
            return 1
        failure = await _execute(session, line, environment, termination)
        finished = await _finish(session, failure)
        if failure is None:
            return 0 if finished else 1
    note(f"failed to execute launcher: failed to execute component: {failure}")
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
            await run_importer(session, parse_spec(line))
    except _FAILURES as error:
        return error
    return None


async def _finish(session: TaskSession, failure: Exception | None) -> bool:
    """Write the final state and pass it up the DAG; whether the row holds it (spec LAUNCHER A13).

    A failed walk leaves a succeeded task succeeded: its outputs are complete, and the next task that ends
    evaluates the same ancestors.
    """
    patch = PipelineTask(state=TaskState.SUCCEEDED, end_time=datetime.now(UTC))
    if failure is not None:
        message = (
            str(failure)
            if isinstance(failure, TerminatedError)
            else f"failed to execute component: {failure}"
        )
        patch = PipelineTask(
            state=TaskState.FAILED, end_time=datetime.now(UTC), status_metadata=session.with_message(message)
        )
    limit = _TERMINATION_SECONDS if isinstance(failure, TerminatedError) else None
    try:
        async with asyncio.timeout(limit):
            await session.update(patch)
    except (KfpApiError, TimeoutError) as error:
        note(f"the task's final state could not be written: {error}")
        return False
    try:
        async with asyncio.timeout(limit):
            row = await session.view.task(session.task.task_id, fresh=True)
            await propagate_statuses(session.view, row)
    except (*_FAILURES, TimeoutError) as error:
        note(f"the states of the enclosing DAGs were not updated: {error}")
    return True


async def _fail_unopened(line: CommandLine, client: KfpApiClient, message: str) -> None:
    """Leave no row running when start-up failed."""
    task_id = line.values["task_id"]
    if not task_id:
        return
    try:
        row = await client.get_task(line.values["run_id"], task_id)
        metadata = StatusMetadata(message=message, custom_properties=row.custom_properties)
        patch = PipelineTask(state=TaskState.FAILED, end_time=datetime.now(UTC), status_metadata=metadata)
        await client.update_task(line.values["run_id"], task_id, patch)
    except KfpApiError as error:
        note(f"the task could not be marked as failed: {error} (after: {message})")


if __name__ == "__main__":
    sys.exit(main())

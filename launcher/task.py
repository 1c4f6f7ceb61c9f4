"""One task from its command line to its exit status, however it ends (spec LAUNCHER A3, A4, A13, A16, B)."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NoReturn

from kfp_api.client import KfpApiClient
from kfp_api.errors import KfpApiError
from kfp_api.ir.load import InvalidPipelineError
from launcher.attempt import run_container
from launcher.errors import LauncherError, TerminatedError, UserCommandError
from launcher.finalisation import fail_unopened, finish
from launcher.flags import CONTAINER, CommandLine
from launcher.modelcars import release_modelcars
from launcher.note import note
from launcher.session import TaskSession, api_client, open_session
from launcher.termination import Termination
from resolver.errors import ResolutionError

_FAILURES: Final = (LauncherError, KfpApiError, InvalidPipelineError, ResolutionError, OSError)
"""What a task can fail of; anything else is a bug of ours."""

_ROW_SECONDS: Final = 5.0
"""How long creating an importer's row may take from the signal on that tells the launcher to stop."""


async def run(line: CommandLine, environment: Mapping[str, str], ca_file: str) -> int:
    """Run the task of ``line``; the launcher's exit status.

    ``ca_file`` are the trust anchors for object stores; empty uses the system's.
    """
    termination = Termination()
    termination.install()
    async with api_client(line, environment) as client:
        try:
            status = await run_task(line, client, environment, ca_file, termination)
        finally:
            release_modelcars(line.values["executor_input"])
    if termination.requested.is_set():
        _leave(status, ca_file)
    return status


def _leave(status: int, ca_file: str) -> NoReturn:
    """End at once: transfers under way run in threads, which nobody can cancel and Python would wait for."""
    if ca_file:
        Path(ca_file).unlink(missing_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


async def run_task(
    line: CommandLine,
    client: KfpApiClient,
    environment: Mapping[str, str],
    ca_file: str,
    termination: Termination,
) -> int:
    """As :func:`run`, with an open client, and a termination that has been installed or never comes."""
    try:
        session = await _open(line, client, environment, ca_file, termination)
    except _FAILURES as error:
        note(f"failed to execute launcher: {error}")
        await fail_unopened(line, client, error, termination)
        return _exit_status(error, environment)
    failure = await _execute(session, line, environment, termination)
    recorded = await finish(session, failure, termination)
    if failure is None:
        return 0 if recorded else 1
    note(f"failed to execute launcher: failed to execute component: {failure}")
    return _exit_status(failure, environment)


def _exit_status(failure: Exception, environment: Mapping[str, str]) -> int:
    if isinstance(failure, UserCommandError) and environment.get("KFP_LAUNCHER_PROPAGATE_EXIT") == "1":
        return failure.user_status
    return failure.exit_status if isinstance(failure, LauncherError) else 1


async def _open(
    line: CommandLine,
    client: KfpApiClient,
    environment: Mapping[str, str],
    ca_file: str,
    termination: Termination,
) -> TaskSession:
    task = None
    if line.values["executor_type"] == CONTAINER:
        task = await termination.guard(client.get_task(line.values["run_id"], line.values["task_id"]))
    opening = open_session(line, client, environment=environment, task=task, ca_file=ca_file)
    session = await termination.guard(opening)
    if task is not None:
        return session
    from launcher.importer import create_row  # noqa: PLC0415 (resolving inputs is an importer's only)

    try:
        # Not cut short at once: a row that nobody knows of would stay running.
        return await termination.hurry(create_row(session, line), seconds=_ROW_SECONDS)
    except TimeoutError:
        raise TerminatedError(termination.signal_name) from None


async def _execute(
    session: TaskSession, line: CommandLine, environment: Mapping[str, str], termination: Termination
) -> Exception | None:
    """Do the task's work; the failure, if it failed."""
    try:
        if line.values["executor_type"] == CONTAINER:
            await run_container(session, line, environment=environment, termination=termination)
        else:
            from launcher.importer import run_importer  # noqa: PLC0415 (as above)

            await termination.guard(run_importer(session, line))
    except _FAILURES as error:
        return error
    except Exception as bug:
        # The row must not stay running; the stack trace is for us.
        await finish(session, LauncherError(f"internal error of the launcher: {bug!r}"), termination)
        raise
    finally:
        if not termination.requested.is_set():
            # Else a thread may use them still, and we leave without waiting for it.
            session.stores.close()
    return None

"""``kfp-driver local status`` and ``stop``: what the stack of a data directory is doing, and its end."""

import asyncio
import os
import signal
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from kfp_api.client import KfpApiClient
from kfp_api.errors import KfpApiError
from kfp_api.messages import Run, TaskState
from kfp_api.wire import EPOCH
from local_stack.data_directory import DataDirectory
from local_stack.run_queue import unfinished_runs
from local_stack.terminal import Screen, duration_text
from local_stack.up import RunningStack, running_stack

NOT_RUNNING: Final = 3
"""Exit code of ``status`` when no stack is up, as service managers use it."""

_LATEST: Final = 10
_POLL: Final = 0.05


class StopError(Exception):
    """The stack did not stop; the text is one line for the user."""

    exit_code = 1


def show_status(data_directory: Path, screen: Screen | None = None) -> int:
    """Print where the stack is and what its runs do; returns the exit code."""
    data, screen = DataDirectory.at(data_directory), screen or Screen.of()
    stack = running_stack(data)
    if stack is None:
        holder = data.holder()
        if holder:
            screen.line(f"no stack is up on {data.root}; process {holder['pid']} runs {holder['command']}")
        else:
            screen.line(f"no stack is up on {data.root}; kfp-driver local up{data.option} starts one")
        return NOT_RUNNING
    screen.line(f"up since {stack.since}, process {stack.pid}")
    if not stack.api_url:
        screen.line("its services are starting")
        return 0
    screen.line(f"KFP API at {stack.api_url}")
    try:
        asyncio.run(_show_runs(stack, screen))
    except KfpApiError as error:
        screen.line(f"the KFP API does not answer: {error}")
    return 0


async def _show_runs(stack: RunningStack, screen: Screen) -> None:
    async with KfpApiClient(stack.api_url, retry_deadline_seconds=3.0) as client:
        unfinished = [run async for run in unfinished_runs(client)]
        latest = (await client.list_runs(sort_by="created_at desc", page_size=_LATEST)).runs
        done = [run for run in latest if run.is_finished]
        if not unfinished and not done:
            screen.line("no runs yet")
            return
        screen.line()
        screen.line(screen.paint(f"{'RUN':<38}{'STATE':<11}{'TASKS':>6}{'TIME':>8}  NAME", "dim"))
        for run in [*unfinished, *done]:
            ended = await _ended_tasks(client, run)
            tasks = f"{ended}/{run.task_count}" if run.task_count else "-"
            state = screen.paint(f"{run.state.value.lower():<11}", run.state.value.lower())
            screen.line(f"{run.run_id:<38}{state}{tasks:>6}{_time(run):>8}  {run.display_name}")


async def _ended_tasks(client: KfpApiClient, run: Run) -> int:
    if run.is_finished:
        return run.task_count
    tasks = [task async for task in client.iterate_tasks(run.run_id)]
    return sum(task.state is not TaskState.RUNNING for task in tasks)


def _time(run: Run) -> str:
    if run.created_at is None:
        return ""
    end = run.finished_at if run.finished_at not in (None, EPOCH) else datetime.now(UTC)
    return duration_text((end - run.created_at).total_seconds(), decimals=0)


def stop_stack(data_directory: Path, *, timeout_seconds: float, screen: Screen | None = None) -> int:
    """Stop the stack and wait until everything it started has ended; returns the exit code.

    Raises:
        StopError: it is still there after ``timeout_seconds``.
    """
    data, screen = DataDirectory.at(data_directory), screen or Screen.of()
    stack = running_stack(data)
    if stack is None:
        screen.line(f"no stack is up on {data.root}")
        return 0
    os.kill(stack.pid, signal.SIGTERM)
    end = time.monotonic() + timeout_seconds
    while data.holder() is not None:
        if time.monotonic() > end:
            raise StopError(f"process {stack.pid} has not stopped after {timeout_seconds:g} seconds")
        time.sleep(_POLL)
    screen.line(f"stopped; unfinished runs go on at the next kfp-driver local up{data.option}")
    return 0

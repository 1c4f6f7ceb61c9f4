"""Shows driver logs of a run: a list of all, or the log of one task.

Without TASK it lists the driver calls of the run, one line each. With TASK it prints the log of the latest
call, with --all those of every call, the oldest first. --follow goes on with new calls until the run (or the
task) has ended; a log appears when its call is over.

Exit codes: 0 shown, 1 the log store or the KFP API does not answer, 2 no such run or task, or wrong usage.
"""

import argparse
import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from driver_plugin.errors import UsageError
from driver_plugin.system_logs.store import Listing, LogStoreError, StoredLog
from kfp_api.client import KfpApiClient
from kfp_api.errors import KfpApiError
from kfp_api.ir.load import InvalidPipelineError
from kfp_api.messages import TERMINAL_STATES, Run
from kfp_api.named_runs import find_run
from kfp_api.run_view import RunCache, RunView
from resolver.scope import ROOT
from troubleshooting.explain_command import TroubleError
from troubleshooting.finding import FoundTask, find_task, row_at
from troubleshooting.logs import DriverLogs
from troubleshooting.printing import print_lines, print_text
from troubleshooting.source import SOURCE_EPILOG, Source, add_source_options, open_source

POLL_SECONDS: Final = 2.0

_TITLES: Final = ("when", "bytes", "task", "call")

_EPILOG = """\
examples:
  kfp-driver logs latest
  kfp-driver logs latest train
  kfp-driver logs latest --follow
  kfp-driver logs 7d0e2f5c ROOT --api-url http://localhost:8888 --token-file token
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.epilog = f"{_EPILOG}\n{SOURCE_EPILOG}"
    parser.add_argument("run", metavar="RUN", help="which run: id, beginning of one, display name, or latest")
    parser.add_argument(
        "task", metavar="TASK", nargs="?", help="which task: name, train.2, scope path; ROOT is the run's own"
    )
    parser.add_argument("--all", action="store_true", help="with TASK: the logs of all its calls")
    parser.add_argument("--follow", action="store_true", help="go on with new calls until it has ended")
    add_source_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Show logs; returns the exit code."""
    return asyncio.run(_run(arguments))


async def _run(arguments: argparse.Namespace) -> int:
    async with open_source(arguments) as source:
        try:
            await show_logs(source, arguments)
        except (KfpApiError, InvalidPipelineError, LogStoreError) as error:
            raise TroubleError(str(error)) from error
    return 0


@dataclass(frozen=True, kw_only=True)
class _Wanted:
    """Which logs: how to list them, and whether new ones may still come."""

    title: str
    list_logs: Callable[[], Awaitable[Listing]]
    has_ended: Callable[[], Awaitable[bool]]


async def show_logs(
    source: Source,
    arguments: argparse.Namespace,
    *,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Print what the arguments ask for.

    Raises:
        UsageError: there is no such run, task or log.
        LogStoreError: the store does not answer.
        KfpApiError: the server does not answer, or refuses.
    """
    found = await _find_run(source, arguments)
    wanted = await _wanted(source, found, arguments.task)
    if arguments.follow:
        async for log in _follow(wanted, sleep):
            print_text(await source.logs.read(log))
        return
    listing = await wanted.list_logs()
    if not listing.logs:
        raise UsageError(f"there are no driver logs of {wanted.title} in {source.logs.root} (yet)")
    if arguments.task is None:
        print_lines(_table(listing))
        return
    for log in listing.logs if arguments.all else listing.logs[-1:]:
        print_text(await source.logs.read(log))


async def _find_run(source: Source, arguments: argparse.Namespace) -> Run:
    found = await find_run(source.client, arguments.run, namespace=arguments.namespace)
    if not source.logs.root:
        root = await row_at(source.client, found.run_id, ROOT)
        if root is not None:
            source.logs.learn_from(root)
    return found


async def _wanted(source: Source, found: Run, task_text: str | None) -> _Wanted:
    client, logs = source.client, source.logs
    if task_text is None:

        async def run_has_ended() -> bool:
            return (await client.get_run(found.run_id)).is_finished

        return _Wanted(
            title=f"run {found.run_id}",
            list_logs=lambda: logs.of_run(found.run_id),
            has_ended=run_has_ended,
        )
    pipeline = await RunView(client, found.run_id, cache=RunCache()).pipeline()
    task = await find_task(client, found, pipeline.spec, task_text)
    return await _wanted_task(client, logs, found, task)


async def _wanted_task(client: KfpApiClient, logs: DriverLogs, found: Run, task: FoundTask) -> _Wanted:
    parent = ""
    if task.row is not None:
        parent = task.row.parent_task_id or ""
    elif task.scope_path != ROOT:
        row = await row_at(client, found.run_id, task.scope_path.rpartition(".")[0])
        if row is None:
            raise UsageError(f"{task.name} was not started, and neither was what encloses it")
        parent = row.task_id

    async def task_has_ended() -> bool:
        row = await row_at(client, found.run_id, task.scope_path, task.iteration_index)
        return (row is not None and row.state in TERMINAL_STATES) or (
            await client.get_run(found.run_id)
        ).is_finished

    return _Wanted(
        title=f"task {task.name}",
        list_logs=lambda: logs.of_task(
            found.run_id, parent_task_id=parent, name=task.name, iteration_index=task.iteration_index
        ),
        has_ended=task_has_ended,
    )


async def _follow(wanted: _Wanted, sleep: Callable[[float], Awaitable[None]]) -> AsyncIterator[StoredLog]:
    """Each log once, as it appears; asks for the end before it lists, so that no last log is missed."""
    seen: set[str] = set()
    while True:
        ended = await wanted.has_ended()
        for log in (await wanted.list_logs()).logs:
            if log.key not in seen:
                seen.add(log.key)
                yield log
        if ended:
            return
        await sleep(POLL_SECONDS)


def _table(listing: Listing) -> list[str]:
    rows = [
        (
            f"{log.modified:%Y-%m-%d %H:%M:%S}",
            f"{log.size:,}",
            log.scope.rpartition("/")[2],
            log.invocation_id,
        )
        for log in listing.logs
    ]
    lines = [f"{when:<19}  {size:>9}  {task:<40}  {call}" for when, size, task, call in (_TITLES, *rows)]
    return [*lines, f"... and more: {len(rows)} are listed"] if listing.truncated else lines

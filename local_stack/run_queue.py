"""The queue of runs: what the KFP API has that is not finished, executed in order of creation.

The API's database is the queue, and nothing else is: a run that was submitted while nobody executed, or
that was being executed when the runner was killed, is found by the same question. Termination, retry and
deletion are seen there too.
"""

import asyncio
import traceback
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Final, Protocol

from compiler.errors import CompilerError
from kfp_api.client import KfpApiClient
from kfp_api.errors import ApiNotFoundError, KfpApiError
from kfp_api.filters import Filter, Predicate, PredicateOperation, StringValues
from kfp_api.ir.load import InvalidPipelineError
from kfp_api.messages import Run, RuntimeState
from local_stack.data_directory import refusal
from local_stack.run_execution import Machine, RunExecution, report_unstarted
from local_stack.run_record import RunOptions
from local_stack.runner.engine import Observer
from local_stack.runner.errors import RunnerError
from local_stack.runner.nodes import Node

POLL_SECONDS: Final = 0.25
PAUSE_SECONDS: Final = 5.0
"""Before a run that something outside interrupted is tried again."""
_UNFINISHED: Final = Filter(
    predicates=[
        Predicate(
            operation=PredicateOperation.IN,
            key="state",
            string_values=StringValues(values=["PENDING", "RUNNING", "CANCELING"]),
        )
    ]
)


class Audience(Protocol):
    """Who is told what happens to runs."""

    def started(self, execution: RunExecution) -> Observer:
        """A run starts or goes on; returns what observes its nodes."""

    def ended(self, run: Run, root: Node) -> None:
        """A run was executed to its end."""

    def note(self, run: Run | None, text: str) -> None:
        """Something else that people should know, about one run or about all."""


class RunQueue:
    """Executes the runs of one machine, up to ``max_runs`` at once."""

    def __init__(self, machine: Machine, *, options: RunOptions, max_runs: int, audience: Audience) -> None:
        self._machine = machine
        self._options = options
        self._max_runs = max_runs
        self._audience = audience
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._executions: dict[str, RunExecution] = {}

    async def serve(self) -> None:
        """Execute what is there and what comes, until cancelled; what is unfinished then stays so."""
        reachable = True
        try:
            while True:
                try:
                    await self._look()
                    reachable = True
                except KfpApiError as error:
                    if reachable:
                        self._audience.note(None, f"the queue cannot be read: {error}")
                    reachable = False
                await asyncio.sleep(POLL_SECONDS)
        finally:
            await self._leave()

    async def _look(self) -> None:
        before = set(self._executions)
        runs = [run async for run in unfinished_runs(self._machine.client)]
        for run in runs:
            execution = self._executions.get(run.run_id)
            if execution is not None and run.state is RuntimeState.CANCELING:
                execution.terminate()
            if run.run_id not in self._tasks and len(self._tasks) < self._max_runs:
                self._start(run.run_id)
        for run_id in before - {run.run_id for run in runs}:
            if run_id in self._executions:
                await self._stop_if_gone(run_id)

    async def _stop_if_gone(self, run_id: str) -> None:
        """End the executors of a run that somebody deleted."""
        try:
            await self._machine.client.get_run(run_id)
        except ApiNotFoundError:
            if run_id in self._tasks:
                self._tasks[run_id].cancel()

    def _start(self, run_id: str) -> None:
        task = asyncio.create_task(self._execute(run_id), name=f"run {run_id}")
        self._tasks[run_id] = task
        task.add_done_callback(lambda _done: self._tasks.pop(run_id, None))

    async def _execute(self, run_id: str) -> None:
        # The list may be older than the end of the run's last execution.
        run = await self._machine.client.get_run(run_id)
        if run.is_finished:
            return
        try:
            try:
                execution = await RunExecution.open(self._machine, run, self._options)
            except (CompilerError, InvalidPipelineError, RunnerError) as error:
                await self._refuse(run, str(error))
                return
            self._executions[run_id] = execution
            root = await execution.execute(
                observer=self._audience.started(execution),
                warn=lambda text: self._audience.note(run, text),
            )
            self._audience.ended(run, root)
        except ApiNotFoundError:
            self._audience.note(run, "the run was deleted")
        except KfpApiError as error:
            # It is still unfinished, so the queue comes back to it.
            await self._interrupted(run, str(error))
        except Exception as error:  # noqa: BLE001 (the outermost place of one run)
            if reason := refusal(error):
                await self._interrupted(run, f"the data directory: {reason}")
                return
            # A defect of ours in one run must not take the others with it, nor be met again for ever.
            self._audience.note(run, f"internal error\n{traceback.format_exc()}")
            await self._refuse(run, "internal error of the local runner; its output has the details")
        finally:
            self._executions.pop(run_id, None)

    async def _interrupted(self, run: Run, reason: str) -> None:
        self._audience.note(run, f"interrupted: {reason}; it goes on in {PAUSE_SECONDS:g} seconds")
        await asyncio.sleep(PAUSE_SECONDS)

    async def _refuse(self, run: Run, message: str) -> None:
        """End a run that cannot be executed."""
        self._audience.note(run, f"cannot be executed: {message}")
        record = self._machine.records.get(run.run_id)
        if record is not None:
            self._machine.records.save(replace(record, message=message))
        await self._machine.client.report_workflow(report_unstarted(run, message))

    async def _leave(self) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


def unfinished_runs(client: KfpApiClient) -> AsyncIterator[Run]:
    """Runs that are waiting, at work or being terminated, oldest first."""
    return client.iterate_runs(filter=_UNFINISHED, sort_by="created_at")

"""What a runner and the server agree on: runs as a queue, claims, termination, retry, resumption.

Oracle: KFP's state machine (spec KFP_API 6.5 and 6.7), played from the runner's side through the client
that the runner uses, against the server on a loopback port.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kfp_api.client import KfpApiClient
from kfp_api.errors import ApiConflictError, ApiRequestError, RunIsTerminalError
from kfp_api.filters import Filter, Predicate, PredicateOperation, StringValues
from kfp_api.messages import PipelineTask, Run, RuntimeState, TaskState, TaskType
from tests.embedded_api import embedded_api

from .conftest import SPEC

UNFINISHED = Filter(
    predicates=[
        Predicate(
            key="state",
            operation=PredicateOperation.IN,
            string_values=StringValues(values=["PENDING", "RUNNING", "CANCELING"]),
        )
    ]
)


class Runner:
    """Sees and reports what a runner sees and reports."""

    def __init__(self, client: KfpApiClient) -> None:
        self.client = client

    async def submit(self, name: str) -> str:
        return (await self.client.create_run(Run(display_name=name, pipeline_spec=SPEC))).run_id

    async def queue(self) -> list[tuple[str, RuntimeState]]:
        runs = self.client.iterate_runs(filter=UNFINISHED, sort_by="created_at")
        return [(run.display_name, run.state) async for run in runs]

    async def report(self, run_id: str, phase: str) -> RuntimeState:
        """Report a phase; the state of the run after it."""
        await self.client.report_workflow(
            {
                "metadata": {"name": "wf", "labels": {"pipeline/runid": run_id}},
                "spec": {},
                "status": {"phase": phase},
            }
        )
        return (await self.client.get_run(run_id)).state

    async def task(self, run_id: str, name: str, state: TaskState) -> PipelineTask:
        return await self.client.create_task(
            PipelineTask(
                run_id=run_id, name=name, scope_path=f"root.{name}", type=TaskType.RUNTIME, state=state
            )
        )

    async def task_states(self, run_id: str) -> dict[str, TaskState]:
        return {task.name: task.state async for task in self.client.iterate_tasks(run_id)}


@pytest.fixture
async def runner(tmp_path: Path) -> AsyncIterator[Runner]:
    async with embedded_api(tmp_path) as url, KfpApiClient(url) as client:
        yield Runner(client)


async def test_unfinished_runs_are_a_queue(runner: Runner) -> None:
    for name in ("ended", "stopping", "claimed", "waiting"):
        run_id = await runner.submit(name)
        if name in ("ended", "claimed"):
            await runner.report(run_id, "Running")
        if name == "ended":
            await runner.report(run_id, "Succeeded")
        if name == "stopping":
            await runner.client.terminate_run(run_id)
    # All were created in the same second, in which the order is that of their ids.
    assert sorted(await runner.queue()) == [
        ("claimed", RuntimeState.RUNNING),
        ("stopping", RuntimeState.CANCELING),
        ("waiting", RuntimeState.PENDING),
    ]


async def test_a_claim_loses_against_an_earlier_termination(runner: Runner) -> None:
    run_id = await runner.submit("a")
    await runner.client.terminate_run(run_id)
    assert await runner.report(run_id, "Running") is RuntimeState.CANCELING
    assert await runner.report(run_id, "Failed") is RuntimeState.FAILED
    assert await runner.queue() == []


async def test_executors_of_a_canceling_run_may_still_write_until_it_has_ended(runner: Runner) -> None:
    run_id = await runner.submit("a")
    await runner.report(run_id, "Running")
    task = await runner.task(run_id, "train", TaskState.RUNNING)
    await runner.client.terminate_run(run_id)
    with pytest.raises(ApiRequestError, match="Failed to terminate a run"):
        await runner.client.terminate_run(run_id)
    failed = PipelineTask(state=TaskState.FAILED)
    await runner.client.update_task(run_id, task.task_id, failed)
    await runner.task(run_id, "late", TaskState.RUNNING)
    await runner.report(run_id, "Failed")
    assert await runner.task_states(run_id) == {"train": TaskState.FAILED, "late": TaskState.FAILED}
    with pytest.raises(RunIsTerminalError):
        await runner.client.update_task(run_id, task.task_id, PipelineTask(state=TaskState.SUCCEEDED))


async def test_a_retried_run_is_back_in_the_queue_with_its_tasks_reset(runner: Runner) -> None:
    run_id = await runner.submit("a")
    await runner.report(run_id, "Running")
    await runner.task(run_id, "done", TaskState.SUCCEEDED)
    broken = await runner.task(run_id, "broken", TaskState.FAILED)
    with pytest.raises(ApiConflictError):
        await runner.client.retry_run(run_id)
    await runner.report(run_id, "Failed")
    await runner.client.retry_run(run_id)
    assert await runner.queue() == [("a", RuntimeState.RUNNING)]
    assert await runner.task_states(run_id) == {"done": TaskState.SUCCEEDED, "broken": TaskState.RUNNING}
    # The driver of the failed node is called again and finds its row, not a second one.
    assert (await runner.task(run_id, "broken", TaskState.RUNNING)).task_id == broken.task_id
    assert await runner.report(run_id, "Succeeded") is RuntimeState.SUCCEEDED


async def test_a_run_that_was_stopped_before_it_began_can_be_retried(runner: Runner) -> None:
    run_id = await runner.submit("a")
    await runner.client.terminate_run(run_id)
    await runner.report(run_id, "Failed")
    await runner.client.retry_run(run_id)
    assert await runner.queue() == [("a", RuntimeState.RUNNING)]


async def test_the_queue_survives_the_server(tmp_path: Path) -> None:
    for names in (["first"], ["first", "second"]):
        async with embedded_api(tmp_path) as url, KfpApiClient(url) as client:
            runner = Runner(client)
            await runner.submit(names[-1])
            assert sorted(name for name, _ in await runner.queue()) == names

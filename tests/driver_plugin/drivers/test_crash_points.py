"""A call killed at any of its API requests and delivered again, or delivered to two processes at once.

Promise: the same stored rows and the same reply, byte for byte once timestamps and the log's invocation id
are masked. Oracle: the undisturbed call of the same scenario, and the rule that the stored row answers
repetitions while memory joins calls in flight and nothing else. The server is the embedded KFP API, as it is
and held to what KFP's own server does and accepts; ids that it draws anew for each run are compared by what
they name.
"""

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest

import driver_plugin.drivers
import kfp_api.run_view
import propagation
from kfp_api.messages import TaskState
from tests.driver_plugin.drivers import stored_rows
from tests.driver_plugin.drivers.crash_scenarios import MADE, SCENARIOS, STORED, Due, Scenario
from tests.driver_plugin.drivers.processes import Break, Process, World, without_invocation, world
from tests.driver_plugin.drivers.stored_rows import Stored
from tests.upstream_server import upstream_app

FIND_CACHED = "POST /apis/v2beta1/tasks:findCached"


@dataclass(frozen=True)
class Point:
    """A request of a process by its number, and whether the server had done its work."""

    request: int
    answered: bool


def deaths(requests: list[str], numbers: Iterable[int]) -> list[Point]:
    """Before each of those requests, and after it where it writes: a read leaves nothing behind."""
    return [
        Point(number, answered)
        for number in numbers
        for answered in (False, True)
        if not answered or not requests[number].startswith(("GET ", FIND_CACHED))
    ]


@pytest.fixture(params=["embedded", pytest.param("upstream's rules", marks=pytest.mark.slow)])
async def servers(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[World]:
    api = None if request.param == "embedded" else upstream_app(tmp_path / "upstream.sqlite")
    async with world(tmp_path, api=api) as running:
        yield running


OPERATIONS = {
    "count_tasks": "ListTasks",
    "create_artifact_tasks": "CreateArtifactTasksBulk",
    "create_task": "CreateTask",
    "find_cached_task": "FindCachedTask",
    "get_parent": "GetTask",
    "get_run": "GetRun",
    "get_task": "GetTask",
    "iterate_tasks": "ListTasks",
    "list_tasks": "ListTasks",
    "update_task": "UpdateTask",
    "write_task": "UpdateTask",
    "write_tasks": "UpdateTasksBulk",
}
"""Client methods that the drivers use, and the requests that they make."""

QUICK = {
    "ROOT_DAG: triggered",
    "DAG: triggered loop",
    "DAG: skipped by its condition",
    "CONTAINER: triggered",
    "CONTAINER: cached",
    "CONTAINER: failed after its row",
    "CONTAINER: claim created",
}
"""One end of each kind, for the quick suite; the slow suite has all of them."""

every_end = pytest.mark.parametrize(
    "scenario",
    [
        pytest.param(one, id=one.name, marks=() if one.name in QUICK else pytest.mark.slow)
        for one in SCENARIOS
    ],
)


async def prepared(servers: World, scenario: Scenario) -> Due:
    servers.cluster.claims.clear()
    servers.mlflow.runs.clear()
    return await scenario.prepare(servers.setup)


def tracked(servers: World) -> list[dict[str, str]]:
    """What MLflow knows, but for ids and times."""
    names = ("name", "status", "params", "metrics")
    return [{name: str(run[name]) for name in names if name in run} for run in servers.mlflow.runs.values()]


async def stored(servers: World, scenario: Scenario, run_id: str) -> Stored:
    return await stored_rows.stored(servers.setup.client, run_id, whole_history=scenario.phase != "Failed")


def requests_of(servers: World, process: Process) -> list[str]:
    return servers.breaker.requests.get(process.name, [])


async def killed(servers: World, due: Due, point: Point) -> str:
    """Deliver the call to a process that dies at ``point``; the request at which it died."""
    async with servers.process() as process:
        stop = servers.breaker.breaks[process.name] = Break(point)
        call = asyncio.create_task(process.deliver(due.args))
        await stop.reached_or(call)
        assert stop.reached.is_set(), f"{point} was not reached"
        await process.invocations.drain(0)
        stop.goes_on.set_result(False)
        await call
    return requests_of(servers, process)[point.request]


@every_end
async def test_a_call_killed_at_any_request_and_repeated_ends_as_if_undisturbed(
    servers: World, scenario: Scenario
) -> None:
    due = await prepared(servers, scenario)
    async with servers.process() as process:
        reply = await process.deliver(due.args)
    expected, expected_runs = await stored(servers, scenario, due.run.run_id), tracked(servers)
    assert reply["node"]["phase"] == scenario.phase
    made = {expected.masks(request) for request in requests_of(servers, process)}
    covered: set[str] = set()
    first = requests_of(servers, process)
    plans = [[point] for point in deaths(first, range(len(first)))]
    planned: set[str] = set(made)
    done = 0
    while plans:
        plan = plans.pop(0)
        due = await prepared(servers, scenario)
        broken = [await killed(servers, due, point) for point in plan]
        async with servers.process() as process:
            repeated = await process.deliver(due.args)
        found = await stored(servers, scenario, due.run.run_id)
        assert found.rows == expected.rows, f"killed at {plan}"
        assert found.reply(repeated) == expected.reply(reply), f"killed at {plan}"
        assert tracked(servers) == expected_runs, f"killed at {plan}"
        done += 1
        covered |= {found.masks(request) for request in broken}
        # A repetition asks what a first delivery does not: it can be killed there, too.
        again = requests_of(servers, process)
        for number, request in enumerate(map(found.masks, again)):
            made.add(request)
            if request not in planned:
                planned.add(request)
                plans += [[*plan, point] for point in deaths(again, [number])]
    sys.stdout.write(f"{scenario.name}: {len(made)} requests, {done} crash points\n")
    assert made - covered == set(), "requests that no crash point covers"


@every_end
async def test_a_call_repeated_after_its_end_changes_nothing(servers: World, scenario: Scenario) -> None:
    due = await prepared(servers, scenario)
    replies, rows = [], []
    async with servers.process() as process, servers.process() as other:
        for one in (process, process, other):
            replies.append(without_invocation(await one.deliver(due.args)))
            rows.append((await stored(servers, scenario, due.run.run_id)).rows)
    assert len(set(replies)) == 1
    assert len(set(rows)) == 1


@every_end
async def test_a_call_delivered_to_two_processes_at_once_ends_as_one(
    servers: World, scenario: Scenario
) -> None:
    due = await prepared(servers, scenario)
    async with servers.process() as process:
        reply = await process.deliver(due.args)
    expected, expected_runs = await stored(servers, scenario, due.run.run_id), tracked(servers)
    # Held after each request, reads included: what it read is old when it goes on.
    interleavings = [Point(number, answered=True) for number in range(len(requests_of(servers, process)))]
    for point in interleavings:
        due = await prepared(servers, scenario)
        async with servers.process() as slow, servers.process() as fast:
            stop = servers.breaker.breaks[slow.name] = Break(point)
            first = asyncio.create_task(slow.deliver(due.args))
            await stop.reached_or(first)
            second = await fast.deliver(due.args)
            stop.goes_on.set_result(True)
            assert without_invocation(await first) == without_invocation(second), f"held at {point}"
        found = await stored(servers, scenario, due.run.run_id)
        assert found.rows == expected.rows, f"held at {point}"
        assert found.reply(second) == expected.reply(reply), f"held at {point}"
        assert tracked(servers) == expected_runs, f"held at {point}"
    sys.stdout.write(f"{scenario.name}: {len(interleavings)} interleavings\n")


ELSEWHERE = {
    "create_artifacts": "only launchers queue artifacts",
    "get_pipeline_version": "the embedded server shows a spec where others show a reference",
}
"""Client methods that stand in shared code and are never called by a driver on this server."""


def methods_in_the_drivers_sources() -> set[str]:
    sources = [Path(kfp_api.run_view.__file__)]
    for package in (driver_plugin.drivers, propagation):
        sources += Path(package.__path__[0]).glob("*.py")
    return {name for path in sources for name in re.findall(r"client\.([a-z_]+)\(", path.read_text())}


async def test_every_api_call_that_the_drivers_can_make_is_made_in_some_scenario(servers: World) -> None:
    called: set[str] = set()
    for scenario in SCENARIOS:
        due = await prepared(servers, scenario)
        async with servers.process() as process:
            await process.deliver(due.args)
            await process.deliver(due.args)
        called |= {call.operation for call in process.api_calls}
    uncovered = methods_in_the_drivers_sources() - OPERATIONS.keys() - ELSEWHERE.keys()
    assert uncovered == set(), "calls without a crash point"
    # KFP's own server refuses a link that is there, and the client looks for it.
    assert called - {"ListArtifactTasks"} == set(OPERATIONS.values())


@pytest.mark.parametrize("seconds", [0, 1])
async def test_a_deliberate_retry_after_a_failure_executes_again_in_the_same_process(
    servers: World, seconds: float
) -> None:
    """At once, and a second later: nothing of the failed call is remembered, nor is its answer."""
    (scenario,) = [one for one in SCENARIOS if one.name == "CONTAINER: failed before its row"]
    due = await prepared(servers, scenario)
    async with servers.process() as process:
        failed = await process.deliver(due.args)
        await asyncio.sleep(seconds)
        made = await due.run.container("make", due.args["parent_task_id"])
        await due.run.finish(made.task_id, MADE, artifacts=STORED)
        retried = await process.deliver(due.args)
    assert (failed["node"]["phase"], retried["node"]["phase"]) == ("Failed", "Succeeded")
    (row,) = await due.run.rows("use")
    assert row.state is TaskState.RUNNING
    assert row.task_id in json.dumps(failed)
    assert row.task_id in json.dumps(retried)

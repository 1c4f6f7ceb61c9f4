"""Cache hits and misses as rows, links, outputs and states.

Oracle: spec DRIVER 7.4 and 11.1 with the project's rule on failing lookups; the embedded KFP API stores
and finds the rows.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from aiohttp.typedefs import Handler

from driver_plugin.argo.driver_type import DriverType
from driver_plugin.argo.replies import DriverResult
from kfp_api.client import KfpApiClient
from kfp_api.messages import IOType, PipelineTask, TaskState, TaskType
from kfp_api.transport import Backoff
from local_stack.api_server.app import build_app
from local_stack.api_server.config import ServerConfig
from tests.driver_plugin.drivers.pipelines import (
    Json,
    artifact_from_task,
    dag,
    from_parent,
    from_task,
    leaf,
    output_of,
    pipeline,
    task,
)
from tests.driver_plugin.drivers.stack import DrivenRun, Stack, inputs_of, outputs_of

MAKE = leaf(
    "exec-make", inputs={"n": "NUMBER_INTEGER"}, outputs={"Output": "STRING"}, output_artifacts=("data",)
)
USE = leaf("exec-use", inputs={"text": "STRING"}, input_artifacts=("data",))


def flat(*, cache: bool = True, name: str = "demo") -> Json:
    return pipeline(
        {
            "make": task("comp-make", inputs={"n": from_parent("n")}, cache=cache),
            "use": task(
                "comp-use",
                inputs={"text": from_task("make")},
                artifacts={"data": artifact_from_task("make", "data")},
                depends=("make",),
            ),
        },
        {"comp-make": MAKE, "comp-use": USE},
        name=name,
        inputs={"n": "NUMBER_INTEGER"},
        outputs={"parameters": {"made": output_of("make")}},
        output_types={"made": "STRING"},
    )


async def executed(stack: Stack, spec: Json, n: int = 1) -> DrivenRun:
    run = await stack.start(spec, n=n)
    make = await run.container("make")
    assert not make.cached
    await run.finish(make.task_id, {"Output": "hello"}, artifacts={"data": "s3://bucket/data"})
    return run


async def test_a_second_run_takes_over_the_outputs_of_the_first(stack: Stack) -> None:
    first = await executed(stack, flat())
    (source,) = await first.rows("make")
    run = await stack.start(flat(), n=1)
    result = await run.container("make")
    row = await run.row(result.task_id)
    assert result == DriverResult(task_id=row.task_id, cached=True)
    assert (row.state, row.end_time is not None) == (TaskState.CACHED, True)
    assert row.cache_fingerprint == source.cache_fingerprint
    assert inputs_of(row) == {"n": 1}
    (parameter,) = row.output_parameters
    assert (parameter.value, parameter.type) == ("hello", IOType.OUTPUT)
    assert parameter.producer is not None
    assert parameter.producer.task_name == "make"
    (entry,) = row.output_artifacts
    assert entry.artifacts == source.output_artifacts[0].artifacts
    assert outputs_of(await run.row(run.root)) == {"made": "hello"}
    use = await run.row((await run.container("use")).task_id)
    assert inputs_of(use) == {"text": "hello"}
    assert use.input_artifacts[0].artifacts[0].uri == "s3://bucket/data"


async def test_outputs_of_a_hit_are_there_before_any_state_says_that_they_are(stack: Stack) -> None:
    """Row, input links, output links, outputs of the ancestors; their states come last."""
    spec = flat()
    del spec["root"]["dag"]["tasks"]["use"]
    await executed(stack, spec)
    run = await stack.start(spec, n=1)
    stack.requests.clear()
    assert (await run.container("make")).cached
    writes = [call.operation for call in stack.requests if call.method != "GET"]
    assert writes == [
        "FindCachedTask",
        "CreateTask",
        "CreateArtifactTasksBulk",
        "UpdateTasksBulk",
        "UpdateTask",
    ]
    assert stack.requests[-1].path.endswith(run.root)
    root = await run.row(run.root)
    assert (root.state, outputs_of(root)) == (TaskState.CACHED, {"made": "hello"})


async def test_a_run_whose_tasks_are_all_cached_is_cached(stack: Stack) -> None:
    spec = pipeline(
        {"make": task("comp-make", inputs={"n": from_parent("n")}, cache=True)},
        {"comp-make": MAKE},
        inputs={"n": "NUMBER_INTEGER"},
    )
    await executed(stack, spec)
    run = await stack.start(spec, n=1)
    await run.container("make")
    assert await run.states() == {"ROOT": "CACHED", "make": "CACHED"}


@pytest.mark.parametrize(
    ("spec", "n", "disabled"),
    [(flat(), 2, False), (flat(cache=False), 1, False), (flat(), 1, True), (flat(name="other"), 1, False)],
    ids=["other input", "task opts out", "switched off for the run", "other pipeline"],
)
async def test_a_task_executes_when_nothing_matches_or_caching_is_off(
    stack: Stack, spec: Json, n: int, disabled: bool
) -> None:
    await executed(stack, flat())
    run = await stack.start(spec, n=n)
    result = await run.container("make", cache_disabled=disabled)
    assert not result.cached
    assert result.pod_spec_patch
    row = await run.row(result.task_id)
    assert (row.state, bool(row.cache_fingerprint)) == (
        TaskState.RUNNING,
        spec["root"]["dag"]["tasks"]["make"]["cachingOptions"]["enableCache"] and not disabled,
    )


async def test_a_cached_row_is_never_a_source(stack: Stack) -> None:
    first = await executed(stack, flat())
    second = await stack.start(flat(), n=1)
    assert (await second.container("make")).cached
    await stack.client.delete_run(first.run_id)
    third = await stack.start(flat(), n=1)
    assert not (await third.container("make")).cached


async def test_a_failed_row_is_never_a_source(stack: Stack) -> None:
    run = await stack.start(flat(), n=1)
    await run.finish((await run.container("make")).task_id, {"Output": "x"}, state=TaskState.FAILED)
    again = await stack.start(flat(), n=1)
    assert not (await again.container("make")).cached


def looped() -> Json:
    body = dag(
        {"make": task("comp-make", inputs={"n": from_parent("i")}, cache=True)},
        inputs={"i": "NUMBER_INTEGER"},
        outputs={"parameters": {"collected": output_of("make")}},
        output_types={"collected": "LIST"},
    )
    return pipeline(
        {
            "for-loop-1": task("comp-loop", items="[1, 2]", item_input="i"),
            "gather": task("comp-gather", inputs={"l": from_task("for-loop-1", "collected")}),
        },
        {"comp-loop": body, "comp-make": MAKE, "comp-gather": leaf("exec-gather", inputs={"l": "LIST"})},
    )


async def test_hits_inside_a_loop_are_stamped_with_their_own_iteration(stack: Stack) -> None:
    first = await stack.start(looped())
    loop = (await first.dag("for-loop-1")).task_id
    for index in (0, 1):
        made = await first.container("make", loop, index)
        await first.finish(made.task_id, {"Output": f"v{index}"}, artifacts={"data": f"s3://bucket/{index}"})
    run = await stack.start(looped())
    loop = (await run.dag("for-loop-1")).task_id
    for index in (1, 0):
        result = await run.container("make", loop, index)
        row = await run.row(result.task_id)
        assert (result.cached, row.state) == (True, TaskState.CACHED)
        (parameter,) = row.output_parameters
        assert (parameter.value, parameter.type) == (f"v{index}", IOType.ITERATOR_OUTPUT)
        assert parameter.producer is not None
        assert (parameter.producer.task_name, parameter.producer.iteration) == ("make", index)
        (entry,) = row.output_artifacts
        assert (entry.type, entry.artifacts[0].uri) == (IOType.ITERATOR_OUTPUT, f"s3://bucket/{index}")
    assert (await run.row(loop)).state is TaskState.CACHED
    gather = await run.container("gather")
    assert inputs_of(await run.row(gather.task_id)) == {"l": ["v0", "v1"]}


async def test_a_repeated_hit_gives_the_same_reply_and_leaves_the_row_alone(stack: Stack) -> None:
    await executed(stack, flat())
    run = await stack.start(flat(), n=1)
    first = await run.container("make")
    before = await run.row(first.task_id)
    assert await run.container("make") == first
    assert await run.row(first.task_id) == before


async def test_a_hit_that_stopped_before_its_links_is_completed_by_its_repetition(stack: Stack) -> None:
    first = await executed(stack, flat())
    (source,) = await first.rows("make")
    run = await stack.start(flat(), n=1)
    stopped = await stack.client.create_task(
        PipelineTask(
            name="make",
            run_id=run.run_id,
            type=TaskType.RUNTIME,
            state=TaskState.CACHED,
            scope_path="root.make",
            parent_task_id=run.root,
            cache_fingerprint=source.cache_fingerprint,
            outputs=source.outputs and source.outputs.model_copy(update={"artifacts": []}),
        )
    )
    result = await run.container("make")
    row = await run.row(result.task_id)
    assert result == DriverResult(task_id=stopped.task_id, cached=True)
    assert [entry.artifact_key for entry in row.output_artifacts] == ["data"]
    assert outputs_of(await run.row(run.root)) == {"made": "hello"}


async def test_a_hit_found_only_by_a_repetition_is_not_used(stack: Stack) -> None:
    run = await stack.start(flat(), n=1)
    first = await run.container("make")
    await executed_elsewhere(stack)
    assert await run.container("make") == first


async def executed_elsewhere(stack: Stack) -> None:
    other = await stack.start(flat(), n=1)
    made = await other.container("make")
    await other.finish(made.task_id, {"Output": "late"}, artifacts={"data": "s3://bucket/late"})


async def test_a_retry_after_a_failure_may_use_a_hit(stack: Stack) -> None:
    run = await stack.start(flat(), n=1)
    failure = await run.failing(DriverType.CONTAINER, "make", kubernetes_config={"pvcMount": 5})
    await executed_elsewhere(stack)
    result = await run.container("make")
    row = await run.row(result.task_id)
    assert (result.cached, result.task_id) == (True, failure.partial.task_id)
    assert (row.state, outputs_of(row)) == (TaskState.CACHED, {"Output": "late"})
    assert row.status_metadata is not None
    assert row.status_metadata.message == ""


async def test_concurrent_first_deliveries_leave_one_row_and_one_patch(stack: Stack) -> None:
    run = await stack.start(flat(), n=1)
    replies = await asyncio.gather(*(run.container("make") for _ in range(4)))
    assert len(await run.rows("make")) == 1
    assert len(set(replies)) == 1


@pytest.fixture
async def broken_lookup(stack: Stack, tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Stack]:
    """The server with a cache lookup that answers a given status."""
    status: int = request.param
    app = build_app(ServerConfig(database=tmp_path / "other.sqlite"))

    @web.middleware
    async def refuse(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path.endswith("tasks:findCached"):
            return web.json_response({"code": 16, "message": "no"}, status=status)
        return await handler(request)

    app.middlewares.append(refuse)
    async with TestServer(app) as server:
        url = str(server.make_url("")).rstrip("/")
        pauses = Backoff(initial_seconds=3600, maximum_seconds=3600)
        async with KfpApiClient(url, retry_deadline_seconds=10, backoff=pauses) as client:
            yield replace(stack, client=client, services=replace(stack.services, client=client))


@pytest.mark.parametrize("broken_lookup", [500, 503], indirect=True)
async def test_a_lookup_that_keeps_failing_is_a_miss(broken_lookup: Stack) -> None:
    run = await broken_lookup.start(flat(), n=1)
    result = await run.container("make")
    assert not result.cached
    assert (await run.row(result.task_id)).cache_fingerprint
    assert "cache lookup failed, counted as a miss" in run.log.body("succeeded").decode()


@pytest.mark.parametrize("broken_lookup", [401, 403], indirect=True)
async def test_a_refused_credential_fails_the_task_unless_lookups_are_optional(broken_lookup: Stack) -> None:
    run = await broken_lookup.start(flat(), n=1)
    failure = await run.failing(DriverType.CONTAINER, "make")
    assert str(failure).startswith("failure while finding cached task: ")
    settings = broken_lookup.services.settings.model_copy(update={"cache_lookup_optional": True})
    broken_lookup.services = replace(broken_lookup.services, settings=settings)
    assert (await run.container("make")).pod_spec_patch

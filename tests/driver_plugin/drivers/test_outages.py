"""Outages and retries of the run: what the row says before, between and after.

Oracle: spec DRIVER 9.1 and 9.2, KFP_API 6.7 (retry of a run); the server is the embedded KFP API.
"""

import contextlib
import itertools
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from aiohttp.typedefs import Handler

from driver_plugin.argo.driver_type import DriverType
from driver_plugin.argo.replies import DriverResult
from driver_plugin.drivers.dispatch import give_up
from driver_plugin.drivers.rows import ATTEMPT_PROPERTY
from driver_plugin.errors import DriverFailure, is_retryable
from kfp_api.client import KfpApiClient
from kfp_api.messages import PipelineTask, StatusMetadata, TaskState
from kfp_api.run_view import RunCache
from kfp_api.transport import Backoff
from local_stack.api_server.app import build_app
from local_stack.api_server.config import ServerConfig
from tests.driver_plugin.drivers.pipelines import (
    Json,
    artifact_from_task,
    dag,
    from_task,
    leaf,
    output_of,
    pipeline,
    task,
)
from tests.driver_plugin.drivers.stack import DrivenRun, Stack, outputs_of

MAKE = leaf("exec-make", outputs={"Output": "STRING"}, output_artifacts=("data",))
USE = leaf("exec-use", inputs={"text": "STRING"}, input_artifacts=("data",))
INNER = dag(
    {
        "make": task("comp-make"),
        "use": task(
            "comp-use",
            inputs={"text": from_task("make")},
            artifacts={"data": artifact_from_task("make", "data")},
            depends=("make",),
        ),
    },
    outputs={"parameters": {"made": output_of("make")}},
    output_types={"made": "STRING"},
)
SPEC = pipeline({"inner": task("comp-inner")}, {"comp-inner": INNER, "comp-make": MAKE, "comp-use": USE})


@pytest.fixture
def outage() -> dict[str, int]:
    """Status by ``METHOD path-end`` that the server answers instead of working."""
    return {}


@pytest.fixture
async def shaky(stack: Stack, tmp_path: Path, outage: dict[str, int]) -> AsyncIterator[Stack]:
    app = build_app(ServerConfig(database=tmp_path / "shaky.sqlite"))

    @web.middleware
    async def interrupt(request: web.Request, handler: Handler) -> web.StreamResponse:
        status = outage.get(f"{request.method} {request.path.rsplit('/', 1)[-1]}")
        return await handler(request) if status is None else web.json_response({}, status=status)

    app.middlewares.append(interrupt)
    async with TestServer(app) as server:
        url = str(server.make_url("")).rstrip("/")
        pauses = Backoff(initial_seconds=3600, maximum_seconds=3600)
        async with KfpApiClient(url, retry_deadline_seconds=10, backoff=pauses) as client:
            yield replace(stack, client=client, services=replace(stack.services, client=client))


async def test_an_outage_after_the_row_leaves_it_running_and_the_repetition_completes_it(
    shaky: Stack, outage: dict[str, int]
) -> None:
    run = await shaky.start(SPEC)
    inner = (await run.dag("inner")).task_id
    make = await run.container("make", inner)
    await run.finish(make.task_id, {"Output": "x"}, artifacts={"data": "s3://bucket/x"})
    outage["POST artifact_tasks:batchCreate"] = 503
    failure = await run.failing(DriverType.CONTAINER, "use", inner)
    assert is_retryable(failure)
    stopped = await run.row(failure.partial.task_id)
    assert (stopped.state, stopped.input_artifacts) == (TaskState.RUNNING, [])
    outage.clear()
    result = await run.container("use", inner)
    row = await run.row(result.task_id)
    assert result.task_id == stopped.task_id
    assert [entry.artifact_key for entry in row.input_artifacts] == ["data"]
    marker = str(stopped.custom_properties[ATTEMPT_PROPERTY])
    assert marker in result.pod_spec_patch
    assert (await run.row(inner)).state is TaskState.RUNNING


async def test_giving_up_on_an_outage_fails_the_row_and_its_ancestors(
    shaky: Stack, outage: dict[str, int]
) -> None:
    run = await shaky.start(SPEC)
    inner = (await run.dag("inner")).task_id
    outage["POST tasks"] = 503
    failure = await run.failing(DriverType.CONTAINER, "make", inner)
    assert is_retryable(failure)
    assert await run.states() == {"ROOT": "RUNNING", "inner": "RUNNING"}
    outage.clear()
    await give_up(run.call(DriverType.CONTAINER, "make", inner), shaky.services, run.log, str(failure))
    assert await run.states() == {"ROOT": "FAILED", "inner": "FAILED", "make": "FAILED"}
    (row,) = await run.rows("make")
    assert row.status_metadata is not None
    assert row.status_metadata.message == str(failure)


async def test_a_status_walk_that_fails_does_not_fail_the_task(shaky: Stack, outage: dict[str, int]) -> None:
    skipping = {**SPEC, "root": dag({"inner": task("comp-inner", condition="1 == 2")})}
    run = await shaky.start(skipping)
    outage["GET tasks"] = 500
    result = await run.dag("inner")
    assert result.condition is False
    assert "status propagation failed" in run.log.body("succeeded").decode()
    outage.clear()
    assert await run.states() == {"ROOT": "RUNNING", "inner": "SKIPPED"}
    assert await run.dag("inner") == result
    assert await run.states() == {"ROOT": "SKIPPED", "inner": "SKIPPED"}


@pytest.mark.parametrize(
    ("kind", "name", "text"),
    [
        (DriverType.ROOT_DAG, "", "failed to republish preserved child outputs for root DAG: "),
        (DriverType.DAG, "inner", "failed to republish preserved child outputs: "),
    ],
)
async def test_outputs_that_cannot_be_restored_fail_the_row_and_say_so(
    shaky: Stack, outage: dict[str, int], kind: DriverType, name: str, text: str
) -> None:
    spec = pipeline(
        {"inner": task("comp-inner")},
        {"comp-inner": INNER, "comp-make": MAKE, "comp-use": USE},
        outputs={"parameters": {"result": output_of("inner", "made")}},
        output_types={"result": "STRING"},
    )
    run = await shaky.start(spec)
    inner = (await run.dag("inner")).task_id
    row = run.root if kind is DriverType.ROOT_DAG else inner
    # As a retry of the run leaves it: running, without outputs and marker.
    await shaky.client.update_task(
        run.run_id, row, PipelineTask(state=TaskState.RUNNING, status_metadata=StatusMetadata(message=""))
    )
    outage["GET tasks"] = 400
    failure = await run.failing(kind, name, "" if kind is DriverType.ROOT_DAG else run.root)
    assert str(failure).startswith(text)
    outage.clear()
    failed = await run.row(row)
    assert (failed.state, failed.end_time is not None) == (TaskState.FAILED, True)
    assert failed.status_metadata is not None
    assert failed.status_metadata.message == str(failure)


async def test_a_failure_that_cannot_be_recorded_is_still_the_failure_of_the_call(
    shaky: Stack, outage: dict[str, int]
) -> None:
    run = await shaky.start(SPEC)
    inner = (await run.dag("inner")).task_id
    outage["POST tasks"] = 400
    failure = await run.failing(DriverType.CONTAINER, "use", inner)
    assert "producerTask task make_" in str(failure)
    assert "failed row not recorded" in run.log.body("failed").decode()


class Interruption:
    """Breaks the n-th request from now on, before or after the server has done its work."""

    def __init__(self) -> None:
        self.left: int | None = None
        self.answer_lost = False
        self.happened = False

    async def __call__(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if self.left is None:
            return await handler(request)
        self.left -= 1
        if self.left >= 0 or request.path.endswith("tasks:findCached"):
            return await handler(request)
        self.left, self.happened = None, True
        if self.answer_lost:
            await handler(request)
        return web.json_response({}, status=503)


@pytest.fixture
async def interrupted(stack: Stack, tmp_path: Path) -> AsyncIterator[tuple[Stack, Interruption]]:
    app = build_app(ServerConfig(database=tmp_path / "interrupted.sqlite"))
    interruption = Interruption()

    @web.middleware
    async def interrupt(request: web.Request, handler: Handler) -> web.StreamResponse:
        return await interruption(request, handler)

    app.middlewares.append(interrupt)
    async with TestServer(app) as server:
        url = str(server.make_url("")).rstrip("/")
        pauses = Backoff(initial_seconds=3600, maximum_seconds=3600)
        async with KfpApiClient(url, retry_deadline_seconds=10, backoff=pauses) as client:
            yield replace(stack, client=client, services=replace(stack.services, client=client)), interruption


def cached(condition: str = "") -> Json:
    return pipeline(
        {
            "make": task("comp-make", cache=True, condition=condition),
            "use": task(
                "comp-use",
                inputs={"text": from_task("make")},
                artifacts={"data": artifact_from_task("make", "data")},
                depends=("make",),
            ),
        },
        {"comp-make": MAKE, "comp-use": USE},
        outputs={"parameters": {"made": output_of("make")}},
        output_types={"made": "STRING"},
    )


async def _through(run: DrivenRun, name: str, interruption: Interruption, after: int) -> DriverResult:
    """Drive a task whose n-th request breaks, again if the call failed, and once more."""
    run.stack.services = replace(run.stack.services, run_cache=RunCache())
    interruption.left = after
    interruption.happened = False
    with contextlib.suppress(DriverFailure):
        await run.container(name)
    interruption.left = None
    result = await run.container(name)
    before = await run.rows()
    assert await run.container(name) == result
    assert [row.model_copy(update={"end_time": None}) for row in await run.rows()] == [
        row.model_copy(update={"end_time": None}) for row in before
    ]
    return result


@pytest.mark.parametrize("answer_lost", [False, True])
async def test_a_stop_between_any_two_requests_changes_nothing_in_the_end(
    interrupted: tuple[Stack, Interruption], answer_lost: bool
) -> None:
    stack, interruption = interrupted
    source = await stack.start(cached())
    made = await source.container("make")
    await source.finish(made.task_id, {"Output": "x"}, artifacts={"data": "s3://bucket/x"})
    interruption.answer_lost = answer_lost
    for after in itertools.count():
        run = await stack.start(cached())
        hit = await _through(run, "make", interruption, after)
        assert hit.cached
        if not interruption.happened:
            break
        assert outputs_of(await run.row(run.root)) == {"made": "x"}
        (row,) = await run.rows("make")
        assert (row.state, outputs_of(row)) == (TaskState.CACHED, {"Output": "x"})
        assert [entry.artifacts[0].uri for entry in row.output_artifacts] == ["s3://bucket/x"]
        handed_over = await _through(run, "use", interruption, after)
        assert handed_over.pod_spec_patch
        (row,) = await run.rows("use")
        assert (row.state, len(row.input_artifacts)) == (TaskState.RUNNING, 1)
        skipped = await stack.start(cached("1 == 2"))
        assert (await _through(skipped, "make", interruption, after)).condition is False
        assert await skipped.states() == {"ROOT": "SKIPPED", "make": "SKIPPED"}


async def test_a_retried_run_executes_only_what_failed_and_restores_outputs(stack: Stack) -> None:
    run = await stack.start(SPEC)
    inner = (await run.dag("inner")).task_id
    make = await run.container("make", inner)
    await run.finish(make.task_id, {"Output": "x"}, artifacts={"data": "s3://bucket/x"})
    use = await run.container("use", inner)
    await run.finish(use.task_id, state=TaskState.FAILED)
    assert await run.states() == {"ROOT": "FAILED", "inner": "FAILED", "make": "SUCCEEDED", "use": "FAILED"}
    document = {
        "metadata": {"name": "demo", "namespace": "team-a", "labels": {"pipeline/runid": run.run_id}},
        "status": {"phase": "Failed", "finishedAt": "2026-01-02T03:04:05Z"},
    }
    await stack.client.report_workflow(document)
    await stack.client.retry_run(run.run_id)
    assert await run.states() == {
        "ROOT": "RUNNING",
        "inner": "RUNNING",
        "make": "SUCCEEDED",
        "use": "RUNNING",
    }
    again = await run.dag("inner")
    assert again.task_id == inner
    assert outputs_of(await run.row(inner)) == {"made": "x"}
    assert (await run.container("make", inner)).cached
    retried = await run.container("use", inner)
    assert retried.task_id == use.task_id
    assert retried.pod_spec_patch != use.pod_spec_patch
    row = await run.row(use.task_id)
    assert len(row.input_artifacts) == 1
    assert str(row.custom_properties[ATTEMPT_PROPERTY]) in retried.pod_spec_patch
    await run.finish(use.task_id)
    assert set((await run.states()).values()) == {"SUCCEEDED"}

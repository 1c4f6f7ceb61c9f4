"""What a driver call asks of the KFP API does not grow with the run.

Oracle: a count of requests and of the bytes that travel in both directions, taken in front of the embedded
KFP API; beside it what reading the whole run would cost, which KFP's own driver does at least once per call.
"""

import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from aiohttp.typedefs import Handler

from driver_plugin.argo.driver_type import DriverType
from kfp_api.client import KfpApiClient
from kfp_api.messages import (
    InputOutputs,
    IOParameter,
    IOProducer,
    IOType,
    PipelineTask,
    TaskState,
    TaskType,
    TypeAttributes,
    ViewMode,
)
from kfp_api.run_view import RunCache
from local_stack.api_server.app import build_app
from local_stack.api_server.config import ServerConfig
from tests.driver_plugin.drivers.pipelines import (
    Json,
    artifact_from_task,
    constant,
    dag,
    from_parent,
    from_task,
    leaf,
    output_of,
    pipeline,
    task,
)
from tests.driver_plugin.drivers.stack import DrivenRun, Stack

SIZES = [10, 100, *(pytest.param(size, marks=pytest.mark.slow) for size in (1000, 5000))]
MAKE = leaf(
    "exec-make", inputs={"n": "NUMBER_INTEGER"}, outputs={"Output": "STRING"}, output_artifacts=("data",)
)
USE = leaf("exec-use", inputs={"text": "STRING"}, input_artifacts=("data",))


def spec() -> Json:
    """A flat run of any size: one loop stands for its many rows, other tasks are driven beside them."""
    make = task("comp-make", inputs={"n": constant(1)}, cache=True)
    use = task(
        "comp-use",
        inputs={"text": from_task("make")},
        artifacts={"data": artifact_from_task("make", "data")},
        depends=("make",),
    )
    body = dag({"step": task("comp-make", inputs={"n": from_parent("i")})}, inputs={"i": "NUMBER_INTEGER"})
    return pipeline(
        {
            "many": task("comp-body", items="[0, 1, 2]", item_input="i"),
            "make": make,
            "use": use,
            "skipped": {**use, "triggerPolicy": {"condition": "1 == 2"}},
            "cached": make,
            "broken": task("comp-use", inputs={"text": from_task("nobody")}),
            "group": task("comp-group"),
            "notify": task(
                "comp-notify",
                inputs={"status": {"taskFinalStatus": {"producerTask": "group"}}},
                depends=("group",),
                strategy="ALL_UPSTREAM_TASKS_COMPLETED",
            ),
        },
        {
            "comp-body": body,
            "comp-make": MAKE,
            "comp-use": USE,
            "comp-notify": leaf("exec-notify", inputs={"status": "TASK_FINAL_STATUS"}),
            "comp-group": dag({"make": task("comp-make", inputs={"n": constant(1)})}),
        },
        name="scaling",
    )


@dataclass
class Traffic:
    """Requests, and the bytes of their bodies and answers."""

    requests: int = 0
    bytes: int = 0


@dataclass
class Counted:
    stack: Stack
    traffic: Traffic

    async def cost(self, action: Callable[[], Awaitable[object]]) -> Traffic:
        self.traffic.requests = self.traffic.bytes = 0
        await action()
        return replace(self.traffic)


@pytest.fixture
async def counted(stack: Stack, tmp_path: Path) -> AsyncIterator[Counted]:
    traffic = Traffic()
    app = build_app(ServerConfig(database=tmp_path / "counted.sqlite"))

    @web.middleware
    async def count(request: web.Request, handler: Handler) -> web.StreamResponse:
        sent = len(await request.read())
        answer = await handler(request)
        assert isinstance(answer, web.Response)
        assert isinstance(answer.body, bytes)
        traffic.requests += 1
        traffic.bytes += sent + len(answer.body)
        return answer

    app.middlewares.append(count)
    async with TestServer(app) as server, KfpApiClient(str(server.make_url("")).rstrip("/")) as client:
        services = replace(stack.services, client=client, run_cache=RunCache())
        yield Counted(replace(stack, client=client, services=services), traffic)


async def grown(stack: Stack, size: int) -> DrivenRun:
    """A run with ``size`` finished task rows: one half directly below the root, one half in a loop."""
    run = await stack.start(spec())
    loop = (await run.dag("many")).task_id
    for number in range(size):
        in_loop = number % 2 == 1
        name = "step" if in_loop else f"step-{number}"
        await stack.client.create_task(
            PipelineTask(
                run_id=run.run_id,
                name=name,
                type=TaskType.RUNTIME,
                state=TaskState.SUCCEEDED,
                scope_path=f"root.many.{name}" if in_loop else f"root.{name}",
                parent_task_id=loop if in_loop else run.root,
                type_attributes=TypeAttributes(iteration_index=number + 3) if in_loop else None,
                inputs=InputOutputs(parameters=[_entry("n", number, IOType.COMPONENT_INPUT)]),
                outputs=InputOutputs(parameters=[_entry("Output", "x" * 40, IOType.OUTPUT)]),
            )
        )
    return run


def _entry(key: str, value: str | int, kind: IOType) -> IOParameter:
    return IOParameter(parameter_key=key, value=value, type=kind, producer=IOProducer(task_name="step"))


async def costs(counted: Counted, run: DrivenRun) -> dict[str, Traffic]:
    """What each kind of driver call costs in a process that has seen the run before."""
    (loop,) = await run.rows("many")
    make = await run.container("make", cache_disabled=True)
    await run.finish(make.task_id, {"Output": "x"}, artifacts={"data": "s3://bucket/x"})
    await run.container("step", loop.task_id, 0)
    return {
        "DAG": await counted.cost(lambda: run.dag("group")),
        "container, triggered": await counted.cost(lambda: run.container("use")),
        "container in a loop, triggered": await counted.cost(lambda: run.container("step", loop.task_id, 1)),
        "container, delivered again": await counted.cost(lambda: run.container("use")),
        "container, skipped": await counted.cost(lambda: run.container("skipped")),
        "container, cached": await counted.cost(lambda: run.container("cached")),
    }


@pytest.mark.parametrize("size", SIZES)
async def test_requests_and_bytes_of_a_call_are_the_same_in_a_run_of_any_size(
    counted: Counted, size: int
) -> None:
    source = await counted.stack.start(spec())
    made = await source.container("cached")
    await source.finish(made.task_id, {"Output": "x"}, artifacts={"data": "s3://bucket/x"})
    small, big = await grown(counted.stack, 2), await grown(counted.stack, size)
    expected, found = await costs(counted, small), await costs(counted, big)
    full = await counted.cost(lambda: counted.stack.client.get_run(big.run_id, view=ViewMode.FULL))
    sys.stdout.write(f"{size} tasks; reading the full run: {full.bytes} bytes\n")
    for kind, cost in found.items():
        sys.stdout.write(f"{size} tasks; {kind}: {cost.requests} requests, {cost.bytes} bytes\n")
    assert {kind: cost.requests for kind, cost in found.items()} == {
        kind: cost.requests for kind, cost in expected.items()
    }
    for kind, cost in found.items():
        # Counts and indexes have more digits in a bigger run; nothing else may differ.
        assert abs(cost.bytes - expected[kind].bytes) < 100, kind
    assert full.bytes > size * 300


def collecting_spec(size: int) -> Json:
    """A loop of that size whose head collects what its iterations make, and the root what the head has."""
    body = dag(
        {
            "cached": task("comp-make", inputs={"n": from_parent("i")}, cache=True),
            "skipped": task("comp-make", inputs={"n": from_parent("i")}, condition="1 == 2"),
            "broken": task("comp-use", inputs={"text": from_task("nobody")}),
        },
        inputs={"i": "NUMBER_INTEGER"},
        outputs={"parameters": {"made": output_of("cached")}},
        output_types={"made": "LIST"},
    )
    return pipeline(
        {"many": task("comp-body", items=orjson.dumps([7] * size).decode(), item_input="i")},
        {"comp-body": body, "comp-make": MAKE, "comp-use": USE},
        name="collecting",
        outputs={"parameters": {"all": output_of("many", "made")}},
        output_types={"all": "LIST"},
    )


async def collected(stack: Stack, size: int) -> DrivenRun:
    """A run whose loop has ``size`` iterations, all but the first three of them done and collected."""
    run = await stack.start(collecting_spec(size))
    loop = (await run.dag("many")).task_id
    for index in range(3, size):
        await stack.client.create_task(
            PipelineTask(
                run_id=run.run_id,
                name="cached",
                type=TaskType.RUNTIME,
                state=TaskState.SUCCEEDED,
                scope_path="root.many.cached",
                parent_task_id=loop,
                type_attributes=TypeAttributes(iteration_index=index),
            )
        )
    entries = [
        IOParameter(
            parameter_key="made",
            value="x" * 40,
            type=IOType.ITERATOR_OUTPUT,
            producer=IOProducer(task_name="cached", iteration=index),
        )
        for index in range(3, size)
    ]
    await stack.client.write_tasks(run.run_id, {loop: PipelineTask(outputs=InputOutputs(parameters=entries))})
    return run


async def costs_of_ends(counted: Counted, run: DrivenRun) -> dict[str, Traffic]:
    """What iterations cost that end in the driver, and so write their loop head's row."""
    (loop,) = await run.rows("many")
    # What a process reads once of each parent row is not what a call costs.
    await run.container("skipped", loop.task_id, 0)
    return {
        "cached": await counted.cost(lambda: run.container("cached", loop.task_id, 0)),
        "skipped": await counted.cost(lambda: run.container("skipped", loop.task_id, 1)),
        "failed": await counted.cost(lambda: run.failing(DriverType.CONTAINER, "broken", loop.task_id, 1)),
        "cached in a failed loop": await counted.cost(lambda: run.container("cached", loop.task_id, 1)),
    }


@pytest.mark.parametrize("size", SIZES[1:])
async def test_an_iteration_that_ends_in_the_driver_costs_the_same_in_a_loop_of_any_size(
    counted: Counted, size: int
) -> None:
    source = await counted.stack.start(collecting_spec(1))
    loop = (await source.dag("many")).task_id
    made = await source.container("cached", loop, 0)
    await source.finish(made.task_id, {"Output": "x"}, artifacts={"data": "s3://bucket/x"})
    small, big = await collected(counted.stack, 5), await collected(counted.stack, size)
    expected, found = await costs_of_ends(counted, small), await costs_of_ends(counted, big)
    (head,) = await big.rows("many")
    whole = await counted.cost(lambda: big.row(head.task_id))
    sys.stdout.write(f"loop of {size}; reading its head: {whole.bytes} bytes\n")
    for kind, cost in found.items():
        sys.stdout.write(f"loop of {size}; {kind}: {cost.requests} requests, {cost.bytes} bytes\n")
        assert cost.requests == expected[kind].requests, kind
        # A count brings one leaf along, whichever the server has first; the head has 290 bytes an iteration.
        assert abs(cost.bytes - expected[kind].bytes) < 2_000, kind
    assert {entry.producer.iteration for entry in head.output_parameters if entry.producer} == {
        *range(2),
        *range(3, size),
    }
    assert whole.bytes > size * 290


def importing_spec(size: int) -> Json:
    """A loop that imports a file into the workspace in each iteration and uses it, also in a nested DAG."""
    given = {"data": artifact_from_task("import", "artifact")}
    body = dag(
        {
            "import": task("comp-import"),
            "use": task("comp-read", artifacts=given, depends=("import",)),
            "group": task("comp-group", artifacts=given, depends=("import",)),
        },
        inputs={"i": "NUMBER_INTEGER"},
    )
    group = dag(
        {"use": task("comp-read", artifacts={"data": {"componentInputArtifact": "data"}})},
        input_artifacts=("data",),
    )
    read = leaf("exec-read", input_artifacts=("data",))
    spec = pipeline(
        {"many": task("comp-body", items=orjson.dumps([7] * size).decode(), item_input="i")},
        {"comp-body": body, "comp-group": group, "comp-read": read},
        name="importing",
    )
    spec["components"]["comp-import"] = leaf("exec-import", output_artifacts=("artifact",))
    spec["deploymentSpec"]["executors"]["exec-import"] = {"importer": {"downloadToWorkspace": True}}
    return spec


@pytest.mark.parametrize("size", SIZES[1:])
async def test_who_uses_an_imported_file_asks_for_its_own_importer_only(counted: Counted, size: int) -> None:
    found: list[list[Traffic]] = []
    for length in (3, size):
        run = await counted.stack.start(importing_spec(length))
        loop = (await run.dag("many")).task_id
        for index in range(length):
            importer = await counted.stack.client.create_task(
                PipelineTask(
                    run_id=run.run_id,
                    name="import",
                    type=TaskType.IMPORTER,
                    state=TaskState.SUCCEEDED,
                    scope_path="root.many.import",
                    parent_task_id=loop,
                    type_attributes=TypeAttributes(iteration_index=index, download_to_workspace=True),
                )
            )
            await run.finish(importer.task_id, artifacts={"artifact": f"s3://bucket/{index}"})
        await run.container("use", loop, 0)
        group = (await run.dag("group", loop, 1)).task_id
        replies: list[str] = []

        async def use(parent: str, run: DrivenRun = run, replies: list[str] = replies) -> None:
            replies.append((await run.container("use", parent, 1)).pod_spec_patch)

        found.append([await counted.cost(partial(use, loop)), await counted.cost(partial(use, group))])
        assert [patch.count("_kfp_workspace") for patch in replies] == [1, 1]
    for small, big in zip(*found, strict=True):
        assert small.requests == big.requests
        assert abs(small.bytes - big.bytes) < 100


async def test_the_first_call_of_a_process_reads_spec_and_parent_once(counted: Counted) -> None:
    run = await grown(counted.stack, 10)
    counted.stack.services = replace(counted.stack.services, run_cache=RunCache())
    (loop,) = await run.rows("many")
    first = await counted.cost(lambda: run.container("step", loop.task_id, 0))
    later = await counted.cost(lambda: run.container("step", loop.task_id, 1))
    assert (first.requests, later.requests) == (3, 1)


async def test_an_exit_task_counts_the_children_of_an_open_group_and_reads_none(counted: Counted) -> None:
    async def no_time(_seconds: float) -> None:
        """The group's row stays as it is, however long one waits."""

    counted.stack.services = replace(counted.stack.services, sleep=no_time)
    found: dict[int, Traffic] = {}
    for size in (2, 60):
        run = await counted.stack.start(spec())
        group = (await run.dag("group")).task_id
        for number in range(size):
            await counted.stack.client.create_task(
                PipelineTask(
                    run_id=run.run_id,
                    name=f"make-{number}",
                    type=TaskType.RUNTIME,
                    state=TaskState.SUCCEEDED,
                    scope_path=f"root.group.make-{number}",
                    parent_task_id=group,
                    outputs=InputOutputs(parameters=[_entry("Output", "x" * 5000, IOType.OUTPUT)]),
                )
            )
        found[size] = await counted.cost(partial(run.container, "notify"))
    assert found[2].requests == found[60].requests
    # The group's row lists its children whenever it is read; what they are and made does not travel.
    assert found[60].bytes - found[2].bytes < 58 * 1500

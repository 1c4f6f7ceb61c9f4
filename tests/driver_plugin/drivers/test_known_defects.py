"""One regression test for each defect of KFP's own drivers that this project must not have.

Oracle: the index of defects in spec DRIVER 17, whose numbers the tests carry; the right behaviour is that of
the sections named there.
"""

import asyncio
import os
from copy import deepcopy
from pathlib import Path

import pytest

from driver_plugin.argo.arguments import DriverCall, parse_driver_call
from driver_plugin.argo.driver_type import DriverType
from driver_plugin.drivers.skeleton import infer_type
from driver_plugin.errors import ArgumentError, DriverFailure
from driver_plugin.settings import Settings
from driver_plugin.system_logs.location import object_key
from kfp_api.client import KfpApiClient
from kfp_api.errors import ApiUnavailableError
from kfp_api.ir.pipeline import TaskSpec
from kfp_api.messages import IOType, PipelineTask, TaskState, TaskType
from kfp_api.operations import FIND_CACHED_TASK
from kfp_api.transport import Backoff
from resolver.expressions import ExpressionEngine
from tests.driver_plugin.calls import WORKFLOW, container_args, dag_args, root_args
from tests.driver_plugin.drivers.cluster import Cluster
from tests.driver_plugin.drivers.crash_scenarios import (
    MADE,
    MAKE,
    STORED,
    failed_in_executor,
    made,
    nested,
    started,
    use,
)
from tests.driver_plugin.drivers.pipelines import (
    Json,
    claims,
    dag,
    leaf,
    output_of,
    pipeline,
    task,
)
from tests.driver_plugin.drivers.stack import Stack, outputs_of


def looped(body: Json, components: Json, *, items: str = "[1, 2]") -> Json:
    """A loop over ``items`` whose declared output is ``made`` of its only task."""
    loop = dag(
        {"body": body},
        outputs={"parameters": {"made": output_of("body", "made")}},
        output_types={"made": "LIST"},
    )
    return pipeline({"loop": task("comp-loop", items=items)}, {"comp-loop": loop, **components})


INNER = dag(
    {"make": task("comp-make")},
    outputs={"parameters": {"made": output_of("make")}},
    output_types={"made": "STRING"},
)


async def test_01_a_loop_inside_a_loop_is_a_loop(stack: Stack) -> None:
    run, outer = await started(
        stack, looped(task("comp-inner", items="[1]"), {"comp-inner": INNER, "comp-make": MAKE}), inner="loop"
    )
    inner = await run.row((await run.dag("body", outer, 0)).task_id)
    assert (inner.type, inner.iteration_index, inner.iteration_count) == (TaskType.LOOP, 0, 1)


async def test_02_outputs_keep_their_iteration_on_the_way_through_a_dag_in_the_loop(stack: Stack) -> None:
    run, loop = await started(
        stack, looped(task("comp-inner"), {"comp-inner": INNER, "comp-make": MAKE}), inner="loop"
    )
    for index in (1, 0):
        body = (await run.dag("body", loop, index)).task_id
        await run.finish((await run.container("make", body, index)).task_id, {"Output": "same"})
    entries = (await run.row(loop)).output_parameters
    assert {(entry.type, entry.producer.iteration) for entry in entries if entry.producer} == {
        (IOType.ITERATOR_OUTPUT, 0),
        (IOType.ITERATOR_OUTPUT, 1),
    }


async def test_02_a_nested_loop_hands_one_list_to_each_outer_iteration(stack: Stack) -> None:
    inner = {**INNER, "outputDefinitions": {"parameters": {"made": {"parameterType": "LIST"}}}}
    spec = looped(task("comp-inner", items="[1, 2]"), {"comp-inner": inner, "comp-make": MAKE})
    run, loop = await started(stack, spec, inner="loop")
    for outer in (0, 1):
        body = (await run.dag("body", loop, outer)).task_id
        for index in (1, 0):
            row = await run.container("make", body, index)
            await run.finish(row.task_id, {"Output": f"{outer}{index}"})
    values = {
        entry.producer.iteration: entry.value
        for entry in (await run.row(loop)).output_parameters
        if entry.producer
    }
    assert values == {0: ["00", "01"], 1: ["10", "11"]}


async def test_03_tasks_that_argo_omits_are_not_waited_for(stack: Stack) -> None:
    run, inner = await started(stack, nested(make=task("comp-make", condition="1 == 2"), last=use()))
    await run.container("make", inner)
    assert await run.states() == {"ROOT": "SKIPPED", "inner": "SKIPPED", "make": "SKIPPED"}


async def test_04_an_executor_that_succeeds_after_a_retry_recovers_the_ancestors(stack: Stack) -> None:
    run, inner = await started(stack, nested(last=use()))
    make = (await run.container("make", inner)).task_id
    await run.finish(make, state=TaskState.FAILED)
    assert (await run.row(run.root)).state is TaskState.FAILED
    await run.finish(make, MADE, artifacts=STORED)
    assert await run.states() == {"ROOT": "RUNNING", "inner": "RUNNING", "make": "SUCCEEDED"}


async def test_04_a_new_attempt_has_no_end_time_of_the_old_one(stack: Stack) -> None:
    run, inner = await started(stack, nested(last=use()))
    failure = await run.failing(DriverType.CONTAINER, "use", inner)
    assert (await run.row(failure.partial.task_id)).end_time is not None
    await made(run, inner)
    row = await run.row((await run.container("use", inner)).task_id)
    assert (row.task_id, row.end_time) == (failure.partial.task_id, None)


async def test_05_writing_outputs_leaves_a_state_alone_that_a_sibling_wrote(stack: Stack) -> None:
    spec = nested("sparse", make=task("comp-make", cache=True), last=task("comp-make"))
    source, parent = await started(stack, spec)
    await source.finish((await source.container("make", parent)).task_id, MADE)
    run, inner = await started(stack, spec)
    await run.finish((await run.container("use", inner)).task_id, state=TaskState.FAILED)
    assert (await run.container("make", inner)).cached
    row = await run.row(inner)
    assert (row.state, outputs_of(row)) == (TaskState.FAILED, {"made": "x"})


async def test_06_a_repeated_delivery_with_artifact_links_keeps_the_row_running(stack: Stack) -> None:
    run, inner = await started(stack, nested(last=use()))
    await made(run, inner)
    first = await run.container("use", inner)
    assert await run.container("use", inner) == first
    row = await run.row(first.task_id)
    assert (row.state, len(row.input_artifacts)) == (TaskState.RUNNING, 1)


async def test_07_outputs_of_kept_children_are_back_after_a_retry_of_the_run(stack: Stack) -> None:
    run, inner = await failed_in_executor(stack)
    assert outputs_of(await run.row(inner)) == {"made": "x"}
    retried = await run.container("use", inner)
    assert '"x"' in retried.pod_spec_patch.replace("\\", "")


async def test_08_errors_before_and_in_validation_leave_a_failed_row(stack: Stack) -> None:
    run, inner = await started(stack, nested())
    await run.failing(DriverType.DAG, "make", inner)
    assert await run.states() == {"ROOT": "FAILED", "inner": "FAILED", "make": "FAILED"}
    root = await stack.submit(nested())
    with pytest.raises(DriverFailure, match="task spec is unnecessary"):
        await root.drive(root.call(DriverType.ROOT_DAG, "name-where-none-belongs"))
    assert await root.states() == {"ROOT": "FAILED"}


async def test_09_publishing_logs_does_not_change_the_shared_spec(stack: Stack) -> None:
    run, inner = await started(stack, nested())
    known = stack.services.run_cache.run(run.run_id)
    assert known is not None
    before = deepcopy(known.pipeline.spec)
    result = await run.container("make", inner)
    assert "executor-logs" in result.pod_spec_patch
    assert known.pipeline.spec == before


async def test_10_skipped_rows_have_an_end_time(stack: Stack) -> None:
    run = await stack.start(pipeline({"make": task("comp-make", condition="1 == 2")}, {"comp-make": MAKE}))
    assert (await run.row((await run.container("make")).task_id)).end_time is not None


async def test_10_claim_rows_have_inputs_and_an_end_time(stack: Stack, cluster: Cluster) -> None:
    run = await stack.start(claims(pvc_name="shared"))
    row = await run.row((await run.container("createpvc")).task_id)
    assert (row.end_time is not None, bool(row.input_parameters)) == (True, True)
    assert list(cluster.claims) == ["shared"]


async def test_11_the_administrators_defaults_apply_without_a_kubernetes_config(stack: Stack) -> None:
    run, inner = await started(stack, nested())
    result = await run.container("make", inner, default_run_as_user=1234, kubernetes_config=None)
    assert '"runAsUser":1234' in result.pod_spec_patch.replace(" ", "")


@pytest.mark.parametrize(
    ("key", "condition", "expected"),
    [
        ("condition-2", "1 == 1", TaskType.CONDITION_BRANCH),
        ("condition-2", "", TaskType.CONDITION),
        ("condition-branches-1", "", TaskType.DAG),
        ("exit-handler-1", "", TaskType.EXIT_HANDLER),
    ],
)
def test_12_condition_types_are_kept_and_exit_handlers_typed(
    key: str, condition: str, expected: TaskType
) -> None:
    assert infer_type(key, TaskSpec.parse({"triggerPolicy": {"condition": condition}})) is expected


def test_13_a_selector_may_yield_null() -> None:
    assert ExpressionEngine().select('parseJson(string_value)["a"]', '{"a": null}') is None


def test_14_a_lookup_carries_a_base_audience_token_because_gateways_drop_the_runs_header() -> None:
    assert FIND_CACHED_TASK.base_audience


async def test_15_tls_without_a_ca_path_is_never_plain_text() -> None:
    first_bytes: asyncio.Queue[bytes] = asyncio.Queue()

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first_bytes.put_nowait(await reader.read(1))
        writer.close()

    server = await asyncio.start_server(peer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        pauses = Backoff(initial_seconds=3600, maximum_seconds=3600)
        async with KfpApiClient(
            f"https://127.0.0.1:{port}", retry_deadline_seconds=5, backoff=pauses
        ) as client:
            with pytest.raises(ApiUnavailableError):
                await client.get_run("r")
    assert first_bytes.get_nowait() == b"\x16", "a TLS handshake"


def _parsed(**changes: object) -> DriverCall:
    return parse_driver_call(container_args(**changes), workflow=WORKFLOW, settings=Settings())


@pytest.mark.parametrize("value", ["1000", 1000, 1000.0])
def test_16_administrators_ids_come_as_text_or_numbers(value: object) -> None:
    assert _parsed(default_run_as_user=value).default_run_as_user == 1000


def test_16_an_unknown_type_fails() -> None:
    with pytest.raises(ArgumentError, match="unknown driver type"):
        _parsed(type="SIDEWAYS")


@pytest.mark.parametrize("name", ["component", "task", "container", "kubernetes_config"])
def test_16_no_argument_names_a_file(name: str) -> None:
    content = Path("/etc/hostname").read_text().strip()
    try:
        text = repr(_parsed(**{name: "@/etc/hostname"}))
    except ArgumentError as error:
        text = str(error)
    assert content
    assert content not in text


def test_16_proxies_of_a_call_stay_with_the_call() -> None:
    before = dict(os.environ)
    call = _parsed(http_proxy="http://evil.example:3128")
    assert call.http_proxy == "http://evil.example:3128"
    assert dict(os.environ) == before


@pytest.mark.parametrize("args", [root_args(), dag_args(), container_args()])
def test_16_a_log_has_its_name_before_anything_is_read(args: Json) -> None:
    assert object_key({**args, "log_level": object()}, "inv") is not None


async def test_17_a_failure_names_the_call_by_its_own_parent(stack: Stack) -> None:
    run, inner = await started(stack, nested(last=use()))
    failure = await run.failing(DriverType.CONTAINER, "use", inner)
    assert run.root not in str(failure)
    assert inner in str(failure)


async def test_18_inputs_are_recorded_in_the_order_of_their_names(stack: Stack) -> None:
    given = {"zeta": 1, "alpha": 2, "mu": 3}
    inputs = dict.fromkeys(given, "NUMBER_INTEGER")
    run = await stack.start(
        pipeline({"make": task("comp-make")}, {"comp-make": MAKE}, inputs=inputs), **given
    )
    keys = [entry.parameter_key for entry in (await run.row(run.root)).input_parameters]
    assert keys == ["alpha", "mu", "zeta"]


async def test_19_a_failure_keeps_the_custom_properties_of_its_row(stack: Stack) -> None:
    run, inner = await started(stack, nested(last=use()))
    await made(run, inner)
    first = await run.container("use", inner)
    row = await run.row(first.task_id)
    assert row.status_metadata is not None
    properties = {**row.custom_properties, "plugins.x": "kept"}
    patch = PipelineTask(
        status_metadata=row.status_metadata.model_copy(update={"custom_properties": properties})
    )
    await stack.client.update_task(run.run_id, first.task_id, patch)
    await run.failing(
        DriverType.CONTAINER, "use", inner, kubernetes_config={"pvcMount": [{"mountPath": "/x"}]}
    )
    failed = await run.row(first.task_id)
    assert (failed.state, failed.custom_properties["plugins.x"]) == (TaskState.FAILED, "kept")


async def test_20_an_exit_task_inside_a_loop_has_its_iteration(stack: Stack) -> None:
    notify = leaf("exec-notify", inputs={"status": "TASK_FINAL_STATUS"})
    body = dag(
        {
            "exit-handler-1": task("comp-group"),
            "notify": task(
                "comp-notify",
                inputs={"status": {"taskFinalStatus": {"producerTask": "exit-handler-1"}}},
                depends=("exit-handler-1",),
                strategy="ALL_UPSTREAM_TASKS_COMPLETED",
            ),
        }
    )
    spec = pipeline(
        {"loop": task("comp-loop", items="[1, 2]")},
        {
            "comp-loop": body,
            "comp-group": dag({"make": task("comp-make")}),
            "comp-make": MAKE,
            "comp-notify": notify,
        },
    )
    run, loop = await started(stack, spec, inner="loop")
    for index, state in ((0, TaskState.FAILED), (1, TaskState.SUCCEEDED)):
        group = (await run.dag("exit-handler-1", loop, index)).task_id
        await run.finish((await run.container("make", group, index)).task_id, state=state)
        row = await run.row((await run.container("notify", loop, index)).task_id)
        (status,) = row.input_parameters
        assert row.iteration_index == index
        assert isinstance(status.value, dict)
        assert status.value["state"] == state.value

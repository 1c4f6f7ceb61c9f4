"""Conditions, loops, exit handlers and nested pipelines as rows.

Oracle: spec DRIVER 6 in the project's variant; the rows are those of the embedded KFP API.
"""

from dataclasses import replace
from datetime import datetime

import pytest

from driver_plugin.argo.driver_type import DriverType
from driver_plugin.drivers.rows import ATTEMPT_PROPERTY
from kfp_api.errors import ApiRequestError
from kfp_api.messages import IOType, TaskState, TaskType
from kfp_api.run_view import RunCache
from tests.driver_plugin.drivers.crash_scenarios import made, reading_dag
from tests.driver_plugin.drivers.pipelines import (
    Json,
    constant,
    dag,
    from_parent,
    from_task,
    leaf,
    output_of,
    pipeline,
    task,
)
from tests.driver_plugin.drivers.stack import Stack, inputs_of, outputs_of

PRINT = leaf("exec-print", inputs={"msg": "NUMBER_INTEGER"}, outputs={"Output": "NUMBER_INTEGER"})
CHANNEL = "pipelinechannel--n"


def condition_spec(expression: str) -> Json:
    return pipeline(
        {"condition-1": task("comp-condition-1", inputs={CHANNEL: from_parent("n")}, condition=expression)},
        {
            "comp-condition-1": dag(
                {"print": task("comp-print", inputs={"msg": from_parent(CHANNEL)})},
                inputs={CHANNEL: "NUMBER_INTEGER"},
            ),
            "comp-print": PRINT,
        },
        inputs={"n": "NUMBER_INTEGER"},
    )


IS_ONE = f"int(inputs.parameter_values['{CHANNEL}']) == 1"

ITEM = "pipelinechannel--loop-item-param-1"


def loop_spec(items: str | None, *, condition: str = "", inputs: Json | None = None) -> Json:
    body = dag(
        {"train": task("comp-train", inputs={"msg": from_parent(ITEM)})},
        inputs={ITEM: "NUMBER_INTEGER"},
        outputs={"parameters": {"collected": output_of("train")}},
        output_types={"collected": "LIST"},
    )
    head = task(
        "comp-for-loop-1",
        name="for-loop-1",
        inputs=inputs,
        items=items,
        items_from=None if items is not None else "list",
        item_input=ITEM,
        condition=condition,
    )
    return pipeline(
        {
            "for-loop-1": head,
            "use": task(
                "comp-use", inputs={"l": from_task("for-loop-1", "collected")}, depends=("for-loop-1",)
            ),
        },
        {"comp-for-loop-1": body, "comp-train": PRINT, "comp-use": leaf("exec-use", inputs={"l": "LIST"})},
        inputs={"list": "LIST"} if items is None else {},
    )


async def test_a_true_condition_leaves_its_row_running(stack: Stack) -> None:
    run = await stack.start(condition_spec(IS_ONE), n=1)
    result = await run.dag("condition-1")
    row = await run.row(result.task_id)
    assert (result.condition, result.iteration_count) == (True, 0)
    assert (row.type, row.display_name) == (TaskType.CONDITION_BRANCH, "Condition Branch")
    assert (row.state, row.end_time) == (TaskState.RUNNING, None)
    assert inputs_of(row) == {CHANNEL: 1}
    assert row.parent_task_id == run.root
    assert row.scope_path == "root.condition-1"


async def test_a_false_condition_skips_the_row_and_tells_the_ancestors(stack: Stack) -> None:
    run = await stack.start(condition_spec(IS_ONE), n=2)
    result = await run.dag("condition-1")
    row = await run.row(result.task_id)
    assert result.condition is False
    assert (row.state, isinstance(row.end_time, datetime)) == (TaskState.SKIPPED, True)
    assert inputs_of(row) == {CHANNEL: 2}
    assert await run.states() == {"ROOT": "SKIPPED", "condition-1": "SKIPPED"}


async def test_a_condition_that_cannot_be_evaluated_fails_row_and_ancestors(stack: Stack) -> None:
    run = await stack.start(condition_spec("inputs.parameter_values['missing'] == 1"), n=1)
    failure = await run.failing(DriverType.DAG, "condition-1")
    assert str(failure) == (
        'evaluating the condition of task "condition-1": evaluation error: no such key: missing'
    )
    (row,) = await run.rows("condition-1")
    assert failure.partial.task_id == row.task_id
    assert row.status_metadata is not None
    assert row.status_metadata.message == str(failure)
    assert await run.states() == {"ROOT": "FAILED", "condition-1": "FAILED"}


async def test_a_loop_row_holds_its_items_and_their_number(stack: Stack) -> None:
    run = await stack.start(loop_spec("[5, 6, 7]"))
    result = await run.dag("for-loop-1")
    row = await run.row(result.task_id)
    assert (result.iteration_count, result.condition) == (3, None)
    assert (row.type, row.display_name, row.state) == (TaskType.LOOP, "Loop", TaskState.RUNNING)
    assert (row.iteration_count, row.iteration_index) == (3, None)
    items = [one for one in row.input_parameters if one.type is IOType.ITERATOR_INPUT]
    assert [(one.parameter_key, one.value, one.producer and one.producer.iteration) for one in items] == [
        (ITEM, 5, 0),
        (ITEM, 6, 1),
        (ITEM, 7, 2),
    ]


async def test_every_iteration_has_its_own_row_and_item(stack: Stack) -> None:
    run = await stack.start(loop_spec("[5, 6]"))
    loop = (await run.dag("for-loop-1")).task_id
    for index in (0, 1):
        result = await run.container("train", loop, index)
        row = await run.row(result.task_id)
        assert row.iteration_index == index
        assert inputs_of(row) == {"msg": 5 + index}
        assert [one.producer and one.producer.iteration for one in row.input_parameters] == [index]
        await run.finish(result.task_id, {"Output": 50 + index})
    assert (await run.row(loop)).state is TaskState.SUCCEEDED
    use = await run.container("use")
    assert inputs_of(await run.row(use.task_id)) == {"l": [50, 51]}
    await run.finish(use.task_id)
    assert set((await run.states()).values()) == {"SUCCEEDED"}


async def test_a_loop_over_nothing_is_skipped_and_its_consumer_gets_an_empty_list(stack: Stack) -> None:
    run = await stack.start(loop_spec(None, inputs={"list": from_parent("list")}), list=[])
    result = await run.dag("for-loop-1")
    row = await run.row(result.task_id)
    assert result.iteration_count == 0
    assert (row.state, row.iteration_count, row.end_time is not None) == (TaskState.SKIPPED, 0, True)
    use = await run.container("use")
    assert inputs_of(await run.row(use.task_id)) == {"l": []}
    assert (await run.row(run.root)).state is TaskState.RUNNING
    await run.finish(use.task_id)
    assert (await run.row(run.root)).state is TaskState.SUCCEEDED


async def test_a_loop_with_a_false_condition_still_says_how_many_items_it_has(stack: Stack) -> None:
    run = await stack.start(loop_spec("[1, 2]", condition="1 == 2"))
    result = await run.dag("for-loop-1")
    row = await run.row(result.task_id)
    assert (result.condition, result.iteration_count) == (False, 2)
    assert (row.type, row.state) == (TaskType.LOOP, TaskState.SKIPPED)


async def test_a_loop_over_artifacts_is_refused_and_its_row_says_so(stack: Stack) -> None:
    spec = loop_spec("[1]")
    head = spec["root"]["dag"]["tasks"]["for-loop-1"]
    head["artifactIterator"] = {"itemInput": ITEM, "items": {"inputArtifact": "x"}}
    del head["parameterIterator"]
    make = leaf("exec-make", output_artifacts=("data",))
    spec["root"]["dag"]["tasks"]["make"] = task("comp-make")
    spec["components"]["comp-make"] = make
    spec["deploymentSpec"]["executors"]["exec-make"] = {"container": {"image": "x"}}
    head["inputs"]["artifacts"] = {
        "x": {"taskOutputArtifact": {"producerTask": "make", "outputArtifactKey": "data"}}
    }
    run = await stack.start(spec)
    made = await run.container("make")
    await run.finish(made.task_id, artifacts={"data": "s3://bucket/x"})
    failure = await run.failing(DriverType.DAG, "for-loop-1")
    assert "ArtifactIterator is not implemented" in str(failure)
    (row,) = await run.rows("for-loop-1")
    assert (row.state, row.type) == (TaskState.FAILED, TaskType.LOOP)


async def test_a_dag_is_linked_to_the_artifacts_that_it_takes(stack: Stack) -> None:
    run = await stack.start(reading_dag("linked"))
    await made(run)
    row = await run.row((await run.dag("inner")).task_id)
    (entry,) = row.input_artifacts
    assert (entry.artifact_key, entry.type) == ("data", IOType.TASK_OUTPUT_INPUT)
    assert entry.artifacts[0].uri == "s3://bucket/x"


async def test_a_loop_that_fails_later_still_says_how_many_items_it_has(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refused(*_arguments: object) -> None:
        raise ApiRequestError("links are refused")

    spec = reading_dag("counted", items="[1, 2, 3]")
    run = await stack.start(spec)
    await made(run)
    monkeypatch.setattr(stack.client, "create_artifact_tasks", refused)
    failure = await run.failing(DriverType.DAG, "inner")
    assert failure.partial.iteration_count == 3


async def test_a_loop_above_the_limit_fails(stack: Stack) -> None:
    settings = stack.services.settings.model_copy(update={"max_iterations": 2})
    stack.services = replace(stack.services, settings=settings)
    run = await stack.start(loop_spec("[1, 2, 3]"))
    failure = await run.failing(DriverType.DAG, "for-loop-1")
    assert str(failure) == "the loop has 3 iterations, the limit is 2 (KFP_DRIVER_MAX_ITERATIONS)"


async def test_items_that_are_no_list_fail_an_existing_loop_row_and_keep_its_id(stack: Stack) -> None:
    run = await stack.start(loop_spec('{"a": 1}'))
    first = await run.failing(DriverType.DAG, "for-loop-1")
    second = await run.failing(DriverType.DAG, "for-loop-1")
    assert "cannot be iterated" in str(first)
    (row,) = await run.rows("for-loop-1")
    assert first.partial.task_id == second.partial.task_id == row.task_id
    assert (row.type, row.state, row.end_time is not None) == (TaskType.LOOP, TaskState.FAILED, True)
    assert (await run.row(run.root)).state is TaskState.FAILED


INNER_ITEM = "pipelinechannel--loop-item-param-2"


def nested_loops() -> Json:
    inner = dag(
        {"print": task("comp-print", inputs={"msg": from_parent(ITEM), "msg2": from_parent(INNER_ITEM)})},
        inputs={ITEM: "NUMBER_INTEGER", INNER_ITEM: "NUMBER_INTEGER"},
    )
    outer = dag(
        {
            "for-loop-2": task(
                "comp-for-loop-2",
                name="for-loop-2",
                inputs={ITEM: from_parent(ITEM)},
                items="[100, 200]",
                item_input=INNER_ITEM,
            )
        },
        inputs={ITEM: "NUMBER_INTEGER"},
    )
    return pipeline(
        {"for-loop-1": task("comp-for-loop-1", name="for-loop-1", items="[1, 2]", item_input=ITEM)},
        {
            "comp-for-loop-1": outer,
            "comp-for-loop-2": inner,
            "comp-print": leaf("exec-print", inputs={"msg": "NUMBER_INTEGER", "msg2": "NUMBER_INTEGER"}),
        },
    )


async def test_a_loop_inside_an_iteration_is_a_loop_row_with_index_and_count(stack: Stack) -> None:
    run = await stack.start(nested_loops())
    outer = (await run.dag("for-loop-1")).task_id
    for index in (0, 1):
        result = await run.dag("for-loop-2", outer, index)
        row = await run.row(result.task_id)
        assert (result.iteration_count, row.type) == (2, TaskType.LOOP)
        assert (row.iteration_index, row.iteration_count) == (index, 2)
        for inner in (0, 1):
            leaf_row = await run.container("print", result.task_id, inner)
            values = inputs_of(await run.row(leaf_row.task_id))
            assert values == {"msg": 1 + index, "msg2": 100 * (1 + inner)}
            assert (await run.row(run.root)).state is TaskState.RUNNING
            await run.finish(leaf_row.task_id)
        assert (await run.row(result.task_id)).state is TaskState.SUCCEEDED
    assert set((await run.states()).values()) == {"SUCCEEDED"}
    assert len(await run.rows("print")) == 4


def iteration_driver_spec() -> Json:
    return loop_spec("[1]")


async def test_an_iteration_driver_of_an_older_workflow_is_refused(stack: Stack) -> None:
    run = await stack.start(iteration_driver_spec())
    loop = (await run.dag("for-loop-1")).task_id
    failure = await run.failing(DriverType.DAG, "for-loop-1", loop, 0)
    assert str(failure) == (
        "iteration drivers are not supported by the native task API; recompile or rewrite the workflow"
    )
    assert (await run.row(loop)).state is TaskState.RUNNING


async def test_a_dag_without_tasks_succeeds_at_once(stack: Stack) -> None:
    run = await stack.start(pipeline({"empty": task("comp-empty")}, {"comp-empty": dag({})}))
    row = await run.row((await run.dag("empty")).task_id)
    assert (row.state, row.type, row.end_time is not None) == (TaskState.SUCCEEDED, TaskType.DAG, True)
    assert (await run.row(run.root)).state is TaskState.SUCCEEDED


async def test_an_exit_handler_group_is_typed_as_one(stack: Stack) -> None:
    group = dag({"print": task("comp-print", inputs={"msg": constant(1)})})
    run = await stack.start(
        pipeline({"exit-handler-1": task("comp-exit")}, {"comp-exit": group, "comp-print": PRINT})
    )
    row = await run.row((await run.dag("exit-handler-1")).task_id)
    assert (row.type, row.display_name) == (TaskType.EXIT_HANDLER, "Exit Handler")


def exit_spec() -> Json:
    return pipeline(
        {
            "exit-handler-1": task("comp-exit"),
            "cleanup": task(
                "comp-cleanup",
                inputs={"status": {"taskFinalStatus": {"producerTask": "exit-handler-1"}}},
                depends=("exit-handler-1",),
                strategy="ALL_UPSTREAM_TASKS_COMPLETED",
            ),
        },
        {
            "comp-exit": dag(
                {
                    "print": task("comp-print", inputs={"msg": constant(1)}),
                    "later": task("comp-print", inputs={"msg": constant(2)}, depends=("print",)),
                }
            ),
            "comp-print": PRINT,
            "comp-cleanup": leaf("exec-cleanup", inputs={"status": "STRUCT"}),
        },
    )


class Naps:
    """Stands for the clock; counts the seconds it was asked to wait."""

    def __init__(self) -> None:
        self.seconds = 0.0

    async def __call__(self, seconds: float) -> None:
        self.seconds += seconds


async def test_an_exit_task_of_a_failed_group_reads_its_failure_without_waiting(stack: Stack) -> None:
    naps = Naps()
    stack.services = replace(stack.services, sleep=naps)
    run = await stack.start(exit_spec())
    group = (await run.dag("exit-handler-1")).task_id
    await run.finish((await run.container("print", group)).task_id, state=TaskState.FAILED)
    cleanup = await run.container("cleanup")
    status = inputs_of(await run.row(cleanup.task_id))["status"]
    assert (status["state"], status["pipelineTaskName"], naps.seconds) == ("FAILED", "exit-handler-1", 0)


async def test_an_exit_task_stops_waiting_when_its_group_has_ended(stack: Stack) -> None:
    run = await stack.start(exit_spec())
    group = (await run.dag("exit-handler-1")).task_id
    first = (await run.container("print", group)).task_id
    naps = 0

    async def nap(_seconds: float) -> None:
        nonlocal naps
        naps += 1
        if naps == 2:
            await run.finish(first, state=TaskState.FAILED)

    stack.services = replace(stack.services, sleep=nap)
    cleanup = await run.container("cleanup")
    status = inputs_of(await run.row(cleanup.task_id))["status"]
    assert (status["state"], naps) == ("FAILED", 2)
    assert status["error"].get("message") != "task did not report a final state"


async def test_an_exit_task_of_a_group_that_stays_open_gets_what_its_children_say(stack: Stack) -> None:
    naps = Naps()
    stack.services = replace(stack.services, sleep=naps)
    run = await stack.start(exit_spec())
    group = (await run.dag("exit-handler-1")).task_id
    await run.finish((await run.container("print", group)).task_id)
    assert (await run.row(group)).state is TaskState.RUNNING
    cleanup = await run.container("cleanup")
    status = inputs_of(await run.row(cleanup.task_id))["status"]
    assert (status["state"], naps.seconds) == ("SUCCEEDED", 5)
    assert (await run.row(group)).state is TaskState.RUNNING


async def test_an_exit_task_of_a_dead_group_is_told_that_there_was_no_final_state(stack: Stack) -> None:
    naps = Naps()
    stack.services = replace(stack.services, sleep=naps)
    run = await stack.start(exit_spec())
    group = (await run.dag("exit-handler-1")).task_id
    await run.container("print", group)
    cleanup = await run.container("cleanup")
    status = inputs_of(await run.row(cleanup.task_id))["status"]
    assert (status["state"], status["error"]["message"]) == (
        "FAILED",
        "task did not report a final state",
    )


@pytest.mark.parametrize(("n", "first_state"), [(1, TaskState.RUNNING), (2, TaskState.SKIPPED)])
async def test_a_repeated_dag_call_gives_the_same_reply_and_one_row(
    stack: Stack, n: int, first_state: TaskState
) -> None:
    run = await stack.start(condition_spec(IS_ONE), n=n)
    first = await run.dag("condition-1")
    before = await run.row(first.task_id)
    stack.services = replace(stack.services, run_cache=RunCache())
    assert await run.dag("condition-1") == first
    assert await run.row(first.task_id) == before
    assert before.state is first_state
    assert len(await run.rows("condition-1")) == 1


async def test_a_retry_of_a_failed_loop_executes_again_and_recovers_the_ancestors(stack: Stack) -> None:
    spec = loop_spec(None, inputs={"list": from_parent("list")})
    run = await stack.start(spec, list=[1, 2, 3])
    settings = stack.services.settings
    stack.services = replace(stack.services, settings=settings.model_copy(update={"max_iterations": 2}))
    failure = await run.failing(DriverType.DAG, "for-loop-1")
    failed = await run.row(failure.partial.task_id)
    stack.services = replace(stack.services, settings=settings)
    result = await run.dag("for-loop-1")
    row = await run.row(result.task_id)
    assert result.task_id == failure.partial.task_id
    assert (row.state, row.iteration_count, row.end_time) == (TaskState.RUNNING, 3, None)
    assert row.custom_properties[ATTEMPT_PROPERTY] != failed.custom_properties[ATTEMPT_PROPERTY]
    for index in range(3):
        await run.finish((await run.container("train", result.task_id, index)).task_id, {"Output": index})
    use = await run.container("use")
    await run.finish(use.task_id)
    assert set((await run.states()).values()) == {"SUCCEEDED"}
    assert outputs_of(await run.row(run.root)) == {}

"""Container tasks: handed over, skipped, failed, delivered again.

Oracle: spec DRIVER 4.1, 7 and 9 in the project's variant; rows are those of the embedded KFP API.
"""

import json
from typing import Any

import pytest

from driver_plugin.argo.driver_type import DriverType
from driver_plugin.argo.replies import DriverResult
from driver_plugin.drivers.rows import ATTEMPT_PROPERTY, LOG_PROPERTY
from kfp_api.messages import (
    IOType,
    PipelineTask,
    StatusMetadata,
    TaskPod,
    TaskPodType,
    TaskState,
    TaskType,
)
from tests.driver_plugin.drivers.pipelines import (
    Json,
    artifact_from_task,
    constant,
    dag,
    from_parent,
    from_task,
    leaf,
    pipeline,
    task,
)
from tests.driver_plugin.drivers.stack import PIPELINE_ROOT, RUN_NAME, Stack, inputs_of

MAKE = leaf("exec-make", outputs={"Output": "STRING"}, output_artifacts=("data",))
TRAIN = leaf("exec-train", inputs={"lr": "NUMBER_DOUBLE", "text": "STRING"}, input_artifacts=("data",))


def chain(condition: str = "", text: Json | None = None) -> Json:
    return pipeline(
        {
            "make": task("comp-make"),
            "train": task(
                "comp-train",
                name="Train it",
                inputs={"lr": from_parent("lr"), "text": text or from_task("make")},
                artifacts={"data": artifact_from_task("make", "data")},
                depends=("make",),
                condition=condition,
            ),
        },
        {"comp-make": MAKE, "comp-train": TRAIN},
        inputs={"lr": "NUMBER_DOUBLE"},
    )


def executor_input(result: DriverResult) -> Json:
    """What the launcher of the patch is told."""
    command = json.loads(result.pod_spec_patch)["containers"][0]["command"]
    document: Json = json.loads(command[command.index("--executor_input") + 1])
    return document


async def test_a_task_is_handed_over_with_its_inputs_and_output_uris(stack: Stack) -> None:
    run = await stack.start(chain(), lr=0.1)
    make = await run.container("make")
    await run.finish(make.task_id, {"Output": "hello"}, artifacts={"data": "s3://bucket/data"})
    result = await run.container("train")
    row = await run.row(result.task_id)
    assert (result.condition, result.cached) == (None, False)
    assert (row.name, row.display_name, row.type) == ("train", "Train it", TaskType.RUNTIME)
    assert (row.state, row.scope_path, row.parent_task_id) == (
        TaskState.RUNNING,
        "root.train",
        run.root,
    )
    assert inputs_of(row) == {"lr": 0.1, "text": "hello"}
    (entry,) = row.input_artifacts
    assert (entry.artifact_key, entry.type, entry.artifacts[0].uri) == (
        "data",
        IOType.TASK_OUTPUT_INPUT,
        "s3://bucket/data",
    )
    document = executor_input(result)
    assert document["inputs"]["parameterValues"] == {"lr": 0.1, "text": "hello"}
    assert document["inputs"]["artifacts"]["data"]["artifacts"][0]["uri"] == "s3://bucket/data"


async def test_the_marker_of_the_row_is_the_salt_of_its_output_uris(stack: Stack) -> None:
    run = await stack.start(chain(), lr=0.1)
    result = await run.container("make")
    marker = (await run.row(result.task_id)).custom_properties[ATTEMPT_PROPERTY]
    outputs = executor_input(result)["outputs"]
    assert outputs["artifacts"]["data"]["artifacts"][0]["uri"] == (
        f"{PIPELINE_ROOT}/demo/{run.run_id}/make/{marker}/data"
    )
    assert set(outputs["artifacts"]) == {"data", "executor-logs"}


async def test_the_row_names_the_driver_log(stack: Stack) -> None:
    run = await stack.start(chain(), lr=0.1)
    result = await run.drive(run.call(DriverType.CONTAINER, "make", run.root), uri="s3://logs/a.log")
    assert (await run.row(result.task_id)).custom_properties[LOG_PROPERTY] == "s3://logs/a.log"


@pytest.mark.parametrize(
    ("expression", "condition", "state"),
    [
        ("double(inputs.parameter_values['lr']) == 0.5", True, "RUNNING"),
        ("double(inputs.parameter_values['lr']) == 0.6", False, "SKIPPED"),
    ],
)
async def test_the_condition_of_a_task_decides_whether_it_runs(
    stack: Stack, expression: str, condition: bool, state: str
) -> None:
    run = await stack.start(chain(expression, text=constant("x")), lr=0.5)
    make = await run.container("make")
    await run.finish(make.task_id, {"Output": "hello"}, artifacts={"data": "s3://bucket/data"})
    result = await run.container("train")
    row = await run.row(result.task_id)
    assert result.condition is condition
    assert row.state.value == state
    assert (row.end_time is not None) is not condition
    assert len(row.input_artifacts) == 1
    assert (result.pod_spec_patch == "") is not condition
    assert (await run.row(run.root)).state is (TaskState.RUNNING if condition else TaskState.SUCCEEDED)


async def test_a_repeated_call_gives_the_same_reply_and_leaves_one_unchanged_row(stack: Stack) -> None:
    run = await stack.start(chain(), lr=0.1)
    make = await run.container("make")
    await run.finish(make.task_id, {"Output": "hello"}, artifacts={"data": "s3://bucket/data"})
    first = await run.container("train")
    before = await run.row(first.task_id)
    assert await run.container("train") == first
    assert await run.row(first.task_id) == before
    assert len(await run.rows("train")) == 1


async def test_links_that_a_stopped_call_left_out_are_added_by_its_repetition(stack: Stack) -> None:
    run = await stack.start(chain(), lr=0.1)
    make = await run.container("make")
    await run.finish(make.task_id, {"Output": "hello"}, artifacts={"data": "s3://bucket/data"})
    await stack.client.create_task(
        PipelineTask(
            name="train",
            run_id=run.run_id,
            type=TaskType.RUNTIME,
            state=TaskState.RUNNING,
            scope_path="root.train",
            parent_task_id=run.root,
            status_metadata=StatusMetadata(custom_properties={ATTEMPT_PROPERTY: "earlier"}),
        )
    )
    result = await run.container("train")
    row = await run.row(result.task_id)
    assert [entry.artifact_key for entry in row.input_artifacts] == ["data"]
    assert row.custom_properties == {ATTEMPT_PROPERTY: "earlier"}
    assert executor_input(result)["outputs"]["outputFile"].split("/")[-2] == "earlier"


async def test_a_call_after_success_answers_that_the_work_is_done(stack: Stack) -> None:
    run = await stack.start(chain(), lr=0.1)
    make = await run.container("make")
    await run.finish(make.task_id, {"Output": "hello"}, artifacts={"data": "s3://bucket/data"})
    before = await run.row(make.task_id)
    again = await run.container("make")
    assert again == DriverResult(task_id=make.task_id, cached=True)
    assert await run.row(make.task_id) == before


async def test_a_call_after_the_executor_failed_answers_as_before_and_writes_nothing(stack: Stack) -> None:
    run = await stack.start(chain(), lr=0.1)
    first = await run.container("make")
    await run.finish(first.task_id, state=TaskState.FAILED)
    before = await run.row(first.task_id)
    assert await run.container("make") == first
    assert await run.row(first.task_id) == before


async def test_a_row_whose_marker_was_lost_still_gives_one_patch(stack: Stack) -> None:
    run = await stack.start(chain(), lr=0.1)
    first = await run.container("make")
    await stack.client.update_task(
        run.run_id,
        first.task_id,
        PipelineTask(
            state=TaskState.FAILED,
            status_metadata=StatusMetadata(message="launcher died"),
            pods=[TaskPod(name="pod", uid="1", type=TaskPodType.EXECUTOR)],
        ),
    )
    again = await run.container("make")
    assert again == await run.container("make")
    assert executor_input(again)["outputs"]["outputFile"].split("/")[-2] == first.task_id


async def test_an_input_that_cannot_be_resolved_fails_the_row_and_its_ancestors(stack: Stack) -> None:
    run = await stack.start(chain(), lr=0.1)
    failure = await run.failing(DriverType.CONTAINER, "train")
    assert f"producerTask task make_{run.root} not found" in str(failure)
    (row,) = await run.rows("train")
    assert failure.partial.task_id == row.task_id
    assert row.status_metadata is not None
    assert row.status_metadata.message == str(failure)
    assert await run.states() == {"ROOT": "FAILED", "train": "FAILED"}


async def test_a_retry_after_a_failure_executes_again_on_the_same_row(stack: Stack) -> None:
    run = await stack.start(chain(), lr=0.1)
    failure = await run.failing(DriverType.CONTAINER, "train")
    make = await run.container("make")
    await run.finish(make.task_id, {"Output": "hello"}, artifacts={"data": "s3://bucket/data"})
    result = await run.container("train")
    row = await run.row(result.task_id)
    assert result.task_id == failure.partial.task_id
    assert (row.state, row.end_time) == (TaskState.RUNNING, None)
    assert inputs_of(row) == {"lr": 0.1, "text": "hello"}
    assert row.status_metadata is not None
    assert row.status_metadata.message == ""
    await run.finish(result.task_id)
    assert await run.states() == {"ROOT": "SUCCEEDED", "make": "SUCCEEDED", "train": "SUCCEEDED"}


async def test_a_failure_after_the_row_was_created_fails_that_row_and_keeps_its_properties(
    stack: Stack,
) -> None:
    run = await stack.start(chain(), lr=0.1)
    broken: dict[str, Any] = {"pvcMount": [{"mountPath": "/data"}]}
    failure = await run.failing(DriverType.CONTAINER, "make", kubernetes_config=broken)
    assert "volume name not provided" in str(failure)
    (row,) = await run.rows("make")
    assert (row.state, failure.partial.task_id) == (TaskState.FAILED, row.task_id)
    assert row.custom_properties[ATTEMPT_PROPERTY]
    assert (await run.row(run.root)).state is TaskState.FAILED


async def test_a_failing_repetition_leaves_finished_work_alone(stack: Stack) -> None:
    run = await stack.start(chain(), lr=0.1)
    make = await run.container("make")
    await run.finish(make.task_id, {"Output": "hello"}, artifacts={"data": "s3://bucket/data"})
    before = await run.row(make.task_id)
    failure = await run.failing(DriverType.CONTAINER, "make", kubernetes_config={"pvcMount": 5})
    assert "failed to unmarshal Kubernetes config: pvcMount" in str(failure)
    assert await run.row(make.task_id) == before


async def test_a_failure_in_iteration_zero_is_the_failure_of_that_iteration(stack: Stack) -> None:
    body = dag({"train": task("comp-train", inputs={"x": from_task("nobody")})})
    spec = pipeline(
        {"for-loop-1": task("comp-loop", items="[1, 2]")},
        {"comp-loop": body, "comp-train": leaf("exec-train", inputs={"x": "STRING"})},
    )
    run = await stack.start(spec)
    loop = (await run.dag("for-loop-1")).task_id
    await run.failing(DriverType.CONTAINER, "train", loop, 0)
    assert await run.states() == {"ROOT": "FAILED", "for-loop-1": "FAILED", "train[0]": "FAILED"}


async def test_the_same_name_under_two_parents_gives_two_rows(stack: Stack) -> None:
    body = dag({"train": task("comp-train")})
    spec = pipeline(
        {"a": task("comp-a"), "b": task("comp-b"), "train": task("comp-train")},
        {"comp-a": body, "comp-b": body, "comp-train": leaf("exec-train")},
    )
    run = await stack.start(spec)
    parents = [run.root, (await run.dag("a")).task_id, (await run.dag("b")).task_id]
    ids = [(await run.container("train", parent)).task_id for parent in parents]
    assert len(set(ids)) == 3


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("nobody", "task nobody is not found"),
        ("../make", "task ../make is not found"),
        ("a/b", "task a/b is not found"),
        ("", "task name for non Root dag could not be resolved"),
    ],
)
async def test_only_a_task_of_the_parents_dag_can_be_driven(stack: Stack, name: str, text: str) -> None:
    run = await stack.start(chain(), lr=0.1)
    failure = await run.failing(DriverType.CONTAINER, name)
    assert text in str(failure)
    assert [row.name for row in await run.rows()] == ["ROOT"]


async def test_a_parent_of_another_run_is_refused_and_nothing_is_written(stack: Stack) -> None:
    other = await stack.start(chain(), lr=0.1)
    run = await stack.start(chain(), lr=0.1)
    failure = await run.failing(DriverType.CONTAINER, "make", other.root)
    assert f"does not belong to run {run.run_id}" in str(failure)
    assert [row.name for row in await run.rows() + await other.rows()] == ["ROOT", "ROOT"]


async def test_a_call_without_parent_is_refused(stack: Stack) -> None:
    run = await stack.start(chain(), lr=0.1)
    failure = await run.failing(DriverType.CONTAINER, "make", parent_task_id="")
    assert str(failure) == "scope path is empty, first task should be root"


async def test_a_dag_cannot_be_driven_as_a_container_and_its_row_says_so(stack: Stack) -> None:
    spec = pipeline({"a": task("comp-a")}, {"comp-a": dag({})})
    run = await stack.start(spec)
    failure = await run.failing(DriverType.CONTAINER, "a")
    assert str(failure) == "container driver requires an executor-label component"
    assert await run.states() == {"ROOT": "FAILED", "a": "FAILED"}


async def test_an_importer_cannot_be_driven(stack: Stack) -> None:
    spec = chain()
    spec["deploymentSpec"]["executors"]["exec-make"] = {"importer": {"artifactUri": {"constant": "s3://x"}}}
    run = await stack.start(spec, lr=0.1)
    failure = await run.failing(DriverType.CONTAINER, "make")
    assert str(failure) == 'executor "exec-make" does not contain a container spec'


async def test_a_pipeline_name_that_is_not_the_runs_is_replaced_and_reported(stack: Stack) -> None:
    run = await stack.start(chain(), lr=0.1)
    result = await run.container("make", pipeline_name="somebody-elses")
    assert f"/demo/{run.run_id}/make/" in executor_input(result)["outputs"]["outputFile"]
    assert "pipeline name differs from the run's spec" in run.log.body("succeeded").decode()


async def test_the_servers_spelling_of_the_pipeline_name_is_kept(stack: Stack) -> None:
    run = await stack.start(chain(), lr=0.1)
    result = await run.container("make", pipeline_name="namespace/team-a/pipeline/demo")
    assert f"/namespace/team-a/pipeline/demo/{run.run_id}/" in executor_input(result)["outputs"]["outputFile"]


async def test_the_runs_times_replace_their_placeholders(stack: Stack) -> None:
    run = await stack.start(chain(text=constant("{{$.pipeline_job_create_time_utc}}")), lr=0.1)
    make = await run.container("make")
    await run.finish(make.task_id, {"Output": "x"}, artifacts={"data": "s3://bucket/data"})
    train = await run.row((await run.container("train")).task_id)
    created = (await stack.client.get_run(run.run_id)).created_at
    assert created is not None
    assert inputs_of(train)["text"] == created.strftime("%Y-%m-%dT%H:%M:%SZ")


async def test_what_the_driver_decided_stands_in_its_log(stack: Stack) -> None:
    run = await stack.start(chain("inputs.parameter_values['lr'] == 0.1", text=constant("x")), lr=0.1)
    make = await run.container("make")
    await run.finish(make.task_id, {"Output": "x"}, artifacts={"data": "s3://bucket/data"})
    await run.container("train")
    log = run.log.body("succeeded").decode()
    for event in ("inputs resolved", "condition evaluated", "row decided"):
        assert event in log
    assert '"data":"output of make: ' in log
    assert '"text":"constant"' in log
    assert 'condition values values={"lr":0.1}' in log
    assert 'cache not used reason="caching is not enabled for the task"' in log


async def test_values_of_secret_inputs_stand_in_no_log_and_no_message(stack: Stack) -> None:
    spec = pipeline(
        {
            "train": task(
                "comp-train",
                inputs={"api_token": from_parent("db_password"), "mode": constant("x")},
                condition="inputs.parameter_values['api_token'] == 'canary-literal'",
            ),
        },
        {"comp-train": leaf("exec-train", inputs={"api_token": "STRING", "mode": "STRING"})},
        inputs={"db_password": "STRING"},
    )
    run = await stack.start(spec, db_password='canary "with quotes"')
    await run.container("train")
    log = run.log.body("succeeded").decode()
    assert "canary" not in log
    assert '"mode":"x"' in log
    assert "outcome=false" in log


async def test_the_message_of_a_failed_row_quotes_no_secret(stack: Stack) -> None:
    component = leaf("exec-train", inputs={"api_token": "STRING"})
    component["inputDefinitions"]["parameters"]["api_token"]["literals"] = ["a", "b"]
    spec = pipeline(
        {"train": task("comp-train", inputs={"api_token": from_parent("secret")})},
        {"comp-train": component},
        inputs={"secret": "STRING"},
    )
    run = await stack.start(spec, secret="canary-value")
    failure = await run.failing(DriverType.CONTAINER, "train")
    (row,) = await run.rows("train")
    assert "canary-value" in str(failure)  # the oracle that the error does quote it
    assert row.status_metadata is not None
    assert "does not match any of the allowed literal values" in row.status_metadata.message
    assert "canary-value" not in row.status_metadata.message


async def test_requests_of_a_call_do_not_grow_with_the_rows_of_the_run(stack: Stack) -> None:
    body = dag({"train": task("comp-train", inputs={"i": from_parent("item")})}, inputs={"item": "LIST"})
    spec = pipeline(
        {"for-loop-1": task("comp-loop", items=json.dumps(list(range(12))))},
        {"comp-loop": body, "comp-train": leaf("exec-train", inputs={"i": "NUMBER_INTEGER"})},
    )
    run = await stack.start(spec)
    loop = (await run.dag("for-loop-1")).task_id
    counts = []
    for index in range(12):
        stack.requests.clear()
        await run.container("train", loop, index)
        counts.append([f"{call.method} {call.path.rsplit('/', 1)[-1]}" for call in stack.requests])
    methods = [[call.split()[0] for call in calls] for calls in counts]
    assert methods[0] == ["GET", "POST"], "the loop head is read by the first task of its body"
    assert methods[1:] == [["POST"]] * 11


async def test_the_run_name_is_not_needed_without_a_workspace(stack: Stack) -> None:
    run = await stack.start(chain(), lr=0.1)
    assert (await run.container("make", run_name="")).pod_spec_patch
    assert RUN_NAME not in (await run.container("make", run_name="")).pod_spec_patch

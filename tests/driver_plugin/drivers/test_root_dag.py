"""The root driver records the run and its parameters.

Oracle: spec DRIVER 5; the stored rows are those of the embedded KFP API.
"""

from dataclasses import replace
from typing import Any

import pytest

from driver_plugin.argo.driver_type import DriverType
from driver_plugin.argo.replies import DriverResult
from driver_plugin.drivers.rows import ATTEMPT_PROPERTY, LOG_PROPERTY
from driver_plugin.settings import Settings
from kfp_api.messages import IOType, TaskPodType, TaskState, TaskType
from tests.driver_plugin.drivers.pipelines import leaf, pipeline, task
from tests.driver_plugin.drivers.stack import Stack, inputs_of

SPEC = pipeline(
    {"train": task("comp-train")}, {"comp-train": leaf("exec-train")}, inputs={"epochs": "NUMBER_INTEGER"}
)


async def test_root_inputs_all_kinds(stack: Stack) -> None:
    """The parameters stand on the root row sorted and as they were given."""
    run = await stack.submit(SPEC, epochs=1)
    values: dict[str, Any] = {
        "note": None,
        "epochs": 3,
        "rate": 0.5,
        "fast": False,
        "name": "x",
        "l": [1, None],
        "s": {"k": {}},
    }
    call = replace(run.call(DriverType.ROOT_DAG), runtime_config={"parameterValues": values})
    result = await run.drive(call, uri="s3://logs/inv-1.log")
    row = await run.row(result.task_id)
    assert result == DriverResult(task_id=row.task_id)
    assert (row.name, row.type, row.state, row.scope_path) == (
        "ROOT",
        TaskType.ROOT,
        TaskState.RUNNING,
        "root",
    )
    assert row.display_name == "Demo"
    assert [(one.parameter_key, one.value, one.type) for one in row.input_parameters] == [
        (key, values[key], IOType.RUNTIME_VALUE_INPUT) for key in sorted(values)
    ]
    assert {one.producer.task_name for one in row.input_parameters if one.producer} == {"ROOT"}
    assert row.custom_properties[LOG_PROPERTY] == "s3://logs/inv-1.log"
    assert row.custom_properties[ATTEMPT_PROPERTY]


@pytest.mark.parametrize("config", [{}, {"parameterValues": {}}, {"parameters": {"epochs": 1}}])
async def test_a_run_without_parameter_values_has_no_inputs(stack: Stack, config: dict[str, Any]) -> None:
    run = await stack.submit(SPEC, epochs=1)
    result = await run.drive(replace(run.call(DriverType.ROOT_DAG), runtime_config=config))
    assert (await run.row(result.task_id)).input_parameters == []


@pytest.mark.parametrize(
    ("environ", "recorded"),
    [
        ({"KFP_POD_NAME": "agent", "KFP_POD_UID": "u-1"}, [("agent", "u-1", TaskPodType.DRIVER)]),
        ({"KFP_POD_NAME": "agent"}, []),
        ({"KFP_POD_UID": "u-1"}, []),
        ({}, []),
    ],
)
async def test_the_services_own_pod_is_recorded_where_name_and_uid_are_given(
    stack: Stack, environ: dict[str, str], recorded: list[tuple[str, str, TaskPodType]]
) -> None:
    stack.services = replace(stack.services, settings=Settings.from_environ(environ))
    run = await stack.start(SPEC, epochs=1)
    result = await run.container("train")
    for task_id in (run.root, result.task_id):
        pods = (await run.row(task_id)).pods
        assert [(pod.name, pod.uid, pod.type) for pod in pods] == recorded


async def test_the_display_name_of_the_call_wins_over_the_runs(stack: Stack) -> None:
    run = await stack.submit(SPEC, epochs=1)
    call = replace(run.call(DriverType.ROOT_DAG), run_display_name="Chosen")
    assert (await run.row((await run.drive(call)).task_id)).display_name == "Chosen"


async def test_a_repeated_root_call_gives_the_same_row_unchanged(stack: Stack) -> None:
    run = await stack.start(SPEC, epochs=1)
    before = await run.row(run.root)
    assert (await run.drive_root()).task_id == run.root
    assert await run.row(run.root) == before
    assert len(await run.rows()) == 1


async def test_a_root_driver_that_fails_leaves_a_failed_root_row(stack: Stack) -> None:
    run = await stack.submit(SPEC, epochs=1)
    failure = await run.failing(DriverType.ROOT_DAG, "", runtime_config=None)
    assert str(failure) == "runtime config is required"
    (row,) = await run.rows()
    assert row.state is TaskState.FAILED
    assert row.status_metadata is not None
    assert row.status_metadata.message == "runtime config is required"
    assert failure.partial.task_id == row.task_id


async def test_a_retry_after_a_failed_root_call_executes_again(stack: Stack) -> None:
    run = await stack.submit(SPEC, epochs=2)
    failure = await run.failing(DriverType.ROOT_DAG, "", runtime_config=None)
    result = await run.drive_root()
    row = await run.row(result.task_id)
    assert result.task_id == failure.partial.task_id
    assert row.state is TaskState.RUNNING
    assert inputs_of(row) == {"epochs": 2}
    assert row.status_metadata is not None
    assert row.status_metadata.message == ""


async def test_a_pipeline_whose_root_is_no_dag_is_refused(stack: Stack) -> None:
    run = await stack.submit({**SPEC, "root": {"executorLabel": "exec-train"}})
    failure = await run.failing(DriverType.ROOT_DAG, "")
    assert str(failure) == "root driver requires a DAG root component"

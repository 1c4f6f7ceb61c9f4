"""One launcher, one task, a real KFP API.

Oracle: the steps and texts of spec LAUNCHER A4, A10, A13, A14, A16 and B.
"""

import asyncio
import json
import signal
from pathlib import Path

import pytest

from kfp_api.messages import IOType, PipelineTask, StatusMetadata, TaskPodType, TaskState, TaskType
from tests.launcher.conftest import Bench

GOOD = 'echo working; echo weights > "$0"; echo 0.93 > "$1"'


def artifacts(row: PipelineTask) -> dict[str, list[str]]:
    return {
        one.artifact_key: [Path(str(artifact.uri)).name for artifact in one.artifacts]
        for one in row.output_artifacts
    }


async def test_success_publishes_outputs_and_tells_the_ancestors(bench: Bench) -> None:
    status, output = await bench.run(await bench.task(), GOOD)
    assert status == 0, output
    assert "working" in output
    row = (await bench.client.list_tasks(bench.run_id, parent_id=bench.root.task_id)).tasks[0]
    assert row.state is TaskState.SUCCEEDED
    assert row.end_time is not None
    assert [(one.parameter_key, one.value, one.type) for one in row.output_parameters] == [
        ("acc", 0.93, IOType.OUTPUT)
    ]
    assert artifacts(row) == {"model": ["model"], "executor-logs": ["executor-logs-0"]}
    assert [(pod.name, pod.type) for pod in row.pods] == [("pod-1", TaskPodType.EXECUTOR)]
    assert row.custom_properties == {"kfp_driver_attempt": "m1", "plugins.x": "kept"}
    log = bench.directory / "artifacts/train/executor-logs-0"
    assert log.read_text(encoding="utf-8") == "working\n"
    root = await bench.row(bench.root.task_id)
    assert [(one.parameter_key, one.value) for one in root.output_parameters] == [("acc", 0.93)]
    assert root.state is TaskState.RUNNING, "the importer of the DAG has not run yet"


async def test_failure_keeps_log_message_and_properties(bench: Bench) -> None:
    task = await bench.task()
    status, output = await bench.run(task, "echo no memory >&2; exit 3")
    assert status == 1
    assert "failed to execute component: exit status 3" in output
    row = await bench.row(task.task_id)
    assert row.state is TaskState.FAILED
    assert row.status_metadata == StatusMetadata(
        message="failed to execute component: exit status 3",
        custom_properties={"kfp_driver_attempt": "m1", "plugins.x": "kept"},
    )
    assert artifacts(row) == {"executor-logs": ["executor-logs-0"]}
    assert (bench.directory / "artifacts/train/executor-logs-0").read_text(encoding="utf-8") == "no memory\n"
    assert (await bench.row(bench.root.task_id)).state is TaskState.FAILED


async def test_status_of_the_user_command_can_be_passed_on(bench: Bench) -> None:
    environment = {"KFP_LAUNCHER_PROPAGATE_EXIT": "1"}
    status, _ = await bench.run(await bench.task(), "exit 3", environment=environment)
    assert status == 3


@pytest.mark.parametrize(
    ("script", "text"),
    [
        ('echo x > "$0"', 'failed to read output parameter name="acc"'),
        ('echo 0.5 > "$1"', 'declared output artifact "model" is missing'),
        ('echo x > "$0"; echo high > "$1"', '"high" is not a finite decimal number'),
        ("kill -9 $$", "signal: killed"),
    ],
)
async def test_what_is_wrong_with_the_outputs_is_said(script: str, text: str, bench: Bench) -> None:
    task = await bench.task()
    status, _ = await bench.run(task, script)
    row = await bench.row(task.task_id)
    assert (status, row.state) == (1, TaskState.FAILED)
    assert row.status_metadata is not None
    assert text in row.status_metadata.message


async def test_second_attempt_recovers_the_row_and_its_ancestors_and_repeats_no_output(bench: Bench) -> None:
    task = await bench.task()
    script = 'echo weights > "$0"; [ "$KFP_RETRY_INDEX" = 1 ] && echo 0.5 > "$1"'
    first, _ = await bench.run(task, script, environment={"KFP_RETRY_INDEX": "0"})
    assert first == 1
    assert (await bench.row(bench.root.task_id)).state is TaskState.FAILED
    second, output = await bench.run(
        task, script, environment={"KFP_RETRY_INDEX": "1"}, flags={"pod_uid": "uid-2"}
    )
    assert second == 0, output
    row = await bench.row(task.task_id)
    assert row.state is TaskState.SUCCEEDED
    assert row.status_metadata is not None
    assert row.status_metadata.message == ""
    assert row.custom_properties["plugins.x"] == "kept"
    assert sorted(artifacts(row)["executor-logs"]) == ["executor-logs-0", "executor-logs-1"]
    assert artifacts(row)["model"] == ["model"]
    assert [pod.uid for pod in row.pods] == ["uid-1", "uid-2"]
    assert (await bench.row(bench.root.task_id)).state is TaskState.RUNNING


async def test_stop_signal_reaches_the_command_and_the_row_says_so(bench: Bench) -> None:
    task = await bench.task()
    marker = bench.directory / "stopped"
    script = f"trap 'echo bye; touch {marker}; exit 0' TERM; echo started; sleep 60 & wait"
    process = await bench.start(task, script)
    assert process.stdout is not None
    async with asyncio.timeout(30):
        while b"started" not in await process.stdout.readline():
            pass
        process.send_signal(signal.SIGTERM)
        await process.communicate()
    assert process.returncode == 143
    assert marker.exists()
    row = await bench.row(task.task_id)
    assert row.state is TaskState.FAILED
    assert row.status_metadata is not None
    assert row.status_metadata.message == "terminated by signal SIGTERM"
    assert artifacts(row) == {"executor-logs": ["executor-logs-0"]}


async def test_stop_signal_ends_the_launcher_also_when_the_api_is_gone(bench: Bench) -> None:
    process = await bench.start(await bench.task(), "echo started; sleep 60")
    assert process.stdout is not None
    async with asyncio.timeout(30):
        while b"started" not in await process.stdout.readline():
            pass
        await bench.server.close()
        process.send_signal(signal.SIGTERM)
        output, _ = await process.communicate()
    assert process.returncode == 143
    assert b"could not be written" in output


async def test_missing_input_artifact_is_named(bench: Bench) -> None:
    task = await bench.task()
    data = {
        "name": "data",
        "uri": str(bench.directory / "nothing"),
        "type": {"schemaTitle": "system.Dataset"},
    }
    executor_input = bench.executor_input(artifacts={"data": {"artifacts": [data]}})
    status, output = await bench.run(task, GOOD, executor_input=executor_input)
    assert status == 1
    assert 'input artifact "data" is empty' in output


async def test_start_that_fails_leaves_no_running_row(bench: Bench) -> None:
    task = await bench.task()
    status, _ = await bench.run(task, GOOD, flags={"task_name": "unknown"})
    row = await bench.row(task.task_id)
    assert (status, row.state) == (1, TaskState.FAILED)
    assert row.status_metadata is not None
    assert "task unknown is not found" in row.status_metadata.message
    assert row.custom_properties["plugins.x"] == "kept"


async def test_importer_registers_the_object_with_resolved_metadata(bench: Bench) -> None:
    data = bench.directory / "shared" / "data.csv"
    data.parent.mkdir()
    data.write_text("1\n", encoding="utf-8")
    spec = {
        "artifactUri": {"constant": str(data)},
        "typeSchema": {"schemaTitle": "system.Dataset"},
        "metadata": {"note": "{{$.inputs.parameters['note']}}", "text": "is {{$.inputs.parameters['note']}}"},
    }
    flags = {
        "executor_type": "importer",
        "importer_spec": json.dumps(spec),
        "task_name": "import",
        "iteration_index": "-1",
    }
    for _ in range(2):
        status, output = await bench.run(PipelineTask(), "true", flags=flags)
        assert status == 0, output
    (row,) = (await bench.client.list_tasks(bench.run_id, parent_id=bench.root.task_id)).tasks
    assert (row.name, row.type, row.state) == ("import", TaskType.IMPORTER, TaskState.SUCCEEDED)
    (imported,) = row.output_artifacts
    assert imported.artifact_key == "artifact"
    (artifact,) = imported.artifacts
    assert (artifact.name, artifact.uri) == ("data.csv", str(data))
    assert artifact.metadata == {"note": "n1", "text": "is n1"}

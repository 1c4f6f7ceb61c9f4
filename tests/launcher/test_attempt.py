"""One launcher, one task, a real KFP API.

Oracle: the steps and texts of spec LAUNCHER A4, A10, A13, A14, A16 and B.
"""

import asyncio
import json
import signal
from pathlib import Path

import pytest

from kfp_api.messages import IOType, PipelineTask, StatusMetadata, TaskPodType, TaskState
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


async def test_outputs_may_come_from_a_file_instead_of_a_command(bench: Bench) -> None:
    task, file = await bench.task(), bench.directory / "recorded.json"
    file.write_text('{"parameterValues": {"acc": 0.75, "extra": [1]}}', encoding="utf-8")
    ran, document = bench.directory / "ran", bench.executor_input()
    del document["outputs"]["artifacts"]["model"]
    status = await bench.run_here(
        task, f"touch {ran}", executor_input=document, environment={"KFP_OUTPUT_FILE": str(file)}
    )
    assert status == 0
    assert not ran.exists()
    row = await bench.row(task.task_id)
    assert {one.parameter_key: one.value for one in row.output_parameters} == {"acc": 0.75, "extra": [1]}


async def test_log_that_cannot_be_written_never_fails_the_task(
    bench: Bench, capfd: pytest.CaptureFixture[str]
) -> None:
    task, document = await bench.task(), bench.executor_input()
    (document["outputs"]["artifacts"]["executor-logs"]["artifacts"][0])["customPath"] = "/dev/null/x/log"
    assert await bench.run_here(task, GOOD, executor_input=document) == 0
    assert "executor log not published: /dev/null/x/log-0: Not a directory" in capfd.readouterr().err
    assert artifacts(await bench.row(task.task_id)) == {"model": ["model"]}


async def test_log_on_a_full_disk_never_stops_the_command(
    bench: Bench, capfd: pytest.CaptureFixture[str]
) -> None:
    task, document = await bench.task(), bench.executor_input()
    full = bench.directory / "log"
    full.with_name("log-0").symlink_to("/dev/full")
    document["outputs"]["artifacts"]["executor-logs"]["artifacts"][0]["customPath"] = str(full)
    assert await bench.run_here(task, f"yes | head -c 300000; {GOOD}", executor_input=document) == 0
    assert "output of the command is no longer written to" in capfd.readouterr().err
    assert (await bench.row(task.task_id)).state is TaskState.SUCCEEDED


async def test_metrics_become_artifacts_with_numbers(bench: Bench) -> None:
    task, document = await bench.task(), bench.executor_input()
    document["outputs"]["artifacts"] = {
        "metrics": {"artifacts": [bench.artifact("metrics", "system.Metrics")]},
        "confusion": {"artifacts": [bench.artifact("confusion", "system.ClassificationMetrics")]},
    }
    reported = {
        "metrics": {"artifacts": [{"name": "metrics", "uri": "", "metadata": {"acc": 0.5, "n": 3}}]},
        "confusion": {"artifacts": [{"name": "confusion", "uri": "", "metadata": {"rows": [1]}}]},
    }
    report = json.dumps({"parameterValues": {"acc": 1}, "artifacts": reported})
    script = f"echo '{report}' > {document['outputs']['outputFile']}"
    assert await bench.run_here(task, script, executor_input=document) == 0
    found = {
        (one.artifact_key, artifact.name): (artifact.type.value, artifact.number_value, artifact.uri)
        for one in (await bench.row(task.task_id)).output_artifacts
        for artifact in one.artifacts
    }
    assert found == {
        ("metrics", "acc"): ("Metric", 0.5, None),
        ("metrics", "n"): ("Metric", 3.0, None),
        ("confusion", "confusion"): ("ClassificationMetric", None, None),
    }


async def test_directory_and_file_travel_between_directories(bench: Bench) -> None:
    task, document = await bench.task(), bench.executor_input()
    stored = bench.directory / "stored"
    document["outputs"]["artifacts"]["model"]["artifacts"][0]["customPath"] = str(stored / "made")
    document["outputs"]["artifacts"]["model"]["artifacts"][0]["uri"] = str(stored / "kept")
    script = 'mkdir -p "$0/deep"; echo w > "$0/deep/w"; echo 1 > "$1"'
    assert await bench.run_here(task, script, executor_input=document) == 0
    assert (stored / "kept" / "deep" / "w").read_text(encoding="utf-8") == "w\n"


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


@pytest.mark.slow
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

"""``kfp-driver local up``: runs submitted to its API are executed; termination, retry, status and stop work.

Oracles: the published KFP SDK as client, the pipelines' arithmetic, and the lines that commands write when
they start.
"""

import re
from pathlib import Path
from typing import Any

import kfp
import pytest

from kfp_api.messages import RuntimeState, TaskState
from tests.e2e.conftest import kfp_driver
from tests.e2e.pipelines import compile_to
from tests.e2e.stored import stored_runs
from tests.e2e.up import Up, starts, up, wait_until


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with up(tmp_path_factory.mktemp("up") / "data", "--max-pods", "3") as started:
        yield started


def test_kfp_client_submits_runs_that_are_executed_at_the_same_time(stack: Up, tmp_path: Path) -> None:
    client = kfp.Client(host=stack.url)
    runs = [
        client.create_run_from_pipeline_package(
            str(compile_to(tmp_path, name)), arguments=arguments, enable_caching=False
        )
        for name, arguments in (("sums", {"a": 30}), ("nested", {}), ("exits", {}))
    ]
    states = [run.wait_for_run_completion(timeout=120).state for run in runs]
    assert states == ["SUCCEEDED", "SUCCEEDED", "FAILED"]
    wait_until(lambda: "]    | this went wrong\n" in stack.output.read_text(encoding="utf-8"), stack)
    rows = stack.ask(lambda api: api.list_tasks(run_id=runs[0].run_id))
    (total,) = [one.value for row in rows.tasks if row.name == "ROOT" for one in row.output_parameters]
    assert total == 42


def test_a_version_of_an_uploaded_pipeline_is_executed(stack: Up, tmp_path: Path) -> None:
    client = kfp.Client(host=stack.url)
    uploaded = client.upload_pipeline(str(compile_to(tmp_path, "nested")), pipeline_name="uploaded")
    (version,) = client.list_pipeline_versions(uploaded.pipeline_id).pipeline_versions
    experiment = client.create_experiment("versions")
    run = client.run_pipeline(
        experiment_id=experiment.experiment_id,
        job_name="by version",
        pipeline_id=uploaded.pipeline_id,
        version_id=version.pipeline_version_id,
        params={"start": 4},
    )
    assert client.wait_for_run_completion(run.run_id, timeout=120).state == "SUCCEEDED"
    rows = stack.ask(lambda api: api.list_tasks(run_id=run.run_id))
    (total,) = [one.value for row in rows.tasks if row.name == "ROOT" for one in row.output_parameters]
    assert total == 109


def test_a_terminated_run_ends_failed_once_its_executors_are_gone(stack: Up, tmp_path: Path) -> None:
    run_id = stack.submit(compile_to(tmp_path, "sleeper"))
    wait_until(lambda: any(stack.data.glob("runs/sleeper-*/pods/*/main.log")), stack)
    stack.ask(lambda api: api.terminate_run(run_id))
    run = stack.wait_for_end(run_id)
    assert run.state is RuntimeState.FAILED
    rows = stack.ask(lambda api: api.list_tasks(run_id=run_id))
    assert {row.state for row in rows.tasks} == {TaskState.FAILED}


def test_a_retried_run_repeats_what_failed_and_keeps_what_succeeded(stack: Up, tmp_path: Path) -> None:
    record, file = tmp_path / "record", tmp_path / "file"
    run_id = stack.submit(compile_to(tmp_path, "flaky"), record=str(record), file=str(file))
    assert stack.wait_for_end(run_id).state is RuntimeState.FAILED
    file.touch()
    stack.ask(lambda api: api.retry_run(run_id))
    assert stack.wait_for_end(run_id).state is RuntimeState.SUCCEEDED
    assert starts(record) == {"first": 1}
    rows = stack.ask(lambda api: api.list_tasks(run_id=run_id)).tasks
    assert {row.state for row in rows} == {TaskState.SUCCEEDED}
    (root,) = [row for row in rows if row.name == "ROOT"]
    assert [one.value for one in root.output_parameters] == ['["2","2"]']


def test_a_deleted_run_takes_its_executors_with_it(stack: Up, tmp_path: Path) -> None:
    run_id = stack.submit(compile_to(tmp_path, "sleeper"), seconds=121)
    wait_until(lambda: _commands_with(b"sleep\x00121") != [], stack)
    stack.ask(lambda api: api.delete_run(run_id))
    wait_until(lambda: _commands_with(b"sleep\x00121") == [], stack)


def test_status_tells_where_the_api_is_and_what_runs_do(stack: Up, tmp_path: Path) -> None:
    shown = kfp_driver("local", "status", "--data-dir", stack.data, cwd=tmp_path)
    assert shown.returncode == 0
    assert f"KFP API at {stack.url}" in shown.stdout
    assert f"process {stack.process.pid}" in shown.stdout
    assert re.search(r"^RUN +STATE +TASKS +TIME +NAME$", shown.stdout, re.MULTILINE)


def test_another_command_on_its_data_directory_is_told_how_to_submit(stack: Up, tmp_path: Path) -> None:
    pipeline = compile_to(tmp_path, "sums")
    refused = kfp_driver("local", "run", pipeline, "--data-dir", stack.data, cwd=tmp_path)
    assert refused.returncode == 2
    assert "kfp.Client" in refused.complaint


def test_a_stopped_stack_goes_on_with_its_runs_at_the_next_start(tmp_path: Path) -> None:
    data, record = tmp_path / "data", tmp_path / "record"
    pipeline = compile_to(tmp_path, "recorded")
    with up(data) as stack:
        run_id = stack.submit(pipeline, record=str(record))
        wait_until(lambda: starts(record)["first"] == 1, stack)
        stopped = kfp_driver("local", "stop", "--data-dir", data, cwd=tmp_path)
        assert stopped.returncode == 0, stopped.complaint
        assert stack.process.wait(timeout=5) == 0
    waiting = kfp_driver("local", "status", "--data-dir", data, cwd=tmp_path)
    assert waiting.returncode == 3
    assert "kfp-driver local up --data-dir data starts one" in waiting.stdout
    (interrupted,) = stored_runs(data)
    assert interrupted.run.state is RuntimeState.RUNNING
    explained = kfp_driver("explain", "latest", "--data-dir", data, cwd=tmp_path).stdout
    assert "it was interrupted; kfp-driver local resume --data-dir data goes on" in explained
    resumed = kfp_driver("local", "resume", "--data-dir", data, cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    (finished,) = stored_runs(data)
    assert finished.run.run_id == run_id
    assert finished.output("ROOT") == "[3,3,3]"
    for command, reason in (("resume", "has ended SUCCEEDED"), ("retry", "only failed runs are retried")):
        refused = kfp_driver("local", command, run_id[:8], "--data-dir", data, cwd=tmp_path)
        assert refused.returncode == 2
        assert run_id in refused.complaint
        assert reason in refused.complaint


def _commands_with(text: bytes) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if text in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found

"""Pipelines run through the command line end as what they compute says.

Oracles: the arithmetic of the pipelines in :mod:`tests.e2e.pipelines` (compiled by the KFP SDK), and the
task tree that KFP's API shows for them (spec DRIVER 0.1, LAUNCHER E3).
"""

import os
import subprocess
from pathlib import Path

import pytest

from kfp_api.messages import IOType, RuntimeState, TaskState, TaskType
from local_stack.executor_options import ExecutorMode
from tests.e2e.conftest import KFP_DRIVER, SECONDS, Finished, kfp_driver
from tests.e2e.pipelines import compile_to
from tests.e2e.stored import StoredRun, stored_runs
from tests.executor_modes import Mode

PROCESS = Mode(ExecutorMode.PROCESS)
SUCCEEDED, FAILED, SKIPPED = TaskState.SUCCEEDED, TaskState.FAILED, TaskState.SKIPPED


def run(tmp_path: Path, mode: Mode, name: str, *arguments: str) -> tuple[Finished, StoredRun]:
    pipeline = compile_to(tmp_path, name)
    how = (*mode.options(tmp_path), "--pip-install", "never", *arguments)
    finished = kfp_driver("local", "run", pipeline, "--data-dir", tmp_path / "data", *how, cwd=tmp_path)
    return finished, stored_runs(tmp_path / "data")[-1]


def succeed(tmp_path: Path, mode: Mode, name: str, *arguments: str) -> StoredRun:
    finished, stored = run(tmp_path, mode, name, *arguments)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert stored.run.state is RuntimeState.SUCCEEDED
    assert TaskState.RUNNING not in {task.state for task in stored.tasks}
    return stored


def test_parameters_travel_from_the_command_line_to_the_pipelines_output(tmp_path: Path) -> None:
    stored = succeed(tmp_path, PROCESS, "sums", "-p", "a=30")
    assert stored.output("add", "total") == 32
    assert stored.output("ROOT") == 42


def test_a_run_goes_on_when_nobody_reads_what_it_shows(tmp_path: Path) -> None:
    pipeline = compile_to(tmp_path, "sums")
    reader, writer = os.pipe()
    os.close(reader)
    command = [*KFP_DRIVER, "local", "run", str(pipeline), "--data-dir", str(tmp_path / "data")]
    ended = subprocess.run(
        command, check=False, stdout=writer, stderr=subprocess.PIPE, cwd=tmp_path, timeout=SECONDS
    )
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert stored_runs(tmp_path / "data")[-1].run.state is RuntimeState.SUCCEEDED


def test_a_command_that_explain_shows_is_one(tmp_path: Path) -> None:
    run(tmp_path, PROCESS, "needs-secret")
    explained = kfp_driver("explain", "latest", "--data-dir", "data", cwd=tmp_path).stdout
    assert "Put the value into the file" in " ".join(explained.split())
    command = explained.splitlines()[-1].split()
    assert command[:2] == ["kfp-driver", "logs"]
    assert kfp_driver(*command[1:], cwd=tmp_path).returncode == 0


def test_loops_run_over_static_produced_and_nested_items_in_order(tmp_path: Path, mode: Mode) -> None:
    stored = succeed(tmp_path, mode, "loops", "-p", "upto=2")
    assert stored.outputs("add", "total") == [11, 21]
    inner = stored.rows("for-loop-5")
    assert [(row.type, row.iteration_index, row.iteration_count) for row in inner] == [
        (TaskType.LOOP, 0, 2),
        (TaskType.LOOP, 1, 2),
    ]
    assert stored.outputs("join", "text") == ["[101,201]", "[102,202]"]
    assert stored.output("ROOT") == "[[101,201],[102,202]]"


@pytest.mark.parametrize(("limit", "branch", "other", "word"), [(5, 3, 2, "small"), (3, 2, 3, "large")])
def test_only_the_branch_whose_condition_holds_runs(
    limit: int, branch: int, other: int, word: str, tmp_path: Path
) -> None:
    stored = succeed(tmp_path, PROCESS, "branches", "-p", f"limit={limit}")
    states = stored.states()
    assert states[f"condition-{branch}"] == [SUCCEEDED]
    assert states[f"condition-{other}"] == [SKIPPED]
    assert stored.output("ROOT") == word


def test_artifact_reaches_its_consumer_and_is_linked_as_its_input(tmp_path: Path, each_mode: Mode) -> None:
    stored = succeed(tmp_path, each_mode, "artifacts", "-p", "lines=12")
    assert stored.output("ROOT") == 12
    (produced,) = [one for one in stored.rows("write")[0].output_artifacts if one.artifact_key == "data"]
    (consumed,) = stored.rows("count")[0].input_artifacts
    assert consumed.type is IOType.TASK_OUTPUT_INPUT
    assert consumed.artifacts == produced.artifacts
    assert Path(str(produced.artifacts[0].uri)).read_text(encoding="utf-8").count("\n") == 12


def test_nested_pipelines_take_defaults_and_pass_outputs_up(tmp_path: Path) -> None:
    stored = succeed(tmp_path, PROCESS, "nested")
    assert [stored.output(name) for name in ("inner", "inner-2", "ROOT")] == [6, 106, 106]
    assert [row.scope_path for row in stored.rows("add")] == ["root.inner.add", "root.inner-2.add"]


def test_loop_without_items_is_skipped_and_its_consumer_gets_an_empty_list(tmp_path: Path) -> None:
    stored = succeed(tmp_path, PROCESS, "empty-loop")
    (loop,) = stored.rows("for-loop-1")
    assert (loop.state, loop.iteration_count) == (SKIPPED, 0)
    assert stored.output("ROOT") == "[]"


def test_failed_task_fails_the_run_and_the_exit_task_learns_of_it(tmp_path: Path, each_mode: Mode) -> None:
    finished, stored = run(tmp_path, each_mode, "exits")
    assert finished.returncode == 1
    assert stored.run.state is RuntimeState.FAILED
    assert stored.states() == {
        "ROOT": [FAILED],
        "exit-handler-1": [FAILED],
        "fail": [FAILED],
        "report": [SUCCEEDED],
    }
    assert stored.output("report") == "exit-handler-1 FAILED"
    assert stored.rows("exit-handler-1")[0].type is TaskType.EXIT_HANDLER
    shown = finished.stdout + finished.stderr
    assert "task exit-handler-1/fail failed" in shown
    assert "exit status 3" in shown
    assert "  | this went wrong\n  task log" in shown
    told = kfp_driver("explain", "latest", "--data-dir", tmp_path / "data", cwd=tmp_path).stdout
    assert (
        "cause      fail: failed to execute component: exit status 3\n           | this went wrong\n" in told
    )


def test_failed_attempts_leave_one_row_that_ends_succeeded(tmp_path: Path, each_mode: Mode) -> None:
    marker = tmp_path / "marker"
    stored = succeed(tmp_path, each_mode, "retried", "-p", f"marker={marker}")
    assert marker.read_text(encoding="utf-8") == "started\n" * 3
    assert stored.output("ROOT") == 3
    (row,) = stored.rows("third-time")
    history = [entry.state for entry in row.state_history]
    assert history == [TaskState.RUNNING, FAILED, TaskState.RUNNING, FAILED, TaskState.RUNNING, SUCCEEDED]
    assert stored.states()["ROOT"] == [SUCCEEDED]
    assert row.end_time is not None
    assert row.create_time is not None
    assert row.end_time > row.create_time


def test_optional_inputs_that_nobody_gives_are_absent_from_command_and_row(tmp_path: Path) -> None:
    stored = succeed(tmp_path, PROCESS, "greetings")
    texts = {row.name: stored.output(row.name, "text") for row in stored.tasks if row.name != "ROOT"}
    assert texts == {"greet": "hello nobody", "greet-2": "hello nobody", "greet-3": "hello hello nobody"}
    assert [stored.rows(name)[0].input_parameters for name in ("greet", "greet-2")] == [[], []]


def test_importer_registers_what_is_there_once_for_all_runs(tmp_path: Path, each_mode: Mode) -> None:
    file = tmp_path / "numbers"
    file.write_text("1\n2\n3\n", encoding="utf-8")
    first = succeed(tmp_path, each_mode, "imports", "-p", f"file={file}")
    assert first.output("ROOT") == 3
    (row,) = first.rows("importer")
    (artifact,) = row.output_artifacts[0].artifacts
    assert (row.type, artifact.uri, artifact.metadata["origin"]) == (TaskType.IMPORTER, str(file), "outside")
    assert first.rows("count")[0].input_artifacts[0].artifacts == [artifact]
    again = succeed(tmp_path, each_mode, "imports", "-p", f"file={file}", "--no-cache")
    assert again.rows("importer")[0].output_artifacts[0].artifacts == [artifact]


def test_tasks_of_a_run_share_its_workspace_which_goes_with_a_run_that_succeeded(
    tmp_path: Path, each_mode: Mode
) -> None:
    stored = succeed(tmp_path, each_mode, "workspace", "-p", "text=left here")
    assert stored.output("ROOT") == "left here"
    assert not Path(str(stored.output("put", "file"))).exists()


def test_second_run_is_served_from_the_cache_until_an_input_changes(tmp_path: Path) -> None:
    succeed(tmp_path, PROCESS, "sums")
    again = succeed(tmp_path, PROCESS, "sums")
    assert {row.state for row in again.rows("add") + again.rows("add-2")} == {TaskState.CACHED}
    assert again.output("ROOT") == 13
    changed = succeed(tmp_path, PROCESS, "sums", "-p", "b=7")
    assert {row.state for row in changed.rows("add") + changed.rows("add-2")} == {SUCCEEDED}
    assert changed.output("ROOT") == 18
    forced = succeed(tmp_path, PROCESS, "sums", "--no-cache")
    assert {row.state for row in forced.rows("add")} == {SUCCEEDED}


def test_every_driver_call_leaves_a_log_also_the_one_that_failed(tmp_path: Path) -> None:
    pipeline = compile_to(tmp_path, "sums")
    outputs, tasks, rest = pipeline.read_text(encoding="utf-8").partition("    tasks:\n")
    broken = rest.replace("outputParameterKey: total", "outputParameterKey: gone")
    pipeline.write_text(outputs + tasks + broken, encoding="utf-8")
    finished = kfp_driver("local", "run", pipeline, "--data-dir", tmp_path / "data", cwd=tmp_path)
    assert finished.returncode == 1
    logs = {
        path.parent.name: path.read_text(encoding="utf-8")
        for path in (tmp_path / "data/driver-logs").rglob("*.log")
    }
    assert set(logs) >= {"root", "add", "add-2"}
    for text in logs.values():
        assert text.startswith("# kfp-driver-log v1 ")
        assert text.splitlines()[-1].startswith("# end outcome=")

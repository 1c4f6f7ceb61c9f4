"""Runs whose driver calls are delivered wrongly end as runs whose calls are not.

The agent delivers every call twice at once, closes the first connection, loses the first reply, or restarts
and delivers again. It refuses two different replies to one call. Oracles: what the pipelines compute, one
row per task, and one start per command.
"""

from pathlib import Path

import pytest

from kfp_api.messages import TaskState
from tests.e2e.conftest import kfp_driver
from tests.e2e.pipelines import compile_to
from tests.e2e.stored import stored_runs
from tests.e2e.up import starts

EVERYTHING = "duplicate=0.5,abort=0.5,drop=0.3,restart=0.5"
slow = pytest.mark.slow


@pytest.mark.parametrize(
    "faults",
    [
        "duplicate,restart",
        *(pytest.param(one, marks=slow) for one in ("duplicate", "abort", "drop", "restart", EVERYTHING)),
    ],
)
def test_wrongly_delivered_calls_change_nothing(faults: str, tmp_path: Path) -> None:
    pipeline, record = compile_to(tmp_path, "recorded"), tmp_path / "record"
    arguments = ("local", "run", pipeline, "-p", f"record={record}", "--data-dir", tmp_path / "data")
    finished = kfp_driver(*arguments, "--faults", faults, cwd=tmp_path)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    (stored,) = stored_runs(tmp_path / "data")
    assert {task.state for task in stored.tasks} == {TaskState.SUCCEEDED}
    assert stored.output("ROOT") == "[3,3,3]"
    assert len(stored.tasks) == len({(task.scope_path, task.iteration_index) for task in stored.tasks})
    assert starts(record) == dict.fromkeys(("first", "x", "y", "z", "last"), 1)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["loops", "branches", "nested", "empty-loop", "exits"])
def test_wrongly_delivered_calls_make_the_same_rows(name: str, tmp_path: Path) -> None:
    pipeline, rows = compile_to(tmp_path, name), []
    for data, faults in ((tmp_path / "plain", ""), (tmp_path / "faulty", EVERYTHING)):
        kfp_driver("local", "run", pipeline, "--data-dir", data, "--faults", faults, cwd=tmp_path)
        (stored,) = stored_runs(data)
        rows.append(
            sorted(
                (
                    row.scope_path,
                    -1 if row.iteration_index is None else row.iteration_index,
                    row.type.value,
                    row.state.value,
                    sorted((one.parameter_key, str(one.value)) for one in row.output_parameters),
                )
                for row in stored.tasks
            )
        )
    assert rows[0] == rows[1]


def test_a_fault_that_does_not_exist_is_wrong_usage(tmp_path: Path) -> None:
    finished = kfp_driver("local", "run", "x.yaml", "--faults", "lightning", cwd=tmp_path)
    assert finished.returncode == 2
    assert "fault 'lightning' is not one of duplicate, abort, drop, restart" in finished.complaint

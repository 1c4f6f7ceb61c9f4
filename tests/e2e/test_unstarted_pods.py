"""A pod that cannot start says so wherever a person looks: row, report, ``explain``.

Oracle: the promise of ``local run`` and ``explain`` that a failed task is shown with its cause; states of the
ancestors are those that KFP's launcher gives them (spec LAUNCHER A13).
"""

from pathlib import Path

import pytest

from kfp_api.messages import RuntimeState, TaskState
from tests.e2e.conftest import kfp_driver
from tests.e2e.pipelines import compile_to
from tests.e2e.stored import stored_runs


@pytest.mark.parametrize(
    ("pipeline", "task", "words"),
    [
        ("needs-secret", "whoami", ('Secret "person", which has no key "name"', "secrets/person/name")),
        pytest.param(
            "needs-configmap",
            "whoami",
            ('ConfigMap "people", which has no key "name"', "configmaps/people/name"),
            marks=pytest.mark.slow,
        ),
        ("no-command", "run-image", ("has no command", "alpine")),
        pytest.param(
            "missing-command", "run-missing", ('"no-such-command-anywhere"',), marks=pytest.mark.slow
        ),
        ("killed", "kill-the-launcher", ("exit code 137",)),
    ],
)
def test_the_cause_is_on_the_row_in_the_report_and_in_the_explanation(
    pipeline: str, task: str, words: tuple[str, ...], tmp_path: Path
) -> None:
    data = tmp_path / "data"
    finished = kfp_driver("local", "run", compile_to(tmp_path, pipeline), "--data-dir", data, cwd=tmp_path)
    assert finished.returncode == 1
    stored = stored_runs(data)[-1]
    (row,) = stored.rows(task)
    assert row.state is TaskState.FAILED
    assert row.end_time is not None
    assert row.status_metadata is not None
    assert row.custom_properties.get("driver_logs_uri"), "what the driver noted stays"
    assert stored.states()["ROOT"] == [TaskState.FAILED]
    told = kfp_driver("explain", "latest", "--data-dir", data, cwd=tmp_path).stdout
    for word in words:
        assert word in row.status_metadata.message
        assert word in finished.stdout
        assert word in told.replace("\n", " "), told


@pytest.mark.slow
def test_a_retry_that_starts_leaves_nothing_of_the_message(tmp_path: Path) -> None:
    data = tmp_path / "data"
    pipeline = compile_to(tmp_path, "needs-secret")
    assert kfp_driver("local", "run", pipeline, "--data-dir", data, cwd=tmp_path).returncode == 1
    secret = data / "secrets" / "person" / "name"
    secret.parent.mkdir(parents=True)
    secret.write_text("Ada")
    run_id = stored_runs(data)[-1].run.run_id
    finished = kfp_driver("local", "retry", run_id, "--data-dir", data, cwd=tmp_path)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    stored = stored_runs(data)[-1]
    assert stored.run.state is RuntimeState.SUCCEEDED
    (row,) = stored.rows("whoami")
    assert row.state is TaskState.SUCCEEDED
    assert row.status_metadata is None or not row.status_metadata.message
    assert stored.output("ROOT") == "Ada"

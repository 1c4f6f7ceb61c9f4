"""Whatever is killed at whatever moment, the run ends with the same result and nothing finished runs again.

Oracles: what the pipeline ``recorded`` computes; the lines that its commands write when they start; the
rows of the KFP API, read from its database while nothing runs.
"""

import os
import random
import signal
from pathlib import Path

import pytest

from kfp_api.messages import RuntimeState, TaskState
from tests.e2e.pipelines import compile_to
from tests.e2e.stored import stored_runs
from tests.e2e.up import Up, finished_labels, journal_lines, starts, up, wait_until
from tests.executor_modes import Mode

LABELS = {"first", "x", "y", "z", "last"}
MOST_KILLS = 40


def check_result(data: Path, run_id: str) -> None:
    (stored,) = stored_runs(data)
    assert stored.run.run_id == run_id
    assert stored.run.state is RuntimeState.SUCCEEDED
    assert {task.state for task in stored.tasks} == {TaskState.SUCCEEDED}
    assert stored.output("ROOT") == "[3,3,3]"
    assert stored.output("note-3", "total") == 3
    (data_artifacts,) = [
        one for one in stored.rows("write")[0].output_artifacts if one.artifact_key == "data"
    ]
    assert len(data_artifacts.artifacts) == 1


@pytest.mark.parametrize(
    "seed", [pytest.param(seed, marks=[] if seed == 1 else pytest.mark.slow) for seed in (1, 2, 3, 4)]
)
def test_a_run_whose_runner_is_killed_again_and_again_ends_as_if_nothing_had_happened(
    each_mode: Mode, seed: int, tmp_path: Path
) -> None:
    how = each_mode.options(tmp_path)
    moments = random.Random(seed)
    farthest = 30 if seed == 1 else 5
    data, record, pipeline = tmp_path / "data", tmp_path / "record", compile_to(tmp_path, "recorded")
    run_id, kills = "", 0
    finished: dict[str, int] = {}
    while True:
        with up(data, "--max-pods", "2", *how) as stack:
            run_id = run_id or stack.submit(pipeline, record=str(record))
            goal = journal_lines(data) + moments.randint(1, farthest)
            wait_for_lines(stack, run_id, goal)
            if stack.run(run_id).is_finished or kills == MOST_KILLS:
                break
            stack.kill()
        kills += 1
        begun = starts(record)
        for label in finished_labels(data):
            finished.setdefault(label, begun[label])
    assert kills >= 3, "nothing was tested"
    check_result(data, run_id)
    begun = starts(record)
    assert begun.keys() == LABELS
    assert finished == {label: begun[label] for label in finished}


@pytest.mark.parametrize(
    ("service", "first"),
    [
        ("driver", 3),
        pytest.param("api-server", 3, marks=pytest.mark.slow),
        *(
            pytest.param(service, first, marks=pytest.mark.slow)
            for service in ("driver", "api-server")
            for first in (1, 5, 8)
        ),
    ],
)
def test_a_run_whose_services_are_killed_goes_on_without_them_for_a_moment(
    service: str, first: int, tmp_path: Path
) -> None:
    data, record, pipeline = tmp_path / "data", tmp_path / "record", compile_to(tmp_path, "recorded")
    with up(data, "--max-pods", "2") as stack:
        run_id = stack.submit(pipeline, record=str(record))
        for goal in range(first, first + 40, 13):
            wait_for_lines(stack, run_id, goal)
            os.kill(stack.service_pid(service), signal.SIGKILL)
        stack.wait_for_end(run_id)
        assert stack.stop() == 0
    check_result(data, run_id)
    # A launcher waits for the API; no executor starts twice.
    assert starts(record) == dict.fromkeys(LABELS, 1)


def wait_for_lines(stack: Up, run_id: str, number: int) -> None:
    """Wait for that many changes of nodes, or the end of the run."""
    wait_until(lambda: journal_lines(stack.data) >= number or stack.run(run_id).is_finished, stack)

"""The example pipeline: its YAML is what its source compiles to, and its second run comes from the cache.

Oracles: the KFP SDK's compiler, and the example's own arithmetic (the best of three scores).
"""

import subprocess
import sys
from pathlib import Path

import yaml

from kfp_api.messages import ArtifactType, TaskState, TaskType
from tests.e2e.conftest import PROJECT, kfp_driver
from tests.e2e.stored import stored_runs

SOURCE = PROJECT / "examples/tune_classifier.py"
COMPILED = SOURCE.with_suffix(".yaml")


def test_compiling_the_source_gives_the_yaml(tmp_path: Path) -> None:
    copy = tmp_path / SOURCE.name
    copy.write_text(SOURCE.read_text(encoding="utf-8"), encoding="utf-8")
    subprocess.run([sys.executable, str(copy)], check=True, timeout=120, cwd=tmp_path)
    compiled = copy.with_suffix(".yaml").read_text(encoding="utf-8")
    assert yaml.safe_load(compiled) == yaml.safe_load(COMPILED.read_text(encoding="utf-8"))


def test_second_run_starts_no_executor(tmp_path: Path) -> None:
    data = tmp_path / "data"
    for _ in range(2):
        finished = kfp_driver("local", "run", COMPILED, "--data-dir", data, cwd=tmp_path)
        assert finished.returncode == 0, finished.stdout + finished.stderr
    assert "0 executors started, 10 tasks served from the cache" in finished.stdout
    assert finished.stdout.count("served from cache") >= 10

    told = kfp_driver("explain", "latest", "split", "--data-dir", data, cwd=tmp_path)
    assert told.returncode == 0, told.stderr
    assert "split: CACHED" in told.stdout
    assert "hit: the outputs of task" in told.stdout
    listed = kfp_driver("logs", "latest", "--data-dir", data, cwd=tmp_path)
    assert listed.stdout.count("score-model") == 3, listed.stderr

    first, second = stored_runs(data)
    executed = [task for task in first.tasks if task.type is TaskType.RUNTIME]
    assert [task.state for task in executed].count(TaskState.SUCCEEDED) == 10
    repeated = [task for task in second.tasks if task.type is TaskType.RUNTIME]
    assert {task.state for task in repeated} == {TaskState.CACHED}
    assert not any(task.pods for task in repeated)
    assert second.output("ROOT") == first.output("ROOT")


def test_best_model_is_chosen_and_published_with_its_metrics(tmp_path: Path) -> None:
    finished = kfp_driver("local", "run", COMPILED, "--data-dir", tmp_path / "data", cwd=tmp_path)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    (stored,) = stored_runs(tmp_path / "data")
    scores = stored.outputs("score-model")
    assert all(isinstance(score, float) for score in scores)
    best = max(score for score in scores if isinstance(score, float))
    assert stored.output("choose-best", "score") == best
    assert stored.output("choose-best", "position") == scores.index(best)
    assert stored.output("ROOT") == f"published with accuracy {best:.3f}"
    (metrics,) = [
        one for one in stored.rows("score-model")[0].output_artifacts if one.artifact_key == "metrics"
    ]
    assert {artifact.name: artifact.number_value for artifact in metrics.artifacts} == {
        "accuracy": scores[0],
        "test_rows": 100.0,
    }
    kinds = {
        artifact.type for one in stored.rows("publish")[0].output_artifacts for artifact in one.artifacts
    }
    assert ArtifactType.ClassificationMetric in kinds


def test_weak_models_are_rejected(tmp_path: Path) -> None:
    arguments = ("-p", "threshold=0.999", "-p", 'settings=[{"learning_rate": 0.001, "epochs": 1}]')
    finished = kfp_driver("local", "run", COMPILED, "--data-dir", tmp_path / "data", *arguments, cwd=tmp_path)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    (stored,) = stored_runs(tmp_path / "data")
    assert str(stored.output("ROOT")).endswith("is below 0.999")
    assert not stored.rows("publish")

"""``kfp-driver local run``: wrong usage, what is shown, and what is left behind.

Oracle: the KFP SDK compiles the pipelines; exit codes and texts are those of the command's own help.
Whole runs through the real stack are in ``tests/e2e``.
"""

import io
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from kfp import compiler, dsl

from driver_plugin.cli import main
from kfp_api.messages import (
    Artifact,
    ArtifactType,
    InputOutputs,
    IOArtifact,
    IOParameter,
    PipelineTask,
    StatusMetadata,
    TaskState,
    TaskType,
    TypeAttributes,
)
from local_stack.run_outcome import first_failure
from local_stack.run_report import show_tasks
from local_stack.runner.nodes import Node, NodeType, Phase
from local_stack.terminal import Progress, Screen, duration_text, task_path


@dsl.component(base_image="python:3.11")  # type: ignore[untyped-decorator] # the SDK has no types
def _step(n: int) -> int:
    return n


@dsl.pipeline(name="demo")  # type: ignore[untyped-decorator] # the SDK has no types
def _demo(n: int, flag: bool = True) -> None:  # noqa: ARG001 (declares a parameter)
    _step(n=n)


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pipeline") / "demo.yaml"
    compiler.Compiler().compile(_demo, str(path))
    return path


@pytest.fixture
def empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, with nothing in it."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["missing.yaml"], "missing.yaml"),
        (["PIPELINE"], "missing required parameter: n"),
        (["PIPELINE", "-p", "n=x"], "integer"),
        (["PIPELINE", "-p", "n=1", "-p", "other=2"], "other"),
        (["PIPELINE", "-p", "n"], "NAME=VALUE"),
        (["PIPELINE", "-p", "n=1", "-p", "flag=maybe"], "true or false"),
    ],
)
def test_a_mistake_is_one_line_exit_code_2_and_leaves_nothing_behind(
    arguments: list[str],
    told: str,
    pipeline: Path,
    empty_directory: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = [str(pipeline) if argument == "PIPELINE" else argument for argument in arguments]
    assert main(["local", "run", *given]) == 2
    message = capsys.readouterr().err
    assert told in message
    assert message.count("\n") == 1
    assert list(empty_directory.iterdir()) == []


@pytest.mark.parametrize("arguments", [["--max-pods", "0"], ["--timeout", "-1"], ["--pip-install", "some"]])
def test_a_bad_option_is_refused_before_anything_is_read(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["local", "run", "missing.yaml", *arguments])
    assert caught.value.code == 2
    assert arguments[0] in capsys.readouterr().err


@pytest.mark.parametrize(
    ("node", "path"),
    [
        ("w.root.train.executor", "train"),
        ("w.root.train-driver", "train"),
        ("w.root.train.executor(0)", "train"),
        ("w.root.train.executor(1)", "train (attempt 2)"),
        ("w.root.each.iteration-driver", "each"),
        ("w.root.each.iteration-iterations(0:0).work.executor", "each[0]/work"),
        ("w.root.guarded.onExit.clean.executor", "clean"),
        ("w.root-driver", "root"),
    ],
)
def test_a_node_is_shown_as_its_place_in_the_pipeline(node: str, path: str) -> None:
    assert task_path("w", node) == path


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.04, "0.0s"), (59.94, "59.9s"), (61, "1m01s"), (3725, "1h02m"), (-1, "0.0s")]
)
def test_durations_are_short(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


def _node(name: str, kind: NodeType, phase: Phase, *, after: float = 0.0, **changes: object) -> Node:
    started = datetime(2026, 1, 1, tzinfo=UTC)
    node = Node(
        id=name,
        name=name,
        type=kind,
        phase=phase,
        started=started,
        finished=started + timedelta(seconds=after),
    )
    for field, value in changes.items():
        setattr(node, field, value)
    return node


def test_without_a_terminal_lines_are_only_appended() -> None:
    stream = io.StringIO()
    progress = Progress(Screen(stream, live=False, colour=False), "w")
    for node in (
        _node("w.root.a.executor", NodeType.POD, Phase.RUNNING),
        _node("w.root.a.executor", NodeType.POD, Phase.SUCCEEDED, after=2),
        _node("w.root.b-driver", NodeType.PLUGIN, Phase.SUCCEEDED, outputs={"cached-decision": "true"}),
        _node("w.root.c-driver", NodeType.PLUGIN, Phase.SUCCEEDED, outputs={"condition": "false"}),
        _node("w.root.d-driver", NodeType.PLUGIN, Phase.FAILED, message="kfp-driver: no"),
        _node("w.root.e", NodeType.HTTP, Phase.RUNNING),
        _node(
            "w.root.e", NodeType.HTTP, Phase.FAILED, after=1, message="received non-2xx response code: 500"
        ),
        _node("w.root", NodeType.DAG, Phase.FAILED),
    ):
        progress.observe(node)
    progress.close()
    assert [line.split() for line in stream.getvalue().splitlines()] == [
        ["running", "a"],
        ["succeeded", "a", "2.0s"],
        ["cached", "b", "served", "from", "cache"],
        ["skipped", "c", "its", "condition", "is", "false"],
        ["failed", "d", "driver:", "kfp-driver:", "no"],
        ["running", "e"],
        ["failed", "e", "1.0s", "received", "non-2xx", "response", "code:", "500"],
    ]
    assert progress.cached == 1
    assert "\x1b" not in stream.getvalue()


def test_on_a_terminal_running_tasks_are_redrawn_in_place() -> None:
    stream = io.StringIO()
    progress = Progress(Screen(stream, live=True, colour=False), "w")
    progress.observe(_node("w.root.a.executor", NodeType.POD, Phase.RUNNING))
    progress.note("hello")
    progress.close()
    assert stream.getvalue().startswith("hello\n")
    assert stream.getvalue().endswith("\x1b[1F\x1b[J")


def test_the_first_failure_is_a_leaf_and_not_an_attempt_that_was_repeated_with_success() -> None:
    nodes = [
        _node("w", NodeType.DAG, Phase.FAILED, after=9),
        _node("w.a", NodeType.RETRY, Phase.SUCCEEDED, after=2, children=["w.a(0)", "w.a(1)"]),
        _node("w.a(0)", NodeType.POD, Phase.FAILED, after=1),
        _node("w.a(1)", NodeType.POD, Phase.SUCCEEDED, after=2),
        _node("w.late", NodeType.POD, Phase.FAILED, after=5),
        _node("w.early", NodeType.PLUGIN, Phase.FAILED, after=3),
    ]
    found = first_failure({node.name: node for node in nodes})
    assert found is not None
    assert found.name == "w.early"


def test_the_tree_is_aligned_and_shows_decisions_outputs_and_driver_logs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    start = datetime(2026, 1, 1, tzinfo=UTC)

    def row(
        task_id: str, name: str, parent: str | None, state: TaskState, kind: TaskType, **more: object
    ) -> PipelineTask:
        return PipelineTask.model_validate(
            {
                "task_id": task_id,
                "name": name,
                "run_id": "R",
                "parent_task_id": parent,
                "state": state,
                "type": kind,
                "create_time": start,
                "end_time": start + timedelta(seconds=3),
                **more,
            }
        )

    outputs = InputOutputs(
        parameters=[IOParameter(parameter_key="n", value=3)],
        artifacts=[
            IOArtifact(
                artifact_key="model",
                artifacts=[Artifact(name="model", uri=str(tmp_path / "m"), type=ArtifactType.Model)],
            )
        ],
    )
    rows = [
        row("t0", "ROOT", None, TaskState.FAILED, TaskType.ROOT, display_name="demo"),
        row("t1", "make", "t0", TaskState.CACHED, TaskType.RUNTIME, outputs=outputs),
        row(
            "t2",
            "each",
            "t0",
            TaskState.FAILED,
            TaskType.LOOP,
            type_attributes=TypeAttributes(iteration_count=1),
        ),
        row(
            "t3",
            "work",
            "t2",
            TaskState.FAILED,
            TaskType.RUNTIME,
            type_attributes=TypeAttributes(iteration_index=0),
            status_metadata=StatusMetadata(message="boom"),
        ),
    ]
    stream = io.StringIO()
    show_tasks(
        Screen(stream, live=False, colour=False), rows, driver_logs={"t1": tmp_path / "logs" / "driver.log"}
    )
    assert stream.getvalue().splitlines() == [
        "demo            failed          3s",
        "├─ make         cached          3s  served from cache",
        "│     n = 3",
        "│     model → m",
        "│     driver log  logs/driver.log",
        "└─ each         failed          3s  1 iteration",
        "   └─ work [0]  failed          3s  boom",
    ]

"""Wrong usage: one clear line, exit code 2, nothing left behind.

Oracle: what the command promises in its help.
"""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import kfp_driver
from tests.e2e.pipelines import compile_to

PLAIN_FILES = {
    "empty.yaml": "",
    "text.yaml": "just words",
    "list.yaml": "- a\n- b\n",
    "broken.yaml": "a: [1, 2\nb: }",
    "binary.yaml": "\x00\x01\x02",
    "argo.yaml": "apiVersion: argoproj.io/v1alpha1\nkind: Workflow\nmetadata: {name: x}\nspec: {}\n",
    "v1.yaml": "apiVersion: tekton.dev/v1\nkind: PipelineRun\n",
    "no-root.yaml": "pipelineInfo: {name: x}\nschemaVersion: 2.1.0\n",
}


@pytest.mark.parametrize("name", [*PLAIN_FILES, "missing.yaml"])
def test_file_that_is_no_pipeline_is_named(name: str, tmp_path: Path) -> None:
    file = tmp_path / name
    if name in PLAIN_FILES:
        file.write_text(PLAIN_FILES[name], encoding="utf-8")
    for command in (("local", "run"), ("compile",)):
        finished = kfp_driver(*command, file, cwd=tmp_path)
        assert finished.returncode == 2
        assert len(finished.complaint.splitlines()) == 1, finished.complaint
        assert name in finished.complaint
        assert finished.stdout == ""
    assert {path.name for path in tmp_path.iterdir()} <= {name}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("-p", "c=1"), ("c", "a", "b")),
        (("-p", "a=one"), ("a", "integer", "one")),
        (("-p", "a=1.5"), ("a", "integer")),
        (("-p", "a"), ("NAME=VALUE",)),
    ],
)
def test_wrong_parameter_is_explained(
    arguments: tuple[str, ...], words: tuple[str, ...], tmp_path: Path
) -> None:
    pipeline = compile_to(tmp_path, "sums")
    finished = kfp_driver("local", "run", pipeline, "--data-dir", "data", *arguments, cwd=tmp_path)
    assert finished.returncode == 2
    assert len(finished.complaint.splitlines()) == 1, finished.complaint
    for word in words:
        assert word in finished.complaint
    assert {path.name for path in tmp_path.iterdir()} == {pipeline.name}


def test_missing_parameter_is_named(tmp_path: Path) -> None:
    pipeline = compile_to(tmp_path, "sums")
    text = pipeline.read_text(encoding="utf-8")
    pipeline.write_text(
        text.replace("        defaultValue: 1.0\n        isOptional: true\n", ""), encoding="utf-8"
    )
    finished = kfp_driver("local", "run", pipeline, "--data-dir", "data", cwd=tmp_path)
    assert finished.returncode == 2
    assert len(finished.complaint.splitlines()) == 1, finished.complaint
    assert "a" in finished.complaint
    assert not (tmp_path / "data").exists()


def test_data_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    pipeline = compile_to(tmp_path, "sums")
    blocked = tmp_path / "file"
    blocked.write_text("", encoding="utf-8")
    finished = kfp_driver("local", "run", pipeline, "--data-dir", blocked / "data", cwd=tmp_path)
    assert finished.returncode == 2
    assert len(finished.complaint.splitlines()) == 1, finished.complaint
    assert str(blocked) in finished.complaint
    assert blocked.read_text(encoding="utf-8") == ""


@pytest.fixture
def busy_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_busy_port_is_named(busy_port: int, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("secret", encoding="utf-8")
    environment = {"KFP_DRIVER_AGENT_TOKEN_FILE": str(token), "KFP_TOKEN_MODE": "none"}
    for command in (
        ("api-server", "--port", str(busy_port), "--database", f"sqlite:///{tmp_path}/kfp.db"),
        ("serve", "--port", str(busy_port), "--health-port", "0"),
        ("serve", "--port", "0", "--health-port", str(busy_port)),
    ):
        finished = kfp_driver(*command, cwd=tmp_path, environment=environment)
        assert finished.returncode == 2, finished
        assert len(finished.complaint.splitlines()) == 1, finished.complaint
        assert str(busy_port) in finished.complaint
    assert {path.name for path in tmp_path.iterdir()} == {"token"}


def test_port_that_is_taken_is_named_with_the_way_out(busy_port: int, tmp_path: Path) -> None:
    finished = kfp_driver("local", "up", "--port", str(busy_port), "--data-dir", "data", cwd=tmp_path)
    assert finished.returncode == 2
    assert len(finished.complaint.splitlines()) == 1, finished.complaint
    for word in (str(busy_port), "in use", "--port"):
        assert word in finished.complaint


@pytest.mark.parametrize("command", [("resume",), ("resume", "1234abcd"), ("retry", "latest")])
def test_a_directory_without_runs_is_named_and_not_made(command: tuple[str, ...], tmp_path: Path) -> None:
    finished = kfp_driver("local", *command, "--data-dir", "data", cwd=tmp_path)
    assert finished.returncode == 2
    assert len(finished.complaint.splitlines()) == 1, finished.complaint
    assert str(tmp_path / "data") in finished.complaint
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", [(), ("local",), ("nonsense",), ("local", "nonsense"), ("compile",)])
def test_incomplete_command_says_how_it_is_used(command: tuple[str, ...], tmp_path: Path) -> None:
    finished = kfp_driver(*command, cwd=tmp_path)
    assert finished.returncode == 2
    assert "usage: kfp-driver" in finished.complaint


@pytest.mark.parametrize("command", ["", "serve", "compile", "local", "local run", "api-server"])
def test_help_teaches(command: str, tmp_path: Path) -> None:
    finished = kfp_driver(*command.split(), "--help", cwd=tmp_path, environment={"COLUMNS": "100"})
    assert finished.returncode == 0
    assert finished.stdout.startswith("usage: kfp-driver")
    assert len(finished.stdout.splitlines()) > 8
    assert os.linesep * 3 not in finished.stdout

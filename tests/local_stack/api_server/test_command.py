"""`kfp-driver api-server` as a process. Oracle: the command's contract (one line and 2, ready file, signals)
and SQLite's own reading of the file.
"""

import contextlib
import signal
import socket
import sqlite3
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog

from driver_plugin.cli import main
from local_stack.api_server.storage.schema import SCHEMA_VERSION

from .conftest import SPEC
from .servers import StartServer


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working directory; the command configures logging, which is undone."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    structlog.reset_defaults()


def test_help_teaches(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["api-server", "--help"])
    assert stopped.value.code == 0
    text = capfd.readouterr().out
    for word in (
        "--port",
        "--database",
        "--host",
        "--ready-file",
        "--token-file",
        "--strict-upstream",
        "--server-side-propagation",
        "openapi.json",
        "/metrics",
        "kfp.Client",
        "sqlite:///",
    ):
        assert word in text


def _newer_version(directory: Path) -> None:
    with contextlib.closing(sqlite3.connect(directory / "file")) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")


def _other_program(directory: Path) -> None:
    with contextlib.closing(sqlite3.connect(directory / "file")) as connection:
        connection.execute("CREATE TABLE songs (title TEXT)")


def _garbage(directory: Path) -> None:
    (directory / "file").write_bytes(b"this is no database at all" * 100)


def _nothing(_directory: Path) -> None:
    pass


@pytest.mark.parametrize(
    ("arguments", "prepare", "message"),
    [
        (
            ["--database", "postgresql://u:pw@h/d"],
            _nothing,
            "unsupported database URL 'postgresql://***@h/d'",
        ),
        (["--database", "sqlite://"], _nothing, "it must be sqlite:///PATH, a file"),
        (["--database", "sqlite:///:memory:"], _nothing, "it must be sqlite:///PATH, a file"),
        (["--database", "kfp.db"], _nothing, "unsupported database URL 'kfp.db'"),
        (["--database", "sqlite:///nowhere/kfp.db"], _nothing, "unable to open database file"),
        (["--database", "sqlite:///."], _nothing, "unable to open database file"),
        (["--database", "sqlite:///file"], _garbage, "file is not a database"),
        (["--database", "sqlite:///file"], _newer_version, f"has schema version {SCHEMA_VERSION + 1}, newer"),
        (["--database", "sqlite:///file"], _other_program, "the SQLite database of another program"),
        (["--ready-file", "nowhere/ready.json"], _nothing, "cannot write ready file"),
        (["--host", "256.0.0.1"], _nothing, "cannot listen on 256.0.0.1 port 0"),
        (["--token-file", "nowhere"], _nothing, "cannot read token file 'nowhere'"),
    ],
)
def test_a_start_that_fails_is_one_line_and_exit_code_2(
    here: Path,
    capfd: pytest.CaptureFixture[str],
    arguments: list[str],
    prepare: Callable[[Path], None],
    message: str,
) -> None:
    prepare(here)
    before = {path.name: path.read_bytes() for path in here.iterdir()}
    assert main(["api-server", "--port", "0", *arguments]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("kfp-driver api-server: ")
    assert message in err
    if "--ready-file" not in arguments:
        assert {path.name: path.read_bytes() for path in here.iterdir()} == before


def test_a_busy_port_is_one_line_and_touches_no_database(
    here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        assert main(["api-server", "--port", str(port)]) == 2
    problem = f"kfp-driver api-server: cannot listen on 127.0.0.1 port {port}: Address already in use\n"
    assert capfd.readouterr().err == problem
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("port", ["x", "70000", "-1"])
def test_a_bad_port_is_wrong_usage(capfd: pytest.CaptureFixture[str], port: str) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["api-server", f"--port={port}"])
    assert stopped.value.code == 2
    assert "is not a port" in capfd.readouterr().err


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_server_and_leaves_only_the_database(
    start_server: StartServer, tmp_path: Path, signal_number: int
) -> None:
    server = start_server()
    assert server.ready["pid"] == server.process.pid
    assert server.get("/healthz")["multi_user"] is False
    run = server.post("/runs", {"display_name": "a", "pipeline_spec": SPEC})["run_id"]
    assert server.stop(signal_number) == 128 + signal_number
    assert [path.name for path in tmp_path.iterdir()] == ["kfp.db"]
    again = start_server()
    assert again.get(f"/runs/{run}")["display_name"] == "a"


def test_a_token_file_protects_the_server(start_server: StartServer, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("s3cret\n")
    server = start_server("--token-file", "token")
    with pytest.raises(urllib.error.HTTPError) as refused:
        server.get("/runs")
    refused.value.close()
    assert refused.value.code == 401

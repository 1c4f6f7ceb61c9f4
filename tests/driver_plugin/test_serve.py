"""The `serve` process: ready file, probes, ports, signals. Oracle: spec DEPLOY 4 (sidecar contract)."""

import json
import logging
import os
import select
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from driver_plugin.cli import main

COMMAND = [sys.executable, "-m", "driver_plugin.cli", "serve"]


def environment(tmp_path: Path, **changes: str) -> dict[str, str]:
    (tmp_path / "token").write_text("token-of-the-agent")
    return {
        "PATH": os.environ["PATH"],
        "KFP_TOKEN_MODE": "none",
        "KFP_API_URL": "http://127.0.0.1:9",
        "KFP_DRIVER_AGENT_TOKEN_FILE": str(tmp_path / "token"),
        "KFP_DRIVER_LOG_ROOT": str(tmp_path / "logs"),
        **changes,
    }


def fetch(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=10) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


class CommandLine:
    """Runs `kfp-driver` in this process, for what ends before it serves."""

    def __init__(self, patch: pytest.MonkeyPatch, output: pytest.CaptureFixture[str]) -> None:
        self._patch = patch
        self._output = output

    def refused(self, *options: str, environ: dict[str, str]) -> tuple[int, str]:
        self._patch.setattr(os, "environ", environ)
        try:
            code = main(["serve", *options])
        except SystemExit as leaving:  # how argparse reports wrong usage
            code = int(str(leaving.code))
        return code, self._output.readouterr().err


@pytest.fixture
def command_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[CommandLine]:
    handlers, level = logging.getLogger().handlers[:], logging.getLogger().level
    yield CommandLine(monkeypatch, capsys)
    structlog.reset_defaults()
    logging.getLogger().handlers[:] = handlers
    logging.getLogger().setLevel(level)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """A running service, known to listen because it said so on standard output."""
    ready_file = tmp_path / "ready.json"
    process = subprocess.Popen(
        [*COMMAND, "--port", "0", "--health-port", "0", "--ready-file", str(ready_file)],
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        assert select.select([process.stdout], [], [], 30)[0], "the service did not start"
        assert json.loads(process.stdout.readline())["event"] == "serving"
        yield process, json.loads(ready_file.read_text())
    finally:
        process.kill()
        process.wait(10)
        process.stdout.close()


def test_the_service_tells_where_it_listens_answers_probes_and_ends_with_143(
    served: tuple[subprocess.Popen[str], dict[str, Any]], tmp_path: Path
) -> None:
    process, ready = served

    assert ready["pid"] == process.pid
    assert ready["url"].startswith("http://127.0.0.1:")
    assert fetch(f"{ready['health_url']}/healthz") == (200, "ok\n")
    assert fetch(f"{ready['health_url']}/readyz") == (200, "ok\n")
    assert "kfp_driver_calls_in_flight 0.0" in fetch(f"{ready['health_url']}/metrics")[1]
    assert fetch(f"{ready['health_url']}/api/v1/template.execute")[0] == 404
    (tmp_path / "token").unlink()
    assert fetch(f"{ready['health_url']}/readyz") == (503, "the agent token file is not readable\n")

    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 143
    assert not (tmp_path / "ready.json").exists()


def test_a_second_service_on_the_same_port_says_so_and_blames_who_chose_the_port(
    served: tuple[subprocess.Popen[str], dict[str, Any]], tmp_path: Path, command_line: CommandLine
) -> None:
    port = served[1]["url"].rpartition(":")[2]

    by_flag = command_line.refused("--port", port, "--health-port", "0", environ=environment(tmp_path))
    by_environment = command_line.refused(
        "--health-port", "0", environ=environment(tmp_path, KFP_DRIVER_PORT=port)
    )

    for (code, text), expected in ((by_flag, 2), (by_environment, 78)):
        assert code == expected
        assert text == f"kfp-driver serve: cannot listen on 127.0.0.1 port {port}: Address already in use\n"


def test_a_port_held_on_the_other_loopback_address_is_fatal(
    tmp_path: Path, command_line: CommandLine
) -> None:
    try:
        holder = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("no IPv6 loopback on this machine")
    with holder:
        port = str(holder.getsockname()[1])
        code, text = command_line.refused(
            "--health-port", "0", environ=environment(tmp_path, KFP_DRIVER_PORT=port)
        )

    assert code == 78
    assert "cannot listen on ::1" in text


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"KFP_DRIVER_OUTAGE_BUDGET": "soon"}, "KFP_DRIVER_OUTAGE_BUDGET"),
        ({"KFP_DRIVER_LOG_ROOT": "gs://b"}, "KFP_DRIVER_LOG_ROOT"),
        ({"KFP_TOKEN_MODE": "tokenrequest"}, "KFP_TOKEN_MODE"),
        ({"KFP_CA_FILE": "/does/not/exist"}, "KFP_CA_FILE"),
    ],
)
def test_settings_that_cannot_work_are_one_line_and_exit_78(
    tmp_path: Path, command_line: CommandLine, changes: dict[str, str], named: str
) -> None:
    code, text = command_line.refused(
        "--port", "0", "--health-port", "0", environ=environment(tmp_path, **changes)
    )

    assert code == 78
    assert text.startswith(f"kfp-driver serve: {named}")
    assert text.count("\n") == 1


def test_wrong_usage_exits_2(tmp_path: Path, command_line: CommandLine) -> None:
    assert command_line.refused("--port", "70000", environ=environment(tmp_path))[0] == 2


def test_the_settings_are_listed_on_request(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--settings"]) == 0
    assert "KFP_DRIVER_OUTAGE_BUDGET (default: 10m)" in capsys.readouterr().out

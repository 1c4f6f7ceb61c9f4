"""`wait-ready`: the hook that holds Argo's agent back until the service is ready.

Oracles: a real `serve` process; HTTP as CPython's server speaks it; the exit codes of the command's help; the
service's own settings for variable and default.
"""

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from driver_plugin import wait_ready
from driver_plugin.cli import main
from driver_plugin.settings import Settings
from tests.driver_plugin.test_serve import served as served  # noqa: PLC0414 (a fixture)

READY = b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nok\n"
STARTING = b"HTTP/1.0 503 Service Unavailable\r\n\r\nnot yet\n"


def waited(port: int, *, seconds: float) -> int:
    return main(["wait-ready", "--health-port", str(port), f"--timeout={seconds}"])


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2])


@contextmanager
def answering(answers: Sequence[bytes]) -> Iterator[tuple[int, list[bytes]]]:
    """A server that gives each connection the next answer and hangs up; its port, and the requests it got."""
    requests: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            for answer in answers:
                connection, _ = listener.accept()
                with connection:
                    requests.append(connection.recv(4096))
                    connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1], requests
        thread.join(10)
        assert not thread.is_alive()


def test_service_that_is_ready_is_found_and_its_api_listens(
    served: tuple[subprocess.Popen[str], dict[str, Any]],
) -> None:
    _, ready = served
    command = [sys.executable, "-m", "driver_plugin.cli", "wait-ready", "--timeout=25"]
    environ = {"KFP_DRIVER_HEALTH_PORT": str(port_of(ready["health_url"]))}
    ended = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    with socket.create_connection(("127.0.0.1", port_of(ready["url"])), timeout=10):
        pass


def test_service_without_its_token_is_not_ready_and_the_reason_is_said(
    served: tuple[subprocess.Popen[str], dict[str, Any]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    port = port_of(served[1]["health_url"])
    (tmp_path / "token").unlink()
    assert waited(port, seconds=0.3) == 1
    assert capsys.readouterr().err == (
        f"kfp-driver wait-ready: not ready after 0.3 s: 127.0.0.1 port {port}: "
        "the agent token file is not readable\n"
    )
    (tmp_path / "token").write_text("token-of-the-agent")
    assert waited(port, seconds=25) == 0


def test_service_that_becomes_ready_is_waited_for() -> None:
    with answering([STARTING, b"", b"HTTP/1.0 500 Oops\r\n\r\n", READY]) as (port, requests):
        assert waited(port, seconds=25) == 0
    assert len(requests) == 4
    assert {request.partition(b"\r\n")[0] for request in requests} == {b"GET /readyz HTTP/1.0"}


def test_service_that_begins_to_listen_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = threading.Event()
    monkeypatch.setattr("driver_plugin.wait_ready.time.sleep", lambda _seconds: tried.set())
    refused = socket.socket()
    with refused:
        refused.bind(("127.0.0.1", 0))
        port = refused.getsockname()[1]
        outcome: list[int] = []
        waiting = threading.Thread(target=lambda: outcome.append(waited(port, seconds=25)), daemon=True)
        waiting.start()
        assert tried.wait(10)
        refused.listen()
        connection, _ = refused.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(READY)
        waiting.join(10)
    assert outcome == [0]


def test_nobody_listens(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        assert waited(bound.getsockname()[1], seconds=0.2) == 1
    assert capsys.readouterr().err.endswith(": Connection refused\n")


def test_somebody_who_never_answers_is_given_up(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert waited(silent.getsockname()[1], seconds=0.2) == 1
    assert capsys.readouterr().err.endswith(": timed out\n")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"SSH-2.0-OpenSSH_9.6\r\n", "the answer is not HTTP"),
        (b"HTTP/1.0 503 Service Unavailable\r\n\r\n", "status 503 Service Unavailable"),
        (b"HTTP/1.0 404 Not Found\r\n\r\nnot\nfound\n", "not found"),
        (b"HTTP/1.0 503 No\r\n\r\n" + b"x" * 100_000, "x" * 100),
    ],
    ids=["foreign", "no text", "lines", "endless"],
)
def test_other_answers_are_no_readiness(answer: bytes, reason: str) -> None:
    """One connection, one answer: what the command would say if the time were over."""
    with answering([answer]) as (port, _):
        said = wait_ready.reason_not_ready(port)
    assert said.startswith(reason)
    assert said.isprintable()
    assert len(said) <= 200


@pytest.mark.parametrize(
    ("options", "environ", "message"),
    [
        (["--timeout", "0"], {}, "--timeout: '0' is not a number of seconds above 0"),
        (["--timeout", "nan"], {}, "--timeout: 'nan' is not a number"),
        (["--timeout", "inf"], {}, "--timeout: 'inf' is not a number"),
        (["--timeout", "25s"], {}, "--timeout: '25s' is not a number"),
        (["--health-port", "0"], {}, "--health-port: '0' is not a port (1 to 65535)"),
        ([], {"KFP_DRIVER_HEALTH_PORT": "http"}, "--health-port: 'http' is not a port"),
        (["now"], {}, "unrecognized arguments: now"),
    ],
)
def test_wrong_usage_ends_with_2(
    options: list[str],
    environ: dict[str, str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as leaving:
        main(["wait-ready", *options])
    assert leaving.value.code == 2
    assert message in capsys.readouterr().err


def test_port_is_the_services_own() -> None:
    field = Settings.model_fields["health_port"]
    assert (field.alias, field.default) == (wait_ready.PORT_VARIABLE, wait_ready.DEFAULT_PORT)


def test_help_names_exit_codes_and_defaults(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(wait_ready.PORT_VARIABLE, raising=False)
    with pytest.raises(SystemExit) as leaving:
        main(["wait-ready", "--help"])
    assert leaving.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    for part in ("Exit codes: 0 the service is ready; 1", "default: 25", "$KFP_DRIVER_HEALTH_PORT or 10791"):
        assert part in text


def test_next_to_nothing_is_imported() -> None:
    """The command starts beside the service and shares its processor."""
    probe = (
        "import json, sys\nbefore = set(sys.modules)\nfrom driver_plugin.cli import main\n"
        "code = main(['wait-ready', '--timeout=0.01', '--health-port=1'])\n"
        "print(json.dumps([code, sorted(set(sys.modules) - before)]))"
    )
    command = [sys.executable, "-I", "-c", probe]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    code, modules = json.loads(ended.stdout)
    assert code == 1
    ours = {"driver_plugin", "driver_plugin.cli", "driver_plugin.wait_ready"}
    assert {name for name in modules if name.partition(".")[0] not in sys.stdlib_module_names} == ours
    assert not {"asyncio", "ssl", "http", "email", "urllib", "importlib.metadata", "logging"} & set(modules)

"""How a task's output ends. Oracles: what Python prints for an exception, and planted canaries."""

import subprocess
import sys
from pathlib import Path

import pytest

from driver_plugin.system_logs.ending import READ_BYTES, ending_of, ending_of_file

NPM = "npm_canarycanarycanarycanary"


def test_the_exception_stands_last_below_the_line_that_raised_it(tmp_path: Path) -> None:
    script = tmp_path / "component.py"
    script.write_text("def work(x):\n    raise RuntimeError(f'too big: {x}')\n\nwork(7.0)\n")
    failed = subprocess.run([sys.executable, script], capture_output=True, check=False, timeout=60)
    log = tmp_path / "main.log"
    log.write_bytes(
        b"many lines\n" * 9000
        + failed.stderr
        + b"\nlauncher: failed to execute launcher: failed to execute component: exit status 1\n"
    )

    lines = ending_of_file(log)

    assert lines[-1] == "RuntimeError: too big: 7.0"
    assert lines[-2].strip() == "raise RuntimeError(f'too big: {x}')"
    assert len(lines) <= 5


@pytest.mark.parametrize(
    "text",
    [
        f"it said {NPM}",
        "-----BEGIN PRIVATE KEY-----\ncanary\ncanary\n-----END PRIVATE KEY-----\nfailed",
        "the token was canary-value",
        "\x1b[31mpassword=canary",
    ],
)
def test_no_secret_and_no_control_character_stands_in_it(text: str) -> None:
    told = "\n".join(ending_of(text.encode(), whole=True, secrets=("canary-value",)))

    assert told
    assert "canary" not in told
    assert "\x1b" not in told


def test_a_line_of_which_only_the_end_was_read_is_left_out(tmp_path: Path) -> None:
    log = tmp_path / "main.log"
    for cut in range(len(NPM)):
        log.write_text(f"{NPM}\n{'x' * (READ_BYTES - cut - 3)}\n\n")
        assert "canary" not in "".join(ending_of_file(log))


def test_what_is_shown_is_bounded_whatever_was_printed() -> None:
    lines = ending_of(("x" * 10_000 + "\n").encode() * 20, whole=True)

    assert len(lines) == 5
    assert max(map(len, lines)) == 300


def test_without_a_log_there_is_nothing(tmp_path: Path) -> None:
    assert ending_of_file(tmp_path / "none.log") == ()
    assert ending_of(b"", whole=True) == ()

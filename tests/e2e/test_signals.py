"""Stopping a run stops everything it started, and the data directory stays usable.

Oracle: the process table (``/proc``) of the session that the command was started in.
"""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from kfp_api.messages import RuntimeState, TaskState
from tests.e2e.conftest import KFP_DRIVER, kfp_driver
from tests.e2e.pipelines import compile_to
from tests.e2e.stored import stored_runs
from tests.executor_modes import Mode

MARK = "KFP_E2E_MARK"


def processes_with(mark: str) -> list[str]:
    """Command lines of living processes whose environment holds the mark."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            environment = (entry / "environ").read_bytes()
            command = (entry / "cmdline").read_bytes()
            state = (entry / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
        except OSError:
            continue
        if f"{MARK}={mark}".encode() in environment and state != "Z":
            found.append(command.replace(b"\0", b" ").decode(errors="replace"))
    return found


def wait_until_gone(mark: str, seconds: float) -> list[str]:
    deadline = time.monotonic() + seconds
    while (left := processes_with(mark)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_stopped_run_leaves_no_process_and_the_directory_works_again(
    each_mode: Mode, number: signal.Signals, code: int, tmp_path: Path
) -> None:
    pipeline, data = compile_to(tmp_path, "sleeper"), tmp_path / "data"
    how = each_mode.options()
    command = [*KFP_DRIVER, "local", "run", str(pipeline), "--data-dir", str(data), *how]
    mark = f"{tmp_path.name}-{number.name}"
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=tmp_path,
        env={**os.environ, MARK: mark, "TMPDIR": str(temporary)},
    )
    try:
        assert process.stdout is not None
        deadline = time.monotonic() + 60
        while not any(one.startswith("sleep 120") for one in processes_with(mark)):
            assert time.monotonic() < deadline
            assert process.poll() is None, process.stdout.read()
            time.sleep(0.05)
        process.send_signal(number)
        output, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == code, output
    assert wait_until_gone(mark, 10) == []
    assert list(temporary.iterdir()) == []
    assert "Traceback" not in output

    again = kfp_driver("local", "run", compile_to(tmp_path, "sums"), "--data-dir", data, *how, cwd=tmp_path)
    assert again.returncode == 0, again.stdout + again.stderr
    stopped, finished = stored_runs(data)
    assert finished.run.state is RuntimeState.SUCCEEDED
    if number is signal.SIGKILL:
        # Nobody stopped the run on purpose: it waits for `local resume` or `local up`.
        assert stopped.run.state is RuntimeState.RUNNING
        assert "1 other run is unfinished" in again.stdout
    else:
        assert stopped.run.state is RuntimeState.FAILED
        assert TaskState.RUNNING not in {task.state for task in stopped.tasks}
        # The launcher was told, whatever it runs in, and passed it on.
        (row,) = stopped.rows("wait")
        assert row.status_metadata is not None
        assert row.status_metadata.message == "terminated by signal SIGTERM"


def test_second_run_on_a_directory_in_use_is_refused(tmp_path: Path) -> None:
    pipeline, data = compile_to(tmp_path, "sleeper"), tmp_path / "data"
    command = [*KFP_DRIVER, "local", "run", str(pipeline), "--data-dir", str(data)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith("running"):
                    break
            refused = kfp_driver("local", "run", pipeline, "--data-dir", data, cwd=tmp_path)
        finally:
            process.terminate()
            process.communicate(timeout=60)
    assert refused.returncode == 2
    assert len(refused.complaint.splitlines()) == 1, refused.complaint
    assert str(process.pid) in refused.complaint

"""What holds for pods in every executor mode.

Oracles: spec LAUNCHER E5.3 (messages, signals, logs) and the operating system (exit codes, processes, files).
Every test runs in each mode that works on this machine; the others are skipped with the reason.
"""

import asyncio
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from local_stack.executor_options import ExecutorMode, ExecutorOptions
from local_stack.executors import open_executors
from local_stack.runner.engine import PodResult
from local_stack.runner.errors import ExecutorModeError
from local_stack.runner.nodes import Phase
from local_stack.runner.pod_process import MARK
from local_stack.runner.processes import marked
from local_stack.runner.reaper import PLACE_MARK, RUNNER_MARK
from tests.executor_modes import Mode
from tests.local_stack.runner.pods import local_pods, pod_request, shell, shown

SECONDS = 60


async def until_exists(path: Path) -> None:
    async with asyncio.timeout(SECONDS):
        while not path.exists():  # noqa: ASYNC110, ASYNC240 (another process makes it)
            await asyncio.sleep(0.01)


async def until_gone(variable: str, value: str) -> None:
    """Until no process has ``variable=value`` in its environment."""
    async with asyncio.timeout(SECONDS):
        while marked(variable, value):  # noqa: ASYNC110 (the kernel tells nobody)
            await asyncio.sleep(0.01)


async def test_all_output_is_kept_in_order(mode: Mode, tmp_path: Path) -> None:
    pods = local_pods(tmp_path, mode)
    request = pod_request(shell("echo one; echo two >&2; echo three"))
    assert await pods.run(request) == PodResult(phase=Phase.SUCCEEDED, exit_code=0)
    lines = pods.log_file(request.node.id).read_text().split()
    # An engine carries the two streams apart; a launcher, which real executors have, joins them before.
    if mode.mode is ExecutorMode.CONTAINER:
        lines.sort(key=["one", "two", "three"].index)
    assert lines == ["one", "two", "three"]
    assert pods.started == 1


@pytest.mark.parametrize(("script", "code"), [("exit 7", 7), ("sh -c 'kill -9 $$$$'; true", 137)])
async def test_exit_code_of_the_command_is_the_pods(
    mode: Mode, script: str, code: int, tmp_path: Path
) -> None:
    result = await local_pods(tmp_path, mode).run(pod_request(shell(script)))
    assert result == PodResult(phase=Phase.FAILED, message=f"main: Error (exit code {code})", exit_code=code)


async def test_a_pod_sees_its_own_environment_and_little_of_ours(
    mode: Mode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNRELATED", "1")
    monkeypatch.setenv("AWS_REGION", "r")
    pods = local_pods(tmp_path, mode, variables={"KFP_API_URL": "http://api"})
    multiline = {"name": "LINES", "value": "a\nb, 'c'"}
    request = pod_request(shell("env; echo END") | {"env": [{"name": "X", "value": "$(POD)"}, multiline]})
    await pods.run(request)
    seen = pods.log_file(request.node.id).read_text().split("\n")
    own = {"X=$(POD)", "b, 'c'", f"KFP_POD_NAME={request.node.id}", "ARGO_WORKFLOW_NAME=w"}
    assert {"AWS_REGION=r", "KFP_API_URL=http://api", *own} <= set(seen)
    assert "UNRELATED=1" not in seen


async def test_pods_at_the_same_time_do_not_share_temporary_files(mode: Mode, tmp_path: Path) -> None:
    meeting = tmp_path / "meeting"
    meeting.mkdir()
    # Each writes its name, waits until the other has done so too, and reads what is there then.
    script = """
        t=${TMPDIR:-/tmp}; echo "$1" > "$t/name"; touch "$2/$1"
        while [ "$(ls "$2" | wc -l)" -lt 2 ]; do sleep 0.05; done
        cat "$t/name"
    """
    pods = local_pods(tmp_path, mode, mounts=shown(meeting))
    requests = [
        pod_request(shell(textwrap.dedent(script), name, str(meeting)), task=name) for name in ("a", "b")
    ]
    async with asyncio.timeout(SECONDS):
        results = await asyncio.gather(*(pods.run(request) for request in requests))
    assert {result.phase for result in results} == {Phase.SUCCEEDED}
    assert [pods.log_file(request.node.id).read_text() for request in requests] == ["a\n", "b\n"]


async def test_cancelling_tells_the_command_which_may_clean_up(mode: Mode, tmp_path: Path) -> None:
    pods = local_pods(tmp_path, mode, mounts=shown(tmp_path))
    script = """
        trap 'echo cleaned up; exit 0' TERM
        touch "$1"
        while true; do sleep 0.05; done
    """
    request = pod_request(shell(textwrap.dedent(script), str(tmp_path / "ready")))
    running = asyncio.ensure_future(pods.run(request))
    await until_exists(tmp_path / "ready")
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert pods.log_file(request.node.id).read_text() == "cleaned up\n"


async def test_a_command_that_does_not_stop_is_killed_with_its_children(mode: Mode, tmp_path: Path) -> None:
    pods = local_pods(tmp_path, mode, grace=0.2, mounts=shown(tmp_path), variables={"LEFT": tmp_path.name})
    script = "trap '' TERM; (sleep 600 &) ; touch \"$1\"; while true; do sleep 0.05; done"
    request = pod_request(shell(script, str(tmp_path / "ready")))
    running = asyncio.ensure_future(pods.run(request))
    await until_exists(tmp_path / "ready")
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await until_gone("LEFT", tmp_path.name)


async def test_what_a_finished_pod_left_running_is_killed(mode: Mode, tmp_path: Path) -> None:
    pods = local_pods(tmp_path, mode, variables={"LEFT": tmp_path.name})
    result = await pods.run(pod_request(shell("(sleep 600 > /dev/null 2>&1 &)")))
    assert result.phase is Phase.SUCCEEDED
    await until_gone("LEFT", tmp_path.name)


_RUNNER = """
    import asyncio, sys
    from pathlib import Path
    from local_stack.executor_options import ExecutorMode
    from local_stack.runner.reaper import Reaper
    from tests.executor_modes import Mode
    from tests.local_stack.runner.pods import local_pods, pod_request, shell, shown

    async def main(place: Path) -> None:
        mode = Mode(ExecutorMode(sys.argv[2]))
        async with Reaper(place, grace_seconds=0.1, engine=mode.executors().engine) as reaper:
            print(reaper.marks["KFP_LOCAL_RUNNER"], flush=True)
            script = "trap '' TERM; touch \\"$1\\"; sleep 600"
            pods = local_pods(place, mode, variables=reaper.marks, mounts=shown(place))
            await pods.run(pod_request(shell(script, str(place / "ready"))))

    asyncio.run(main(Path(sys.argv[1])))
"""


async def test_a_killed_runner_leaves_no_process_and_no_container(mode: Mode, tmp_path: Path) -> None:
    project = Path(__file__).parents[3]
    command = [sys.executable, "-c", textwrap.dedent(_RUNNER), str(tmp_path), mode.mode.value]
    runner = await asyncio.create_subprocess_exec(*command, cwd=project, stdout=subprocess.PIPE)
    assert runner.stdout is not None
    mark = (await runner.stdout.readline()).decode().strip()
    await until_exists(tmp_path / "ready")
    assert marked(RUNNER_MARK, mark)
    runner.send_signal(signal.SIGKILL)
    await runner.wait()
    await until_gone(RUNNER_MARK, mark)
    engine = mode.executors().engine
    if engine:
        label = f"label={PLACE_MARK}={tmp_path}"
        async with asyncio.timeout(SECONDS):
            while _lines(engine, "ps", "--all", "--quiet", "--filter", label):  # noqa: ASYNC110 (the same)
                await asyncio.sleep(0.1)


async def test_a_finished_pod_leaves_no_container(container_mode: Mode, tmp_path: Path) -> None:
    engine = container_mode.executors().engine
    before = _lines(engine, "ps", "--all", "--quiet")
    for script in ("true", "exit 3"):
        await local_pods(tmp_path, container_mode).run(pod_request(shell(script)))
    assert _lines(engine, "ps", "--all", "--quiet") == before


def _lines(*argv: str) -> list[str]:
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.split()


def test_the_mark_of_pods_is_what_the_runner_looks_for() -> None:
    assert MARK.startswith("KFP_LOCAL_")


def test_a_bubblewrap_that_cannot_make_sandboxes_is_quoted_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "bwrap"
    program.write_text("#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2; exit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ExecutorModeError) as caught:
        open_executors(ExecutorOptions(mode=ExecutorMode.SANDBOX))
    assert "No permissions to create new namespace" in str(caught.value)
    assert "user.max_user_namespaces" in str(caught.value)
    assert "--executor process" in str(caught.value)


async def test_a_sandbox_sees_no_processes_but_its_own(sandbox_mode: Mode, tmp_path: Path) -> None:
    pods = local_pods(tmp_path, sandbox_mode)
    request = pod_request(shell("cat /proc/[0-9]*/comm | sort -u | tr '\\n' ' '"))
    await pods.run(request)
    assert set(pods.log_file(request.node.id).read_text().split()) <= {"bwrap", "sh", "cat", "sort", "tr"}

"""However a task ends, its row says so.

Oracle: spec LAUNCHER A13 and A16: success, failure of the command, signals, errors of the launcher and of the
API; a walk that fails never fails the task. The embedded KFP API lies behind a proxy that can break.
"""

import asyncio
import signal
from threading import Event

import pytest

from kfp_api.messages import PipelineTask, TaskState
from launcher import executor_logs
from launcher.configuration import ConfigurationReader, LauncherConfiguration
from launcher.flags import parse
from launcher.stores.access import Stores
from launcher.task import run_task
from launcher.termination import Termination
from tests.counting_proxy import counting_proxy
from tests.launcher.conftest import Bench

GOOD = 'echo weights > "$0"; echo 0.93 > "$1"'


async def message(bench: Bench, task: PipelineTask) -> tuple[TaskState, str]:
    row = await bench.row(task.task_id)
    return row.state, row.status_metadata.message if row.status_metadata else ""


async def until(process: asyncio.subprocess.Process, text: bytes) -> None:
    assert process.stdout is not None
    async with asyncio.timeout(60):
        while text not in await process.stdout.readline():
            pass


async def test_walk_that_fails_leaves_a_succeeded_task_succeeded(bench: Bench) -> None:
    task = await bench.task()
    async with counting_proxy(bench.url) as proxy:
        proxy.broken = lambda request: request.method == "GET" and request.path.endswith("/tasks")
        status, output = await bench.run(task, GOOD, environment={"KFP_API_URL": proxy.url})
    assert status == 0, output
    assert "the states of the enclosing DAGs could not be written" in output
    assert await message(bench, task) == (TaskState.SUCCEEDED, "")


async def test_outputs_that_the_api_does_not_take_fail_the_task(bench: Bench) -> None:
    task = await bench.task()
    async with counting_proxy(bench.url) as proxy:
        proxy.broken = lambda request: request.path.endswith("artifacts:batchCreate")
        status, _ = await bench.run(task, GOOD, environment={"KFP_API_URL": proxy.url})
    state, text = await message(bench, task)
    assert (status, state) == (1, TaskState.FAILED)
    assert text.startswith("failed to execute component: ")
    assert "500" in text


async def test_final_state_that_cannot_be_written_is_the_launchers_failure(bench: Bench) -> None:
    task = await bench.task()
    async with counting_proxy(bench.url) as proxy:
        proxy.broken = lambda request: request.method == "PATCH" and "SUCCEEDED" in request.text
        status, output = await bench.run(task, GOOD, environment={"KFP_API_URL": proxy.url})
    assert status == 1
    assert "the task's final state could not be written" in output


async def test_bug_of_the_launcher_fails_the_row_and_shows_itself(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run_container(*_: object, **__: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("launcher.task.run_container", run_container)
    task = await bench.task()
    line = parse(bench.flags(task))
    with pytest.raises(RuntimeError):
        await run_task(line, bench.client, {}, "", Termination())
    text = "failed to execute component: internal error of the launcher: RuntimeError('a bug')"
    assert await message(bench, task) == (TaskState.FAILED, text)


@pytest.mark.parametrize("grace", ["2", "600"])
async def test_command_that_will_not_stop_is_killed(grace: str, bench: Bench) -> None:
    task, script = await bench.task(), "trap 'echo told' TERM; echo started; while :; do sleep 1; done"
    process = await bench.start(task, script, environment={"KFP_LAUNCHER_GRACE_SECONDS": grace})
    await until(process, b"started")
    process.send_signal(signal.SIGTERM)
    await until(process, b"told")
    if grace == "600":
        # A second signal does not wait for the grace period.
        process.send_signal(signal.SIGINT)
    await process.communicate()
    assert process.returncode == 143
    assert await message(bench, task) == (TaskState.FAILED, "terminated by signal SIGTERM")


async def test_signal_before_the_command_ends_the_task_at_once(bench: Bench) -> None:
    """The input is a model image whose sidecar never shows it."""
    task = await bench.task()
    model = {"name": "data", "uri": "oci://r.io/never:1", "type": {"schemaTitle": "system.Model"}}
    document = bench.executor_input(artifacts={"data": {"artifacts": [model]}})
    async with counting_proxy(bench.url) as proxy:
        process = await bench.start(
            task, "echo ran", executor_input=document, environment={"KFP_API_URL": proxy.url}
        )
        await proxy.seen("PATCH")
        process.send_signal(signal.SIGINT)
        output, _ = await process.communicate()
    assert process.returncode == 143
    assert b"ran" not in output
    assert await message(bench, task) == (TaskState.FAILED, "terminated by signal SIGINT")


async def test_walk_that_fails_at_the_beginning_of_a_second_attempt_fails_nothing(bench: Bench) -> None:
    task = await bench.task()
    assert await bench.run_here(task, "exit 3") == 1
    async with counting_proxy(bench.url) as proxy:
        proxy.broken = lambda request: request.method == "GET" and request.path.endswith("/tasks")
        environment = {"KFP_API_URL": proxy.url, "KFP_RETRY_INDEX": "1"}
        status, output = await bench.run(task, GOOD, environment=environment)
    assert status == 0, output
    assert await message(bench, task) == (TaskState.SUCCEEDED, "")


async def test_signal_while_the_log_is_stored_leaves_seconds_for_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command has failed by itself; the store takes its time."""
    termination, stored, storing = Termination(), Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def upload(*_: object) -> None:
        loop.call_soon_threadsafe(storing.set)
        stored.wait(60)

    monkeypatch.setattr(executor_logs, "_HURRIED_SECONDS", 0.1)
    monkeypatch.setattr(Stores, "upload", upload)
    task = await bench.task()
    running = asyncio.create_task(bench.run_here(task, "exit 3", termination=termination))
    async with asyncio.timeout(30):
        await storing.wait()
        termination.receive("SIGTERM")
        assert await running == 1
    stored.set()
    assert await message(bench, task) == (TaskState.FAILED, "failed to execute component: exit status 3")


async def test_signal_is_not_kept_waiting_by_a_store_that_is_being_opened(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The configuration comes from a Kubernetes API that does not answer."""
    termination, answered, asking = Termination(), Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def configuration(_: object) -> LauncherConfiguration:
        loop.call_soon_threadsafe(asking.set)
        answered.wait(60)
        return LauncherConfiguration("", {})

    monkeypatch.setattr(ConfigurationReader, "configuration", configuration)
    task, document = await bench.task(), bench.executor_input("s3://bucket/root")
    del document["outputs"]["artifacts"]["executor-logs"]
    running = asyncio.create_task(
        bench.run_here(task, GOOD, executor_input=document, termination=termination)
    )
    async with asyncio.timeout(30):
        await asking.wait()
        termination.receive("SIGTERM")
        assert await running == 143
    answered.set()
    assert await message(bench, task) == (TaskState.FAILED, "terminated by signal SIGTERM")


SIGNAL_WHILE_LOADING = """
import os, signal, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "launcher.attempt":
            os.kill(os.getpid(), signal.SIGTERM)
sys.meta_path.insert(0, Finder())
from launcher.__main__ import main
sys.exit(main())
"""


async def test_signal_while_the_launcher_is_loading_is_told_to_the_row(bench: Bench) -> None:
    task = await bench.task()
    status, output = await bench.run(task, "echo ran", program=("-c", SIGNAL_WHILE_LOADING))
    assert status == 143, output
    assert "ran" not in output
    assert await message(bench, task) == (TaskState.FAILED, "terminated by signal SIGTERM")

"""The services of a local run, as real processes.

Oracle: the operating system, and the KFP API's own answers.
"""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from kfp_api.client import KfpApiClient
from local_stack.data_directory import DataDirectory, DataDirectoryError
from local_stack.stack import LocalStack, Service, ServiceCommand, StackError

_PROJECT = Path(__file__).parents[2]


def _alive(process: int) -> bool:
    try:
        stat = Path(f"/proc/{process}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def _command(tmp_path: Path, *arguments: str) -> ServiceCommand:
    return ServiceCommand(
        name="the service",
        arguments=arguments,
        environment=dict(os.environ),
        ready_file=tmp_path / "ready",
        log_file=tmp_path / "service.log",
    )


async def test_both_services_answer_and_nothing_is_left_when_they_stop(tmp_path: Path) -> None:
    data = DataDirectory.at(tmp_path / "data")
    with data.locked():
        async with LocalStack(data) as stack:
            async with KfpApiClient(stack.api_url) as client:
                assert (await client.list_runs()).runs == []
            assert stack.driver_url.startswith("http://127.0.0.1:")
            assert stack.token_file.stat().st_mode & 0o777 == 0o600
            processes = [service.process.pid for service in stack._services]
            assert all(_alive(process) for process in processes)
        assert not any(_alive(process) for process in processes)
        assert not stack.token_file.exists()
        assert list(data.services.glob("*.ready")) == []


async def test_a_service_that_cannot_start_is_told_with_the_end_of_its_log(tmp_path: Path) -> None:
    with pytest.raises(StackError) as caught:
        await Service.start(_command(tmp_path, "no-such-command"))
    assert "the service ended at once with exit code 2" in str(caught.value)
    assert "no-such-command" in str(caught.value)
    assert caught.value.exit_code == 1


async def test_a_service_that_stays_silent_is_stopped(tmp_path: Path) -> None:
    ready = tmp_path / "never-asked-for"
    command = _command(tmp_path, "api-server", "--port=0", f"--database=sqlite:///{tmp_path}/kfp.db",
                       f"--ready-file={ready}")  # fmt: skip
    with pytest.raises(StackError, match=r"did not become ready within 0\.5 seconds"):
        await Service.start(command, timeout_seconds=0.5)


@pytest.mark.parametrize("name", ["api-server", "serve"])
async def test_a_service_that_dies_is_started_again_at_its_old_address(name: str, tmp_path: Path) -> None:
    data, told = DataDirectory.at(tmp_path / "data"), asyncio.Event()
    with data.locked():
        async with LocalStack(data) as stack, KfpApiClient(stack.api_url) as client:
            keeping = asyncio.ensure_future(stack.keep_running(lambda _line: told.set()))
            urls, first = (stack.api_url, stack.driver_url), stack.pids[name]
            os.kill(first, signal.SIGKILL)
            async with asyncio.timeout(30):
                await told.wait()
                while stack.pids[name] == first:  # noqa: ASYNC110 (the process table tells nobody)
                    await asyncio.sleep(0.01)
                assert (await client.list_runs()).runs == []
            assert (stack.api_url, stack.driver_url) == urls
            assert not keeping.done()
            keeping.cancel()


async def test_a_service_that_dies_again_and_again_ends_the_stack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("local_stack.stack.MAX_DEATHS", 1)
    data = DataDirectory.at(tmp_path / "data")
    with data.locked():
        async with LocalStack(data) as stack, asyncio.timeout(10):
            os.kill(stack.pids["api-server"], signal.SIGKILL)
            error = await stack.keep_running(lambda _line: None)
    assert "the embedded KFP API ended unexpectedly" in str(error)


async def test_services_die_with_their_owner_however_that_dies(tmp_path: Path) -> None:
    script = textwrap.dedent(f"""
        import asyncio
        from pathlib import Path
        from local_stack.data_directory import DataDirectory
        from local_stack.stack import LocalStack
        async def main():
            async with LocalStack(DataDirectory.at(Path({str(tmp_path)!r}))) as stack:
                print(*(service.process.pid for service in stack._services), flush=True)
                await asyncio.sleep(600)
        asyncio.run(main())
    """)
    owner = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, cwd=_PROJECT, stdout=subprocess.PIPE
    )
    assert owner.stdout is not None
    processes = [int(text) for text in (await owner.stdout.readline()).split()]
    assert len(processes) == 2
    owner.send_signal(signal.SIGKILL)
    await owner.wait()
    async with asyncio.timeout(10):
        while any(_alive(process) for process in processes):  # noqa: ASYNC110 (the kernel tells nobody)
            await asyncio.sleep(0.01)


def test_a_data_directory_in_use_says_by_whom(tmp_path: Path) -> None:
    data = DataDirectory.at(tmp_path / "data")
    with data.locked():
        with (
            pytest.raises(
                DataDirectoryError, match=rf"in use by process {os.getpid()} \(.*, since "
            ) as caught,
            data.locked(),
        ):
            pass
        assert caught.value.exit_code == 2
    with data.locked():
        pass


def test_a_data_directory_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(DataDirectoryError, match=r"Not a directory|File exists"),
        DataDirectory.at(tmp_path / "file" / "x").locked(),
    ):
        pass

"""The services of the local stack: the embedded KFP API and the driver service, as child processes.

Both listen on loopback ports which they name in ready files. One that dies is started again at its old
address: neither keeps anything that it cannot lose, and their clients repeat what failed meanwhile. They
get SIGTERM and then SIGKILL in reverse order of their start, and a death signal, so that none survives
this process, however it ends.
"""

import asyncio
import json
import os
import secrets
import shutil
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlsplit

from launcher.process import death_signal
from local_stack.data_directory import DataDirectory
from local_stack.runner.processes import kill_tree, send

START_TIMEOUT: Final = 30.0
STOP_GRACE: Final = 10.0
MAX_DEATHS: Final = 5
DEATHS_WINDOW: Final = 60.0
_POLL: Final = 0.02
_QUOTED_LINES: Final = 8
_LOOPBACK: Final = "127.0.0.1,localhost,::1"
_FOREIGN_PREFIXES: Final = ("KFP_",)
_FOREIGN: Final = frozenset({"NAMESPACE", "OBJECT_STORE_HOST", "OBJECT_STORE_PORT"})


class StackError(Exception):
    """A service did not start or ended too early; the text quotes the end of its log."""

    exit_code = 1


@dataclass(frozen=True, kw_only=True)
class ServiceCommand:
    """How to start one service. ``arguments`` follow ``kfp-driver``; ``ready_file`` is among them."""

    name: str
    arguments: Sequence[str]
    environment: Mapping[str, str]
    ready_file: Path
    log_file: Path


class Service:
    """One running service."""

    def __init__(self, command: ServiceCommand, process: asyncio.subprocess.Process) -> None:
        self.command = command
        self.process = process
        self.url = ""

    @classmethod
    async def start(cls, command: ServiceCommand, *, timeout_seconds: float = START_TIMEOUT) -> "Service":
        """Start a service and wait until it listens.

        Raises:
            StackError: it ended or stayed silent.
        """
        command.ready_file.unlink(missing_ok=True)
        with command.log_file.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "driver_plugin.cli",
                *command.arguments,
                env=command.environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=death_signal(signal.SIGKILL),
            )
        service = cls(command, process)
        try:
            async with asyncio.timeout(timeout_seconds):
                service.url = await service._ready_url()
        except TimeoutError:
            await service.stop(grace_seconds=0)
            raise service.failure(f"did not become ready within {timeout_seconds:g} seconds") from None
        except BaseException:
            await service.stop(grace_seconds=0)
            raise
        return service

    async def _ready_url(self) -> str:
        while not self.command.ready_file.exists():
            if self.process.returncode is not None:
                raise self.failure(f"ended at once with exit code {self.process.returncode}")
            await asyncio.sleep(_POLL)
        url: str = json.loads(self.command.ready_file.read_text())["url"]
        return url

    def failure(self, what: str) -> StackError:
        """An error that quotes the last lines of the log."""
        lines = self.command.log_file.read_text(errors="replace").splitlines()[-_QUOTED_LINES:]
        quoted = "".join(f"\n  | {line}" for line in lines)
        return StackError(f"{self.command.name} {what}; its log {self.command.log_file} ends with:{quoted}")

    async def stop(self, *, grace_seconds: float = STOP_GRACE) -> None:
        """End the service and everything below it."""
        if self.process.returncode is None and grace_seconds:
            send(self.process.pid, signal.SIGTERM)
            try:
                async with asyncio.timeout(grace_seconds):
                    await self.process.wait()
            except TimeoutError:
                pass
        if self.process.returncode is None:
            kill_tree(self.process.pid)
            await self.process.wait()


class LocalStack:
    """The services over one data directory. Use as an async context manager."""

    def __init__(self, data: DataDirectory, *, api_port: int = 0) -> None:
        """Prepare the services; ``api_port`` is the API's, 0 takes any free one."""
        self._data = data
        self._wanted_api_port = api_port
        self._services: list[Service] = []
        self.api_url = ""
        self.driver_url = ""

    @property
    def token_file(self) -> Path:
        """The agent token that the driver service asks for."""
        return self._data.services / "agent-token"

    @property
    def launcher_config(self) -> Path:
        """The mounted ConfigMap ``kfp-launcher``: the user's, and our artifacts as the default root."""
        return self._data.services / "launcher-config"

    @property
    def api_host(self) -> str:
        """Host of the embedded API."""
        return urlsplit(self.api_url).hostname or ""

    @property
    def api_port(self) -> str:
        """Port of the embedded API."""
        return str(urlsplit(self.api_url).port or "")

    @property
    def pids(self) -> dict[str, int]:
        """Process ids of the services, by the name of what they run."""
        return {service.command.arguments[0]: service.process.pid for service in self._services}

    @property
    def driver_pid(self) -> int:
        """Process id of the driver service."""
        return self._services[-1].process.pid

    async def __aenter__(self) -> Self:
        for directory in (self._data.services, self._data.artifacts, self._data.driver_logs):
            directory.mkdir(parents=True, exist_ok=True)
        for log in self._data.services.glob("*.log"):
            log.unlink()
        self._write_launcher_config()
        _write_private(self.token_file, secrets.token_hex(16))
        try:
            self.api_url = (await self._start(self._api_command())).url
            self.driver_url = (await self._start(self._driver_command())).url
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop()

    async def keep_running(self, told: Callable[[str], None]) -> StackError:
        """Start services again that die, for ever; ``told`` gets one line each time.

        Returns:
            Why this ended: a service cannot be started any more, or dies again and again.
        """
        deaths: deque[float] = deque(maxlen=MAX_DEATHS)
        while True:
            service = await self._first_to_end()
            failure = service.failure(f"ended unexpectedly with exit code {service.process.returncode}")
            deaths.append(time.monotonic())
            if len(deaths) == MAX_DEATHS and deaths[-1] - deaths[0] < DEATHS_WINDOW:
                return failure
            told(
                f"{service.command.name} ended with exit code {service.process.returncode}; starting it again"
            )
            command = self._driver_command() if service is self._services[-1] else self._api_command()
            try:
                again = await Service.start(command)
            except StackError as error:
                return error
            self._services[self._services.index(service)] = again

    async def _first_to_end(self) -> Service:
        waits = {asyncio.ensure_future(service.process.wait()): service for service in self._services}
        try:
            done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        return waits[next(iter(done))]

    async def _start(self, command: ServiceCommand) -> Service:
        service = await Service.start(command)
        self._services.append(service)
        return service

    async def _stop(self) -> None:
        while self._services:
            await self._services.pop().stop()
        self.token_file.unlink(missing_ok=True)

    def _write_launcher_config(self) -> None:
        shutil.rmtree(self.launcher_config, ignore_errors=True)
        self.launcher_config.mkdir()
        values = {"defaultPipelineRoot": str(self._data.artifacts)}
        given = self._data.configmaps / "kfp-launcher"
        if given.is_dir():
            values |= {
                file.name: file.read_text(encoding="utf-8") for file in given.iterdir() if file.is_file()
            }
        for name, value in values.items():
            (self.launcher_config / name).write_text(value, encoding="utf-8")

    def _api_command(self) -> ServiceCommand:
        ready_file = self._data.services / "api-server.ready"
        return ServiceCommand(
            name="the embedded KFP API",
            arguments=[
                "api-server",
                "--host=127.0.0.1",
                f"--port={self.api_port or self._wanted_api_port}",
                f"--database=sqlite:///{self._data.database}",
                f"--ready-file={ready_file}",
            ],
            environment=_environment({}),
            ready_file=ready_file,
            log_file=self._data.services / "api-server.log",
        )

    def _driver_command(self) -> ServiceCommand:
        ready_file = self._data.services / "driver.ready"
        return ServiceCommand(
            name="the driver service",
            arguments=[
                "serve",
                f"--port={urlsplit(self.driver_url).port or 0}",
                "--health-port=0",
                "--health-host=127.0.0.1",
                f"--ready-file={ready_file}",
            ],
            environment=_environment(
                {
                    "KFP_API_URL": self.api_url,
                    "KFP_API_ADDRESS": self.api_host,
                    "KFP_API_PORT": self.api_port,
                    "KFP_DRIVER_AGENT_TOKEN_FILE": str(self.token_file),
                    "KFP_LAUNCHER_CONFIG_DIR": str(self.launcher_config),
                    "KFP_DRIVER_LOG_ROOT": str(self._data.driver_logs),
                    "KFP_TOKEN_MODE": "none",
                }
            ),
            ready_file=ready_file,
            log_file=self._data.services / "driver.log",
        )


def _environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Our environment without what configures a service in a cluster, and with ``settings``."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in _FOREIGN and not name.startswith(_FOREIGN_PREFIXES)
    }
    no_proxy = ",".join(filter(None, (environment.get("NO_PROXY"), _LOOPBACK)))
    return (
        environment | {"NO_PROXY": no_proxy, "no_proxy": no_proxy, "PYTHONUNBUFFERED": "1"} | dict(settings)
    )


def _write_private(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)

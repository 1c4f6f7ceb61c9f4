"""The services of a local run: the embedded KFP API and the driver service, as child processes.

Both listen on free loopback ports which they name in ready files. They get SIGTERM and then SIGKILL in
reverse order of their start, and a death signal, so that none survives this process, however it ends.
"""

import asyncio
import json
import os
import secrets
import signal
import sys
from collections.abc import Mapping, Sequence
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
        with command.log_file.open("wb") as log:
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

    def __init__(self, data: DataDirectory, *, workspace: Path) -> None:
        self._data = data
        self._workspace = workspace
        self._services: list[Service] = []
        self.api_url = ""
        self.driver_url = ""

    @property
    def token_file(self) -> Path:
        """The agent token that the driver service asks for."""
        return self._data.services / "agent-token"

    @property
    def api_host(self) -> str:
        """Host of the embedded API."""
        return urlsplit(self.api_url).hostname or ""

    @property
    def api_port(self) -> str:
        """Port of the embedded API."""
        return str(urlsplit(self.api_url).port or "")

    @property
    def driver_pid(self) -> int:
        """Process id of the driver service."""
        return self._services[-1].process.pid

    async def __aenter__(self) -> Self:
        for directory in (self._data.services, self._data.artifacts, self._data.driver_logs):
            directory.mkdir(parents=True, exist_ok=True)
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

    async def wait_for_failure(self) -> StackError:
        """Wait until some service ends on its own; returns the error that tells so."""
        waits = {asyncio.ensure_future(service.process.wait()): service for service in self._services}
        try:
            done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        first = next(iter(done))
        return waits[first].failure(f"ended unexpectedly with exit code {first.result()}")

    async def _start(self, command: ServiceCommand) -> Service:
        service = await Service.start(command)
        self._services.append(service)
        return service

    async def _stop(self) -> None:
        while self._services:
            await self._services.pop().stop()
        self.token_file.unlink(missing_ok=True)

    def _api_command(self) -> ServiceCommand:
        ready_file = self._data.services / "api-server.ready"
        return ServiceCommand(
            name="the embedded KFP API",
            arguments=[
                "api-server",
                "--host=127.0.0.1",
                "--port=0",
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
                "--port=0",
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
                    "KFP_DRIVER_LOG_ROOT": str(self._data.driver_logs),
                    "KFP_TOKEN_MODE": "none",
                    "KFP_WORKSPACE_PATH": str(self._workspace),
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

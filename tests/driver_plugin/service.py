"""The real service on loopback, with a driver that the test scripts.

Only the drivers are stood in for: authentication, parsing, joining, logs and replies are the product's.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp.test_utils import TestClient, TestServer
from aiohttp.web import Application, Request

from driver_plugin.app import Service, create_application, open_service
from driver_plugin.argo.arguments import DriverCall
from driver_plugin.argo.replies import DriverResult
from driver_plugin.http.execute import PATH
from driver_plugin.invocation import Timing
from driver_plugin.settings import Settings
from driver_plugin.system_logs.capture import InvocationLog
from tests.driver_plugin.calls import body

TOKEN = "abcdefghijklmnopqrstuvwxyz012345"


@dataclass
class ScriptedDriver:
    """Counts its runs, waits while ``gate`` is closed, then gives the next answer of its script."""

    answers: list[DriverResult | Exception] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    started: asyncio.Event = field(default_factory=asyncio.Event)
    calls: list[DriverCall] = field(default_factory=list)

    async def __call__(self, call: DriverCall, log: InvocationLog) -> DriverResult:
        self.calls.append(call)
        self.started.set()
        log.info("scripted driver")
        await self.gate.wait()
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


@dataclass
class Stack:
    """A running service, a client that knows the token, and the driver behind it."""

    client: TestClient[Request, Application]
    service: Service
    driver: ScriptedDriver
    logs: Path

    async def call(self, args: object, **envelope: Any) -> dict[str, Any]:
        """The 200 reply to one delivery."""
        response = await self.post(body(args, **envelope))
        assert response.status == 200, await response.text()
        reply: dict[str, Any] = await response.json()
        return reply

    async def post(self, document: object) -> Any:
        return await self.client.post(PATH, json=document, headers={"Authorization": f"Bearer {TOKEN}"})

    def log_texts(self) -> list[str]:
        return [path.read_text() for path in sorted(self.logs.rglob("*.log"))]


@asynccontextmanager
async def running_service(
    directory: Path,
    *answers: DriverResult | Exception,
    gate_open: bool = True,
    timing: Timing | None = None,
    environ: dict[str, str] | None = None,
) -> AsyncIterator[Stack]:
    token_file, logs = directory / "token", directory / "logs"
    token_file.write_text(TOKEN)
    settings = Settings.from_environ(
        {"KFP_DRIVER_AGENT_TOKEN_FILE": str(token_file), "KFP_DRIVER_LOG_ROOT": str(logs), **(environ or {})}
    )
    driver = ScriptedDriver(list(answers) or [DriverResult(task_id="t-1")])
    if gate_open:
        driver.gate.set()
    async with (
        open_service(settings, drive=driver, timing=timing) as service,
        TestClient(TestServer(create_application(service))) as client,
    ):
        yield Stack(client=client, service=service, driver=driver, logs=logs)
        driver.gate.set()
        await service.invocations.drain(5)
        await service.uploader.flush(1)


def outputs(reply: dict[str, Any]) -> dict[str, str]:
    return {entry["name"]: entry["value"] for entry in reply["node"]["outputs"]["parameters"]}


async def until(condition: Callable[[], bool]) -> None:
    """Let the event loop run until the condition holds; fails after ten seconds."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 (the condition is the product's state, which has no event)
            await asyncio.sleep(0)

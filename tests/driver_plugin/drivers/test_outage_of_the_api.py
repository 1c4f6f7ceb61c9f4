"""The KFP API is down for a minute in the middle of a run: no node fails, the run goes on when it is back.

Everything runs at a twentieth of its time: an outage of 60 s, a call's 25 s, the agent's 30 s for one try and
its 2 s until it calls again, the client's 30 s for one attempt and 20 s for all, the outage budget of 10 min.
The agent here keeps the rules of Argo's: 16 calls at a time, again after a requeue answer, five tries after a
503, and all else is a failed node. More nodes are due than agent or service take at once. Oracle: the same
calls without an outage give the same replies and leave the same rows.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final, Literal

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from aiohttp.typedefs import Handler

from driver_plugin.app import Service, create_application, open_service
from driver_plugin.argo.driver_type import DriverType
from driver_plugin.argo.replies import REQUEUE
from driver_plugin.http.execute import PATH
from driver_plugin.invocation import (
    CALL_SECONDS,
    FIRST_OUTAGE_PAUSE,
    LONGEST_OUTAGE_PAUSE,
    Reply,
    Timing,
)
from driver_plugin.settings import Settings, parse_duration
from kfp_api.client import KfpApiClient
from kfp_api.transport import Backoff
from local_stack.api_server.app import build_app
from local_stack.api_server.config import ServerConfig
from tests.driver_plugin.calls import body
from tests.driver_plugin.drivers.crash_scenarios import MAKE, SCENARIOS, Due, Scenario, due, started
from tests.driver_plugin.drivers.pipelines import Json, dag, pipeline, task
from tests.driver_plugin.drivers.stack import Stack
from tests.driver_plugin.drivers.stored_rows import Stored, stored
from tests.driver_plugin.service import TOKEN

Outage = Literal["refuses connections", "does not answer", "answers 503"]

SCALE: Final = 20
OUTAGE_SECONDS: Final = 60 / SCALE
AGENT_SECONDS: Final = 30 / SCALE
TIMING: Final = Timing(
    call_seconds=CALL_SECONDS / SCALE,
    first_outage_pause=FIRST_OUTAGE_PAUSE / SCALE,
    longest_outage_pause=LONGEST_OUTAGE_PAUSE / SCALE,
)
SCALED_CLIENT: Final = partial(
    KfpApiClient,
    timeout_seconds=30 / SCALE,
    retry_deadline_seconds=20 / SCALE,
    backoff=Backoff(
        initial_seconds=Backoff().initial_seconds / SCALE, maximum_seconds=Backoff().maximum_seconds / SCALE
    ),
)
ITERATIONS: Final = 20
CALLS: Final = {
    "ROOT_DAG: triggered",
    "DAG: triggered loop",
    "DAG: skipped by its condition",
    "CONTAINER: triggered",
    "CONTAINER: skipped",
    "CONTAINER: triggered again after the run was retried",
}


class KfpApi:
    """The embedded API on one port, which goes down when it has created the first task after :meth:`arm`.

    The answer to that request is lost; the row is there. It comes back by itself.
    """

    def __init__(self, database: Path) -> None:
        app = build_app(ServerConfig(database=database))
        app.middlewares.append(self._interrupt)
        self._runner = web.AppRunner(app)
        self._site: web.TCPSite | None = None
        self._armed: Outage | None = None
        self._down: Outage | None = None
        self._forever = asyncio.Event()
        self._return: asyncio.Task[None] | None = None
        self.port = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator["KfpApi"]:
        await self._runner.setup()
        await self._listen()
        try:
            yield self
        finally:
            self._forever.set()
            if self._return is not None:
                await self._return
            await self._runner.cleanup()

    def arm(self, outage: Outage) -> None:
        self._armed = outage

    async def _listen(self) -> None:
        self._site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await self._site.start()
        self.port = self._runner.addresses[0][1]

    async def _go_down(self, outage: Outage) -> None:
        self._armed, self._down = None, outage
        self._return = asyncio.create_task(self._come_back())
        if outage == "refuses connections":
            assert self._site is not None
            assert self._runner.server is not None
            await self._site.stop()
            for connection in self._runner.server.connections:
                if connection.transport is not None:
                    connection.transport.abort()

    async def _come_back(self) -> None:
        await asyncio.sleep(OUTAGE_SECONDS)
        if self._down == "refuses connections":
            await self._listen()
        self._down = None

    @web.middleware
    async def _interrupt(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if self._down is None:
            answer = await handler(request)
            if self._armed is None or request.method != "POST" or not request.path.endswith("/tasks"):
                return answer
            await self._go_down(self._armed)
        if self._down == "does not answer":
            await self._forever.wait()
        return web.json_response({}, status=503)


class Agent:
    """Argo's agent: it calls until it has the node."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url + PATH
        self._workers = asyncio.Semaphore(16)

    async def execute(self, args: Json) -> tuple[Reply, int]:
        """The node of a call, and how often it was called again."""
        requeues = 0
        while True:
            async with self._workers:
                reply = await self._call(args)
            if reply != REQUEUE:
                return reply, requeues
            requeues += 1
            await asyncio.sleep(parse_duration(reply["requeue"]) / SCALE)

    async def _call(self, args: Json) -> Json:
        """One reply; what Argo's agent takes for temporary is tried again."""
        for pause in (1, 2, 4, 8, 0):
            with contextlib.suppress(TimeoutError):
                async with self._session.post(self._url, json=body(args)) as response:
                    if response.status == 200:
                        reply: Json = await response.json()
                        return reply
                    assert response.status == 503, "a node that the agent fails"
            await asyncio.sleep(pause / SCALE)
        raise AssertionError("a node that the agent fails after five tries")


async def iterations(setup: Stack) -> list[Due]:
    """The calls of all iterations of a loop."""
    loop = task("comp-loop", items=json.dumps(list(range(ITERATIONS))))
    body_of_loop = dag({"make": task("comp-make")}, inputs={"item": "NUMBER_INTEGER"})
    spec = pipeline({"loop": loop}, {"comp-loop": body_of_loop, "comp-make": MAKE})
    run, parent = await started(setup, spec, inner="loop")
    return [due(run, DriverType.CONTAINER, "make", parent, index) for index in range(ITERATIONS)]


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[KfpApi]:
    async with KfpApi(tmp_path / "kfp.sqlite").running() as api:
        yield api


@asynccontextmanager
async def fresh_service(
    directory: Path, api: KfpApi, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Service, str]]:
    """The service as it starts, with the API's client at scale; and its address."""
    monkeypatch.setattr("driver_plugin.drivers.opening.KfpApiClient", SCALED_CLIENT)
    token = directory / "token"
    token.write_text(TOKEN)
    settings = Settings.from_environ(
        {
            "KFP_API_URL": f"http://127.0.0.1:{api.port}",
            "KFP_TOKEN_MODE": "none",
            "KFP_DRIVER_AGENT_TOKEN_FILE": str(token),
            "KFP_DRIVER_LOG_UPLOAD": "false",
            "KFP_DRIVER_OUTAGE_BUDGET": f"{600 // SCALE}s",
        }
    )
    async with (
        open_service(settings, timing=TIMING) as service,
        TestServer(create_application(service)) as server,
    ):
        yield service, str(server.make_url("")).rstrip("/")


async def executed(url: str, dues: list[Due]) -> list[tuple[Reply, int]]:
    """The replies to calls that Argo makes at once, and how often each was called again."""
    async with aiohttp.ClientSession(
        headers={"Authorization": f"Bearer {TOKEN}"}, timeout=aiohttp.ClientTimeout(total=AGENT_SECONDS)
    ) as session:
        agent = Agent(session, url)
        return await asyncio.gather(*(agent.execute(one.args) for one in dues))


@pytest.mark.parametrize("outage", ["refuses connections", "does not answer", "answers 503"])
async def test_the_api_down_for_a_minute_in_the_middle_of_a_run_fails_no_node(
    stack: Stack, api: KfpApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outage: Outage
) -> None:
    scenarios: list[Scenario] = [one for one in SCENARIOS if one.name in CALLS]
    async with KfpApiClient(f"http://127.0.0.1:{api.port}") as client:
        setup = Stack(client=client, services=replace(stack.services, client=client))

        async def prepared() -> list[Due]:
            return [await scenario.prepare(setup) for scenario in scenarios] + await iterations(setup)

        async def ends(dues: list[Due]) -> dict[str, Stored]:
            return {run_id: await stored(client, run_id) for run_id in {one.run.run_id for one in dues}}

        undisturbed = await prepared()
        async with fresh_service(tmp_path, api, monkeypatch) as (_, url):
            expected = await executed(url, undisturbed)
        expected_ends = await ends(undisturbed)
        dues = await prepared()
        async with fresh_service(tmp_path, api, monkeypatch) as (service, url):
            api.arm(outage)
            found = await executed(url, dues)
            for kind in DriverType:
                assert service.metrics.value("kfp_driver_outage_retries_total", type=kind) > 0
        found_ends = await ends(dues)
    assert len(dues) == len(CALLS) + ITERATIONS
    assert sum(requeues for _, requeues in found) > len(dues), "the outage was over before it was noticed"
    for one, like, (reply, _), (undisturbed_reply, _) in zip(dues, undisturbed, found, expected, strict=True):
        end, expected_end = found_ends[one.run.run_id], expected_ends[like.run.run_id]
        assert reply["node"]["phase"] == "Succeeded", json.dumps(reply)
        assert end.reply(reply) == expected_end.reply(undisturbed_reply)
        assert end.rows == expected_end.rows

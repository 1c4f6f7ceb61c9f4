"""The service is killed by SIGKILL again and again while Argo drives a run; each time a new one takes over.

The agent of these tests does as Argo's: a connection that breaks, or that nobody accepts, is tried again. The
process dies at one of its requests to the KFP API, drawn by lot, before or after the server did its work.
Oracle: the same run with a service that lives; its rows, and its replies byte for byte once times, ids and
the logs' invocation ids are masked.
"""

import asyncio
import json
import os
import random
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from aiohttp.typedefs import Handler

from driver_plugin.argo.driver_type import DriverType
from driver_plugin.argo.replies import REQUEUE
from driver_plugin.http.execute import PATH
from kfp_api.client import KfpApiClient
from local_stack.api_server.app import build_app
from local_stack.api_server.config import ServerConfig
from tests.driver_plugin.calls import body
from tests.driver_plugin.drivers.crash_scenarios import MADE, MAKE, STORED, USE, due, use
from tests.driver_plugin.drivers.pipelines import (
    Json,
    constant,
    dag,
    from_parent,
    from_task,
    leaf,
    output_of,
    pipeline,
    task,
)
from tests.driver_plugin.drivers.processes import NameTag
from tests.driver_plugin.drivers.stack import DrivenRun, Stack
from tests.driver_plugin.drivers.stored_rows import stored
from tests.driver_plugin.service import TOKEN, outputs

pytestmark = pytest.mark.slow

FARTHEST: Final = 25
"""Requests between two kills, at most: more than any call makes, so that each ends some day."""


def spec() -> Json:
    """Cache hits in and out of a loop, conditions, a loop whose outputs are collected, a nested pipeline."""
    body_of_loop = dag(
        {
            "make": task("comp-make", cache=True),
            "train": task("comp-train", inputs={"i": from_parent("i"), "text": from_task("make")}),
        },
        inputs={"i": "NUMBER_INTEGER"},
        outputs={"parameters": {"scores": output_of("train")}},
        output_types={"scores": "LIST"},
    )
    train = leaf(
        "exec-train", inputs={"i": "NUMBER_INTEGER", "text": "STRING"}, outputs={"Output": "NUMBER_INTEGER"}
    )
    return pipeline(
        {
            "make": task("comp-make", cache=True),
            "use": use(condition="inputs.parameter_values['text'] == 'x'"),
            "never": task(
                "comp-nested",
                inputs={"text": from_task("make")},
                condition="inputs.parameter_values['text'] == 'y'",
            ),
            "nested": task("comp-nested", inputs={"text": constant("x")}),
            "loop": task("comp-loop", items="[5, 6]", item_input="i"),
            "gather": task("comp-gather", inputs={"l": from_task("loop", "scores")}, depends=("loop",)),
        },
        {
            "comp-make": MAKE,
            "comp-use": USE,
            "comp-train": train,
            "comp-loop": body_of_loop,
            "comp-nested": dag({"make": task("comp-make", cache=True)}, inputs={"text": "STRING"}),
            "comp-gather": leaf("exec-gather", inputs={"l": "LIST"}, outputs={"Output": "LIST"}),
        },
        name="killed",
        outputs={"parameters": {"result": output_of("gather")}},
        output_types={"result": "LIST"},
    )


@dataclass
class Lots:
    """Draws the requests of the service at which it is killed; without a seed it lives."""

    moments: random.Random | None = None
    left: int = -1
    kills: int = 0

    def draw(self, seed: int | None) -> None:
        self.moments = None if seed is None else random.Random(seed)
        self._next()

    def _next(self) -> None:
        self.left = self.moments.randint(1, FARTHEST) if self.moments else -1

    def is_drawn(self) -> bool:
        """Whether the process dies at the request that comes now."""
        self.left -= 1
        if self.left == 0:
            self.kills += 1
            self._next()
            return True
        return False

    def answered(self) -> bool:
        """Whether the server does its work before the process dies."""
        return self.moments is not None and self.moments.random() < 0.5


@dataclass
class Service:
    """``kfp-driver serve`` as a process, started again when it was killed."""

    api_url: str
    directory: Path
    process: asyncio.subprocess.Process | None = None
    url: str = ""
    alive: asyncio.Event = field(default_factory=asyncio.Event)

    def kill(self) -> None:
        assert self.process is not None
        self.alive.clear()
        os.kill(self.process.pid, signal.SIGKILL)

    async def keep_alive(self) -> None:
        """Start the service, and a new one whenever it has died."""
        while True:
            await self._start()
            assert self.process is not None
            await self.process.wait()

    async def _start(self) -> None:
        token, ready = self.directory / "token", self.directory / "ready.json"
        token.write_text(TOKEN)
        self.process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "driver_plugin.cli", "serve"),
            *("--port", "0", "--health-port", "0", "--ready-file", str(ready)),
            env={
                "PATH": os.environ["PATH"],
                "KFP_API_URL": self.api_url,
                "KFP_TOKEN_MODE": "none",
                "KFP_DRIVER_AGENT_TOKEN_FILE": str(token),
                "KFP_DRIVER_LOG_ROOT": str(self.directory / "logs"),
                "KFP_DRIVER_LOG_LEVEL": "INFO",
            },
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        assert self.process.stdout is not None
        line = await asyncio.wait_for(self.process.stdout.readline(), 60)
        assert json.loads(line)["event"] == "serving"
        self.url = json.loads(ready.read_text())["url"]
        self.alive.set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Service"]:
        keeper = asyncio.create_task(self.keep_alive())
        try:
            yield self
        finally:
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)
            if self.process is not None and self.process.returncode is None:
                self.process.kill()
                await self.process.wait()


@dataclass
class Argo:
    """Drives one run: delivers its calls until each has a node, and plays the launchers between them."""

    run: DrivenRun
    service: Service
    session: aiohttp.ClientSession
    replies: list[Json] = field(default_factory=list)

    async def call(self, kind: DriverType, name: str = "", parent: str = "", index: int = -1) -> Json:
        args = due(self.run, kind, name, parent, index).args
        while True:
            await self.service.alive.wait()
            try:
                async with self.session.post(self.service.url + PATH, json=body(args)) as response:
                    assert response.status == 200, await response.text()
                    reply: dict[str, Any] = await response.json()
            except aiohttp.ClientError:
                continue
            if reply != REQUEUE:
                self.replies.append(reply)
                assert reply["node"]["phase"] == "Succeeded", reply
                return outputs(reply)

    async def drive(self) -> None:
        """The whole run, in an order that Argo could choose."""
        dag_type, container = DriverType.DAG, DriverType.CONTAINER
        self.run.root = (await self.call(DriverType.ROOT_DAG))["task-id"]
        assert (await self.call(container, "make"))["cached-decision"] == "true"
        await self.finish(await self.call(container, "use"))
        assert (await self.call(dag_type, "never"))["condition"] == "false"
        nested = (await self.call(dag_type, "nested"))["task-id"]
        assert (await self.call(container, "make", nested))["cached-decision"] == "true"
        loop = (await self.call(dag_type, "loop"))["task-id"]
        for index in (1, 0):
            await self.call(container, "make", loop, index)
            await self.finish(await self.call(container, "train", loop, index), Output=10 + index)
        await self.finish(await self.call(container, "gather"), Output=[10, 11])

    async def finish(self, replied: Json, **values: Any) -> None:
        assert replied["pod-spec-patch"]
        await self.run.finish(replied["task-id"], values)


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_a_service_killed_at_any_moment_leaves_the_rows_and_replies_of_one_that_lives(
    stack: Stack, tmp_path: Path, seed: int
) -> None:
    lots = Lots()
    services: list[Service] = []

    @web.middleware
    async def die(request: web.Request, handler: Handler) -> web.StreamResponse:
        if "Authorization" in request.headers or not lots.is_drawn():
            return await handler(request)
        if lots.answered():
            await handler(request)
        services[-1].kill()
        return web.json_response({}, status=503)

    api = build_app(ServerConfig(database=tmp_path / "kfp.sqlite"))
    api.middlewares.append(die)
    async with (
        TestServer(api) as server,
        KfpApiClient(str(server.make_url("")).rstrip("/"), credentials=NameTag("setup")) as client,
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {TOKEN}"}) as session,
    ):
        setup = Stack(client=client, services=replace(stack.services, client=client))
        source = await setup.start(spec())
        row = await source.container("make")
        await source.finish(row.task_id, MADE, artifacts=STORED)
        ends = []
        async with Service(str(server.make_url("")).rstrip("/"), tmp_path).running() as service:
            services.append(service)
            for chosen in (None, seed):
                lots.draw(chosen)
                argo = Argo(await setup.submit(spec()), service, session)
                async with asyncio.timeout(120):
                    await argo.drive()
                end = await stored(client, argo.run.run_id)
                ends.append((end.rows, [end.reply(reply) for reply in argo.replies]))
    sys.stdout.write(f"{lots.kills} kills\n")
    assert lots.kills > 5, "hardly anything was tested"
    assert '"state": "SUCCEEDED"' in ends[0][0]
    assert ends[1][1] == ends[0][1]
    assert ends[1][0] == ends[0][0]

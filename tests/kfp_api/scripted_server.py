"""A loopback HTTP server that answers what a script says, reply by reply, and remembers what it was asked."""

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web

from kfp_api.client import KfpApiClient
from kfp_api.transport import Backoff

QUICKLY = Backoff(initial_seconds=0.001, maximum_seconds=0.002)


@dataclass(frozen=True)
class Reply:
    """One answer; ``body`` is JSON data unless it is bytes."""

    status: int = 200
    body: Any = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)


class Reset:
    """Close the connection without an answer."""


class Silence:
    """Take the request and never answer."""


@dataclass(frozen=True)
class Asked:
    """One request as it arrived."""

    method: str
    path: str
    query: list[tuple[str, str]]
    headers: dict[str, str]
    body: Any


Step = Reply | Reset | Silence


class ScriptedServer:
    """Plays its script once; a request beyond it is a 418, which no client repeats."""

    def __init__(self) -> None:
        self.script: deque[Step] = deque()
        self.asked: list[Asked] = []
        self.url = ""
        self._closing = asyncio.Event()
        self._runner: web.AppRunner | None = None

    def play(self, *steps: Step) -> None:
        self.script.extend(steps)

    def client(self, **options: Any) -> KfpApiClient:
        defaults: dict[str, Any] = {"backoff": QUICKLY, "retry_deadline_seconds": 5.0}
        return KfpApiClient(self.url, **(defaults | options))

    async def start(self) -> None:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"

    async def stop(self) -> None:
        self._closing.set()
        if self._runner is not None:
            await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.asked.append(
            Asked(
                request.method,
                request.raw_path.partition("?")[0],
                list(request.query.items()),
                dict(request.headers),
                orjson.loads(body) if body else None,
            )
        )
        step = self.script.popleft() if self.script else Reply(418, {"message": "the script is over"})
        if isinstance(step, Silence):
            await self._closing.wait()
        if not isinstance(step, Reply):
            if request.transport is not None:
                request.transport.abort()
            return web.Response()
        content = step.body if isinstance(step.body, bytes) else orjson.dumps(step.body)
        headers = {"Content-Type": "application/json", **step.headers}
        return web.Response(status=step.status, body=content, headers=headers)

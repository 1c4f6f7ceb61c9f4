"""A reverse proxy before the KFP API that counts requests and bytes both ways, and breaks on demand."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import ClientSession, web

_PASSED_ON = ("Content-Type", "Prefer")


@dataclass(frozen=True)
class SeenRequest:
    """A request on its way."""

    method: str
    path: str
    text: str


@dataclass
class Traffic:
    """What went through since the last :meth:`reset`: one line per request, bytes of both bodies and URLs.

    Requests that ``broken`` picks are answered 500 and not forwarded.
    """

    url: str = ""
    requests: list[str] = field(default_factory=list)
    bytes: int = 0
    broken: Callable[[SeenRequest], bool] = lambda _: False
    _passed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def seen(self, method: str) -> None:
        """Wait until a request of that method was answered."""
        async with asyncio.timeout(60), self._passed:
            await self._passed.wait_for(lambda: any(line.startswith(method) for line in self.requests))

    def reset(self) -> None:
        self.requests.clear()
        self.bytes = 0


@asynccontextmanager
async def counting_proxy(target: str) -> AsyncIterator[Traffic]:
    """Forward to ``target`` until the block ends."""
    traffic = Traffic()

    async def forward(request: web.Request) -> web.Response:
        body = await request.read()
        if traffic.broken(SeenRequest(request.method, request.path, body.decode())):
            return web.json_response({"code": 13, "message": "broken by the test"}, status=500)
        async with session.request(
            request.method,
            target + request.raw_path,
            data=body,
            headers={name: request.headers[name] for name in _PASSED_ON if name in request.headers},
        ) as answer:
            content = await answer.read()
        async with traffic._passed:
            traffic.requests.append(f"{request.method} {request.path}")
            traffic._passed.notify_all()
        traffic.bytes += len(request.raw_path) + len(body) + len(content)
        return web.Response(status=answer.status, body=content, content_type=answer.content_type)

    application = web.Application(client_max_size=64 * 1024 * 1024)
    application.router.add_route("*", "/{path:.*}", forward)
    runner = web.AppRunner(application)
    async with ClientSession() as session:
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        traffic.url = f"http://{host}:{port}"
        try:
            yield traffic
        finally:
            await runner.cleanup()

"""A reverse proxy that counts: how many requests go to the KFP API, and how many bytes both ways."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import ClientSession, web


@dataclass
class Traffic:
    """What went through since the last :meth:`reset`: one line per request, bytes of both bodies and URLs."""

    url: str = ""
    requests: list[str] = field(default_factory=list)
    bytes: int = 0

    def reset(self) -> None:
        self.requests.clear()
        self.bytes = 0


@asynccontextmanager
async def counting_proxy(target: str) -> AsyncIterator[Traffic]:
    """Forward to ``target`` until the block ends."""
    traffic = Traffic()

    async def forward(request: web.Request) -> web.Response:
        body = await request.read()
        async with session.request(
            request.method,
            target + request.raw_path,
            data=body,
            headers={"Content-Type": request.headers.get("Content-Type", "application/json")},
        ) as answer:
            content = await answer.read()
        traffic.requests.append(f"{request.method} {request.path}")
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

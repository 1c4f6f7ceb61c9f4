"""A real S3 server on loopback, moto's, and a door before it that can be made to misbehave."""

import asyncio
import ssl
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

import aiohttp
import boto3
from aiohttp import web
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server
from yarl import URL

BUCKET = "mlpipeline"
CREDENTIALS = {"aws_access_key_id": "any", "aws_secret_access_key": "any"}

Mood = Literal["well", "down", "slow", "refusing", "full"]
"""How a store answers: it serves, drops connections, says nothing, denies access, has no space."""

_ERRORS = {"refusing": (403, "AccessDenied"), "full": (507, "XMinioStorageFull")}


@contextmanager
def s3_server(*, trust: ssl.SSLContext | None = None, certificate: Path | None = None) -> Iterator[str]:
    """moto's S3 server with an empty bucket; yields its address, https with a server's TLS context.

    ``certificate`` is the one that a client needs to trust then.
    """
    app = DomainDispatcherApplication(create_backend_app)
    server = make_server("127.0.0.1", 0, app, threaded=True, ssl_context=trust)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    url = f"{'https' if trust else 'http'}://127.0.0.1:{server.server_port}"
    try:
        client: Any = boto3.client(
            "s3",
            endpoint_url=url,
            region_name="us-east-1",
            verify=str(certificate) if certificate else None,
            **cast("Any", CREDENTIALS),
        )
        client.create_bucket(Bucket=BUCKET)
        yield url
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass
class StoreDoor:
    """Passes requests on to a store while it is well; remembers who asked for what."""

    behind: str
    url: str = ""
    mood: Mood = "well"
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    released: asyncio.Event = field(default_factory=asyncio.Event)
    """Ends the silence of a slow store."""
    requests: list[tuple[str, str]] = field(default_factory=list)
    access_keys: list[str] = field(default_factory=list)

    @property
    def host_and_port(self) -> tuple[str, str]:
        url = URL(self.url)
        return str(url.host), str(url.port)

    async def handle(self, request: web.Request) -> web.Response:
        self.requests.append((request.method, request.path))
        self.access_keys.append(
            request.headers.get("Authorization", "").partition("Credential=")[2].partition("/")[0]
        )
        body = await request.read()
        self.asked.set()
        if self.mood == "down":
            assert request.transport is not None
            request.transport.abort()
            return web.Response()  # which nobody reads
        if self.mood == "slow":
            await self.released.wait()
        if self.mood in _ERRORS:
            status, code = _ERRORS[self.mood]
            return web.Response(
                status=status, text=f"<Error><Code>{code}</Code><Message>{code} for you</Message></Error>"
            )
        return await self._pass_on(request, body)

    async def _pass_on(self, request: web.Request, body: bytes) -> web.Response:
        url = URL(f"{self.behind}{request.raw_path}", encoded=True)
        headers = {name: value for name, value in request.headers.items() if name not in ("Host", "Expect")}
        async with (
            aiohttp.ClientSession(auto_decompress=False) as session,
            session.request(request.method, url, data=body, headers=headers) as answer,
        ):
            kept = {
                name: value
                for name, value in answer.headers.items()
                if name not in ("Content-Length", "Transfer-Encoding", "Connection", "Server", "Date")
            }
            return web.Response(status=answer.status, body=await answer.read(), headers=kept)


@asynccontextmanager
async def store_door(behind: str) -> AsyncIterator[StoreDoor]:
    """A door on a port of its own."""
    door = StoreDoor(behind)
    application = web.Application(client_max_size=32 << 20)
    application.router.add_route("*", "/{path:.*}", door.handle)
    runner = web.AppRunner(application, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    door.url = f"http://{host}:{port}"
    try:
        yield door
    finally:
        door.released.set()
        await runner.cleanup()

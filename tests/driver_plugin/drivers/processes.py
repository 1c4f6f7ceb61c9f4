"""Driver processes that a test stops in the middle of any API request, and what they leave behind.

A :class:`Process` is the service without its HTTP door: its own client, caches and table of calls in flight.
All processes talk to one embedded KFP API and to stand-ins of the Kubernetes API and of MLflow over loopback,
and prove who they are by a token, which is how :class:`Breaker` tells their requests apart.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from aiohttp import web
from aiohttp.test_utils import TestServer
from aiohttp.typedefs import Handler

from driver_plugin.argo.requests import ExecuteTemplateRequest
from driver_plugin.drivers.dispatch import DriverServices, give_up, run_driver
from driver_plugin.hooks.loading import PluginLoader
from driver_plugin.invocation import Invocations, Reply
from driver_plugin.kubernetes import KubernetesClient
from driver_plugin.metrics import Metrics
from driver_plugin.podspec.launcher_config import LauncherConfigReader
from driver_plugin.settings import Settings
from driver_plugin.system_logs.records import InvocationLogs
from driver_plugin.system_logs.upload import LogUploader
from kfp_api.client import KfpApiClient
from kfp_api.run_view import RunCache
from kfp_api.transport import ApiCall
from local_stack.api_server.app import build_app
from local_stack.api_server.config import ServerConfig
from resolver.expressions import ExpressionEngine
from tests.driver_plugin.calls import body
from tests.driver_plugin.drivers.cluster import Cluster
from tests.driver_plugin.drivers.mlflow_server import Mlflow
from tests.driver_plugin.drivers.stack import Stack

LOG_ROOT = "s3://logs/driver"


class StopsAt(Protocol):
    """A request of a process by its number, and whether the server has done its work."""

    @property
    def request(self) -> int: ...

    @property
    def answered(self) -> bool: ...


class Break:
    """Where a process is held, until it is told to go on or is dead."""

    def __init__(self, point: StopsAt) -> None:
        self.point = point
        self.reached = asyncio.Event()
        self.goes_on: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    async def reached_or(self, call: "asyncio.Task[Any]") -> None:
        """Wait until the process is held, or its call has ended."""
        reached = asyncio.create_task(self.reached.wait())
        await asyncio.wait({call, reached}, return_when=asyncio.FIRST_COMPLETED)
        reached.cancel()


class Breaker:
    """Middleware that records the requests of each process and holds the one at which it is to stop."""

    def __init__(self) -> None:
        self.requests: dict[str, list[str]] = {}
        self.breaks: dict[str, Break] = {}

    @web.middleware
    async def __call__(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        process = request.headers.get("Authorization", "").removeprefix("Bearer ")
        made = self.requests.setdefault(process, [])
        made.append(f"{request.method} {request.path}{'?' if request.query else ''}{_query(request)}")
        stop = self.breaks.get(process)
        if stop is None or len(made) - 1 != stop.point.request:
            return await handler(request)
        # A server that refuses has done its work, too.
        work = asyncio.ensure_future(handler(request)) if stop.point.answered else None
        if work is not None:
            await asyncio.wait({work})
        stop.reached.set()
        if not await asyncio.shield(stop.goes_on):
            if work is not None:
                await asyncio.gather(work, return_exceptions=True)
            return web.json_response({}, status=503)
        return await (work if work is not None else handler(request))


def _query(request: web.Request) -> str:
    return "&".join(f"{name}={value}" for name, value in sorted(request.query.items()))


class NameTag:
    """Credentials that say which process asks."""

    def __init__(self, name: str) -> None:
        self._name = name

    async def headers(self, *, run_id: str | None, base_audience: bool) -> Mapping[str, str]:
        del run_id, base_audience
        return {"Authorization": f"Bearer {self._name}"}

    async def refresh(self) -> bool:
        return False


@dataclass
class Process:
    """One driver process."""

    name: str
    invocations: Invocations
    services: DriverServices
    api_calls: list[ApiCall]

    async def deliver(self, args: Mapping[str, Any]) -> Reply:
        """The reply to one delivery of a call."""
        request = ExecuteTemplateRequest.parse(json.dumps(body(dict(args))).encode())
        return await self.invocations.execute(request)


@dataclass
class World:
    """The servers, and the processes that were started against them."""

    api_url: str
    kubernetes_url: str
    cluster: Cluster
    mlflow: Mlflow
    breaker: Breaker
    directory: Path
    started: int = 0
    setup: Stack = field(init=False)
    """A process of its own that prepares runs and looks at rows."""

    @asynccontextmanager
    async def process(self, *, environ: Mapping[str, str] | None = None) -> AsyncIterator[Process]:
        """A fresh process; at the end it is gone, whatever it was doing."""
        self.started += 1
        name = f"process-{self.started}"
        token = self.directory / name
        token.write_text(name)
        calls: list[ApiCall] = []
        settings = Settings.from_environ(
            {
                "KFP_API_URL": self.api_url,
                "KFP_DRIVER_PLUGIN_HOSTS": "127.0.0.1",
                "MLFLOW_TRACKING_TOKEN": name,
                **(environ or {}),
            }
        )
        async with (
            KfpApiClient(self.api_url, credentials=NameTag(name), observer=calls.append) as client,
            KubernetesClient(
                self.kubernetes_url, token_file=token, retry_wait_seconds=0, verify=False
            ) as kubernetes,
            PluginLoader(settings) as plugins,
        ):
            metrics = Metrics()
            services = DriverServices(
                client=client,
                run_cache=RunCache(),
                settings=settings,
                expressions=ExpressionEngine(),
                kubernetes=kubernetes,
                launcher_config=LauncherConfigReader(directory=None, kubernetes=None),
                plugins=plugins,
                metrics=metrics,
                sleep=_no_pause,
            )
            logs = InvocationLogs(LOG_ROOT, uploader=LogUploader(None, metrics=metrics), level="ERROR")
            invocations = Invocations(
                lambda call, log: run_driver(call, services, log),
                give_up=lambda call, log, message: give_up(call, services, log, message),
                settings=settings,
                logs=logs,
                metrics=metrics,
            )
            try:
                yield Process(name, invocations, services, calls)
            finally:
                await invocations.drain(0)


async def _no_pause(_seconds: float) -> None:
    """Final statuses are waited for without waiting."""


@asynccontextmanager
async def world(directory: Path, *, api: web.Application | None = None) -> AsyncIterator[World]:
    """The servers, with one breaker in front of all; the KFP API is the embedded one unless given."""
    breaker, cluster, mlflow = Breaker(), Cluster(), Mlflow()
    api = api or build_app(ServerConfig(database=directory / "kfp.sqlite"))
    kubernetes, tracking = cluster.app(), mlflow.app()
    for app in (api, kubernetes, tracking):
        app.middlewares.append(breaker.__call__)
    async with (
        TestServer(api) as api_server,
        TestServer(kubernetes) as kubernetes_server,
        TestServer(tracking) as mlflow_server,
    ):
        mlflow.url = str(mlflow_server.make_url("")).rstrip("/")
        servers = World(
            api_url=str(api_server.make_url("")).rstrip("/"),
            kubernetes_url=str(kubernetes_server.make_url("")).rstrip("/"),
            cluster=cluster,
            mlflow=mlflow,
            breaker=breaker,
            directory=directory,
        )
        async with servers.process() as process:
            servers.setup = Stack(
                client=process.services.client,
                services=process.services,
                requests=process.api_calls,
                runtime_args=mlflow.arguments(authType="bearer", credentialSecretRef={"tokenKey": "token"}),
            )
            yield servers


class Masks:
    """Takes out of texts what differs between runs that did the same."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = names

    def __call__(self, text: str) -> str:
        """``text`` without timestamps and invocation ids; ids by their names, others numbered."""
        text = _INVOCATION.sub("<invocation>", _TIME.sub("<time>", text))
        numbered: dict[str, str] = {}

        def name(match: re.Match[str]) -> str:
            known = self._names.get(match.group())
            return known or numbered.setdefault(match.group(), f"<id {len(numbered)}>")

        return _UUID.sub(name, text)


_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z")
_INVOCATION = re.compile(r"\d{8}T\d{9}Z-[0-9a-f]{8}")


def without_invocation(reply: Reply) -> str:
    """A reply's bytes with nothing masked but the id of the log."""
    return _INVOCATION.sub("<invocation>", json.dumps(reply))

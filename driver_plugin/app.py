"""Wires the service together: clients, drivers, logs, metrics, routes. No behaviour of its own.

:func:`open_service` owns everything with a life time; :func:`create_application` gives Argo's door to
aiohttp. ``driver_plugin.serve`` runs both as a process.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Final

from aiohttp import web

from driver_plugin.driving import BackgroundDrivers
from driver_plugin.http.authentication import AgentToken
from driver_plugin.http.execute import MAX_BODY_BYTES, PATH, ExecuteTemplate, json_response
from driver_plugin.invocation import Drive, Invocations, Timing
from driver_plugin.metrics import Metrics
from driver_plugin.settings import Settings
from driver_plugin.system_logs.location import derive_log_root
from driver_plugin.system_logs.opening import open_store
from driver_plugin.system_logs.records import InvocationLogs
from driver_plugin.system_logs.upload import LogUploader

KEEP_ALIVE_SECONDS: Final = 130.0
"""Longer than the agent keeps idle connections (90 s); otherwise its next call may fail a node."""

MAX_HEADER_BYTES: Final = 16 << 10


@dataclass(frozen=True, kw_only=True)
class Service:
    """The running parts that the process looks after."""

    invocations: Invocations
    drivers: BackgroundDrivers
    uploader: LogUploader
    token: AgentToken
    metrics: Metrics

    def not_ready_because(self) -> str:
        """Why the service cannot take calls now; empty when it can."""
        if self.invocations.draining:
            return "stopping"
        return "" if self.token.readable() else "the agent token file is not readable"


@asynccontextmanager
async def open_service(
    settings: Settings, *, drive: Drive | None = None, timing: Timing | None = None
) -> AsyncIterator[Service]:
    """Open clients and stores, and close them at the end.

    Args:
        settings: What to open.
        drive: Stands in for the drivers; the real ones by default.
        timing: Deadlines of calls; the real ones by default.

    Raises:
        ConfigurationError: The settings ask for what cannot be opened.
    """
    metrics = Metrics()
    async with AsyncExitStack() as stack:
        drivers = BackgroundDrivers(settings, metrics)
        await stack.enter_async_context(drivers)
        log_root = None
        if settings.log_upload:
            log_root = derive_log_root(settings.log_root, Path(settings.launcher_config_dir))
        uploader = LogUploader(partial(open_store, log_root, settings) if log_root else None, metrics=metrics)
        logs = InvocationLogs(log_root, uploader=uploader, level=settings.log_level)
        yield Service(
            invocations=Invocations(
                drive or drivers.drive,
                give_up=drivers.give_up if drive is None else None,
                settings=settings,
                logs=logs,
                metrics=metrics,
                timing=timing,
            ),
            drivers=drivers,
            uploader=uploader,
            token=AgentToken(Path(settings.agent_token_file)),
            metrics=metrics,
        )


def create_application(service: Service) -> web.Application:
    """The aiohttp application with Argo's door; every other path is a JSON 404."""
    application = web.Application(client_max_size=MAX_BODY_BYTES)
    execute = ExecuteTemplate(invocations=service.invocations, token=service.token, metrics=service.metrics)
    application.router.add_route("*", PATH, execute.handle)
    application.router.add_route("*", "/{path:.*}", _not_found)
    return application


def create_runner(service: Service) -> web.AppRunner:
    """The application with the server's limits."""
    return web.AppRunner(
        create_application(service),
        access_log=None,
        keepalive_timeout=KEEP_ALIVE_SECONDS,
        max_line_size=MAX_HEADER_BYTES,
        max_field_size=MAX_HEADER_BYTES,
        shutdown_timeout=3.0,
    )


async def _not_found(_request: web.Request) -> web.Response:
    return json_response(HTTPStatus.NOT_FOUND, {"error": "not found"})

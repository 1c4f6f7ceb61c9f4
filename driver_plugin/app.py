"""Wires the service together: clients, drivers, logs, metrics, routes. No behaviour of its own.

:func:`open_service` owns everything with a life time; :func:`create_application` gives Argo's door to
aiohttp. ``driver_plugin.serve`` runs both as a process.
"""

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Final

from aiohttp import web

from driver_plugin.argo.arguments import DriverCall
from driver_plugin.argo.replies import DriverResult
from driver_plugin.drivers.dispatch import DriverServices, give_up, run_driver
from driver_plugin.errors import ConfigurationError
from driver_plugin.http.authentication import AgentToken
from driver_plugin.http.execute import MAX_BODY_BYTES, PATH, ExecuteTemplate, json_response
from driver_plugin.invocation import Drive, GiveUp, Invocations, Timing
from driver_plugin.kubernetes import KubernetesClient
from driver_plugin.metrics import Metrics
from driver_plugin.podspec.launcher_config import LauncherConfigReader
from driver_plugin.settings import Settings
from driver_plugin.system_logs.capture import InvocationLog, current_log
from driver_plugin.system_logs.location import derive_log_root
from driver_plugin.system_logs.records import InvocationLogs
from driver_plugin.system_logs.store import open_store
from driver_plugin.system_logs.upload import LogUploader
from kfp_api.client import KfpApiClient
from kfp_api.credentials import Credentials, NoCredentials, TokenFileCredentials, TokenMode
from kfp_api.run_view import RunCache
from kfp_api.transport import ApiCall
from resolver.expressions import ExpressionEngine

KEEP_ALIVE_SECONDS: Final = 130.0
"""Longer than the agent keeps idle connections (90 s); otherwise its next call may fail a node."""

MAX_HEADER_BYTES: Final = 16 << 10


@dataclass(frozen=True, kw_only=True)
class Service:
    """The running parts that the process looks after."""

    invocations: Invocations
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
        give_up: GiveUp | None = None
        if drive is None:
            drive, give_up = await _drivers(settings, metrics, stack)
        log_root = None
        if settings.log_upload:
            log_root = derive_log_root(settings.log_root, Path(settings.launcher_config_dir))
        uploader = LogUploader(open_store(log_root, settings) if log_root else None, metrics=metrics)
        logs = InvocationLogs(log_root, uploader=uploader, level=settings.log_level)
        yield Service(
            invocations=Invocations(
                drive, give_up=give_up, settings=settings, logs=logs, metrics=metrics, timing=timing
            ),
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


async def _drivers(settings: Settings, metrics: Metrics, stack: AsyncExitStack) -> tuple[Drive, GiveUp]:
    client = KfpApiClient(
        settings.api_url,
        credentials=_credentials(settings),
        allowed_hosts=settings.credential_hosts,
        verify=_trust(settings),
        observer=_observer(metrics),
    )
    await stack.enter_async_context(client)
    kubernetes = KubernetesClient.in_cluster()
    if kubernetes is not None:
        await stack.enter_async_context(kubernetes)
    services = DriverServices(
        client=client,
        run_cache=RunCache(),
        settings=settings,
        expressions=ExpressionEngine(),
        kubernetes=kubernetes,
        # A mounted configuration is one namespace's; the central service serves many.
        launcher_config=LauncherConfigReader(
            directory=Path(settings.launcher_config_dir) if settings.caller_auth == "agent-token" else None,
            kubernetes=kubernetes,
        ),
    )

    async def drive(call: DriverCall, log: InvocationLog) -> DriverResult:
        return await run_driver(call, services, log)

    async def fail_row(call: DriverCall, log: InvocationLog, message: str) -> None:
        await give_up(call, services, log, message)

    return drive, fail_row


def _credentials(settings: Settings) -> Credentials:
    match settings.token_mode:
        case "none":
            return NoCredentials()
        case "tokenrequest":
            raise ConfigurationError("KFP_TOKEN_MODE=tokenrequest is not supported; use run, base or none")
        case mode:
            run_token, base_token = Path(settings.token_path), Path(settings.base_token_path)
            return TokenFileCredentials(run_token, base_token, mode=TokenMode(mode))


def _trust(settings: Settings) -> ssl.SSLContext | bool:
    """The system's trust store with the configured anchors added."""
    if not settings.ca_file and not settings.ca_pem:
        return True
    context = ssl.create_default_context()
    for variable, anchors in (
        ("KFP_CA_FILE", {"cafile": settings.ca_file}),
        ("KFP_CA_PEM", {"cadata": settings.ca_pem}),
    ):
        if not any(anchors.values()):
            continue
        try:
            context.load_verify_locations(**anchors)
        except (OSError, ValueError):
            raise ConfigurationError(f"{variable}: no certificates can be read from it") from None
    return context


def _observer(metrics: Metrics) -> Callable[[ApiCall], None]:
    def observe(call: ApiCall) -> None:
        status = "none" if call.status is None else str(call.status)
        metrics.api_requests.labels(call.operation, status).inc()
        metrics.api_seconds.labels(call.operation).observe(call.seconds)
        if call.attempt > 1:
            metrics.api_retries.inc()
        log = current_log.get()
        if log is not None:
            log.info(
                "KFP API request",
                method=call.method,
                path=call.path,
                status=status,
                ms=round(call.seconds * 1000),
                attempt=call.attempt,
                bytes=call.bytes,
            )

    return observe

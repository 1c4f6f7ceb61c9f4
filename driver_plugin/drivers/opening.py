"""Opens what the drivers use and runs them: everything that is heavy to import hangs on this module.

:class:`driver_plugin.driving.BackgroundDrivers` imports it once the service listens.
"""

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from driver_plugin.argo.arguments import DriverCall
from driver_plugin.argo.replies import DriverResult
from driver_plugin.drivers.dispatch import DriverServices, give_up, run_driver
from driver_plugin.drivers.token_requests import requested_credentials
from driver_plugin.errors import ConfigurationError
from driver_plugin.hooks.loading import PluginLoader
from driver_plugin.kubernetes import KubernetesClient
from driver_plugin.metrics import Metrics
from driver_plugin.own_account import OwnAccount
from driver_plugin.podspec.launcher_config import LauncherConfigReader
from driver_plugin.settings import Settings
from driver_plugin.system_logs.capture import InvocationLog, current_log
from kfp_api.client import KfpApiClient
from kfp_api.credentials import Credentials
from kfp_api.run_view import RunCache
from kfp_api.transport import ApiCall
from resolver.expressions import ExpressionEngine


class OpenDrivers:
    """The three drivers with their clients open."""

    def __init__(self, services: DriverServices) -> None:
        self._services = services

    async def drive(self, call: DriverCall, log: InvocationLog) -> DriverResult:
        """Run the driver of a call once."""
        return await run_driver(call, self._services, log)

    async def give_up(self, call: DriverCall, log: InvocationLog, message: str) -> None:
        """Mark the call's row FAILED, as far as that can be done."""
        await give_up(call, self._services, log, message)


@asynccontextmanager
async def open_drivers(
    settings: Settings,
    metrics: Metrics,
    *,
    credentials: Credentials | OwnAccount,
    trust: ssl.SSLContext | bool,
) -> AsyncIterator[OpenDrivers]:
    """Open the clients, and close them at the end; tokens of an account are requested from Kubernetes."""
    async with AsyncExitStack() as stack:
        kubernetes = KubernetesClient.in_cluster()
        if kubernetes is not None:
            await stack.enter_async_context(kubernetes)
        if isinstance(credentials, OwnAccount):
            if kubernetes is None:
                raise ConfigurationError("KFP_TOKEN_MODE: tokenrequest works inside a cluster only")
            credentials = requested_credentials(
                kubernetes, credentials, audience_base=settings.token_audience_base
            )
        client = KfpApiClient(
            settings.api_url,
            credentials=credentials,
            allowed_hosts=settings.credential_hosts,
            verify=trust,
            observer=_observer(metrics),
        )
        await stack.enter_async_context(client)
        plugins = await stack.enter_async_context(PluginLoader(settings))
        # A mounted configuration is one namespace's; the central service serves many.
        mounted = Path(settings.launcher_config_dir) if settings.caller_auth == "agent-token" else None
        yield OpenDrivers(
            DriverServices(
                client=client,
                run_cache=RunCache(),
                settings=settings,
                expressions=ExpressionEngine(),
                kubernetes=kubernetes,
                launcher_config=LauncherConfigReader(directory=mounted, kubernetes=kubernetes),
                plugins=plugins,
                metrics=metrics,
            )
        )


def _observer(metrics: Metrics) -> Callable[[ApiCall], None]:
    def observe(call: ApiCall) -> None:
        status = "none" if call.status is None else str(call.status)
        metrics.api_requests.labels(call.operation, call.method, status).inc()
        metrics.api_seconds.labels(call.operation).observe(call.seconds)
        if call.attempt > 1:
            metrics.api_retries.labels(call.operation).inc()
        log = current_log.get()
        if log is not None:
            log.info(
                "KFP API request",
                operation=call.operation,
                method=call.method,
                path=call.path,
                status=status,
                ms=round(call.seconds * 1000),
                attempt=call.attempt,
                bytes=call.bytes,
            )

    return observe

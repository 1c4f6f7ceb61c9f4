"""The drivers as the service holds them: opened in the background, so that it listens sooner.

Clients, resolver and models take longer to import than the service needs to take calls. Argo's agent starts
when the service listens; the drivers are imported meanwhile, and a call that comes earlier waits for them.
What can be wrong with the settings is found before the service listens.
"""

import asyncio
import ssl
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from driver_plugin.argo.arguments import DriverCall
from driver_plugin.argo.replies import DriverResult
from driver_plugin.errors import ConfigurationError
from driver_plugin.metrics import Metrics
from driver_plugin.own_account import OwnAccount
from driver_plugin.settings import Settings
from driver_plugin.system_logs.capture import InvocationLog
from kfp_api.credentials import Credentials, NoCredentials, TokenFileCredentials, TokenMode

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from driver_plugin.drivers.opening import OpenDrivers

OPENING: Final = "driver_plugin.drivers.opening"


class BackgroundDrivers:
    """The drivers of one process. Use as an async context manager.

    Raises:
        ConfigurationError: the settings name a credential or trust anchors that cannot be used.
    """

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._settings = settings
        self._metrics = metrics
        self._credentials = _credentials(settings)
        self._trust = _trust(settings)
        self._opening: asyncio.Task[OpenDrivers] | None = None
        self._opened: AbstractAsyncContextManager[OpenDrivers] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._opening is not None:
            await asyncio.wait({self._opening})
        if self._opened is not None:
            await self._opened.__aexit__(kind, error, trace)

    def warm_up(self) -> None:
        """Begin to import and open the drivers; later calls change nothing."""
        self._task()

    async def drive(self, call: DriverCall, log: InvocationLog) -> DriverResult:
        """Run the driver of a call once."""
        return await (await asyncio.shield(self._task())).drive(call, log)

    async def give_up(self, call: DriverCall, log: InvocationLog, message: str) -> None:
        """Mark the call's row FAILED, as far as that can be done."""
        await (await asyncio.shield(self._task())).give_up(call, log, message)

    def _task(self) -> "asyncio.Task[OpenDrivers]":
        if self._opening is None:
            self._opening = asyncio.create_task(self._open(), name="open drivers")
        return self._opening

    async def _open(self) -> "OpenDrivers":
        module: Any = await asyncio.to_thread(import_module, OPENING)
        opened: AbstractAsyncContextManager[OpenDrivers] = module.open_drivers(
            self._settings, self._metrics, credentials=self._credentials, trust=self._trust
        )
        drivers = await opened.__aenter__()
        self._opened = opened
        return drivers


def _credentials(settings: Settings) -> Credentials | OwnAccount:
    """What proves who the service is; an account whose tokens are to be requested, once there are clients."""
    match settings.token_mode:
        case "none":
            return NoCredentials()
        case "tokenrequest":
            return OwnAccount.read()
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

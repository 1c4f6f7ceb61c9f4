"""Which plugins a call has: what its run asks for, as far as the operator allows the address.

``runtime_args`` are written by whoever may create workflows, so they choose an address only among those of
``KFP_DRIVER_PLUGIN_HOSTS`` (spec DRIVER 15). A plugin's module and the HTTP client are imported and opened
when the first run asks for them.
"""

from collections.abc import Mapping
from importlib import import_module
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import urlsplit

from driver_plugin.hooks.plugin import PluginError, TaskPlugin
from driver_plugin.hooks.task_plugins import PluginLog, TaskPlugins
from driver_plugin.settings import Settings

if TYPE_CHECKING:
    import httpx

MODULES: Final[Mapping[str, str]] = {"KFP_MLFLOW_CONFIG": "driver_plugin.hooks.mlflow"}
"""Plugin modules by the runtime argument that configures them; each has a function ``configure``."""


class PluginLoader:
    """Makes the plugins of each call. One per process; an async context manager."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._http: httpx.AsyncClient | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._http is not None:
            await self._http.aclose()

    def plugins(self, runtime_args: Mapping[str, str], *, log: PluginLog) -> TaskPlugins:
        """The plugins that the call's arguments configure; one that cannot work is left out."""
        found: list[TaskPlugin] = []
        for argument, module in MODULES.items():
            configuration = runtime_args.get(argument)
            if not configuration:
                continue
            try:
                plugin: TaskPlugin = import_module(module).configure(
                    configuration, settings=self._settings, http=self._client()
                )
            except PluginError as error:
                log.warning("plugin left out", argument=argument, error=str(error))
            else:
                found.append(plugin)
        return TaskPlugins(found, log=log)

    def _client(self) -> "httpx.AsyncClient":
        if self._http is None:
            import httpx  # noqa: PLC0415 (only runs with plugins need it)

            self._http = httpx.AsyncClient(follow_redirects=False)
        return self._http


def allowed_endpoint(endpoint: str, settings: Settings) -> str:
    """``endpoint`` without trailing slash, if the operator allows its host.

    Raises:
        PluginError: it is no HTTP address, carries credentials, or its host is not allowed.
    """
    try:
        parts = urlsplit(endpoint)
        host, address, _ = parts.hostname, parts.netloc, parts.port
    except ValueError:
        raise PluginError("the endpoint is not an address") from None
    if parts.scheme not in ("http", "https") or not host or parts.query or parts.fragment:
        raise PluginError("the endpoint is not an http or https address")
    if parts.username or parts.password:
        raise PluginError("credentials do not belong into the endpoint")
    if not {host, address} & set(settings.plugin_hosts):
        raise PluginError("the endpoint's host is not one of KFP_DRIVER_PLUGIN_HOSTS")
    return endpoint.rstrip("/")

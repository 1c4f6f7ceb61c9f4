"""What the drivers may use: clients, settings and engines with the life time of the process."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from driver_plugin.hooks.loading import PluginLoader
from driver_plugin.kubernetes import KubernetesClient
from driver_plugin.metrics import Metrics
from driver_plugin.podspec.launcher_config import LauncherConfigReader
from driver_plugin.settings import Settings
from kfp_api.client import KfpApiClient
from kfp_api.run_view import RunCache
from resolver.expressions import ExpressionEngine


@dataclass(frozen=True, kw_only=True)
class DriverServices:
    """Shared by all calls of a process; nothing in it belongs to one run.

    ``kubernetes`` is ``None`` where there is no cluster. ``sleep`` is the clock that waits for a task's
    final status (seconds); tests give their own.
    """

    client: KfpApiClient
    run_cache: RunCache
    settings: Settings
    expressions: ExpressionEngine
    kubernetes: KubernetesClient | None
    launcher_config: LauncherConfigReader
    plugins: PluginLoader
    metrics: Metrics
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

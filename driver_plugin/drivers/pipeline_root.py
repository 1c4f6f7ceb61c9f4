"""Where a run's artifacts go: the run's own root, else the namespace's default (spec PODSPEC 11.1, 11.2)."""

import asyncio
from pathlib import Path
from typing import Final

from driver_plugin.errors import DriverError
from driver_plugin.kubernetes import KubernetesClient, KubernetesNotFoundError
from driver_plugin.podspec.provision import run_root
from driver_plugin.settings import Settings
from kfp_api.messages import Run

LAUNCHER_CONFIG: Final = "kfp-launcher"
_DEFAULT_ROOT_KEY: Final = "defaultPipelineRoot"


async def pipeline_root(
    run: Run,
    *,
    pipeline_name: str,
    run_id: str,
    namespace: str,
    settings: Settings,
    kubernetes: KubernetesClient | None,
) -> str:
    """``<root>/<pipeline name>/<run id>``, a query of the root kept at the end.

    Raises:
        DriverError: the namespace's configuration cannot be read.
    """
    own = run.runtime_config.pipeline_root if run.runtime_config else ""
    try:
        root = own or await _default_root(namespace, settings=settings, kubernetes=kubernetes)
        return run_root(root, pipeline_name, run_id)
    except DriverError as error:
        raise DriverError(f"failed to get pipeline root: {error}") from error


async def _default_root(namespace: str, *, settings: Settings, kubernetes: KubernetesClient | None) -> str:
    # A mounted configuration is one namespace's; the central service serves many.
    if settings.caller_auth == "agent-token":
        mounted = await asyncio.to_thread(_mounted_root, Path(settings.launcher_config_dir))
        if mounted is not None:
            return mounted
    if kubernetes is None:
        return ""
    try:
        return (await kubernetes.get_configmap(namespace, LAUNCHER_CONFIG)).get(_DEFAULT_ROOT_KEY, "")
    except KubernetesNotFoundError:
        return ""
    except DriverError as error:
        raise DriverError(f"failed to fetch launcher configmap: {error}") from error


def _mounted_root(directory: Path) -> str | None:
    """The default root of a mounted configuration; ``None`` when nothing is mounted there."""
    if not directory.is_dir():
        return None
    keys = [entry for entry in directory.iterdir() if not entry.name.startswith(".") and not entry.is_dir()]
    if not keys:
        return None
    chosen = directory / _DEFAULT_ROOT_KEY
    return chosen.read_text(encoding="utf-8").strip() if chosen in keys else ""

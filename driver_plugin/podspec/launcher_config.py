"""The namespace's launcher configuration: ConfigMap ``kfp-launcher``, mounted or read (spec PODSPEC 11.1).

A mounted directory is one namespace's; a service for many namespaces must not be given one. What was read is
kept for a few seconds, so that a burst of driver calls asks once; kubelet renews mounts less often than that.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from driver_plugin.kubernetes import KubernetesClient, KubernetesError, KubernetesNotFoundError
from driver_plugin.podspec.errors import LauncherConfigError

CONFIG_MAP: Final = "kfp-launcher"

_KEPT_SECONDS: Final = 5.0
_KEPT_NAMESPACES: Final = 256


@dataclass(frozen=True)
class LauncherConfig:
    """What the namespace's administrator configured; both texts may be empty."""

    default_pipeline_root: str = ""
    """Root of runs that set none."""

    providers: str = ""
    """Object store settings by provider, as YAML text."""


class LauncherConfigReader:
    """Reads launcher configurations; one per process.

    Args:
        directory: where the ConfigMap is mounted; ``None`` never looks at files.
        kubernetes: asked when nothing is mounted; ``None`` answers an empty configuration then.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        *,
        directory: Path | None,
        kubernetes: KubernetesClient | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._directory = directory
        self._kubernetes = kubernetes
        self._clock = clock
        self._kept: dict[str, tuple[float, LauncherConfig]] = {}

    async def read(self, namespace: str) -> LauncherConfig:
        """The configuration of a namespace; an empty one where there is none.

        Raises:
            LauncherConfigError: the mounted files cannot be read, or Kubernetes refuses.
            KubernetesUnavailableError: Kubernetes does not answer; a later call may succeed.
        """
        now = self._clock()
        read_at, config = self._kept.get(namespace, (now - _KEPT_SECONDS, LauncherConfig()))
        if now - read_at < _KEPT_SECONDS:
            return config
        config = await self._read(namespace)
        if len(self._kept) >= _KEPT_NAMESPACES:
            self._kept.clear()
        self._kept[namespace] = (now, config)
        return config

    async def _read(self, namespace: str) -> LauncherConfig:
        if self._directory is not None:
            mounted = await asyncio.to_thread(_mounted, self._directory)
            if mounted is not None:
                return _config(mounted)
        if self._kubernetes is None:
            return LauncherConfig()
        return _config(await _fetched(self._kubernetes, namespace))


def _config(data: Mapping[str, str]) -> LauncherConfig:
    return LauncherConfig(
        default_pipeline_root=data.get("defaultPipelineRoot", "").strip(), providers=data.get("providers", "")
    )


def _mounted(directory: Path) -> dict[str, str] | None:
    """Keys and texts of a mounted ConfigMap; ``None`` when nothing is mounted there."""
    try:
        # Kubelet's own entries start with a dot; keys are links to files.
        files = [
            entry for entry in directory.iterdir() if not entry.name.startswith(".") and not entry.is_dir()
        ]
        return {entry.name: entry.read_text(encoding="utf-8") for entry in files} or None
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise LauncherConfigError(f"failed to read launcher config in {directory}: {error}") from error


async def _fetched(kubernetes: KubernetesClient, namespace: str) -> dict[str, str]:
    try:
        return await kubernetes.get_configmap(namespace, CONFIG_MAP)
    except KubernetesNotFoundError:
        return {}
    except KubernetesError as error:
        if error.retryable:
            raise
        raise LauncherConfigError(f"failed to fetch launcher configmap: {error}") from error

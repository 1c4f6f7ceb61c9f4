"""What the namespace's administrator configured: launcher configuration and Secrets (spec LAUNCHER A19).

Each comes from files, so that one machine needs no cluster, and from Kubernetes where there are none.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from kfp_api.session_info import SessionInfoError, read_providers
from launcher.errors import LauncherError
from launcher.kubernetes import Kubernetes

DEFAULT_PIPELINE_ROOT: Final = "minio://mlpipeline/v2/artifacts"
_CONFIG_MAP: Final = "kfp-launcher"
_CONFIG_DIRECTORY: Final = "/etc/kfp/launcher-config"


@dataclass(frozen=True)
class LauncherConfiguration:
    """The default pipeline root, and the settings of object stores by provider."""

    default_pipeline_root: str
    providers: Mapping[str, Any]


class ConfigurationReader:
    """Reads configuration and Secrets of one namespace; blocking.

    Environment: ``KFP_LAUNCHER_CONFIG_DIR`` (where the ConfigMap is mounted), ``KFP_SECRETS_DIR``
    (``<secret>/<key>`` files), ``KFP_SECRET_<SECRET>_<KEY>``.
    """

    def __init__(
        self, environment: Mapping[str, str], *, namespace: str, kubernetes: Kubernetes | None
    ) -> None:
        self._environment = environment
        self._namespace = namespace
        self._kubernetes = kubernetes

    def configuration(self) -> LauncherConfiguration:
        """The launcher configuration; KFP's defaults where there is none.

        Raises:
            LauncherError: it cannot be read.
        """
        directory = Path(self._environment.get("KFP_LAUNCHER_CONFIG_DIR") or _CONFIG_DIRECTORY)
        data = _mounted(directory)
        if data is None and self._kubernetes is not None:
            data = self._kubernetes.config_map(self._namespace, _CONFIG_MAP)
        data = data or {}
        try:
            providers = read_providers(data.get("providers", ""))
        except SessionInfoError as error:
            raise LauncherError(f"launcher configuration: {error}") from error
        root = data.get("defaultPipelineRoot", "").strip()
        return LauncherConfiguration(root or DEFAULT_PIPELINE_ROOT, providers)

    def secret(self, name: str, key: str) -> str:
        """One value of a Secret: from a file, else the environment, else Kubernetes.

        Raises:
            LauncherError: none of them has it; names all three.
        """
        if not name or not key:
            raise LauncherError("launcher configuration: a secretRef without Secret name or key")
        directory = self._environment.get("KFP_SECRETS_DIR", "")
        variable = "KFP_SECRET_" + re.sub(r"[^A-Za-z0-9]", "_", f"{name}_{key}").upper()
        value = _file(directory, name, key) or self._environment.get(variable, "")
        if not value and self._kubernetes is not None:
            value = (self._kubernetes.secret(self._namespace, name) or {}).get(key, "")
        if not value:
            raise LauncherError(
                f'Secret "{name}" has no key "{key}": neither in KFP_SECRETS_DIR nor as {variable}'
                + (" nor in Kubernetes" if self._kubernetes else "")
            )
        return value


def _mounted(directory: Path) -> dict[str, str] | None:
    """Keys and texts of a mounted ConfigMap; ``None`` when nothing is mounted there."""
    try:
        # Kubelet's own entries start with a dot; keys are links to files.
        files = [entry for entry in os.scandir(directory) if not entry.name.startswith(".")]
        data = {
            entry.name: Path(entry.path).read_text(encoding="utf-8") for entry in files if entry.is_file()
        }
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise LauncherError(f"failed to read launcher configuration in {directory}: {error}") from error
    return data or None


def _file(directory: str, name: str, key: str) -> str:
    if not directory or {name, key} & {"..", "."} or "/" in name + key:
        return ""
    try:
        return (Path(directory) / name / key).read_text(encoding="utf-8").strip()
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise LauncherError(f'failed to read key "{key}" of Secret "{name}": {error}') from error

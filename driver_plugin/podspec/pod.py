"""The pod while its patch grows: main container, environment, volumes and mounts with unique keys.

A strategic merge folds two entries with the same key into one invalid entry, or lets the later one win
silently (spec PODSPEC 2.2). So environment variables are kept by name, volumes by name and mounts by path;
a volume that is named after a Secret, ConfigMap or claim gets a valid and unused name (spec PODSPEC 7.2).
"""

import hashlib
import posixpath
import re
from collections.abc import Mapping
from copy import deepcopy
from typing import Any, Final

from driver_plugin.podspec.errors import PodSpecError
from driver_plugin.podspec.task_config import ONLY_POD, PodPart, Route, TaskConfig
from driver_plugin.podspec.values import JsonObject

MAIN: Final = "main"
WORKSPACE_VOLUME: Final = "kfp-workspace"

BASE_VOLUMES: Final = frozenset(
    {
        "kfp-launcher",
        "kfp-launcher-token",
        "kfp-launcher-config",
        "custom-ca",
        "gcs-scratch",
        "s3-scratch",
        "minio-scratch",
        "dot-local-scratch",
        "dot-cache-scratch",
        "dot-config-scratch",
        "var-run-argo",
        "tmp-dir-argo",
        "input-artifacts",
    }
)
"""Volumes that the compiled template or Argo brings."""

RUNTIME_PATHS: Final = frozenset(
    {
        "/kfp-launcher",
        "/kfp/certs",
        "/etc/kfp/launcher-config",
        "/var/run/argo",
        "/var/run/secrets/kfp",
        "/var/run/secrets/kubernetes.io/serviceaccount",
    }
)
"""Mounts without which launcher or Argo cannot work; a mount of the same path would take their place."""

RESTRICTED: Final[Mapping[str, Any]] = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}
"""Security context of every container that a patch adds."""

_LABEL: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", re.ASCII)
_NOT_IN_LABEL: Final = re.compile(r"[^a-z0-9]+")
_PREFIX_LENGTH: Final = 40


class Pod:
    """The parts of the pod that the patch sets, and what is passed through to the TaskConfig."""

    def __init__(self, routes: Mapping[PodPart, Route]) -> None:
        self.routes = routes
        self.task_config = TaskConfig()
        self.main: JsonObject = {"name": MAIN}
        self.resources: JsonObject = {}
        self.env: dict[str, JsonObject] = {}
        self.mounts: dict[str, JsonObject] = {}
        self.volumes: dict[str, JsonObject] = {}
        self.sidecars: list[JsonObject] = []
        self.init_containers: list[JsonObject] = []
        self.fields: JsonObject = {}
        self._workspace_path = ""
        self._owners: dict[str, tuple[str, str]] = {}
        self._names: dict[tuple[str, str], str] = {}

    def add_env(self, variable: JsonObject) -> None:
        """Set a variable wherever the environment goes; a later one of the same name replaces it."""
        route = self.routes[PodPart.ENV]
        if route.to_task_config:
            self.task_config.env[variable["name"]] = deepcopy(variable)
        if route.to_pod:
            self.env[variable["name"]] = variable

    def add_workspace(self, claim: str, mount_path: str) -> None:
        """Mount the run's workspace; later mounts inside it are refused."""
        self._own(WORKSPACE_VOLUME, "workspace", claim)
        self._add_volume(
            WORKSPACE_VOLUME,
            {"persistentVolumeClaim": {"claimName": claim}},
            route=self.routes[PodPart.KUBERNETES_VOLUMES],
        )
        self.mount(WORKSPACE_VOLUME, mount_path, route=self.routes[PodPart.KUBERNETES_VOLUMES])
        self._workspace_path = mount_path.rstrip("/")

    def add_scratch(self, name: str, mount_path: str, *, sub_path: str) -> None:
        """Mount an empty directory that the driver itself needs."""
        self._own(name, "modelcar", name)
        self._add_volume(name, {"emptyDir": {}}, route=ONLY_POD)
        self.mount(name, mount_path, sub_path=sub_path, route=ONLY_POD)

    def mount_object(
        self, kind: str, name: str, source: JsonObject, *, mount_path: str, sub_path: str = ""
    ) -> None:
        """Mount a claim, Secret or ConfigMap by its name; the same object twice shares one volume.

        Args:
            kind: ``pvc``, ``secret`` or ``configmap``.
            name: name of the object.
            source: the volume without its name.
            mount_path: where main sees it.
            sub_path: path inside the volume.
        """
        route = self.routes[PodPart.KUBERNETES_VOLUMES]
        volume = self._names.get((kind, name))
        if volume is None:
            volume = self._volume_name(kind, name)
            self._own(volume, kind, name)
            self._add_volume(volume, source, route=route)
        else:
            self._require(volume, source)
        self.mount(volume, mount_path, sub_path=sub_path, route=route)

    def mount_named(self, kind: str, name: str, source: JsonObject, *, mount_path: str) -> None:
        """Mount a volume whose name the author chose; it never goes to the TaskConfig.

        Raises:
            PodSpecError: no volume can have the name, or it is taken by another feature, or by the same one
                with other settings.
        """
        if not _LABEL.fullmatch(name):
            raise PodSpecError(
                f'"{name}" cannot be the name of a volume: use at most 63 lower-case letters, digits and "-"'
            )
        if name == WORKSPACE_VOLUME and self._workspace_path:
            raise PodSpecError(
                f"user volume mount name {name} conflicts with workspace volume name {WORKSPACE_VOLUME}"
            )
        if name in BASE_VOLUMES:
            raise PodSpecError(
                f'{kind} volume "{name}" conflicts with a volume of the same name that KFP adds'
            )
        owner = self._owners.get(name)
        if owner is None:
            self._own(name, kind, name)
            self._add_volume(name, source, route=ONLY_POD)
        elif self.volumes.get(name) != {"name": name, **source}:
            raise PodSpecError(
                f'{kind} volume "{name}" conflicts with the volume that {owner[0]} "{owner[1]}" has under '
                "this name"
            )
        self.mount(name, mount_path, route=ONLY_POD)

    def mount(self, volume: str, path: str, *, route: Route, sub_path: str = "") -> None:
        """Mount a volume in main.

        Raises:
            PodSpecError: there is no path, it lies in the workspace, or something else is mounted there.
        """
        if not path:
            raise PodSpecError(f"{self._described(volume)} has no mount path")
        normal, what = _normal(path), self._described(volume)
        if route.to_pod and normal in RUNTIME_PATHS:
            raise PodSpecError(f"{what} cannot be mounted at {path}: KFP or Argo needs its own files there")
        if self._workspace_path and _within(path, self._workspace_path):
            raise PodSpecError(
                f"user volume mount at {path} conflicts with workspace mount at {self._workspace_path}"
            )
        mount = {"name": volume, "mountPath": path} | ({"subPath": sub_path} if sub_path else {})
        targets = [self.mounts] if route.to_pod else []
        targets += [self.task_config.volume_mounts] if route.to_task_config else []
        for target in targets:
            there = target.setdefault(normal, dict(mount))
            if there | {"mountPath": path} != mount:
                raise PodSpecError(f"{self._described(there['name'])} and {what} are both mounted at {path}")

    def volume_of(self, name: str) -> str | None:
        """The volume of the pod that an author calls ``name``; ``None`` when the pod has none."""
        chosen = next((volume for (_, known), volume in self._names.items() if known == name), name)
        return chosen if chosen in self.volumes or chosen in BASE_VOLUMES else None

    def to_json(self, *, command: list[str], args: list[str]) -> JsonObject:
        """The patch, with main's command line."""
        main = {**self.main, "command": command, "args": args, "resources": self.resources}
        main |= {"env": list(self.env.values()), "volumeMounts": list(self.mounts.values())}
        optional = {"args", "env", "volumeMounts"}
        main = {key: value for key, value in main.items() if value or key not in optional}
        patch: JsonObject = {"containers": [main, *self.sidecars], **self.fields}
        if self.init_containers:
            patch["initContainers"] = self.init_containers
        if self.volumes:
            patch["volumes"] = list(self.volumes.values())
        return patch

    def _described(self, volume: str) -> str:
        kind, name = self._owners[volume]
        return f'{kind} "{name}"'

    def _own(self, volume: str, kind: str, name: str) -> None:
        self._owners[volume] = (kind, name)
        self._names[(kind, name)] = volume

    def _add_volume(self, name: str, source: JsonObject, *, route: Route) -> None:
        volume = {"name": name, **source}
        if route.to_pod:
            self.volumes[name] = volume
        if route.to_task_config:
            self.task_config.volumes[name] = deepcopy(volume)

    def _require(self, volume: str, source: JsonObject) -> None:
        """An object that one of its mounts requires to exist is not optional."""
        for known in (self.volumes.get(volume), self.task_config.volumes.get(volume)):
            for kind in ("secret", "configMap"):
                if known is not None and kind in source:
                    known[kind]["optional"] = known[kind]["optional"] and source[kind]["optional"]

    def _volume_name(self, kind: str, name: str) -> str:
        taken = self._owners.keys() | BASE_VOLUMES
        if _LABEL.fullmatch(name) and name not in taken:
            return name
        prefix = _NOT_IN_LABEL.sub("-", name.lower())[:_PREFIX_LENGTH].strip("-")
        digest = hashlib.sha256((kind + name).encode()).hexdigest()[:8]
        return "-".join(part for part in (kind, prefix, digest) if part)


def _normal(path: str) -> str:
    return posixpath.normpath("/" + path.lstrip("/"))


def _within(path: str, directory: str) -> bool:
    normal = _normal(path)
    return normal == directory or normal.startswith(directory + "/")

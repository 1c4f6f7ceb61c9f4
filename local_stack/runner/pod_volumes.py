"""Volumes of a pod as directories of this machine, for runtimes that can mount them (spec LAUNCHER E5.2).

Secrets and ConfigMaps become files as the kubelet writes them; a volume claim is the directory of its name,
which the user makes as an administrator makes claims on a cluster.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Final

from local_stack.runner.container_runtime import Mount, PodDirectory, PodSettings
from local_stack.runner.errors import NodeError
from local_stack.runner.pod_build import WORKSPACE, Pod, expand, field_value

_PROVIDED_OTHERWISE: Final = frozenset({"/etc/kfp/launcher-config", "/var/run/secrets/kfp"})
"""The launcher's own configuration and token; on one machine it finds them by environment or not at all."""
_SCRATCH: Final = ("/gcs", "/s3", "/minio", "/.local", "/.cache", "/.config")
"""What every executor's template mounts; importers are shown them as well."""
_OPEN_MODE: Final = 0o777
_TEMPORARY_MODE: Final = 0o1777
_FILE_MODE: Final = 0o644

Files = dict[PurePosixPath, tuple[bytes, int]]
"""Content and mode by relative path."""


def pod_mounts(
    pod: Pod,
    container: Mapping[str, Any],
    environment: Mapping[str, str],
    *,
    directory: PodDirectory,
    settings: PodSettings,
) -> list[Mount]:
    """The mounts of a container: its volumes, scratch directories, ``/tmp`` and the workspace.

    Raises:
        NodeError: a volume is of a kind that only a cluster has, or what it shows does not exist.
    """
    maker = _Volumes(pod, directory, settings)
    directory.tmp.chmod(_TEMPORARY_MODE)
    mounts = {"/tmp": Mount(directory.tmp, "/tmp")}  # noqa: S108 (a pod's own)
    mounts |= {
        path: Mount(_made(directory.volumes / f"scratch{path.replace('/', '-')}"), path) for path in _SCRATCH
    }
    if settings.workspace.is_dir():
        mounts[WORKSPACE] = Mount(settings.workspace, WORKSPACE)
    volumes = {volume["name"]: volume for volume in pod.spec.get("volumes") or ()}
    for wanted in container.get("volumeMounts") or ():
        path = str(PurePosixPath(wanted["mountPath"]))
        if path in _PROVIDED_OTHERWISE:
            continue
        if wanted["name"] not in volumes:
            raise NodeError(f'the pod has no volume "{wanted["name"]}", which is mounted at {path}')
        source, read_only = maker.source(volumes[wanted["name"]], path)
        sub_path = wanted.get("subPath") or expand(wanted.get("subPathExpr") or "", environment)
        if sub_path:
            source = _below(source, sub_path, path)
            if not source.exists():
                if read_only:
                    raise NodeError(f'volume "{wanted["name"]}" has no "{sub_path}" to be shown at {path}')
                _made(source)
        mounts[path] = Mount(source, path, read_only or bool(wanted.get("readOnly")))
    return [*mounts.values(), *settings.mounts]


class _Volumes:
    """Makes the directories of a pod's volumes."""

    def __init__(self, pod: Pod, directory: PodDirectory, settings: PodSettings) -> None:
        self._pod = pod
        self._directory = directory
        self._settings = settings

    def source(self, volume: Mapping[str, Any], path: str) -> tuple[Path, bool]:
        """The directory that a volume shows, and whether it is read-only whatever the mount says."""
        name = volume["name"]
        kind = next((key for key in volume if key != "name"), "unknown volume")
        content = volume.get(kind) or {}
        match kind:
            case "emptyDir" | "ephemeral":
                return _made(self._directory.volumes / name), False
            case "persistentVolumeClaim":
                return self._claim(content["claimName"]), bool(content.get("readOnly"))
            case "secret" | "configMap" | "downwardAPI":
                files = self._files(kind, content, int(content.get("defaultMode") or _FILE_MODE))
            case "projected":
                mode, files = int(content.get("defaultMode") or _FILE_MODE), {}
                for source in content.get("sources") or ():
                    for one, projection in source.items():
                        files |= self._files(one, projection, mode)
            case _:
                raise NodeError(
                    f'volume "{name}" ({kind}) cannot be mounted at {path}: only a cluster has it'
                )
        return _written(self._directory.volumes / name, files), True

    def _claim(self, claim: str) -> Path:
        if claim.endswith(WORKSPACE.removeprefix("/")):
            return self._settings.workspace
        place = self._settings.claims / claim if self._settings.claims else None
        if place is None or not place.is_dir():
            raise NodeError(f'volume claim "{claim}" does not exist; make the directory {place}')
        return place

    def _files(self, kind: str, source: Mapping[str, Any], mode: int) -> Files:
        if kind == "serviceAccountToken":
            # There is no cluster to ask for one; the embedded API wants none.
            return {}
        if kind == "downwardAPI":
            return {
                PurePosixPath(item["path"]): (
                    field_value(self._pod, item["fieldRef"]["fieldPath"]).encode(),
                    int(item.get("mode") or mode),
                )
                for item in source.get("items") or ()
            }
        name = str(source.get("secretName") or source.get("name") or "")
        place = self._settings.config.secrets if kind == "secret" else self._settings.config.configmaps
        return _object_files(place / name, _KINDS.get(kind, kind), source, mode)


_KINDS: Final = {"secret": "Secret", "configMap": "ConfigMap"}


def _object_files(folder: Path, kind: str, source: Mapping[str, Any], mode: int) -> Files:
    """The files of a Secret or ConfigMap: all keys, or those that ``items`` chooses."""
    optional = bool(source.get("optional"))
    if not folder.is_dir() and not optional:
        raise NodeError(f'{kind} "{folder.name}" does not exist; make the directory {folder}')
    keys = {file.name: file for file in sorted(folder.glob("*")) if file.is_file()}
    items: Iterable[Mapping[str, Any]] = source.get("items") or [{"key": key, "path": key} for key in keys]
    files: Files = {}
    for item in items:
        file = keys.get(item["key"])
        if file is not None:
            files[PurePosixPath(item["path"])] = (file.read_bytes(), int(item.get("mode") or mode))
        elif not optional:
            raise NodeError(
                f'{kind} "{folder.name}" has no key "{item["key"]}"; '
                f"put its value into the file {folder / item['key']}"
            )
    return files


def _written(place: Path, files: Files) -> Path:
    place.mkdir(parents=True, exist_ok=True)
    for relative, (content, mode) in files.items():
        file = _below(place, str(relative), str(place))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.unlink(missing_ok=True)
        file.write_bytes(content)
        file.chmod(mode)
    return place


def _made(place: Path) -> Path:
    """An empty directory that any user of an image may write to."""
    place.mkdir(parents=True, exist_ok=True)
    place.chmod(_OPEN_MODE)
    return place


def _below(directory: Path, relative: str, shown_at: str) -> Path:
    """A path below a volume."""
    parts = PurePosixPath(relative)
    if parts.is_absolute() or ".." in parts.parts:
        raise NodeError(f'"{relative}", to be shown at {shown_at}, leaves its volume')
    return directory / os.fspath(parts)

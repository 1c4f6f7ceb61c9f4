"""Volumes that a Kubernetes config asks for (spec PODSPEC 7.4, 7.7, 7.12, 7.13)."""

from collections.abc import Iterable
from typing import Final

from driver_plugin.podspec.errors import PodSpecError, naming
from driver_plugin.podspec.names import claim_names, object_name
from driver_plugin.podspec.pod import Pod
from driver_plugin.podspec.quantity import canonical_quantity
from driver_plugin.podspec.values import EventLog, JsonObject, without_empty
from kfp_api.ir.kubernetes import (
    ConfigMapAsVolume,
    EmptyDirMount,
    GenericEphemeralVolume,
    PvcMount,
    SecretAsVolume,
)
from resolver.context import ResolveContext

ACCESS_MODES: Final = ("ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod")


def check_access_modes(modes: Iterable[str]) -> list[str]:
    """The modes, all of them known; :class:`PodSpecError` lists the valid ones."""
    checked = list(modes)
    for mode in checked:
        if mode not in ACCESS_MODES:
            raise PodSpecError(f'unknown access mode "{mode}"; valid are {", ".join(ACCESS_MODES)}')
    return checked


async def mount_claims(pod: Pod, context: ResolveContext, mounts: Iterable[PvcMount]) -> None:
    """Mount existing claims."""
    mounts = list(mounts)
    for index, (mount, name) in enumerate(zip(mounts, await claim_names(context, mounts), strict=True)):
        with naming(f"pvcMount[{index}]"):
            pod.mount_object(
                "pvc",
                name,
                {"persistentVolumeClaim": {"claimName": name}},
                mount_path=mount.mount_path,
                sub_path=mount.sub_path,
            )


async def mount_secrets(
    pod: Pod, context: ResolveContext, secrets: Iterable[SecretAsVolume], *, log: EventLog
) -> None:
    """Mount Secrets; an entry whose name is null is skipped."""
    for index, secret in enumerate(secrets):
        field = f"secretAsVolume[{index}]"
        name = await object_name(
            context,
            secret.secret_name_parameter,
            secret.secret_name,
            field=field,
            missing="missing either SecretName or SecretNameParameter for secret volume in executor config",
            log=log,
        )
        if name is not None:
            source = {"secret": {"secretName": name, "optional": bool(secret.optional)}}
            with naming(field):
                pod.mount_object("secret", name, source, mount_path=secret.mount_path)


async def mount_config_maps(
    pod: Pod, context: ResolveContext, config_maps: Iterable[ConfigMapAsVolume], *, log: EventLog
) -> None:
    """Mount ConfigMaps; an entry whose name is null is skipped."""
    for index, config_map in enumerate(config_maps):
        field = f"configMapAsVolume[{index}]"
        name = await object_name(
            context,
            config_map.config_map_name_parameter,
            config_map.config_map_name,
            field=field,
            missing="missing either ConfigMapName or ConfigNameParameter for config volume in "
            "executor config",
            log=log,
        )
        if name is not None:
            source = {"configMap": {"name": name, "optional": bool(config_map.optional)}}
            with naming(field):
                pod.mount_object("configmap", name, source, mount_path=config_map.mount_path)


def mount_ephemeral(pod: Pod, volumes: Iterable[GenericEphemeralVolume]) -> None:
    """Mount volumes that are claimed for the life of the pod."""
    for index, volume in enumerate(volumes):
        with naming(f"genericEphemeralVolume[{index}]"):
            source = {"ephemeral": {"volumeClaimTemplate": _claim_template(volume)}}
            pod.mount_named("ephemeral", volume.volume_name, source, mount_path=volume.mount_path)


def mount_empty_dirs(pod: Pod, mounts: Iterable[EmptyDirMount]) -> None:
    """Mount scratch directories."""
    for index, mount in enumerate(mounts):
        source: JsonObject = {"medium": mount.medium} if mount.medium else {}
        with naming(f"emptyDirMounts[{index}]"):
            if mount.size_limit is not None:
                with naming(
                    f'failed to parse size limit "{mount.size_limit}" for emptyDir volume '
                    f'"{mount.volume_name}"'
                ):
                    source["sizeLimit"] = canonical_quantity(mount.size_limit)
            pod.mount_named("emptyDir", mount.volume_name, {"emptyDir": source}, mount_path=mount.mount_path)


def _claim_template(volume: GenericEphemeralVolume) -> JsonObject:
    with naming(
        f'failed to parse generic ephemeral volume size "{volume.size}" for volume "{volume.volume_name}"'
    ):
        size = canonical_quantity(volume.size)
    spec: JsonObject = {"resources": {"requests": {"storage": size}}}
    if modes := check_access_modes(volume.access_modes):
        spec["accessModes"] = modes
    if not volume.default_storage_class:
        # An empty class is meaningful: it switches dynamic provisioning off.
        spec["storageClassName"] = volume.storage_class_name
    metadata = volume.metadata
    return {
        "metadata": without_empty(
            {"labels": metadata.labels, "annotations": metadata.annotations} if metadata else {}
        ),
        "spec": spec,
    }

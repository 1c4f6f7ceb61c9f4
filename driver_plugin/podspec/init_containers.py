"""Init containers and native sidecars that a Kubernetes config asks for (spec PODSPEC 7.17).

The launcher's own init container and Argo's containers come from the compiled template, so their names are
reserved here: a patch entry with such a name would replace them.
"""

import re
from collections.abc import Iterable
from typing import Final

from driver_plugin.podspec.environment import literal
from driver_plugin.podspec.errors import PodSpecError, QuantityError, naming
from driver_plugin.podspec.pod import MAIN, RESTRICTED, Pod
from driver_plugin.podspec.quantity import canonical_quantity
from driver_plugin.podspec.values import JsonObject, without_empty
from kfp_api.ir.kubernetes import InitContainer, InitContainerVolumeMount

_RESERVED: Final = frozenset({MAIN, "init", "wait", "supervisor", "kfp-launcher"})
_RESERVED_PATTERN: Final = re.compile(r"init-artifact-.*|oci-prepull-.*|oci-[0-9]+", re.ASCII | re.DOTALL)


def add_init_containers(pod: Pod, containers: Iterable[InitContainer], *, identity: JsonObject) -> None:
    """Append the containers; ``identity`` is the administrator's part of their security context.

    Raises:
        PodSpecError: an entry is incomplete, clashes with another container, or mounts an unknown volume.
    """
    taken = {container["name"] for container in (*pod.sidecars, *pod.init_containers)}
    for index, container in enumerate(containers):
        with naming(f"initContainers[{index}]"):
            _check_name(container, taken)
            taken.add(container.name)
            pod.init_containers.append(_init_container(pod, container, identity))


def _check_name(container: InitContainer, taken: set[str]) -> None:
    name = container.name
    if not name:
        raise PodSpecError("init container name must not be empty")
    if name in taken or name in _RESERVED or _RESERVED_PATTERN.fullmatch(name):
        raise PodSpecError(f'init container name "{name}" conflicts with an existing container in the pod')


def _init_container(pod: Pod, container: InitContainer, identity: JsonObject) -> JsonObject:
    name = container.name
    if not container.image:
        raise PodSpecError(f'init container "{name}" must specify an image')
    if container.restart_policy not in (None, "", "Always"):
        raise PodSpecError(
            f'init container "{name}" restart policy must be "Always", got "{container.restart_policy}"'
        )
    resources = {
        "requests": _quantities(name, "request", container.resources.requests),
        "limits": _quantities(name, "limit", container.resources.limits),
    }
    if any(not variable.name for variable in container.env):
        raise PodSpecError(f'init container "{name}" has an environment variable with an empty name')
    mounts: dict[str, JsonObject] = {}
    for mount in container.volume_mounts:
        resolved = _mount(pod, name, mount)
        if mounts.setdefault(mount.mount_path, resolved) != resolved:
            raise PodSpecError(f'init container "{name}" mounts two volumes at {mount.mount_path}')
    optional = without_empty(
        {
            "command": list(container.command),
            "args": list(container.args),
            "env": list({one.name: literal(one.name, one.value) for one in container.env}.values()),
            "volumeMounts": list(mounts.values()),
            "restartPolicy": container.restart_policy,
        }
    )
    return {
        "name": name,
        "image": container.image,
        "resources": without_empty(resources),
        "securityContext": {**RESTRICTED, **identity},
        **optional,
    }


def _quantities(name: str, kind: str, resources: dict[str, str]) -> dict[str, str]:
    canonical = {}
    for resource, text in resources.items():
        try:
            canonical[resource] = canonical_quantity(text)
        except QuantityError as error:
            raise PodSpecError(
                f'init container "{name}" has an invalid resource {kind} {resource}="{text}": {error}'
            ) from error
    return canonical


def _mount(pod: Pod, name: str, mount: InitContainerVolumeMount) -> JsonObject:
    if not mount.volume_name:
        raise PodSpecError(f'init container "{name}" has a volume mount with an empty volume name')
    if not mount.mount_path.startswith("/"):
        raise PodSpecError(
            f'init container "{name}" volume mount "{mount.volume_name}" must use an absolute mount path'
        )
    volume = pod.volume_of(mount.volume_name)
    if volume is None:
        raise PodSpecError(
            f'init container "{name}" mounts volume "{mount.volume_name}", which the pod does not have'
        )
    return {"name": volume, "mountPath": mount.mount_path}

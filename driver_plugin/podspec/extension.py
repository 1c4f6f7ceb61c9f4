"""Applies a Kubernetes config to the pod, feature by feature, in KFP's order (spec PODSPEC 7)."""

from collections.abc import Iterable
from typing import Final

from driver_plugin.podspec.config_environment import (
    add_config_map_variables,
    add_field_variables,
    add_secret_variables,
)
from driver_plugin.podspec.errors import PodSpecError
from driver_plugin.podspec.names import object_name
from driver_plugin.podspec.pod import Pod
from driver_plugin.podspec.scheduling import add_tolerations, set_node_affinity, set_node_selector
from driver_plugin.podspec.values import EventLog
from driver_plugin.podspec.volumes import (
    mount_claims,
    mount_config_maps,
    mount_empty_dirs,
    mount_ephemeral,
    mount_secrets,
)
from kfp_api.ir.kubernetes import ImagePullSecret, KubernetesExecutorConfig
from resolver.context import ResolveContext

_PULL_POLICIES: Final = ("Always", "Never", "IfNotPresent")


async def extend_pod(
    pod: Pod, config: KubernetesExecutorConfig, *, context: ResolveContext, log: EventLog
) -> None:
    """Apply everything but the security context and the init containers, which need the finished pod.

    Raises:
        PodSpecError: the config asks for something that cannot be.
    """
    _warn_unsupported(config, log)
    await mount_claims(pod, context, config.pvc_mount)
    if config.image_pull_policy:
        pod.main["imagePullPolicy"] = _pull_policy(config.image_pull_policy)
    if config.node_selector is not None:
        await set_node_selector(pod, context, config.node_selector)
    await add_tolerations(pod, context, config.tolerations, log=log)
    await mount_secrets(pod, context, config.secret_as_volume, log=log)
    await add_secret_variables(pod, context, config.secret_as_env, log=log)
    await mount_config_maps(pod, context, config.config_map_as_volume, log=log)
    await add_config_map_variables(pod, context, config.config_map_as_env, log=log)
    await _add_pull_secrets(pod, context, config.image_pull_secret, log=log)
    add_field_variables(pod, config.field_path_as_env, log=log)
    if config.active_deadline_seconds > 0:
        pod.fields["activeDeadlineSeconds"] = config.active_deadline_seconds
    mount_ephemeral(pod, config.generic_ephemeral_volume)
    mount_empty_dirs(pod, config.empty_dir_mounts)
    await set_node_affinity(pod, context, config.node_affinity, log=log)


def _warn_unsupported(config: KubernetesExecutorConfig, log: EventLog) -> None:
    shared = config.enabled_shared_memory
    used = {
        "pod_affinity": bool(config.pod_affinity),
        "enabled_shared_memory": shared is not None and bool(shared.volume_name or shared.size),
    }
    for name, is_used in used.items():
        if is_used:
            event = f"kubernetes config field {name} is not supported and was ignored"
            log.warning(event)


def _pull_policy(policy: str) -> str:
    if policy not in _PULL_POLICIES:
        raise PodSpecError(
            f"imagePullPolicy: unsupported value: {policy}. ImagePullPolicy should be one of "
            "'Always', 'Never' or 'IfNotPresent'"
        )
    return policy


async def _add_pull_secrets(
    pod: Pod, context: ResolveContext, secrets: Iterable[ImagePullSecret], *, log: EventLog
) -> None:
    names: dict[str, None] = {}
    for index, secret in enumerate(secrets):
        name = await object_name(
            context,
            secret.secret_name_parameter,
            secret.secret_name,
            field=f"imagePullSecret[{index}]",
            missing="missing either SecretName or SecretNameParameter for image pull secret in "
            "executor config",
            log=log,
        )
        if name is not None:
            names[name] = None
    if names:
        pod.fields["imagePullSecrets"] = [{"name": name} for name in names]

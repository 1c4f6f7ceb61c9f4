"""Environment variables that a Kubernetes config asks for (spec PODSPEC 7.8, 7.10)."""

from collections.abc import Iterable

from driver_plugin.podspec.environment import from_field, is_allowed
from driver_plugin.podspec.errors import naming
from driver_plugin.podspec.names import object_name
from driver_plugin.podspec.pod import Pod
from driver_plugin.podspec.values import EventLog, JsonObject, without_empty
from kfp_api.ir.kubernetes import ConfigMapAsEnv, FieldPathAsEnv, SecretAsEnv
from kfp_api.ir.pipeline import InputParameterSpec
from resolver.context import ResolveContext


async def add_secret_variables(
    pod: Pod, context: ResolveContext, secrets: Iterable[SecretAsEnv], *, log: EventLog
) -> None:
    """Keys of Secrets; an entry whose name is null is skipped."""
    for index, secret in enumerate(secrets):
        await _add_keys(
            pod,
            context,
            [(entry.env_var, entry.secret_key) for entry in secret.key_to_env],
            field=f"secretAsEnv[{index}]",
            reference="secretKeyRef",
            name=(secret.secret_name_parameter, secret.secret_name),
            missing="missing either SecretName or SecretNameParameter for secret environment variable in "
            "executor config",
            optional=secret.optional,
            log=log,
        )


async def add_config_map_variables(
    pod: Pod, context: ResolveContext, config_maps: Iterable[ConfigMapAsEnv], *, log: EventLog
) -> None:
    """Keys of ConfigMaps; an entry whose name is null is skipped."""
    for index, config_map in enumerate(config_maps):
        await _add_keys(
            pod,
            context,
            [(entry.env_var, entry.config_map_key) for entry in config_map.key_to_env],
            field=f"configMapAsEnv[{index}]",
            reference="configMapKeyRef",
            name=(config_map.config_map_name_parameter, config_map.config_map_name),
            missing="missing either ConfigMapName or ConfigNameParameter for configmap environment variable "
            "in executor config",
            optional=config_map.optional,
            log=log,
        )


def add_field_variables(pod: Pod, fields: Iterable[FieldPathAsEnv], *, log: EventLog) -> None:
    """Fields of the pod."""
    for index, field in enumerate(fields):
        with naming(f"fieldPathAsEnv[{index}]"):
            allowed = is_allowed(field.name, log=log)
        if allowed:
            pod.add_env(from_field(field.name, field.field_path))


async def _add_keys(
    pod: Pod,
    context: ResolveContext,
    keys: list[tuple[str, str]],
    *,
    field: str,
    reference: str,
    name: tuple[InputParameterSpec | None, str],
    missing: str,
    optional: bool | None,
    log: EventLog,
) -> None:
    with naming(field):
        # Reserved names are refused before a name is resolved, which may need to read task rows.
        allowed = [(variable, key) for variable, key in keys if is_allowed(variable, log=log)]
    resolved = await object_name(context, *name, field=field, missing=missing, log=log)
    if resolved is None:
        return
    for variable, key in allowed:
        source: JsonObject = without_empty({"name": resolved, "optional": optional}) | {"key": key}
        pod.add_env({"name": variable, "valueFrom": {reference: source}})

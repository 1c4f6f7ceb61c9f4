"""Names of claims, Secrets and ConfigMaps that a Kubernetes config refers to (spec PODSPEC 7.1, 7.4).

A name comes from an input-parameter spec, or from a deprecated plain field; the SDK writes both and the
spec wins.
"""

import json
from collections.abc import Iterable

from driver_plugin.podspec.errors import PodSpecError, naming
from driver_plugin.podspec.values import EventLog
from driver_plugin.podspec.workspace import workspace_claim
from kfp_api.ir.kubernetes import KubernetesExecutorConfig, PvcMount
from kfp_api.ir.pipeline import InputParameterSpec
from resolver.context import ResolveContext, shortened
from resolver.errors import NullInputError, ResolutionError
from resolver.parameters import resolve_input_parameter_str


async def pvc_names(
    context: ResolveContext,
    kubernetes_config: KubernetesExecutorConfig | None,
    *,
    uses_workspace: bool,
    run_name: str,
) -> list[str]:
    """Names of the claims that a task mounts, in order: they are part of its cache fingerprint.

    Raises:
        PodSpecError: a name cannot be resolved, or the workspace has no run name to be called after.
    """
    mounts = kubernetes_config.pvc_mount if kubernetes_config else []
    with naming(f'task "{context.task_key}"'):
        names = await claim_names(context, mounts)
        if uses_workspace:
            with naming("failed to generate fingerprint"):
                names.append(workspace_claim(run_name))
    return names


async def claim_names(context: ResolveContext, mounts: Iterable[PvcMount]) -> list[str]:
    """The claims of mounts, in order.

    Raises:
        PodSpecError: as :func:`claim_name`; the text says which mount.
    """
    names = []
    for index, mount in enumerate(mounts):
        with naming(f'pvcMount[{index}] at "{mount.mount_path}"'):
            names.append(await claim_name(context, mount))
    return names


async def claim_name(context: ResolveContext, mount: PvcMount) -> str:
    """The claim of a mount.

    Raises:
        PodSpecError: no name is given, it cannot be resolved, or it or the mount path is empty.
    """
    try:
        return await _claim_name(context, mount)
    except (PodSpecError, ResolutionError) as error:
        raise PodSpecError(f"failed to extract volume mount info: {error}") from error


async def object_name(
    context: ResolveContext,
    parameter: InputParameterSpec | None,
    deprecated: str,
    *,
    field: str,
    missing: str,
    log: EventLog,
) -> str | None:
    """The name of a Secret or ConfigMap; ``None`` when its parameter is null and the entry is skipped.

    Raises:
        PodSpecError: no name is given (with the text ``missing``), or it cannot be resolved; ``field``
            stands in front.
    """
    with naming(field):
        if parameter is None:
            if not deprecated:
                raise PodSpecError(missing)
            return deprecated
        try:
            return await resolve_input_parameter_str(context, parameter)
        except NullInputError:
            log.warning("entry of kubernetes config was ignored, its name is null", field=field)
            return None
        except ResolutionError as error:
            raise PodSpecError(str(error)) from error


async def _claim_name(context: ResolveContext, mount: PvcMount) -> str:
    spec = _claim_spec(mount)
    if spec is None:
        raise PodSpecError("failed to make podSpecPatch: volume mount: volume name not provided")
    name = spec if isinstance(spec, str) else await _resolved_claim(context, spec)
    if not name or not mount.mount_path:
        raise PodSpecError("failed to mount volume, missing mountpath or pvc name")
    return name


async def _resolved_claim(context: ResolveContext, spec: InputParameterSpec) -> str:
    try:
        return await resolve_input_parameter_str(context, spec)
    except NullInputError as error:
        raise PodSpecError(f"{error}: {shortened(json.dumps(spec.to_json()))}") from error


def _claim_spec(mount: PvcMount) -> InputParameterSpec | str | None:
    if mount.pvc_name_parameter is not None:
        return mount.pvc_name_parameter
    if mount.constant:
        return mount.constant
    if mount.task_output_parameter is not None:
        return InputParameterSpec(task_output_parameter=mount.task_output_parameter)
    if mount.component_input_parameter:
        return InputParameterSpec(component_input_parameter=mount.component_input_parameter)
    return None

"""The ``pod-spec-patch`` of a container task: what Argo merges into the executor's pod (spec PODSPEC 2 to 8).

:func:`build_pod_spec_patch` is a function of its request and of the task rows that names in the Kubernetes
config refer to: a repeated call gets the same text.
"""

from copy import deepcopy
from dataclasses import dataclass, field

import structlog

from driver_plugin.argo.arguments import DriverCall
from driver_plugin.podspec.encoding import encode_executor_input, encode_patch, redacted_patch
from driver_plugin.podspec.environment import author_variables, identity_variables, proxy_variables
from driver_plugin.podspec.errors import naming
from driver_plugin.podspec.extension import extend_pod
from driver_plugin.podspec.init_containers import add_init_containers
from driver_plugin.podspec.launcher_command import launcher_command
from driver_plugin.podspec.modelcars import add_modelcars, align_identity, modelcars
from driver_plugin.podspec.placeholders import resolve_command_line
from driver_plugin.podspec.pod import Pod
from driver_plugin.podspec.resources import container_image, container_resources
from driver_plugin.podspec.security import administrator_identity, set_security
from driver_plugin.podspec.task_config import PodPart, inject_task_config, routes
from driver_plugin.podspec.values import EventLog, JsonObject
from driver_plugin.podspec.workspace import uses_workspace, workspace_claim
from driver_plugin.settings import Settings
from kfp_api.ir.executor_input import ExecutorInput
from kfp_api.ir.kubernetes import KubernetesExecutorConfig, unknown_config_fields
from kfp_api.ir.pipeline import ComponentSpec, ContainerSpec
from resolver.context import ResolveContext


def _logger() -> EventLog:
    logger: EventLog = structlog.get_logger(__name__)
    return logger


@dataclass(frozen=True, kw_only=True)
class PatchRequest:
    """Everything that decides about one task's pod.

    ``kubernetes_config`` is ``None`` where the call has none, which differs from an empty one.
    ``plugin_env`` are full Kubernetes ``EnvVar`` objects; only main gets them.
    """

    call: DriverCall
    task_id: str
    container: ContainerSpec
    component: ComponentSpec
    executor_input: ExecutorInput
    fingerprint: str
    context: ResolveContext
    kubernetes_config: KubernetesExecutorConfig | None
    launcher_address: str
    launcher_port: str
    launcher_tls: bool
    plugin_env: tuple[JsonObject, ...] = ()
    log: EventLog = field(default_factory=_logger)


async def build_pod_spec_patch(request: PatchRequest, *, settings: Settings) -> str:
    """The encoded patch.

    Raises:
        PodSpecError: the pod cannot be described as the pipeline asks, or the text is too large.
        KfpApiError: a task row that a name refers to cannot be read.
    """
    with naming(f'task "{request.call.task_name}"'):
        return await _patch_text(request, settings)


async def _patch_text(request: PatchRequest, settings: Settings) -> str:
    pod = await _build_pod(request, settings)
    executor_input = inject_task_config(request.executor_input, request.component, pod.task_config)
    # Arguments are resolved last: they may refer to the injected configuration.
    args = resolve_command_line(
        request.container.command,
        request.container.args,
        executor_input=executor_input,
        component=request.component,
    )
    command = launcher_command(
        request.call,
        task_id=request.task_id,
        executor_input=encode_executor_input(executor_input, limit=settings.max_executor_input),
        fingerprint=request.fingerprint,
        address=request.launcher_address,
        port=request.launcher_port,
        tls=request.launcher_tls,
    )
    patch = pod.to_json(command=command, args=args)
    request.log.debug("pod spec patch", patch=redacted_patch(patch))
    return encode_patch(patch)


async def _build_pod(request: PatchRequest, settings: Settings) -> Pod:
    values = request.executor_input.parameter_values
    pod = Pod(routes(request.component))
    with naming("failed to init podSpecPatch"):
        pod.main["image"] = container_image(request.container, values)
        _set_resources(pod, container_resources(request.container, values))
    variables = author_variables(request.container.env, log=request.log)
    proxies = proxy_variables(request.call, cluster_domain=settings.cluster_domain)
    for variable in (*variables, *request.plugin_env, *proxies):
        pod.add_env(variable)
    pod.env |= {variable["name"]: variable for variable in identity_variables()}
    inputs = request.executor_input.inputs
    if uses_workspace(inputs, settings.workspace_path):
        with naming("failed to init podSpecPatch"):
            claim = workspace_claim(request.call.run_name)
        pod.add_workspace(claim, settings.workspace_path)
    cars = modelcars(request.executor_input.input_artifacts)
    # Third-party images get no plugin variables, which hold credentials.
    shared = [*variables, *proxies] if pod.routes[PodPart.ENV].to_pod else []
    add_modelcars(pod, cars, env=[*shared, *identity_variables()])
    config = request.kubernetes_config
    if config is not None:
        if unknown := unknown_config_fields(request.call.kubernetes_config):
            request.log.warning("unknown fields of kubernetes config were ignored", fields=unknown)
        await extend_pod(pod, config, context=request.context.joined(), log=request.log)
    set_security(pod, request.call, config.security_context if config else None, log=request.log)
    if config is not None:
        add_init_containers(pod, config.init_containers, identity=administrator_identity(request.call))
    align_identity(pod, cars)
    return pod


def _set_resources(pod: Pod, resources: JsonObject) -> None:
    route = pod.routes[PodPart.RESOURCES]
    if route.to_pod:
        pod.resources = resources
    if route.to_task_config:
        pod.task_config.resources = deepcopy(resources)

"""The two driver templates, as plugin calls or as pods (spec COMPILER 6.5, 6.6, 9.1, 9.2).

Both forms are written from one list of arguments, so they cannot drift apart: same inputs, same output
names, same values. A plugin call has no output files and takes its namespace from the workflow.
"""

from typing import Any, Final, NamedTuple

from compiler.argo import (
    ITERATION_INDEX,
    PARENT_TASK_ID,
    PARENT_TASK_ID_OUTPUT,
    RUN_ID_TAG,
    Json,
    input_tag,
    iteration_index_input,
    output_path_tag,
    parameter,
    parameters,
)
from compiler.options import CompilerOptions, Mode
from compiler.profile import PluginProfile
from compiler.templates import pods

DAG_DRIVER: Final = "system-dag-driver"
CONTAINER_DRIVER: Final = "system-container-driver"

PLUGIN_KEY: Final = "driver-plugin"
"""Key of the plugin template by which the service knows its own calls."""


class Identity(NamedTuple):
    """What drivers and importers say about the run they belong to."""

    pipeline_name: str
    display_name: str


class _Output(NamedTuple):
    name: str
    flag: str
    path: str
    default: str | None
    parameter_default: str | None = None


_DAG_OUTPUTS: Final = (
    _Output(PARENT_TASK_ID_OUTPUT, "parent_task_id_path", "/tmp/outputs/task-id", None),  # noqa: S108 (in the pod)
    _Output("iteration-count", "iteration_count_path", "/tmp/outputs/iteration-count", "0"),  # noqa: S108
    _Output("condition", "condition_path", "/tmp/outputs/condition", "true"),  # noqa: S108
)
_CONTAINER_OUTPUTS: Final = (
    _Output("pod-spec-patch", "pod_spec_patch_path", "/tmp/outputs/pod-spec-patch", ""),  # noqa: S108
    _Output("cached-decision", "cached_decision_path", "/tmp/outputs/cached-decision", "false", "false"),  # noqa: S108
    _Output("condition", "condition_path", "/tmp/outputs/condition", "true"),  # noqa: S108
)
OUTPUT_FLAGS: Final = frozenset(output.flag for output in (*_DAG_OUTPUTS, *_CONTAINER_OUTPUTS))
"""Flags by which a driver pod learns where to write its outputs; a plugin call has none of them."""

_CONTAINER_FLAG_ORDER: Final = ("cached_decision_path", "pod_spec_patch_path", "condition_path")


def dag_driver_template(identity: Identity, options: CompilerOptions) -> Json:
    """The template that creates the task of the root, of a DAG or of a loop."""
    outputs = {output.flag: output_path_tag(output.name) for output in _DAG_OUTPUTS}
    arguments = {
        **_task_arguments(input_tag("driver-type"), identity),
        "runtime_config": input_tag("runtime-config"),
        "iteration_index": input_tag(ITERATION_INDEX),
        **(outputs if options.mode is Mode.CONTAINER else {}),
        **_installation_arguments(options),
    }
    inputs = [
        parameter("runtime-config", default=""),
        parameter("task-name", default=""),
        parameter(PARENT_TASK_ID, default=""),
        iteration_index_input(),
        parameter("driver-type", default="DAG"),
    ]
    return _driver_template(
        DAG_DRIVER,
        pod_role="dag-driver",
        inputs=inputs,
        outputs=_DAG_OUTPUTS,
        arguments=arguments,
        options=options,
    )


def container_driver_template(identity: Identity, options: CompilerOptions) -> Json:
    """The template that creates the task of a container component and the patch for its pod."""
    paths = {output.flag: output_path_tag(output.name) for output in _CONTAINER_OUTPUTS}
    outputs = {flag: paths[flag] for flag in _CONTAINER_FLAG_ORDER}
    administrator = {
        "default_run_as_user": options.default_run_as_user,
        "default_run_as_group": options.default_run_as_group,
        "default_run_as_non_root": options.default_run_as_non_root,
        "default_host_users": options.default_host_users,
    }
    arguments = {
        **_task_arguments("CONTAINER", identity),
        "iteration_index": input_tag(ITERATION_INDEX),
        **(outputs if options.mode is Mode.CONTAINER else {}),
        "kubernetes_config": input_tag("kubernetes-config"),
        **_installation_arguments(options),
        **{name: value for name, value in administrator.items() if value is not None},
    }
    inputs = [
        parameter("task-name"),
        parameter(PARENT_TASK_ID),
        iteration_index_input(),
        parameter("kubernetes-config", default=""),
    ]
    return _driver_template(
        CONTAINER_DRIVER,
        pod_role="container-driver",
        inputs=inputs,
        outputs=_CONTAINER_OUTPUTS,
        arguments=arguments,
        options=options,
    )


def dag_driver_outputs() -> list[str]:
    """Names of the DAG driver's output parameters."""
    return [output.name for output in _DAG_OUTPUTS]


def container_driver_outputs() -> list[str]:
    """Names of the container driver's output parameters."""
    return [output.name for output in _CONTAINER_OUTPUTS]


def _task_arguments(driver_type: str, identity: Identity) -> Json:
    return {
        "type": driver_type,
        "pipeline_name": identity.pipeline_name,
        "run_id": RUN_ID_TAG,
        "run_name": "{{workflow.name}}",
        "run_display_name": identity.display_name,
        "parent_task_id": input_tag(PARENT_TASK_ID),
        "task_name": input_tag("task-name"),
    }


def _installation_arguments(options: CompilerOptions) -> Json:
    return {
        "namespace": "{{workflow.namespace}}" if options.mode is Mode.PLUGIN else "$(NAMESPACE)",
        "http_proxy": options.http_proxy,
        "https_proxy": options.https_proxy,
        "no_proxy": options.effective_no_proxy,
        "ml_pipeline_server_address": options.server_address,
        "ml_pipeline_server_port": options.server_port,
        "cache_disabled": options.cache_disabled,
        "log_level": options.log_level,
        "publish_logs": options.publish_logs,
        "ml_pipeline_tls_enabled": options.server_tls,
        "ca_cert_path": pods.ca_cert_path(options),
    }


def _driver_template(
    name: str,
    *,
    pod_role: str,
    inputs: list[Json],
    outputs: tuple[_Output, ...],
    arguments: dict[str, Any],
    options: CompilerOptions,
) -> Json:
    plugin = options.mode is Mode.PLUGIN
    metadata = pods.system_metadata(
        name,
        runtime_role="driver",
        pod_role=pod_role,
        annotations=None if plugin else options.driver_pod_annotations,
        labels=None if plugin else options.driver_pod_labels,
    )
    template = {
        "name": name,
        "inputs": parameters(inputs),
        "outputs": parameters(_declared_output(output, plugin=plugin) for output in outputs),
        "metadata": metadata,
        "securityContext": pods.pod_security(),
    }
    if plugin:
        profile = options.plugin.profile
        call = {**arguments, **version_argument(profile)}
        return {**template, **call_policy(profile), "plugin": {PLUGIN_KEY: {"args": call}}}
    return {**template, **_driver_pod(arguments, options)}


def version_argument(profile: PluginProfile) -> Json:
    """The version of the arguments, where it is not the first one."""
    return {} if profile.args_version == "1" else {"args_version": profile.args_version}


def call_policy(profile: PluginProfile) -> Json:
    """Timeout and retries of a driver call; the service prefixes failures that must not be repeated."""
    policy: Json = {}
    if profile.driver_timeout:
        policy["timeout"] = profile.driver_timeout
    if profile.driver_retry:
        policy["retryStrategy"] = {
            "limit": str(profile.driver_retry),
            "retryPolicy": "Always",
            "expression": "lastRetry.status == 'Error' || !(lastRetry.message startsWith 'kfp-driver: ')",
            "backoff": {"duration": "2", "factor": "2", "maxDuration": "600"},
        }
    return policy


def _declared_output(output: _Output, *, plugin: bool) -> Json:
    """An output with one source. The plugin returns values; ``jsonPath`` only satisfies Argo's validation."""
    declared = parameter(output.name, default=output.parameter_default)
    source = {"jsonPath": f"$.{output.name}"} if plugin else {"path": output.path}
    default = {} if output.default is None else {"default": output.default}
    return {**declared, "valueFrom": {**source, **default}}


def _driver_pod(arguments: dict[str, Any], options: CompilerOptions) -> Json:
    mounts = [
        pods.token_mount(options),
        pods.launcher_config_mount(),
        *pods.custom_ca_mounts(options),
    ]
    return {
        "container": {
            **pods.serialisation_noise(options, name=""),
            "image": options.driver_image,
            "command": list(options.driver_command),
            "args": pods.flags(arguments.items()),
            "env": [*pods.proxy_environment(options), *pods.pod_environment(options)],
            "resources": pods.system_resources(),
            "securityContext": pods.container_security(),
            "volumeMounts": [mount.mount for mount in mounts],
        },
        "volumes": [mount.volume for mount in mounts],
    }

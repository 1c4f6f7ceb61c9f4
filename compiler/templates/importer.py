"""The importer template: launcher work in a pod of its own, in both modes (spec COMPILER 6.8)."""

from typing import Final

from compiler.argo import (
    ITERATION_INDEX,
    PARENT_TASK_ID,
    RUN_ID_TAG,
    Json,
    input_tag,
    iteration_index_input,
    parameter,
    parameters,
)
from compiler.options import CompilerOptions
from compiler.templates import pods

IMPORTER: Final = "system-importer"
WORKSPACE_IMPORTER: Final = "system-importer-workspace"


def importer_template(pipeline_name: str, options: CompilerOptions, *, workspace: bool) -> Json:
    """The template of importers; ``workspace`` for those that download into the run's workspace."""
    name = WORKSPACE_IMPORTER if workspace else IMPORTER
    mounts = [
        pods.token_mount(options),
        *([pods.workspace_mount()] if workspace else []),
        *pods.custom_ca_mounts(options),
        pods.launcher_config_mount(),
    ]
    arguments = {
        "executor_type": "importer",
        "task_name": input_tag("task-name"),
        "importer_spec": input_tag("importer"),
        "pipeline_name": pipeline_name,
        "run_id": RUN_ID_TAG,
        "parent_task_id": input_tag(PARENT_TASK_ID),
        "iteration_index": input_tag(ITERATION_INDEX),
        "ml_pipeline_server_address": options.server_address,
        "ml_pipeline_server_port": options.server_port,
        "namespace": "$(NAMESPACE)",
        "pod_name": "$(KFP_POD_NAME)",
        "pod_uid": "$(KFP_POD_UID)",
        "cache_disabled": options.cache_disabled,
        "ml_pipeline_tls_enabled": options.server_tls,
        "ca_cert_path": pods.ca_cert_path(options),
        "log_level": options.log_level,
        "publish_logs": options.publish_logs,
    }
    inputs = [
        parameter("task-name"),
        parameter("importer"),
        parameter(PARENT_TASK_ID),
        iteration_index_input(),
    ]
    return {
        "name": name,
        "inputs": parameters(inputs),
        "outputs": {},
        "metadata": pods.system_metadata(name, runtime_role="launcher", pod_role="importer"),
        "securityContext": {**pods.pod_security(), **pods.propagated_user(options)},
        "container": {
            **pods.serialisation_noise(options, name=""),
            "image": options.launcher_image,
            "command": list(options.launcher_command),
            "args": pods.flags(arguments.items()),
            "env": pods.pod_environment(options),
            "envFrom": pods.launcher_environment_source(),
            "resources": pods.system_resources(),
            "securityContext": pods.container_security(),
            "volumeMounts": [mount.mount for mount in mounts],
        },
        "volumes": [mount.volume for mount in mounts],
    }

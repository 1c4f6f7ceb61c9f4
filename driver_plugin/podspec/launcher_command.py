"""Main's command: the launcher with its flags, in KFP's order (spec PODSPEC 3).

The launcher checks that every flag was given, an empty value counts; and it refuses flags it does not know.
"""

from typing import Final

from driver_plugin.argo.arguments import DriverCall
from driver_plugin.podspec.encoding import escape_dollars

LAUNCHER: Final = "/kfp-launcher/launch"
EXECUTOR_INPUT_FLAG: Final = "--executor_input"


def launcher_command(
    call: DriverCall,
    *,
    task_id: str,
    executor_input: str,
    fingerprint: str,
    address: str,
    port: str,
    tls: bool,
) -> list[str]:
    """The command line up to ``--``; the user's command follows as arguments.

    Args:
        call: the driver call.
        task_id: id of the task row.
        executor_input: encoded text, its ``$`` already doubled.
        fingerprint: cache fingerprint; may be empty.
        address: host of the endpoint that the launcher uses.
        port: its port.
        tls: whether it speaks TLS.
    """
    command = [
        LAUNCHER,
        *("--executor_type", "container"),
        *("--pipeline_name", escape_dollars(call.pipeline_name)),
        *("--run_id", call.run_id),
        *("--task_id", task_id),
        *("--parent_task_id", call.parent_task_id),
        *(EXECUTOR_INPUT_FLAG, executor_input),
        # The three references are the kubelet's to expand, from the variables of the same names.
        *("--namespace", "$(NAMESPACE)"),
        *("--pod_name", "$(KFP_POD_NAME)"),
        *("--pod_uid", "$(KFP_POD_UID)"),
        *("--ml_pipeline_server_address", address),
        *("--ml_pipeline_server_port", port),
        *("--publish_logs", _boolean(call.publish_logs)),
        *("--fingerprint", fingerprint),
        *("--task_name", escape_dollars(call.task_name)),
        f"--ml_pipeline_tls_enabled={_boolean(tls)}",
        *("--ca_cert_path", call.ca_cert_path),
        f"--cache_disabled={_boolean(call.cache_disabled)}",
        *("--log_level", call.log_level),
    ]
    if call.iteration_index is not None:
        command += ["--iteration_index", str(call.iteration_index)]
    return [*command, "--"]


def _boolean(value: bool) -> str:
    return "true" if value else "false"

"""Main's command line: the table of spec PODSPEC 3, and its worked example (2.7)."""

from typing import Any

import pytest

from tests.driver_plugin.podspec.examples import IDENTITY_ENV, built_patch, executor_input_of, main_of

PLAIN = [
    "/kfp-launcher/launch",
    *("--executor_type", "container"),
    *("--pipeline_name", "demo"),
    *("--run_id", "7c0e"),
    *("--task_id", "t-41"),
    *("--parent_task_id", "t-1"),
    *("--executor_input", "{...}"),
    *("--namespace", "$(NAMESPACE)"),
    *("--pod_name", "$(KFP_POD_NAME)"),
    *("--pod_uid", "$(KFP_POD_UID)"),
    *("--ml_pipeline_server_address", "ml-pipeline.kubeflow.svc.cluster.local"),
    *("--ml_pipeline_server_port", "8887"),
    *("--publish_logs", "true"),
    *("--fingerprint", "9f"),
    *("--task_name", "train"),
    "--ml_pipeline_tls_enabled=false",
    *("--ca_cert_path", ""),
    "--cache_disabled=false",
    *("--log_level", "1"),
    "--",
]


def replaced(changes: dict[str, str]) -> list[str]:
    """The plain command with the elements after some flags, or ``flag=value`` elements, replaced."""
    command = list(PLAIN)
    for flag, value in changes.items():
        if flag.endswith("="):
            command[next(i for i, one in enumerate(command) if one.startswith(flag))] = flag + value
        else:
            command[command.index(flag) + 1] = value
    return command


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, PLAIN),
        ({"fingerprint": ""}, replaced({"--fingerprint": ""})),
        ({"publish_logs": "false"}, replaced({"--publish_logs": "false"})),
        ({"cache_disabled": True}, replaced({"--cache_disabled=": "true"})),
        ({"ca_cert_path": "/kfp/certs/ca.crt"}, replaced({"--ca_cert_path": "/kfp/certs/ca.crt"})),
        ({"log_level": "3"}, replaced({"--log_level": "3"})),
        (
            {"endpoint": ("127.0.0.1", "43211", True)},
            replaced(
                {
                    "--ml_pipeline_server_address": "127.0.0.1",
                    "--ml_pipeline_server_port": "43211",
                    "--ml_pipeline_tls_enabled=": "true",
                }
            ),
        ),
        ({"iteration_index": "0"}, [*PLAIN[:-1], "--iteration_index", "0", "--"]),
        ({"iteration_index": "12"}, [*PLAIN[:-1], "--iteration_index", "12", "--"]),
    ],
)
async def test_command_line_follows_the_table(given: dict[str, Any], expected: list[str]) -> None:
    command = main_of(await built_patch(**given))["command"]
    command[command.index("--executor_input") + 1] = "{...}"
    assert command == expected


async def test_worked_example_gives_the_patch_of_the_specification() -> None:
    inputs = {"parameterValues": {"lr": 0.1}}
    outputs = {"outputFile": "/s3/b/output_metadata.json"}
    patch = await built_patch(
        container={
            "image": "ghcr.io/acme/train:1",
            "command": ["python", "-m", "train"],
            "args": ["--lr", "{{$.inputs.parameters['lr']}}"],
            "env": [{"name": "MODE", "value": "fast"}],
            "resources": {"resourceCpuLimit": "2", "resourceMemoryLimit": "0.5G"},
        },
        inputs=inputs,
        outputs=outputs,
        config={
            "pvcMount": [{"constant": "data-pvc", "mountPath": "/data"}],
            "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
        },
    )
    assert executor_input_of(patch) == {"inputs": inputs, "outputs": outputs}
    command = main_of(patch).pop("command")
    command[command.index("--executor_input") + 1] = "{...}"
    assert command == PLAIN
    assert patch == {
        "containers": [
            {
                "name": "main",
                "image": "ghcr.io/acme/train:1",
                "args": ["python", "-m", "train", "--lr", "0.1"],
                "env": [{"name": "MODE", "value": "fast"}, *IDENTITY_ENV],
                "resources": {"limits": {"cpu": "2", "memory": "500M"}},
                "volumeMounts": [{"name": "data-pvc", "mountPath": "/data"}],
            }
        ],
        "volumes": [{"name": "data-pvc", "persistentVolumeClaim": {"claimName": "data-pvc"}}],
        "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
    }


async def test_plain_task_gets_nothing_that_it_did_not_ask_for() -> None:
    patch = await built_patch()
    assert patch.keys() == {"containers"}
    assert main_of(patch).keys() == {"name", "image", "command", "env", "resources"}
    assert main_of(patch)["resources"] == {}

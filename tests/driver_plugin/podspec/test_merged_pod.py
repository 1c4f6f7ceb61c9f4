"""Merged as Argo merges it into the compiled template, a patch gives a valid pod.

Oracles: the schemas that Kubernetes publishes for three minor versions, and the rules that its API server
checks beyond them: unique names and paths, one source per variable and volume, mounts of volumes that exist,
a command for whatever Argo has to start.
"""

from typing import Any

import pytest

from driver_plugin.podspec.pod import BASE_VOLUMES, RUNTIME_PATHS
from tests.driver_plugin.podspec.examples import RESTRICTED, patch_text
from tests.driver_plugin.podspec.executor_pod import (
    assert_api_server_takes,
    base_pod_spec,
    containers,
    executor_pod,
    started_command,
)
from tests.kubernetes_schema import assert_valid

EVERYTHING: dict[str, Any] = {
    "inputs": {
        "parameterValues": {"p": "/kfp-workspace/{{workflow.name}}"},
        "artifacts": {"m": {"artifacts": [{"uri": "oci://r/a"}, {"uri": "oci://r/b"}, {"uri": "oci://r/a"}]}},
    },
    "container": {
        "env": [{"name": "X", "value": "1"}, {"name": "X", "value": "2"}],
        "command": ["run", "{{$.inputs.parameters['p']}}"],
        "resources": {"resourceCpuLimit": "1"},
    },
    "plugin_env": [{"name": "TRACK", "value": "t"}],
    "http_proxy": "http://p:1",
    "default_run_as_user": 1000,
    "config": {
        "pvcMount": [{"constant": "data", "mountPath": "/a"}],
        "secretAsVolume": [{"secretName": "data", "mountPath": "/b"}],
        "configMapAsVolume": [{"configMapName": "data", "mountPath": "/c"}],
        "secretAsEnv": [{"secretName": "s", "keyToEnv": [{"secretKey": "k", "envVar": "X"}]}],
        "fieldPathAsEnv": [{"name": "NODE", "fieldPath": "spec.nodeName"}],
        "emptyDirMounts": [{"volumeName": "tmp", "mountPath": "/d"}],
        "tolerations": [{"key": "a", "operator": "Exists"}],
        "securityContext": {"runAsNonRoot": True},
        "initContainers": [{"name": "prep", "image": "b", "command": ["true"]}],
    },
}


# Each feature of a Kubernetes config and of a container alone, as small as it gets.
CONFIGS: dict[str, dict[str, Any]] = {
    "empty": {},
    "claim": {"pvcMount": [{"constant": "data", "mountPath": "/a", "subPath": "x/y"}]},
    "secret volume": {"secretAsVolume": [{"secretName": "s.with.dots", "mountPath": "/b", "optional": True}]},
    "config map volume": {"configMapAsVolume": [{"configMapName": "c", "mountPath": "/c"}]},
    "secret variable": {
        "secretAsEnv": [{"secretName": "s", "keyToEnv": [{"secretKey": "k", "envVar": "A"}]}]
    },
    "config map variable": {
        "configMapAsEnv": [
            {"configMapName": "c", "optional": True, "keyToEnv": [{"configMapKey": "k", "envVar": "A"}]}
        ]
    },
    "field variable": {"fieldPathAsEnv": [{"name": "NODE", "fieldPath": "spec.nodeName"}]},
    "pull": {"imagePullPolicy": "Always", "imagePullSecret": [{"secretName": "s"}, {"secretName": "s"}]},
    "selector": {"nodeSelector": {"labels": {"disk": "ssd"}}},
    "tolerations": {
        "tolerations": [
            {"key": "a", "operator": "Equal", "value": "1", "effect": "NoExecute", "tolerationSeconds": 60},
            {},
        ]
    },
    "affinity": {
        "nodeAffinity": [
            {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}], "weight": 50},
            {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n"]}]},
        ]
    },
    "deadline": {"activeDeadlineSeconds": 60},
    "ephemeral": {
        "genericEphemeralVolume": [
            {
                "volumeName": "e",
                "mountPath": "/e",
                "size": "5Gi",
                "accessModes": ["ReadWriteOnce"],
                "storageClassName": "fast",
                "metadata": {"labels": {"a": "b"}},
            }
        ]
    },
    "empty directory": {
        "emptyDirMounts": [
            {"volumeName": "shm", "mountPath": "/dev/shm", "medium": "Memory", "sizeLimit": "1G"}
        ]
    },
    "identity": {"securityContext": {"runAsUser": 1000, "runAsGroup": 0, "runAsNonRoot": True}},
    "native sidecar": {
        "initContainers": [
            {
                "name": "proxy",
                "image": "b",
                "restartPolicy": "Always",
                "env": [{"name": "U", "value": "1"}],
                "resources": {"requests": {"cpu": "250m"}, "limits": {"memory": "0.5Gi"}},
                "volumeMounts": [{"volumeName": "kfp-launcher", "mountPath": "/l"}],
                "command": ["sleep"],
            }
        ]
    },
}
GIVEN = {
    "no config": {},
    "everything": EVERYTHING,
    "host users": {"default_host_users": False},
    "accelerator": {
        "container": {
            "resources": {"memoryLimit": 0.65, "accelerator": {"type": "nvidia.com/gpu", "count": 2}}
        }
    },
    **{name: {"config": config} for name, config in CONFIGS.items()},
}


@pytest.mark.parametrize("what", GIVEN)
async def test_merged_pod_is_valid_for_three_versions_of_kubernetes(what: str) -> None:
    pod = executor_pod(await patch_text(**GIVEN[what]))
    assert_valid(pod)


@pytest.mark.parametrize("what", GIVEN)
@pytest.mark.parametrize("ca", ["", "bundle"], ids=["plain", "with a CA"])
async def test_merged_pod_has_unique_names_paths_and_explicit_commands(what: str, ca: str) -> None:
    assert_api_server_takes(executor_pod(await patch_text(**GIVEN[what]), ca_secret=ca))


@pytest.mark.parametrize("ca", ["", "bundle"], ids=["plain", "with a CA"])
def test_volumes_and_mounts_of_the_template_are_known_to_the_checks(ca: str) -> None:
    spec = base_pod_spec(ca_secret=ca)
    assert {volume["name"] for volume in spec["volumes"]} <= BASE_VOLUMES
    scratch = {"/gcs", "/s3", "/minio", "/.local", "/.cache", "/.config"}
    (main,) = (container for container in spec["containers"] if container["name"] == "main")
    assert {mount["mountPath"] for mount in main["volumeMounts"]} - scratch <= RUNTIME_PATHS


async def test_init_containers_run_in_order_before_the_launcher_is_copied() -> None:
    spec = executor_pod(await patch_text(**EVERYTHING))["spec"]
    assert [one["name"] for one in spec["initContainers"]] == [
        *("oci-prepull-0", "oci-prepull-1", "prep", "init", "kfp-launcher")
    ]
    assert [one["name"] for one in spec["containers"]] == ["wait", "main", "oci-0", "oci-1"]


async def test_main_keeps_what_the_template_gave_it() -> None:
    main = containers(executor_pod(await patch_text(**EVERYTHING)))["main"]
    assert main["command"][0] == "/kfp-launcher/launch"
    assert {"name": "kfp-launcher", "mountPath": "/kfp-launcher"} in main["volumeMounts"]
    assert main["securityContext"] == RESTRICTED | {"runAsUser": 1000, "runAsNonRoot": True}


async def test_references_in_the_launchers_command_are_variables_of_the_pod() -> None:
    pod = executor_pod(await patch_text())
    command = started_command(pod)
    assert [command[command.index(flag) + 1] for flag in ("--namespace", "--pod_name", "--pod_uid")] == [
        *("team-a", "pod-7", "uid-7")
    ]
    assert {"NAMESPACE", "KFP_POD_NAME", "KFP_POD_UID"} <= {
        variable["name"] for variable in containers(pod)["main"]["env"]
    }


async def test_text_holds_no_argo_tag() -> None:
    text = await patch_text(**EVERYTHING)
    assert "{{" not in text
    assert text.isascii()
    assert text == await patch_text(**EVERYTHING)

"""Merged as Argo merges it, a patch gives a valid pod: spec PODSPEC 2.1, 2.2 and the invariants behind them.

The merge is the local runner's, which has tests against Kubernetes' own results.
"""

from typing import Any

import pytest

from local_stack.runner.pod_merge import merge_pod_spec
from tests.driver_plugin.podspec.examples import IDENTITY_ENV, RESTRICTED, built_patch, patch_text

MOUNTS = {
    "kfp-launcher": "/kfp-launcher",
    "gcs-scratch": "/gcs",
    "s3-scratch": "/s3",
    "minio-scratch": "/minio",
    "dot-local-scratch": "/.local",
    "dot-cache-scratch": "/.cache",
    "dot-config-scratch": "/.config",
}
BASE = {
    "containers": [
        {"name": "wait", "image": "argoexec", "command": ["argoexec", "wait"]},
        {
            "name": "main",
            "image": "placeholder/should-be-overridden-during-runtime",
            "command": ["should-be-overridden-during-runtime"],
            "env": IDENTITY_ENV,
            "volumeMounts": [{"name": name, "mountPath": path} for name, path in MOUNTS.items()],
            "securityContext": RESTRICTED,
        },
    ],
    "initContainers": [
        {"name": "init", "image": "argoexec", "command": ["argoexec", "init"]},
        {"name": "kfp-launcher", "image": "launcher", "command": ["launcher-v2"]},
    ],
    "volumes": [{"name": name, "emptyDir": {}} for name in MOUNTS],
    "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
}
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


def unique(entries: list[dict[str, Any]], key: str) -> bool:
    keys = [entry[key] for entry in entries]
    return len(keys) == len(set(keys))


@pytest.mark.parametrize("given", [{}, EVERYTHING], ids=["plain", "everything"])
async def test_merged_pod_has_unique_names_paths_and_explicit_commands(given: dict[str, Any]) -> None:
    pod = merge_pod_spec(BASE, await built_patch(**given))
    assert unique(pod["volumes"], "name")
    assert unique([*pod["containers"], *pod["initContainers"]], "name")
    volumes = {volume["name"] for volume in pod["volumes"]}
    for container in [*pod["containers"], *pod["initContainers"]]:
        assert container["command"]
        assert unique(container.get("env", []), "name")
        assert unique(container.get("volumeMounts", []), "mountPath")
        assert {mount["name"] for mount in container.get("volumeMounts", [])} <= volumes
        for variable in container.get("env", []):
            assert not ("value" in variable and "valueFrom" in variable)
    for volume in pod["volumes"]:
        assert len(volume) == 2, "a volume has a name and one source"


async def test_init_containers_run_in_order_before_the_launcher_is_copied() -> None:
    pod = merge_pod_spec(BASE, await built_patch(**EVERYTHING))
    assert [one["name"] for one in pod["initContainers"]] == [
        *("oci-prepull-0", "oci-prepull-1", "prep", "init", "kfp-launcher")
    ]
    assert [one["name"] for one in pod["containers"]] == ["wait", "main", "oci-0", "oci-1"]


async def test_main_keeps_what_the_template_gave_it() -> None:
    pod = merge_pod_spec(BASE, await built_patch(**EVERYTHING))
    main = next(container for container in pod["containers"] if container["name"] == "main")
    assert main["command"][0] == "/kfp-launcher/launch"
    assert {"name": "kfp-launcher", "mountPath": "/kfp-launcher"} in main["volumeMounts"]
    assert main["securityContext"] == RESTRICTED | {"runAsUser": 1000, "runAsNonRoot": True}


async def test_text_holds_no_argo_tag() -> None:
    text = await patch_text(**EVERYTHING)
    assert "{{" not in text
    assert text.isascii()
    assert text == await patch_text(**EVERYTHING)

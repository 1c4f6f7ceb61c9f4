"""Oracle: ``kubectl patch --local --type=strategic`` where it is installed, else the results it gave.

The measured results are those of spec PODSPEC 2.2.
"""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from local_stack.runner.errors import NodeError
from local_stack.runner.pod_merge import merge_pod_spec, read_patch

_BASE: dict[str, Any] = {
    "containers": [
        {"name": "wait", "image": "w"},
        {
            "name": "main",
            "image": "placeholder",
            "command": ["old"],
            "args": ["keep"],
            "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}, {"name": "C", "value": "3"}],
            "volumeMounts": [{"name": "v1", "mountPath": "/m1"}, {"name": "v2", "mountPath": "/m2"}],
            "resources": {"limits": {"cpu": "1", "memory": "1Gi"}},
            "ports": [{"containerPort": 80, "name": "http"}],
            "securityContext": {"capabilities": {"drop": ["ALL"]}, "runAsUser": 5},
        },
    ],
    "initContainers": [{"name": "init", "image": "i"}, {"name": "kfp-launcher", "image": "l"}],
    "volumes": [{"name": "v1", "emptyDir": {}}, {"name": "v2", "emptyDir": {}}],
    "tolerations": [{"key": "a", "operator": "Exists"}],
    "nodeSelector": {"disk": "ssd", "zone": "1"},
}

_PATCHES: dict[str, dict[str, Any]] = {
    "main is overridden and its siblings stay": {
        "containers": [{"name": "main", "image": "user", "command": ["run"], "resources": {}}]
    },
    "env merges by name, patch entries in front": {
        "containers": [{"name": "main", "env": [{"name": "N", "value": "n"}, {"name": "B", "value": "b"}]}]
    },
    "mounts merge by path": {
        "containers": [
            {
                "name": "main",
                "volumeMounts": [{"name": "v9", "mountPath": "/m2"}, {"name": "v1", "mountPath": "/m3"}],
            }
        ]
    },
    "args are replaced": {"containers": [{"name": "main", "args": ["new", "args"]}]},
    "a sidecar follows main": {"containers": [{"name": "main"}, {"name": "oci-0", "image": "o"}]},
    "init containers keep the patch's order": {
        "initContainers": [{"name": "oci-prepull-0", "image": "o"}, {"name": "user-init", "image": "u"}]
    },
    "base init containers are slotted in": {
        "initContainers": [{"name": "kfp-launcher", "image": "new"}, {"name": "x", "image": "u"}]
    },
    "volumes merge by name": {"volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "c"}}]},
    "tolerations are replaced": {"tolerations": [{"key": "gpu", "operator": "Exists"}]},
    "null deletes": {"nodeSelector": {"zone": None}, "tolerations": None},
    "maps merge": {"nodeSelector": {"gpu": "yes"}, "affinity": {"nodeAffinity": {}}},
    "capabilities are replaced": {
        "containers": [{"name": "main", "securityContext": {"capabilities": {"drop": ["NET_RAW"]}}}]
    },
    "delete directive": {"containers": [{"name": "wait", "$patch": "delete"}]},
    "replace directive in a map": {"nodeSelector": {"$patch": "replace", "only": "this"}},
    "replace directive in a list": {"volumes": [{"$patch": "replace"}, {"name": "only", "emptyDir": {}}]},
    "replace directive in a map that the base lacks": {"affinity": {"$patch": "replace", "nodeAffinity": {}}},
    "replace directive in a list that the base lacks": {
        "imagePullSecrets": [{"$patch": "replace"}, {"name": "s"}]
    },
    "a delete does not reach the entry beside it": {
        "volumes": [{"name": "v1", "hostPath": {"path": "/x"}}, {"name": "v1", "$patch": "delete"}]
    },
    "duplicates fold when the base has the list": {
        "containers": [
            {
                "name": "main",
                "env": [{"name": "D", "value": "1"}, {"name": "D", "value": "2"}],
            }
        ]
    },
}


@pytest.mark.parametrize("name", _PATCHES)
def test_a_merge_gives_what_kubectl_gives(name: str, tmp_path: Path) -> None:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed")
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": _BASE}
    file = tmp_path / "pod.json"
    file.write_text(json.dumps(pod))
    patch = json.dumps({"spec": _PATCHES[name]})
    done = subprocess.run(
        [kubectl, "patch", "--local", "--type=strategic", "-o", "json", "-f", str(file), "-p", patch],
        capture_output=True,
        text=True,
        check=True,
        env={"KUBECONFIG": str(tmp_path / "none"), "HOME": str(tmp_path)},
    )
    assert merge_pod_spec(_BASE, _PATCHES[name]) == json.loads(done.stdout)["spec"]


def test_merged_order_is_the_measured_one() -> None:
    merged = merge_pod_spec(_BASE, _PATCHES["init containers keep the patch's order"])
    assert [one["name"] for one in merged["initContainers"]] == [
        "oci-prepull-0",
        "user-init",
        "init",
        "kfp-launcher",
    ]
    merged = merge_pod_spec(_BASE, _PATCHES["a sidecar follows main"])
    assert [one["name"] for one in merged["containers"]] == ["wait", "main", "oci-0"]


def test_duplicates_stay_where_the_base_lacks_the_list() -> None:
    env = [{"name": "D", "value": "1"}, {"name": "D", "value": "2"}]
    merged = merge_pod_spec(
        {"containers": [{"name": "main"}]}, {"containers": [{"name": "main", "env": env}]}
    )
    assert merged["containers"][0]["env"] == env


def test_neither_argument_is_changed() -> None:
    base, patch = json.dumps(_BASE), {"containers": [{"name": "main", "env": [{"name": "A", "value": "x"}]}]}
    merged = merge_pod_spec(_BASE, patch)
    merged["containers"][1]["env"][0]["value"] = "changed"
    assert json.dumps(_BASE) == base
    assert patch["containers"][0]["env"][0]["value"] == "x"  # type: ignore[index]


def test_a_patch_may_be_json_yaml_or_empty() -> None:
    assert read_patch('{"a": "\\u007b\\u007b"}') == {"a": "{{"}
    assert read_patch("a:\n  b: 1\n") == {"a": {"b": 1}}
    assert read_patch("# nothing\n") == {}


@pytest.mark.parametrize("text", ["[1]", "{", "a: [", "word"])
def test_what_is_no_object_is_refused(text: str) -> None:
    with pytest.raises(NodeError, match="podSpecPatch"):
        read_patch(text)


@pytest.mark.parametrize(
    "patch",
    [
        {"nodeSelector": {"$patch": "merge", "a": "b"}},
        {"containers": [{"name": "main", "$patch": "merge"}]},
        {"containers": [{"name": "main", "$patch": "keep"}]},
    ],
)
def test_a_directive_that_kubernetes_refuses_is_refused(patch: dict[str, Any]) -> None:
    with pytest.raises(NodeError, match=r"unknown \$patch directive"):
        merge_pod_spec(_BASE, patch)


def test_an_entry_without_its_merge_key_is_refused() -> None:
    with pytest.raises(NodeError, match="containers has no name"):
        merge_pod_spec(_BASE, {"containers": [{"image": "x"}]})

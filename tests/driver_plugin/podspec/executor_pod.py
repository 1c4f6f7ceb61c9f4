"""The executor's pod as the cluster sees it: compiled template, Argo's additions, the patch merged in.

The template is what the compiler emits; Argo's containers are those of its emissary executor. The merge is
the local runner's, which has tests against kubectl.
"""

import re
from collections.abc import Collection
from functools import cache
from typing import Any, Final

from driver_plugin.podspec.quantity import canonical_quantity
from local_stack.runner.pod_merge import merge_pod_spec, read_patch
from tests.compiler.pipelines import compiled, pipeline, task, templates
from tests.driver_plugin.podspec.examples import kubelet_expand

ARGO_DIRECTORY: Final = {"name": "var-run-argo", "mountPath": "/var/run/argo"}
POD_FIELDS: Final = {"NAMESPACE": "team-a", "KFP_POD_NAME": "pod-7", "KFP_POD_UID": "uid-7"}


@cache
def _template(**options: Any) -> dict[str, Any]:
    found: dict[str, Any] = templates(compiled(pipeline({"work": task()}), **options))[
        "system-container-impl"
    ]
    return found


def base_pod_spec(**options: Any) -> dict[str, Any]:
    """The pod spec that Argo builds from the executor template, before it applies the patch.

    Args:
        options: the compiler's.
    """
    template = _template(**options)
    main = {**template["container"], "name": "main"}
    executor = {"image": "quay.io/argoproj/argoexec:v4.1.2", "volumeMounts": [ARGO_DIRECTORY]}
    return {
        "containers": [
            {"name": "wait", "command": ["argoexec", "wait"], **executor},
            {**main, "volumeMounts": [*main["volumeMounts"], ARGO_DIRECTORY]},
        ],
        "initContainers": [
            {"name": "init", "command": ["argoexec", "init"], **executor},
            *template["initContainers"],
        ],
        "volumes": [{"name": "var-run-argo", "emptyDir": {}}, *template["volumes"]],
        "securityContext": template["securityContext"],
        "serviceAccountName": "pipeline-runner",
        "restartPolicy": "Never",
    }


def executor_pod(patch: str, **options: Any) -> dict[str, Any]:
    """The whole pod as a Kubernetes object."""
    spec = merge_pod_spec(base_pod_spec(**options), read_patch(patch))
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "executor"}, "spec": spec}


def containers(pod: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """All containers of a pod by name, those of the start included."""
    spec = pod["spec"]
    every = [*spec["containers"], *spec["initContainers"]]
    assert len({one["name"] for one in every}) == len(every)
    return {one["name"]: one for one in every}


def started_command(pod: dict[str, Any]) -> list[str]:
    """Main's command line as its process sees it: after the kubelet's expansion."""
    main = containers(pod)["main"]
    return [kubelet_expand(text, POD_FIELDS) for text in (*main["command"], *main.get("args", ()))]


def assert_api_server_takes(pod: dict[str, Any], *, without_command: Collection[str] = ()) -> None:
    """Fail where the API server's rules beyond the schema are broken, or Argo cannot start a container.

    Args:
        pod: the pod.
        without_command: containers that may lack a command.
    """
    volumes = pod["spec"]["volumes"]
    assert _unique(volumes, "name")
    for volume in volumes:
        assert len(volume) == 2, "a volume has a name and one source"
        assert re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", volume["name"])
    names = {volume["name"] for volume in volumes}
    for name, container in containers(pod).items():
        assert container.get("command") or name in without_command
        assert _unique(container.get("env", []), "name")
        assert _unique(container.get("volumeMounts", []), "mountPath")
        for mount in container.get("volumeMounts", []):
            assert mount["name"] in names
            assert mount["mountPath"]
        for variable in container.get("env", []):
            assert not ("value" in variable and "valueFrom" in variable)
        for quantities in container.get("resources", {}).values():
            assert {key: canonical_quantity(text) for key, text in quantities.items()} == quantities


def _unique(entries: list[dict[str, Any]], key: str) -> bool:
    keys = [entry[key] for entry in entries]
    return len(keys) == len(set(keys))

"""The executor's pod as the cluster sees it: compiled template, Argo's additions, the patch merged in.

The template is what the compiler emits; Argo's containers are those of its emissary executor. The merge is
the local runner's, which has tests against kubectl.
"""

from functools import cache
from typing import Any, Final

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

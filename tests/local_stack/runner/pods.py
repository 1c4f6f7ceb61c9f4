"""Pods for tests: a workflow of one pod, its request, and a runner of pods in some executor mode."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from local_stack.runner.container_runtime import Mount, PodSettings
from local_stack.runner.engine import PodRequest
from local_stack.runner.limits import Enforcer
from local_stack.runner.nodes import Node, NodeType, node_id
from local_stack.runner.pod_build import ConfigDirectories
from local_stack.runner.pod_process import LocalPods
from local_stack.runner.workflow import load_workflow
from tests.executor_modes import IMAGE, Mode


def any_workflow(**spec: Any) -> Any:
    template = {"name": "impl", "container": {"image": "x", "command": ["x"]}}
    return load_workflow(
        {
            "metadata": {"name": "w", "namespace": "ns"},
            "spec": {"entrypoint": "impl", "templates": [template], **spec},
        },
        run_id="R",
    )


def pod_request(
    container: Mapping[str, Any],
    patch: Mapping[str, Any] | None = None,
    *,
    task: str = "train",
    **template: Any,
) -> PodRequest:
    name = f"w.root.{task}.executor"
    node = Node(id=node_id("w", name), name=name, type=NodeType.POD, template="impl")
    patches = () if patch is None else (json.dumps(patch),)
    return PodRequest(
        node=node, template={"name": "impl", "container": container, **template}, patches=patches
    )


def config_in(tmp_path: Path) -> ConfigDirectories:
    return ConfigDirectories(tmp_path / "secrets", tmp_path / "configmaps")


def local_pods(
    tmp_path: Path, mode: Mode | None = None, *, enforcer: Enforcer | None = None, **settings: Any
) -> LocalPods:
    """A runner of pods below ``tmp_path``, which pods see when they have their own file system."""
    executors = mode.executors() if mode else None
    return LocalPods(
        any_workflow(),
        PodSettings(
            **{
                "directory": tmp_path / "pods",
                "workspace": tmp_path / "ws",
                "config": config_in(tmp_path),
                "claims": tmp_path / "volumes",
                **settings,
            }
        ),
        runtime=executors.runtime if executors else None,
        enforcer=enforcer,
    )


def shown(path: Path) -> tuple[Mount, ...]:
    """Mounts that show a directory of this machine under its own path."""
    return (Mount(path, str(path)),)


def shell(script: str, *arguments: str) -> dict[str, Any]:
    """A container that runs a shell script, which exists in every mode."""
    return {"image": IMAGE, "command": ["sh", "-ec", script, "script", *arguments]}

"""Calls as Argo's agent makes them: the bodies of spec LAUNCHER D2 with the arguments of COMPILER 9.2."""

from typing import Any

from driver_plugin.argo.requests import WorkflowMetadata

WORKFLOW = WorkflowMetadata(name="demo-x7k2p", namespace="team-a", uid="7d0c1111-0000-0000-0000-000000000000")
RUN_ID = "0b6c2222-0000-0000-0000-000000000000"
PARENT = "5f313333-0000-0000-0000-000000000000"

COMMON: dict[str, Any] = {
    "pipeline_name": "demo",
    "run_id": RUN_ID,
    "run_name": WORKFLOW.name,
    "run_display_name": "Demo",
    "namespace": WORKFLOW.namespace,
    "iteration_index": "-1",
    "cache_disabled": False,
    "log_level": "1",
    "publish_logs": "true",
    "http_proxy": "",
    "https_proxy": "",
    "no_proxy": "",
    "ca_cert_path": "",
    "ml_pipeline_server_address": "ml-pipeline.kubeflow.svc.cluster.local",
    "ml_pipeline_server_port": "8887",
    "ml_pipeline_tls_enabled": False,
}


def root_args(**changes: Any) -> dict[str, Any]:
    return {
        **COMMON,
        "type": "ROOT_DAG",
        "parent_task_id": "",
        "task_name": "",
        "runtime_config": '{"parameterValues":{"q":"say \\"hi\\""}}',
        **changes,
    }


def dag_args(**changes: Any) -> dict[str, Any]:
    return {
        **COMMON,
        "type": "DAG",
        "parent_task_id": PARENT,
        "task_name": "for-loop-1",
        "runtime_config": "",
        **changes,
    }


def container_args(**changes: Any) -> dict[str, Any]:
    return {
        **COMMON,
        "type": "CONTAINER",
        "parent_task_id": PARENT,
        "task_name": "train",
        "kubernetes_config": "",
        **changes,
    }


def without(args: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in args.items() if name not in names}


def body(args: object, **envelope: Any) -> dict[str, Any]:
    """A request body; ``envelope`` replaces parts of the workflow's metadata."""
    metadata = {"name": WORKFLOW.name, "namespace": WORKFLOW.namespace, "uid": WORKFLOW.uid, **envelope}
    return {
        "workflow": {"metadata": metadata},
        "template": {
            "name": "system-container-driver",
            "inputs": {"parameters": []},
            "metadata": {},
            "plugin": {"driver-plugin": {"args": args}},
        },
    }

"""What the rewriter writes is what the service reads.

Oracle: the driver service's own reading of plugin arguments, after Argo's substitution as ``substitution``
simulates it.
"""

from typing import Any

from compiler.options import Mode
from compiler.rewriter.rewrite import RewriteOptions, rewrite
from driver_plugin.argo.arguments import DriverCall, DriverType, parse_driver_call
from driver_plugin.argo.requests import WorkflowMetadata
from driver_plugin.settings import Settings
from tests.compiler.pipelines import Json, arguments, compiled, dag_tasks, pipeline, task, templates
from tests.compiler.rewriter.workflows import submitted
from tests.compiler.substitution import executed, replaced

OPTIONS: dict[str, Any] = {
    "default_run_as_user": 1000,
    "default_run_as_non_root": True,
    "default_host_users": False,
    "cache_disabled": True,
    "http_proxy": "http://proxy",
    "ca_secret": "bundle",
}


def rewritten() -> Json:
    workflow = submitted(compiled(pipeline({"a": task()}), mode=Mode.CONTAINER, **OPTIONS))
    for template in workflow["spec"]["templates"]:
        if "driver" in template["name"]:
            template["container"]["env"].append({"name": "KFP_MLFLOW_CONFIG", "value": '{"a": 1}'})
    return rewrite(workflow, RewriteOptions()).obj


def called(workflow: Json, template: str, values: dict[str, str]) -> DriverCall:
    call = executed(templates(workflow)[template], values)
    return parse_driver_call(
        call["plugin"]["driver-plugin"]["args"],
        workflow=WorkflowMetadata(name="demo-x7", namespace="team-a", uid="uid-1"),
        settings=Settings(namespace="team-a", run_id="run-1"),
    )


def test_container_driver_call_is_read_without_a_warning() -> None:
    call = called(rewritten(), "system-container-driver", {"task-name": "a", "parent-dag-task-id": "p-1"})
    assert (call.type, call.run_id, call.task_name, call.parent_task_id) == (
        DriverType.CONTAINER,
        "run-1",
        "a",
        "p-1",
    )
    assert (call.default_run_as_user, call.default_run_as_non_root, call.default_host_users) == (
        1000,
        True,
        False,
    )
    assert (call.cache_disabled, call.http_proxy, call.ca_cert_path) == (
        True,
        "http://proxy",
        "/kfp/certs/ca.crt",
    )
    assert call.runtime_args == {"KFP_MLFLOW_CONFIG": '{"a": 1}'}
    assert call.warnings == ()


def test_root_driver_call_is_read_without_a_warning() -> None:
    workflow = rewritten()
    values = arguments(replaced(dag_tasks(workflow, "entrypoint")["root-driver"], {}))
    call = called(workflow, "system-dag-driver", values)
    assert (call.type, call.parent_task_id, call.task_name) == (DriverType.ROOT_DAG, "", "")
    assert call.runtime_config == {}
    assert call.warnings == ()

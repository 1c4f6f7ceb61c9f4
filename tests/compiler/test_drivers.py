"""Driver templates in both forms.

Oracle: the templates and argument table of spec COMPILER 9.1 and 9.2, written out here; the container form
is covered by the published Workflows in ``test_goldens``.
"""

import pytest

from compiler.delivery import PluginDelivery
from compiler.options import CompilerOptions, Mode
from compiler.profile import PluginProfile
from compiler.templates.drivers import Identity, container_driver_template, dag_driver_template
from compiler.workflow import compile_workflow
from tests.compiler.pipelines import Json, compiled, pipeline, task, templates

IDENTITY = Identity("namespace/team/pipeline/demo", "Shown")

COMMON = {
    "pipeline_name": "namespace/team/pipeline/demo",
    "run_id": "{{workflow.uid}}",
    "run_name": "{{workflow.name}}",
    "run_display_name": "Shown",
    "namespace": "{{workflow.namespace}}",
    "parent_task_id": "{{inputs.parameters.parent-dag-task-id}}",
    "task_name": "{{inputs.parameters.task-name}}",
    "iteration_index": "{{inputs.parameters.iteration-index}}",
    "cache_disabled": False,
    "ml_pipeline_tls_enabled": False,
    "log_level": "1",
    "publish_logs": "true",
    "http_proxy": "",
    "https_proxy": "",
    "no_proxy": "",
    "ca_cert_path": "",
    "ml_pipeline_server_address": "ml-pipeline.kubeflow.svc.cluster.local",
    "ml_pipeline_server_port": "8887",
}
SECURITY = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}


def metadata(name: str, role: str) -> Json:
    return {
        "annotations": {
            "pipelines.kubeflow.org/runtime-role": "driver",
            "pipelines.kubeflow.org/template-name": name,
        },
        "labels": {"pipelines.kubeflow.org/pod-role": role},
    }


def test_container_driver_is_the_specified_plugin_template() -> None:
    assert container_driver_template(IDENTITY, CompilerOptions()) == {
        "name": "system-container-driver",
        "inputs": {
            "parameters": [
                {"name": "task-name"},
                {"name": "parent-dag-task-id"},
                {"name": "iteration-index", "default": "-1"},
                {"name": "kubernetes-config", "default": ""},
            ]
        },
        "outputs": {
            "parameters": [
                {"name": "pod-spec-patch", "valueFrom": {"jsonPath": "$.pod-spec-patch", "default": ""}},
                {
                    "name": "cached-decision",
                    "default": "false",
                    "valueFrom": {"jsonPath": "$.cached-decision", "default": "false"},
                },
                {"name": "condition", "valueFrom": {"jsonPath": "$.condition", "default": "true"}},
            ]
        },
        "metadata": metadata("system-container-driver", "container-driver"),
        "securityContext": SECURITY,
        "plugin": {
            "driver-plugin": {
                "args": {
                    **COMMON,
                    "type": "CONTAINER",
                    "kubernetes_config": "{{inputs.parameters.kubernetes-config}}",
                }
            }
        },
    }


def test_dag_driver_is_the_specified_plugin_template() -> None:
    assert dag_driver_template(IDENTITY, CompilerOptions()) == {
        "name": "system-dag-driver",
        "inputs": {
            "parameters": [
                {"name": "runtime-config", "default": ""},
                {"name": "task-name", "default": ""},
                {"name": "parent-dag-task-id", "default": ""},
                {"name": "iteration-index", "default": "-1"},
                {"name": "driver-type", "default": "DAG"},
            ]
        },
        "outputs": {
            "parameters": [
                {
                    "name": "parent-dag-task-id-path",
                    "valueFrom": {"jsonPath": "$.parent-dag-task-id-path"},
                },
                {"name": "iteration-count", "valueFrom": {"jsonPath": "$.iteration-count", "default": "0"}},
                {"name": "condition", "valueFrom": {"jsonPath": "$.condition", "default": "true"}},
            ]
        },
        "metadata": metadata("system-dag-driver", "dag-driver"),
        "securityContext": SECURITY,
        "plugin": {
            "driver-plugin": {
                "args": {
                    **COMMON,
                    "type": "{{inputs.parameters.driver-type}}",
                    "runtime_config": "{{inputs.parameters.runtime-config}}",
                }
            }
        },
    }


def test_administrator_defaults_keep_their_json_types() -> None:
    options = CompilerOptions(
        default_run_as_user=1000,
        default_run_as_group=0,
        default_run_as_non_root=True,
        default_host_users=False,
    )
    arguments = container_driver_template(IDENTITY, options)["plugin"]["driver-plugin"]["args"]
    assert {name: value for name, value in arguments.items() if name.startswith("default_")} == {
        "default_run_as_user": 1000,
        "default_run_as_group": 0,
        "default_run_as_non_root": True,
        "default_host_users": False,
    }
    assert (
        "default_run_as_user" not in dag_driver_template(IDENTITY, options)["plugin"]["driver-plugin"]["args"]
    )


def test_administrator_defaults_are_flags_at_the_end_of_a_driver_pod() -> None:
    options = CompilerOptions(
        mode=Mode.CONTAINER, default_run_as_user=1000, default_run_as_non_root=True, default_host_users=False
    )
    assert container_driver_template(IDENTITY, options)["container"]["args"][-6:] == [
        "--default_run_as_user",
        "1000",
        "--default_run_as_non_root",
        "true",
        "--default_host_users",
        "false",
    ]


def test_driver_retry_repeats_infrastructure_failures_only() -> None:
    profile = PluginProfile.parse("driverRetry: 3\ndriverTimeout: 10m")
    template = dag_driver_template(IDENTITY, CompilerOptions(plugin=PluginDelivery(profile=profile)))
    assert template["timeout"] == "10m"
    assert template["retryStrategy"] == {
        "limit": "3",
        "retryPolicy": "Always",
        "expression": "lastRetry.status == 'Error' || !(lastRetry.message startsWith 'kfp-driver: ')",
        "backoff": {"duration": "2", "factor": "2", "maxDuration": "600"},
    }


def test_driver_pod_metadata_never_overrides_system_metadata() -> None:
    options = CompilerOptions(
        mode=Mode.CONTAINER,
        driver_pod_labels={"team": "a", "pipelines.kubeflow.org/pod-role": "mine"},
        driver_pod_annotations={"note": "b"},
    )
    found = dag_driver_template(IDENTITY, options)["metadata"]
    assert found["labels"] == {"team": "a", "pipelines.kubeflow.org/pod-role": "dag-driver"}
    assert found["annotations"]["note"] == "b"


def test_driver_pod_metadata_is_reported_as_ineffective_for_plugins() -> None:
    warnings: list[str] = []
    workflow = compiled(pipeline({"one": task()}), warnings, driver_pod_labels={"team": "a"})
    assert "team" not in str(workflow)
    assert warnings == ["driver pod labels and annotations have no effect: plugin drivers have no pods"]


def test_proxies_and_grpc_settings_reach_driver_pods_in_order() -> None:
    options = CompilerOptions(
        mode=Mode.CONTAINER,
        https_proxy="http://proxy:3128",
        no_proxy="internal, .svc,",
        grpc_backoff={"ML_PIPELINE_GRPC_BACKOFF_JITTER": "0.2"},
    )
    container = dag_driver_template(IDENTITY, options)["container"]
    assert [entry["name"] for entry in container["env"]] == [
        "https_proxy",
        "HTTPS_PROXY",
        "no_proxy",
        "NO_PROXY",
        "KFP_POD_NAME",
        "KFP_POD_UID",
        "NAMESPACE",
        "ML_PIPELINE_GRPC_BACKOFF_JITTER",
    ]
    merged = container["args"][container["args"].index("--no_proxy") + 1].split(",")
    assert merged[:4] == ["internal", ".svc", "localhost", "127.0.0.1"]
    assert len(set(merged)) == len(merged)
    assert "" not in merged


@pytest.mark.parametrize(
    ("display_name", "shown"), [("My run", "My run"), ("run {{workflow.name}}", "")], ids=["plain", "tag"]
)
def test_display_name_with_a_tag_is_left_to_the_driver(display_name: str, shown: str) -> None:
    workflow = compile_workflow(
        pipeline({"one": task()}), parameters={}, display_name=display_name, options=CompilerOptions()
    )
    arguments = templates(workflow)["system-dag-driver"]["plugin"]["driver-plugin"]["args"]
    assert arguments["run_display_name"] == shown

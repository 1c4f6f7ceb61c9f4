"""What the rewriter changes, on which objects, and what it leaves.

Oracles: spec COMPILER 11.1 and 11.5; the project's compiler; an independent RFC 6902; kubectl.
"""

import json
import shutil
import subprocess
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.delivery import Delivery, PluginDelivery
from compiler.profile import PluginProfile
from compiler.rewriter.errors import RewriteRefused
from compiler.rewriter.rewrite import Result, RewriteOptions, rewrite
from tests.compiler.argo_rules import violations
from tests.compiler.json_patch import patched
from tests.compiler.pipelines import Json, compiled, loop, pipeline, task, templates
from tests.compiler.rewriter.workflows import (
    CONTAINER_DRIVER,
    DAG_DRIVER,
    INLINE,
    call_arguments,
    driver_arguments,
    driver_pods,
    options,
    submitted,
)


def rewritten(obj: Json, chosen: RewriteOptions | None = None) -> Json:
    """The rewritten object, after checks of what holds for every rewriting."""
    before = deepcopy(obj)
    result = rewrite(obj, chosen or RewriteOptions())
    assert obj == before
    assert patched(obj, result.patch) == result.obj
    assert not rewrite(result.obj, chosen or RewriteOptions()).changed
    return result.obj


def with_policy(delivery: Delivery, *, timeout: str, retry: int) -> PluginDelivery:
    profile = PluginProfile.parse(f"driverTimeout: '{timeout}'\ndriverRetry: {retry}")
    return PluginDelivery(delivery=delivery, profile=profile)


@pytest.mark.parametrize("retry", [0, 1, 3])
@pytest.mark.parametrize("timeout", ["", "90s", "1h30m"])
@pytest.mark.parametrize("delivery", list(Delivery))
def test_rewritten_container_form_is_the_plugin_form(delivery: Delivery, timeout: str, retry: int) -> None:
    plugin = with_policy(delivery, timeout=timeout, retry=retry)
    given_pipeline = pipeline({"a": task(), "each": loop(), "in": task("comp-import")})
    expected = compiled(given_pipeline, plugin=plugin)
    assert rewritten(driver_pods(), RewriteOptions(plugin=plugin)) == expected
    assert violations(expected) == []
    for name in (DAG_DRIVER, CONTAINER_DRIVER):
        assert templates(expected)[name].get("timeout", "") == timeout
        assert templates(expected)[name].get("retryStrategy", {"limit": "0"})["limit"] == str(retry)


def test_timeout_and_retries_of_a_template_win_over_the_profile() -> None:
    workflow = driver_pods()
    own = {"timeout": "5s", "retryStrategy": {"limit": "2"}}
    templates(workflow)[DAG_DRIVER].update(own)
    templates(workflow)[CONTAINER_DRIVER]["retryStrategy"] = None
    result = rewritten(workflow, options("driverTimeout: 10m\ndriverRetry: 3"))
    assert {name: templates(result)[DAG_DRIVER][name] for name in own} == own
    assert templates(result)[CONTAINER_DRIVER]["timeout"] == "10m"
    assert templates(result)[CONTAINER_DRIVER]["retryStrategy"]["limit"] == "3"


def test_converted_template_keeps_its_timeout_and_retries_when_the_profile_changes() -> None:
    plain = rewritten(driver_pods())
    assert not rewrite(plain, options("driverTimeout: 10m\ndriverRetry: 3")).changed
    bound = rewritten(driver_pods(), options("driverTimeout: 10m\ndriverRetry: 3"))
    assert not rewrite(bound, options("driverRetry: 9")).changed
    assert not rewrite(bound, RewriteOptions()).changed


def test_administrators_defaults_keep_their_types() -> None:
    defaults: dict[str, Any] = {
        "default_run_as_user": 1000,
        "default_run_as_group": 0,
        "default_run_as_non_root": True,
        "default_host_users": False,
        "cache_disabled": True,
        "http_proxy": "http://proxy",
    }
    given_pipeline = pipeline({"a": task()})
    expected = compiled(given_pipeline, **defaults)
    assert rewritten(compiled(given_pipeline, mode="container", **defaults)) == expected
    assert call_arguments(expected)["default_run_as_user"] == 1000


def test_settings_of_run_plugins_become_one_argument() -> None:
    workflow = driver_pods()
    for name in (DAG_DRIVER, CONTAINER_DRIVER):
        templates(workflow)[name]["container"]["env"] += [
            {"name": "KFP_MLFLOW_CONFIG", "value": '{"uri": "http://m"}'},
            {"name": "ALPHA", "value": "é"},
            {"name": "EMPTY"},
            {"name": "http_proxy", "value": "http://proxy"},
        ]
    for name in (DAG_DRIVER, CONTAINER_DRIVER):
        text = call_arguments(rewritten(workflow), name)["runtime_args"]
        assert text == '{"ALPHA":"\\u00e9","EMPTY":"","KFP_MLFLOW_CONFIG":"{\\"uri\\": \\"http://m\\"}"}'


def test_namespace_of_the_pod_becomes_that_of_the_workflow_and_a_literal_stays() -> None:
    workflow = driver_pods()
    arguments = driver_arguments(workflow)
    arguments[arguments.index("$(NAMESPACE)")] = "team-b"
    result = rewritten(workflow)
    assert call_arguments(result)["namespace"] == "team-b"
    assert call_arguments(result, DAG_DRIVER)["namespace"] == "{{workflow.namespace}}"


def test_what_holds_for_a_call_is_kept_and_the_rest_of_the_pod_is_reported() -> None:
    workflow = driver_pods()
    kept = {
        "timeout": "10m",
        "activeDeadlineSeconds": 60,
        "retryStrategy": {"limit": "2"},
        "synchronization": {"mutexes": [{"name": "m"}]},
        "metrics": {"prometheus": []},
        "memoize": {"key": "k"},
    }
    dropped = {
        "nodeSelector": {"disk": "ssd"},
        "sidecars": [{"name": "s"}],
        "podSpecPatch": "{}",
        "serviceAccountName": "robot",
    }
    templates(workflow)[DAG_DRIVER].update({**kept, **dropped, "initContainers": [], "affinity": None})
    templates(workflow)[DAG_DRIVER]["container"]["envFrom"] = [{"configMapRef": {"name": "c"}}]
    result = rewrite(workflow, RewriteOptions())
    template = templates(result.obj)[DAG_DRIVER]
    assert {name: template[name] for name in kept} == kept
    assert not set(dropped) & set(template)
    assert [str(one) for one in result.warnings] == [
        f"{DAG_DRIVER}: envFrom of the driver container is dropped",
        *(f'{DAG_DRIVER}: field "{name}" of the driver pod is dropped' for name in dropped),
    ]


def test_outputs_keep_their_defaults_and_other_sources() -> None:
    workflow = driver_pods()
    outputs = templates(workflow)[DAG_DRIVER]["outputs"]["parameters"]
    outputs[1]["valueFrom"] = {"expression": "'3'"}
    outputs[2]["globalName"] = "g"
    assert templates(rewritten(workflow))[DAG_DRIVER]["outputs"]["parameters"] == [
        {"name": "parent-dag-task-id-path", "valueFrom": {"jsonPath": "$.parent-dag-task-id-path"}},
        {"name": "iteration-count", "valueFrom": {"expression": "'3'"}},
        {"name": "condition", "valueFrom": {"jsonPath": "$.condition", "default": "true"}, "globalName": "g"},
    ]


def test_partly_converted_workflow_is_completed() -> None:
    workflow, half = driver_pods(), driver_pods()
    done = rewritten(workflow)
    index = [one["name"] for one in half["spec"]["templates"]].index(DAG_DRIVER)
    half["spec"]["templates"][index] = done["spec"]["templates"][index]
    result = rewrite(half, RewriteOptions())
    assert result.templates == (CONTAINER_DRIVER,)
    assert result.obj == done


def test_lost_plugin_is_restored_byte_for_byte() -> None:
    """RetryRun of an API server with an older Argo library drops ``executorPlugins``."""
    whole = rewritten(submitted(driver_pods()), RewriteOptions(plugin=INLINE))
    stored = {**whole, "spec": {key: one for key, one in whole["spec"].items() if key != "executorPlugins"}}
    restored = rewrite(stored, RewriteOptions(plugin=INLINE, convert=False))
    assert json.dumps(restored.obj) == json.dumps(whole)
    assert [one["path"] for one in restored.patch] == ["/spec/executorPlugins"]


def test_run_id_comes_from_the_label() -> None:
    spec = rewritten(submitted(driver_pods()), RewriteOptions(plugin=INLINE))["spec"]
    assert "runs/run-1" in spec["podSpecPatch"]
    assert "workflow.uid" not in json.dumps(spec["executorPlugins"])
    unlabelled = rewritten(driver_pods(), RewriteOptions(plugin=INLINE))["spec"]
    assert "runs/{{workflow.uid}}" in unlabelled["podSpecPatch"]


@pytest.mark.parametrize("label", ["{{workflow.name}}", "", "a/b", 7])
def test_label_that_is_no_run_id_is_refused(label: object) -> None:
    workflow = driver_pods()
    workflow["metadata"]["labels"] = {"pipeline/runid": label}
    with pytest.raises(RewriteRefused, match="MALFORMED: label pipeline/runid"):
        rewrite(workflow, RewriteOptions(plugin=INLINE))


def running(workflow: Json) -> None:
    workflow["status"] = {"phase": "Running"}


def labelled(mode: str) -> Callable[[Json], None]:
    def label(workflow: Json) -> None:
        workflow["metadata"]["labels"] = {"kfp-driver/mode": mode}

    return label


@pytest.mark.parametrize(
    ("change", "chosen", "converted"),
    [
        (lambda _: None, options(), True),
        (running, options(), False),
        (labelled("pod"), options(), False),
        (labelled("plugin"), options(), True),
        (lambda _: None, options("defaultMode: pod"), False),
        (labelled("plugin"), options("defaultMode: pod"), True),
        (lambda _: None, options(convert=False), False),
    ],
    ids=["plain", "running", "label pod", "label plugin", "default pod", "pod, label plugin", "update"],
)  # fmt: skip
def test_which_workflows_are_converted(
    change: Callable[[Json], None], chosen: RewriteOptions, *, converted: bool
) -> None:
    workflow = driver_pods()
    change(workflow)
    assert (rewritten(workflow, chosen) != workflow) is converted


def test_what_is_not_converted_is_not_refused_either() -> None:
    workflow = driver_pods()
    driver_arguments(workflow).extend(["--dag_execution_id", "1"])
    for change, chosen in ((running, options()), (lambda _: None, options(convert=False))):
        changed = deepcopy(workflow)
        change(changed)
        assert rewrite(changed, chosen).obj is changed


def test_running_plugin_workflow_is_completed_with_a_word() -> None:
    workflow = rewritten(driver_pods())
    running(workflow)
    result = rewrite(workflow, RewriteOptions(plugin=INLINE))
    assert [str(one) for one in result.warnings] == [
        "in-progress: it runs already, so its driver pods are left as they are"
    ]
    assert "executorPlugins" in result.obj["spec"]


@pytest.mark.parametrize("kind", ["WorkflowTemplate", "ClusterWorkflowTemplate"])
def test_workflow_templates_are_rewritten(kind: str) -> None:
    workflow = {**driver_pods(), "kind": kind}
    assert rewritten(workflow, RewriteOptions(plugin=INLINE)) == {
        **rewritten(driver_pods(), RewriteOptions(plugin=INLINE)),
        "kind": kind,
    }


def test_cron_workflows_are_rewritten_inside() -> None:
    spec = driver_pods()["spec"]
    cron = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "CronWorkflow",
        "metadata": {"name": "c"},
        "spec": {"schedule": "* * * * *", "workflowSpec": spec},
    }
    inner = rewritten(cron, RewriteOptions(plugin=INLINE))["spec"]
    assert inner == {
        "schedule": "* * * * *",
        "workflowSpec": rewritten(driver_pods(), RewriteOptions(plugin=INLINE))["spec"],
    }


def test_items_of_a_list_are_rewritten_and_others_stay() -> None:
    config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}}
    listed = {"apiVersion": "v1", "kind": "List", "items": [config_map, driver_pods(), 7]}
    assert rewritten(listed)["items"] == [config_map, rewritten(driver_pods()), 7]


def test_one_refusal_in_a_list_leaves_all() -> None:
    broken = driver_pods()
    driver_arguments(broken).append("stray")
    with pytest.raises(RewriteRefused):
        rewrite({"apiVersion": "v1", "kind": "List", "items": [driver_pods(), broken]}, RewriteOptions())


@pytest.mark.parametrize(
    "obj",
    [
        {},
        {"apiVersion": "v1", "kind": "ConfigMap", "data": {}},
        {"apiVersion": "other.io/v1", "kind": "Workflow", "spec": 7},
        {"apiVersion": "argoproj.io/v1alpha1", "kind": "Sensor", "spec": []},
        {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow"},
        {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "spec": {"templates": None}},
        {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "spec": {"templates": [
            {"name": "main", "container": {"image": "x"}}, {"name": "p", "plugin": {"other": {}}},
            {"name": "s", "script": {"source": "--type x --parent_task_id y"}}, {"name": "n"}]}},
    ],
    ids=str,
)  # fmt: skip
def test_objects_without_drivers_come_back_as_they_are(obj: Json) -> None:
    result = rewrite(obj, RewriteOptions(plugin=INLINE))
    assert result.obj is obj
    assert not result.changed
    assert result.warnings == ()


def test_reference_to_a_template_elsewhere_is_said() -> None:
    workflow = {**driver_pods(), "spec": {"workflowTemplateRef": {"name": "w"}}}
    result = rewrite(workflow, RewriteOptions())
    assert not result.changed
    assert "workflowTemplateRef" in str(result.warnings[0])


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
def test_patch_is_one_that_kubernetes_applies(tmp_path: Path) -> None:
    workflow = submitted(driver_pods())
    workflow["metadata"]["name"] = "demo"
    file = tmp_path / "workflow.json"
    file.write_text(json.dumps(workflow))
    result = rewrite(workflow, RewriteOptions(plugin=INLINE))
    patch = json.dumps(list(result.patch))
    command = ["kubectl", "patch", "--local", "-f", str(file), "--type=json", "-p", patch, "-o", "json"]
    answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert json.loads(answer.stdout) == result.obj


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@settings(deadline=None, max_examples=200)
@given(data=st.data())
def test_any_part_of_any_type_is_rewritten_or_refused_by_name(data: st.DataObject) -> None:
    """Replace one random part of a Workflow by a random value: no other outcome, and nothing half done."""
    workflow = submitted(driver_pods())
    holder: Any = workflow
    while True:
        keys = sorted(holder) if isinstance(holder, dict) else list(range(len(holder)))
        key = data.draw(st.sampled_from(keys))
        if not isinstance(holder[key], dict | list) or not holder[key] or data.draw(st.booleans()):
            break
        holder = holder[key]
    holder[key] = data.draw(JSON_VALUES)
    before = deepcopy(workflow)
    chosen = RewriteOptions(plugin=INLINE)
    outcome = rewritten_or_refused(workflow, chosen)
    if isinstance(outcome, RewriteRefused):
        assert outcome.message.isprintable()
        assert len(outcome.message) < 1500
    else:
        assert patched(workflow, outcome.patch) == outcome.obj
        assert not rewrite(outcome.obj, chosen).changed
    assert workflow == before


def rewritten_or_refused(workflow: Json, chosen: RewriteOptions) -> Result | RewriteRefused:
    try:
        return rewrite(workflow, chosen)
    except RewriteRefused as refusal:
        return refusal

"""What a submitter does to a compiled Workflow.

Oracle: the steps of spec COMPILER 2.4.
"""

import json
from copy import deepcopy

from compiler.finalize import finalize_workflow
from compiler.options import Mode
from tests.compiler.pipelines import Json, compiled, loop, pipeline, task


def final(workflow: Json, **fields: str) -> Json:
    return finalize_workflow(workflow, run_id="run-1", namespace="team-a", display_name="My run", **fields)


def test_run_is_named_on_workflow_and_pods() -> None:
    workflow = final(compiled(pipeline({"a": task()})))
    assert workflow["metadata"] == {
        "generateName": "demo-",
        "namespace": "team-a",
        "labels": {"pipeline/runid": "run-1"},
        "annotations": {
            "workflows.argoproj.io/pod-name-format": "v1",
            "pipelines.kubeflow.org/run_name": "My run",
        },
    }
    assert workflow["spec"]["podMetadata"]["labels"]["pipeline/runid"] == "run-1"


def test_every_template_refuses_the_sidecar_unless_it_says_otherwise() -> None:
    compiled_workflow = compiled(pipeline({"a": task(), "b": loop()}))
    compiled_workflow["spec"]["templates"][0]["metadata"]["annotations"]["sidecar.istio.io/inject"] = "true"
    found = [
        one["metadata"]["annotations"]["sidecar.istio.io/inject"]
        for one in final(compiled_workflow)["spec"]["templates"]
    ]
    assert found == ["true"] + ["false"] * (len(found) - 1)


def test_run_id_replaces_its_tag_everywhere() -> None:
    workflow = final(compiled(pipeline({"a": task()}), mode=Mode.CONTAINER))
    text = json.dumps(workflow)
    assert "{{workflow.uid}}" not in text
    assert "pipelines.kubeflow.org/runs/run-1" in text


def test_given_name_and_account_replace_the_generated_ones() -> None:
    workflow = final(compiled(pipeline({"a": task()})), name="demo-1", service_account="robot")
    assert workflow["metadata"]["name"] == "demo-1"
    assert "generateName" not in workflow["metadata"]
    assert workflow["spec"]["serviceAccountName"] == "robot"


def test_the_compiled_workflow_is_not_changed_and_a_second_pass_changes_nothing() -> None:
    workflow = compiled(pipeline({"a": task()}))
    before = deepcopy(workflow)
    once = final(workflow)
    assert workflow == before
    assert final(once) == once

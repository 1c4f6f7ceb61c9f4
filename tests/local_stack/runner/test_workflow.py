"""Oracle: spec LAUNCHER E1 and E4 (what is executed, ignored, refused), and KFP's own golden workflows."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from local_stack.runner.driver_containers import as_plugin_template, parse_flags
from local_stack.runner.errors import UnsupportedWorkflowError
from local_stack.runner.workflow import TemplateKind, load_workflow

_CONFORMANCE = Path(__file__).parents[4] / "shared" / "conformance" / "workflows"
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _workflow(**changes: Any) -> dict[str, Any]:
    template: dict[str, Any] = {"name": "main", "suspend": {"duration": "0"}} | changes.pop("template", {})
    templates = [template, *changes.pop("templates", [])]
    return {"metadata": {"name": "w"}, "spec": {"entrypoint": "main", "templates": templates} | changes}


def _dag(*tasks: dict[str, Any]) -> dict[str, Any]:
    return {
        "metadata": {"name": "w"},
        "spec": {
            "entrypoint": "d",
            "templates": [
                {"name": "d", "dag": {"tasks": list(tasks)}},
                {"name": "s", "suspend": {"duration": "0"}},
            ],
        },
    }


@pytest.mark.parametrize(
    ("document", "field"),
    [
        (_workflow(synchronization={"mutex": {}}), "spec.synchronization"),
        (_workflow(template={"memoize": {"key": "k"}}), "spec.templates[main].memoize"),
        (_workflow(template={"daemon": True}), "spec.templates[main].daemon"),
        (_workflow(templates=[{"name": "x", "steps": [[{"name": "a"}]]}]), "spec.templates[x].steps"),
        (_workflow(templates=[{"name": "x", "script": {"source": "x"}}]), "spec.templates[x].script"),
        (_workflow(templates=[{"name": "x", "containerSet": {"a": 1}}]), "spec.templates[x].containerSet"),
        (_workflow(templates=[{"name": "x", "resource": {"action": "get"}}]), "spec.templates[x].resource"),
        (_workflow(templates=[{"name": "x", "data": {"source": {"a": 1}}}]), "spec.templates[x].data"),
        (_workflow(template={"synchronization": {"mutex": {}}}), "spec.templates[main].synchronization"),
        (
            _workflow(template={"outputs": {"artifacts": [{"name": "a"}]}}),
            "spec.templates[main].outputs.artifacts",
        ),
        (
            _dag({"name": "a", "template": "s", "arguments": {"artifacts": [{"name": "a"}]}}),
            "spec.templates[d].dag.tasks[a].arguments.artifacts",
        ),
        (
            _dag({"name": "a", "template": "s", "hooks": {"running": {"template": "s"}}}),
            "spec.templates[d].dag.tasks[a].hooks.running",
        ),
        (
            _workflow(template={"inputs": {"artifacts": [{"name": "a"}]}}),
            "spec.templates[main].inputs.artifacts",
        ),
        (_workflow(arguments={"artifacts": [{"name": "a"}]}), "spec.arguments.artifacts"),
        (_workflow(hooks={"running": {"template": "main"}}), "spec.hooks.running"),
        (_workflow(template={"suspend": {}}), "spec.templates[main].suspend"),
        (_dag({"name": "a", "templateRef": {"name": "x"}}), "spec.templates[d].dag.tasks[a].templateRef"),
        (_dag({"name": "a", "inline": {"suspend": {}}}), "spec.templates[d].dag.tasks[a].inline"),
        (
            _dag({"name": "a", "template": "s", "continueOn": {"failed": True}}),
            "spec.templates[d].dag.tasks[a].continueOn",
        ),
        (
            _dag({"name": "a", "template": "s", "hooks": {"exit": {"template": "s", "expression": "x"}}}),
            "spec.templates[d].dag.tasks[a].hooks.exit.expression",
        ),
        (
            _dag({"name": "a", "template": "s", "when": "{{=1 == 1}}"}),
            "spec.templates[d].dag.tasks[a].when",
        ),
        (_workflow(podSpecPatch="{{=1}}"), "spec.podSpecPatch"),
        (
            _dag({"name": "a", "template": "s", "withSequence": {"count": "1", "end": "2"}}),
            "spec.templates[d].dag.tasks[a].withSequence",
        ),
        (
            _dag({"name": "a", "template": "s", "withSequence": {"start": "1"}}),
            "spec.templates[d].dag.tasks[a].withSequence",
        ),
        (
            _dag({"name": "a", "template": "s", "withSequence": {"count": "1", "format": "%s"}}),
            "spec.templates[d].dag.tasks[a].withSequence.format",
        ),
        (
            _dag({"name": "a", "template": "s", "withItems": [1], "withParam": "[]"}),
            "spec.templates[d].dag.tasks[a]",
        ),
        (_dag({"name": "a", "template": "s", "onExit": "s"}), "spec.templates[d].dag.tasks[a].onExit"),
        (
            _workflow(templates=[{"name": "x", "dag": {"target": "z", "tasks": []}}]),
            "spec.templates[x].dag.target",
        ),
        (_workflow(template={"failFast": True}), "spec.templates[main].failFast"),
        (_workflow(onExit="nope"), "spec.onExit"),
        (_dag({"name": "a", "template": "nope"}), "spec.templates[d].dag.tasks[a].template"),
        (
            _dag({"name": "a", "template": "s", "depends": "b.Succeeded"}),
            "spec.templates[d].dag.tasks[a].depends",
        ),
        (
            _dag(
                {"name": "a", "template": "s", "depends": "b"},
                {"name": "b", "template": "s", "depends": "a"},
            ),
            "spec.templates[d].dag.tasks[a].depends",
        ),
        ({"kind": "CronWorkflow", "spec": {}}, "kind"),
        ({"metadata": {}}, "spec"),
    ],
)
def test_what_is_not_executed_is_refused_by_its_path(document: dict[str, Any], field: str) -> None:
    with pytest.raises(UnsupportedWorkflowError) as caught:
        load_workflow(document)
    assert caught.value.field == field
    assert caught.value.exit_code == 2


def test_pod_settings_are_ignored_and_listed() -> None:
    workflow = load_workflow(
        _workflow(
            template={"tolerations": [{"key": "a"}]}, serviceAccountName="sa", ttlStrategy={"secondsAfter": 1}
        )
    )
    assert workflow.ignored_fields == (
        "spec.serviceAccountName",
        "spec.ttlStrategy",
        "spec.templates[main].tolerations",
    )


def test_empty_members_of_serialised_workflows_count_as_absent() -> None:
    load_workflow(_workflow(template={"outputs": {"artifacts": []}, "script": None, "memoize": {}}))


def test_a_workflow_without_a_name_gets_one_from_its_prefix() -> None:
    document = _workflow() | {"metadata": {"generateName": "demo-"}}
    name = load_workflow(document).name
    assert name.startswith("demo-")
    assert len(name) == len("demo-") + 5


def test_globals_are_those_of_argo() -> None:
    document = _workflow(arguments={"parameters": [{"name": "p", "value": "v"}]}, serviceAccountName="sa")
    document["metadata"] |= {"namespace": "ns", "labels": {"l": "1"}, "annotations": {"a": "2"}}
    values = load_workflow(document, run_id="R").global_values()
    assert values.pop("workflow.creationTimestamp").endswith("Z")
    assert values == {
        "workflow.name": "w",
        "workflow.uid": "R",
        "workflow.namespace": "ns",
        "workflow.serviceAccountName": "sa",
        "workflow.parameters": '[{"name": "p", "value": "v"}]',
        "workflow.parameters.json": '[{"name": "p", "value": "v"}]',
        "workflow.parameters.p": "v",
        "workflow.labels.l": "1",
        "workflow.annotations.a": "2",
    }


def test_flags_of_a_driver_container_become_plugin_arguments() -> None:
    template = {
        "name": "system-container-driver",
        "metadata": {"annotations": {"pipelines.kubeflow.org/runtime-role": "driver"}},
        "container": {
            "args": [
                "--type",
                "CONTAINER",
                "--namespace",
                "$(NAMESPACE)",
                "--ca_cert_path",
                "",
                "--condition_path",
                "/tmp/x",
                "--cache_disabled=false",
                "--ml_pipeline_tls_enabled=true",
            ]
        },
    }
    assert as_plugin_template(template, namespace="ns")["plugin"] == {
        "driver-plugin": {
            "args": {
                "type": "CONTAINER",
                "namespace": "ns",
                "ca_cert_path": "",
                "cache_disabled": False,
                "ml_pipeline_tls_enabled": True,
            }
        }
    }


def test_flags_may_be_written_both_ways() -> None:
    assert parse_flags(["--a", "1", "-b=2", "--c", "--d", "--cache_disabled", "--e=x=y"]) == {
        "a": "1",
        "b": "2",
        "c": "--d",
        "cache_disabled": "true",
        "e": "x=y",
    }


@pytest.mark.conformance
def test_every_golden_workflow_of_kfp_loads_with_its_drivers_as_plugin_calls() -> None:
    if not _CONFORMANCE.is_dir():
        pytest.skip("the conformance fixtures are not beside the project")
    files = sorted(_CONFORMANCE.glob("*.yaml"))
    assert files
    for file in files:
        document = next(iter(yaml.load_all(file.read_text(), _LOADER)))
        workflow = load_workflow(document, run_id="R")
        drivers = [template for template in workflow.templates.values() if template.driver_container]
        assert drivers, file.name
        for template in workflow.templates.values():
            is_pod = template.name.endswith("system-container-impl") or template.name.startswith(
                "system-importer"
            )
            assert (template.kind is TemplateKind.POD) is is_pod, f"{file.name}: {template.name}"

"""DAG templates: dependencies, conditions, importers, exit hooks, loops.

Oracle: spec COMPILER 6.9 and 6.10, its worked example and the rules for what no published Workflow covers.
"""

import pytest

from compiler.options import Mode
from tests.compiler.argo_rules import violations
from tests.compiler.pipelines import (
    after,
    arguments,
    compiled,
    dag,
    dag_tasks,
    exit_task,
    input_names,
    loop,
    pipeline,
    task,
    templates,
    when,
)

PARENT = "{{inputs.parameters.parent-dag-task-id}}"
INDEX = "{{inputs.parameters.iteration-index}}"


def test_worked_example_of_a_loop() -> None:
    given = pipeline(
        {
            "split": task(),
            "each": loop("comp-each", dependentTasks=["split"], iteratorPolicy={"parallelismLimit": 3}),
        },
        components={"comp-each": dag({"work": task()})},
    )
    workflow = compiled(given)
    found = templates(workflow)
    assert list(found) == [
        "system-container-driver",
        "system-container-executor",
        "system-container-impl",
        "comp-each",
        "system-dag-driver",
        "comp-each-each-iterator",
        "root",
        "entrypoint",
    ]
    assert [(name, one["template"], one.get("depends")) for name, one in dag_tasks(workflow).items()] == [
        ("each", "comp-each-each-iterator", "split.Succeeded"),
        ("split-driver", "system-container-driver", None),
        ("split", "system-container-executor", "split-driver.Succeeded"),
    ]
    assert found["comp-each-each-iterator"]["parallelism"] == 3
    assert found["comp-each"]["inputs"]["parameters"] == [
        {"name": "parent-dag-task-id"},
        {"name": "iteration-index", "default": "-1"},
    ]
    iterations = dag_tasks(workflow, "comp-each-each-iterator")["iteration-iterations"]
    assert iterations["withSequence"] == {
        "count": "{{tasks.iteration-driver.outputs.parameters.iteration-count}}"
    }
    assert arguments(iterations)["iteration-index"] == "{{item}}"


def test_dependencies_wait_on_the_driver_sorted_and_once() -> None:
    source = {"taskOutputParameter": {"producerTask": "b", "outputParameterKey": "out"}}
    artifact = {"taskOutputArtifact": {"producerTask": "c", "outputArtifactKey": "out"}}
    inputs = {"parameters": {"p": source}, "artifacts": {"q": artifact}}
    given = pipeline({name: task() for name in "abc"} | {"z": after("c", "a", inputs=inputs)})
    found = dag_tasks(compiled(given))
    assert found["z-driver"]["depends"] == "a.Succeeded && b.Succeeded && c.Succeeded"
    assert found["z"]["depends"] == "z-driver.Succeeded"
    assert "depends" not in found["a-driver"]


def test_condition_guards_the_work_and_not_the_driver() -> None:
    given = pipeline({"one": task(**when("x")), "two": task("comp-inner", **when("x"))})
    found = dag_tasks(compiled(given))
    for name in ("one", "two"):
        assert found[name]["when"] == f"{{{{tasks.{name}-driver.outputs.parameters.condition}}}} != false"
        assert "when" not in found[f"{name}-driver"]


def test_condition_on_a_loop_guards_its_iterations() -> None:
    workflow = compiled(pipeline({"each": loop(**when("x"))}))
    found = dag_tasks(workflow, "comp-inner-each-iterator")
    assert found["iteration-iterations"]["when"] == (
        "{{tasks.iteration-driver.outputs.parameters.condition}} != false"
    )
    assert "when" not in dag_tasks(workflow)["each"]


def test_driver_only_task_is_one_argo_task_and_warns_about_its_condition() -> None:
    warnings: list[str] = []
    given = pipeline({"claim": task("comp-claim", **when("x")), "use": after("claim")})
    found = dag_tasks(compiled(given, warnings))
    assert list(found) == ["claim", "use-driver", "use"]
    assert found["claim"]["template"] == "system-container-driver"
    assert found["use-driver"]["depends"] == "claim.Succeeded"
    assert warnings == ['task "claim" only runs in the driver: dependents run even if its condition is false']


@pytest.mark.parametrize(("parity", "depends"), [(False, "first.Succeeded"), (True, None)])
def test_importer_waits_for_its_dependencies_except_in_parity(*, parity: bool, depends: str | None) -> None:
    given = pipeline({"first": task(), "data": after("first", component="comp-import")})
    assert dag_tasks(compiled(given, parity=parity))["data"].get("depends") == depends


def test_importer_in_a_loop_gets_the_iteration_index() -> None:
    given = pipeline(
        {"each": loop("comp-load")}, components={"comp-load": dag({"data": task("comp-import")})}
    )
    found = dag_tasks(compiled(given), "comp-load")["data"]
    assert arguments(found) == {
        "task-name": "data",
        "importer": "{{workflow.parameters.implementations-comp-import}}",
        "parent-dag-task-id": PARENT,
        "iteration-index": INDEX,
    }


def test_exit_task_hangs_on_the_work_of_the_guarded_task() -> None:
    workflow = compiled(pipeline({"guarded": task("comp-inner"), "clean": exit_task("guarded")}))
    found = dag_tasks(workflow)
    assert list(found) == ["guarded-driver", "guarded"]
    assert found["guarded"]["hooks"] == {
        "exit": {
            "template": "exit-hook-root-clean",
            "arguments": {"parameters": [{"name": "parent-dag-task-id", "value": PARENT}]},
        }
    }
    hook = dag_tasks(workflow, "exit-hook-root-clean")
    assert list(hook) == ["clean-driver", "clean"]
    assert "depends" not in hook["clean-driver"]
    assert arguments(hook["clean-driver"])["parent-dag-task-id"] == PARENT


@pytest.mark.parametrize(("parity", "depends"), [(False, None), (True, "guarded.Succeeded")])
def test_exit_task_that_is_a_loop_waits_for_nothing_in_its_hook_except_in_parity(
    *, parity: bool, depends: str | None
) -> None:
    given = pipeline({"guarded": task(), "clean": {**loop(), **exit_task("guarded", component="comp-inner")}})
    workflow = compiled(given, parity=parity)
    assert dag_tasks(workflow, "exit-hook-root-clean")["clean"].get("depends") == depends
    assert (violations(workflow) == []) is not parity


@pytest.mark.parametrize(("parity", "hooked"), [(False, True), (True, False)])
def test_exit_task_of_a_loop_hangs_on_the_loop_except_in_parity(*, parity: bool, hooked: bool) -> None:
    given = pipeline({"each": loop(), "clean": exit_task("each")})
    assert ("hooks" in dag_tasks(compiled(given, parity=parity))["each"]) is hooked


@pytest.mark.parametrize(("parity", "passed"), [(False, True), (True, False)])
def test_exit_task_inside_a_loop_learns_the_iteration_except_in_parity(*, parity: bool, passed: bool) -> None:
    given = pipeline(
        {"each": loop("comp-body")},
        components={"comp-body": dag({"work": task(), "clean": exit_task("work")})},
    )
    workflow = compiled(given, parity=parity)
    hook = dag_tasks(workflow, "comp-body")["work"]["hooks"]["exit"]
    assert (arguments(hook).get("iteration-index") == INDEX) is passed
    driver = dag_tasks(workflow, "exit-hook-comp-body-clean")["clean-driver"]
    assert ("iteration-index" in arguments(driver)) is passed
    assert violations(workflow) == []


@pytest.mark.parametrize("parity", [False, True])
def test_exit_task_without_dependencies_is_an_ordinary_task_except_in_parity(*, parity: bool) -> None:
    found = dag_tasks(compiled(pipeline({"a": task(), "lonely": exit_task()}), parity=parity))
    assert ("lonely" in found) is not parity


def test_component_shared_by_a_loop_and_a_plain_call_defaults_to_no_iteration() -> None:
    workflow = compiled(pipeline({"each": loop("comp-inner"), "once": task("comp-inner")}))
    shared = templates(workflow)["comp-inner"]
    assert shared["inputs"]["parameters"][1] == {"name": "iteration-index", "default": "-1"}
    assert arguments(dag_tasks(workflow, "comp-inner")["work-driver"])["iteration-index"] == INDEX
    assert "iteration-index" not in arguments(dag_tasks(workflow)["once"])


def test_inner_loop_keeps_its_item_and_its_driver_gets_the_outer_index() -> None:
    given = pipeline(
        {"outer": loop("comp-outer")}, components={"comp-outer": dag({"inner": loop("comp-inner")})}
    )
    workflow = compiled(given)
    inner = dag_tasks(workflow, "comp-inner-inner-iterator")
    assert arguments(inner["iteration-driver"])["iteration-index"] == INDEX
    assert arguments(inner["iteration-iterations"])["iteration-index"] == "{{item}}"
    assert arguments(dag_tasks(workflow, "comp-outer")["inner"])["iteration-index"] == INDEX
    assert input_names(templates(workflow)["comp-inner-inner-iterator"]) == [
        "parent-dag-task-id",
        "iteration-index",
    ]
    assert input_names(templates(workflow)["comp-outer-outer-iterator"]) == ["parent-dag-task-id"]


@pytest.mark.parametrize("mode", list(Mode))
def test_a_pipeline_with_everything_satisfies_argo(mode: Mode) -> None:
    given = pipeline(
        {
            "claim": task("comp-claim"),
            "data": after("claim", component="comp-import"),
            "each": loop("comp-body", dependentTasks=["data"], **when("x")),
            "clean": exit_task("each"),
            "retried": after("each", retryPolicy={"maxRetryCount": 1}),
            "nested": after("retried", component="comp-inner", retryPolicy={"maxRetryCount": 1}),
        },
        components={
            "comp-body": dag(
                {
                    "work": task(),
                    "tidy": exit_task("work"),
                    "again": loop("comp-inner"),
                    "data": task("comp-import"),
                }
            )
        },
        kubernetes={"exec-work": {"podMetadata": {"labels": {"a": "b"}, "annotations": {"c": "d"}}}},
    )
    assert violations(compiled(given, mode=mode)) == []


def test_pipeline_name_is_shortened_only_in_the_generated_name() -> None:
    workflow = compiled(pipeline({"a": task()}, name="namespace/team/pipeline/demo"))
    assert workflow["metadata"]["generateName"] == "demo-"
    driver = templates(workflow)["system-dag-driver"]["plugin"]["driver-plugin"]["args"]
    assert driver["pipeline_name"] == "namespace/team/pipeline/demo"

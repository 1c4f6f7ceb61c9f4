"""The checker of Argo's rules finds what it is there to find.

Oracle: each broken Workflow violates one rule of Argo's documentation, made by hand from a sound one.
"""

from collections.abc import Callable

import pytest

from tests.compiler.argo_rules import violations
from tests.compiler.pipelines import Json, after, compiled, dag_tasks, loop, pipeline, task, templates


def sound() -> Json:
    return compiled(pipeline({"first": task(), "second": after("first"), "each": loop()}))


def rename_task(workflow: Json) -> None:
    dag_tasks(workflow)["first"]["name"] = "1 st"


def lose_template(workflow: Json) -> None:
    workflow["spec"]["templates"].pop(1)


def depend_on_nothing(workflow: Json) -> None:
    dag_tasks(workflow)["second-driver"]["depends"] = "third.Succeeded"


def lose_dependency(workflow: Json) -> None:
    del dag_tasks(workflow)["first"]["depends"]


def lose_argument(workflow: Json) -> None:
    dag_tasks(workflow)["first"]["arguments"] = {}


def lose_input(workflow: Json) -> None:
    templates(workflow)["system-container-driver"]["inputs"]["parameters"].pop(0)


def two_types(workflow: Json) -> None:
    templates(workflow)["system-container-driver"]["container"] = {}


def two_plugins(workflow: Json) -> None:
    templates(workflow)["system-container-driver"]["plugin"]["other"] = {}


def two_sources(workflow: Json) -> None:
    output = templates(workflow)["system-container-driver"]["outputs"]["parameters"][0]
    output["valueFrom"]["path"] = "/tmp/x"


def same_name(workflow: Json) -> None:
    workflow["spec"]["templates"].append(workflow["spec"]["templates"][0])


def path_of_a_plugin_output(workflow: Json) -> None:
    arguments = templates(workflow)["system-container-driver"]["plugin"]["driver-plugin"]["args"]
    arguments["condition_path"] = "{{outputs.parameters.condition.path}}"


BREAKERS = [
    rename_task,
    lose_template,
    depend_on_nothing,
    lose_dependency,
    lose_argument,
    lose_input,
    two_types,
    two_plugins,
    two_sources,
    same_name,
    path_of_a_plugin_output,
]


def test_a_sound_workflow_has_no_violations() -> None:
    assert violations(sound()) == []


@pytest.mark.parametrize("break_it", BREAKERS, ids=lambda one: one.__name__)
def test_a_broken_rule_is_found(break_it: Callable[[Json], None]) -> None:
    workflow = sound()
    break_it(workflow)
    assert violations(workflow)

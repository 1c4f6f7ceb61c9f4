"""Which calls and components a driver takes, and an input that it makes itself.

Oracle: spec DRIVER 3.1 (texts and their order), RESOLVER 2.2 and 5.6.
"""

from dataclasses import replace
from typing import Any

import pytest

from driver_plugin.argo.arguments import DriverCall, parse_driver_call
from driver_plugin.argo.driver_type import DriverType
from driver_plugin.drivers.bootstrap import Place, check_call, container_of
from driver_plugin.errors import DriverError
from driver_plugin.settings import Settings
from kfp_api.ir.pipeline import PipelineSpec, TaskSpec
from resolver.scope import ScopePath
from tests.driver_plugin.calls import WORKFLOW, container_args, dag_args, root_args
from tests.driver_plugin.drivers.pipelines import constant, dag, leaf, pipeline, task
from tests.driver_plugin.drivers.stack import Stack
from tests.driver_plugin.drivers.test_container import executor_input

COMPONENTS = {
    "comp-leaf": leaf("exec-leaf"),
    "comp-dag": dag({"leaf": task("comp-leaf")}),
    "comp-neither": {},
}
TASKS = {key: task(f"comp-{key}") for key in ("leaf", "dag", "neither")}


def place(name: str, deployment: dict[str, Any] | None = None) -> Place:
    document = pipeline(TASKS, COMPONENTS)
    spec = PipelineSpec.parse({**document, "deploymentSpec": deployment})
    scope = ScopePath.from_dot(spec, f"root.{name}" if name else "root")
    assert scope.last is not None
    return Place(spec=spec, scope=scope, component=scope.last.component, task=scope.last.task, parent=None)


def call_of(kind: DriverType, name: str = "") -> DriverCall:
    args = {DriverType.ROOT_DAG: root_args, DriverType.DAG: dag_args, DriverType.CONTAINER: container_args}
    given = {} if kind is DriverType.ROOT_DAG else {"task_name": name or "dag"}
    return parse_driver_call(args[kind](**given), workflow=WORKFLOW, settings=Settings())


@pytest.mark.parametrize(
    ("kind", "name", "text"),
    [
        (DriverType.ROOT_DAG, "leaf", "root driver requires a DAG root component"),
        (DriverType.DAG, "leaf", "dag driver requires a DAG component"),
        (DriverType.DAG, "neither", "dag driver requires a DAG component"),
        (DriverType.CONTAINER, "dag", "container driver requires an executor-label component"),
        (DriverType.CONTAINER, "neither", "container driver requires an executor-label component"),
    ],
)
def test_spec_from_scope_kinds(kind: DriverType, name: str, text: str) -> None:
    with pytest.raises(DriverError) as caught:
        check_call(call_of(kind, name), place(name))
    assert str(caught.value) == text


MISTAKES: dict[DriverType, list[tuple[str, dict[str, Any]]]] = {
    DriverType.ROOT_DAG: [
        ("pipeline name is required", {"pipeline_name": ""}),
        ("KFP run ID is required", {"run_id": ""}),
        ("runtime config is required", {"runtime_config": None}),
        ("namespace is required", {"namespace": ""}),
        ("task spec is unnecessary", {"task_name": "leaf"}),
        ("iteration index is unnecessary", {"iteration_index": 0}),
    ],
    DriverType.DAG: [
        ("pipeline name is required", {"pipeline_name": ""}),
        ("KFP run ID is required", {"run_id": ""}),
        ("task spec is required", {}),
        ("runtime config is unnecessary", {"runtime_config": {"parameterValues": {}}}),
    ],
}


def called(kind: DriverType, changes: list[dict[str, Any]]) -> DriverCall:
    call = call_of(kind)
    for change in changes:
        call = replace(call, **change)
    return call


@pytest.mark.parametrize("kind", MISTAKES)
def test_mistakes_of_a_call_are_named_one_by_one_in_the_order_of_the_contract(kind: DriverType) -> None:
    """Of all mistakes at once the first is named; without it the second, and so on."""
    where = place("dag" if kind is DriverType.DAG else "")
    left = list(MISTAKES[kind])
    while left:
        text = left[0][0]
        unnamed = any(one == "task spec is required" for one, _ in left)
        with pytest.raises(DriverError) as caught:
            check_call(
                called(kind, [change for _, change in left]),
                replace(where, task=TaskSpec()) if unnamed else where,
            )
        assert str(caught.value) == text
        del left[0]
    check_call(call_of(kind), where)


@pytest.mark.parametrize(
    ("deployment", "text"),
    [
        (None, "pipeline deployment spec is missing"),
        ({}, 'container executor "exec-leaf" not found in deployment spec'),
        ({"executors": {"exec-leaf": {}}}, 'executor "exec-leaf" does not contain a container spec'),
        (
            {"executors": {"exec-leaf": {"importer": {}}}},
            'executor "exec-leaf" does not contain a container spec',
        ),
    ],
)
def test_a_container_that_the_deployment_lacks_is_named(deployment: dict[str, Any] | None, text: str) -> None:
    with pytest.raises(DriverError) as caught:
        container_of(place("leaf", deployment))
    assert str(caught.value) == text


async def test_task_config_skipped_then_injected(stack: Stack) -> None:
    """The row does not have it, the executor does."""
    component = leaf("exec-use", inputs={"cfg": "TASK_CONFIG", "x": "STRING"})
    component["taskConfigPassthroughs"] = [{"field": "ENV"}]
    inputs = {"x": constant("given"), "cfg": constant("ignored")}
    spec = pipeline({"use": task("comp-use", inputs=inputs)}, {"comp-use": component})
    spec["deploymentSpec"]["executors"]["exec-use"]["container"]["env"] = [{"name": "A", "value": "1"}]
    run = await stack.start(spec)
    result = await run.container("use")
    row = await run.row(result.task_id)
    assert [entry.parameter_key for entry in row.input_parameters] == ["x"]
    values = executor_input(result)["inputs"]["parameterValues"]
    assert values["x"] == "given"
    assert values["cfg"]["env"] == [{"name": "A", "value": "1"}]

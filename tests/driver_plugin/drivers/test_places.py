"""Which components a driver takes, and an input that it makes itself. Oracle: spec RESOLVER 2.2 and 5.6."""

from typing import Any

import pytest

from driver_plugin.argo.driver_type import DriverType
from driver_plugin.drivers.bootstrap import Place, check_call, container_of
from driver_plugin.errors import DriverError
from kfp_api.ir.pipeline import PipelineSpec
from resolver.scope import ScopePath
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
async def test_spec_from_scope_kinds(stack: Stack, kind: DriverType, name: str, text: str) -> None:
    run = await stack.submit(pipeline(TASKS, COMPONENTS))
    with pytest.raises(DriverError) as caught:
        check_call(run.call(kind, name), place(name))
    assert str(caught.value) == text


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

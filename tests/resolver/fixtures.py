"""KFP's own pipelines, which lie beside the project, loaded and simulated."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml

from kfp_api.ir.load import Pipeline, pipeline_from_struct
from kfp_api.messages import IOType, PipelineTask
from tests.resolver.simulation import Leaf, LeafFunction, Simulation

FIXTURES = Path(__file__).parents[2].parent / "shared" / "conformance"
FILES = sorted(FIXTURES.glob("pipelines/**/*.yaml")) + sorted(FIXTURES.glob("driver_pipelines/**/*.yaml"))


def load(name: str) -> Pipeline:
    """A fixture by its path without suffix; the test is skipped where it is absent."""
    path = FIXTURES / f"{name}.yaml"
    if not path.exists():
        pytest.skip(f"fixture {name} is not beside the project")
    spec, *platform = yaml.safe_load_all(path.read_text())
    return pipeline_from_struct({"pipeline_spec": spec, "platform_spec": platform[0] if platform else None})


async def simulate(name: str, leaf: LeafFunction, **parameters: Any) -> Simulation:
    """A fixture, run to its end."""
    return await Simulation(load(name).spec, leaf, parameters, seed=7).run()


def nothing(leaf: Leaf) -> dict[str, Any]:
    """A leaf without output parameters."""
    del leaf
    return {}


def made(**outputs: Any) -> LeafFunction:
    """Leaves that produce ``outputs``, by task key or by output key."""

    def leaf(one: Leaf) -> dict[str, Any]:
        task = one.scope.rsplit(".", 1)[-1].replace("-", "_")
        own = outputs.get(task, outputs.get("Output"))
        return own if isinstance(own, dict) else {**outputs, "Output": own}

    return leaf


def given(run: Simulation, scope: str) -> dict[str, Any]:
    """Parameters of the one leaf that ran at a scope path."""
    (leaf,) = run.of(scope)
    return leaf.parameters


def row_of(run: Simulation, scope: str) -> PipelineTask:
    """The one row of a scope path."""
    (row,) = [row for row in run.rows if row.scope_path == scope]
    return row


def types_of(row: PipelineTask) -> dict[str, IOType]:
    """IO types of a row's input parameters by key."""
    return {entry.parameter_key: entry.type for entry in row.input_parameters}


def makers(artifact_list: dict[str, Any]) -> list[tuple[str, int | None]]:
    """Scope and iteration of the tasks that made the artifacts of one input."""
    return [
        (one["metadata"]["scope"], one["metadata"]["iteration"]) for one in artifact_list.get("artifacts", [])
    ]


def in_order_of_creation(artifact_list: dict[str, Any]) -> bool:
    """Whether a list holds its artifacts in the order in which they were made."""
    order = [one["metadata"]["order"] for one in artifact_list["artifacts"]]
    return order == sorted(order)


def iterations(scope: str, count: Iterable[int]) -> list[tuple[str, int | None]]:
    """What :func:`makers` gives for the artifacts of those iterations."""
    return [(scope, index) for index in count]

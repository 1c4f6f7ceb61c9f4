"""Artifacts in KFP's own pipelines, simulated. Oracle: spec RESOLVER 16 and what the pipelines compute."""

from typing import Any

import pytest

from kfp_api.messages import IOType
from resolver.errors import NullInputError
from tests.resolver.fixtures import given, load, made, makers, nothing, row_of, simulate
from tests.resolver.simulation import Leaf, Simulation

pytestmark = pytest.mark.conformance


async def test_artifact_task_output() -> None:
    run = await simulate("driver_pipelines/taskOutputArtifact_test", nothing)
    (leaf,) = run.of("root.process-dataset")
    assert makers(leaf.artifacts["input_dataset"]) == [("root.create-dataset", None)]
    (entry,) = row_of(run, "root.process-dataset").input_artifacts
    assert entry.type is IOType.TASK_OUTPUT_INPUT
    assert len(entry.artifacts) == 1


async def test_artifact_chain() -> None:
    run = await simulate("driver_pipelines/cache_test", nothing)
    (last,) = run.of("root.analyze-artifact")
    assert makers(last.artifacts["data_input"]) == [("root.process-dataset", None)]
    run = await simulate("pipelines/critical/artifact_cache", nothing)
    (last,) = run.of("root.crust-comp")
    assert makers(last.artifacts["input"]) == [("root.mantle.core.core-comp", None)]


async def test_artifact_name_conflicts() -> None:
    run = await simulate("driver_pipelines/nested_naming_conflicts", nothing)
    inner = "root.pipeline-b.pipeline-c"
    wanted = {
        (f"{inner}.c", "artifact"): f"{inner}.b",
        (f"{inner}.b", "input_dataset"): f"{inner}.a",
        ("root.pipeline-b.b", "input_dataset"): "root.a",
        ("root.verify", "verify_input"): f"{inner}.c",
    }
    assert {(scope, key): makers(run.of(scope)[0].artifacts[key]) for scope, key in wanted} == {
        place: [(maker, None)] for place, maker in wanted.items()
    }


async def test_artifact_optional_absent() -> None:
    run = await simulate("pipelines/components_with_optional_artifacts", nothing)
    assert run.of("root.custom-artifact-printer-2")[0].artifacts == {}
    assert run.of("root.inner-pipeline-2.python-artifact-printer")[0].artifacts == {}
    (printed,) = run.of("root.inner-pipeline.python-artifact-printer")
    assert makers(printed.artifacts["artifact"]) == [("root.importer", None)]


async def test_artifact_required_null() -> None:
    """A root artifact that nobody can supply fails at its first consumer."""
    with pytest.raises(NullInputError, match="the resolved input artifact is null"):
        await Simulation(load("pipelines/input_artifact").spec, nothing, root_artifacts=False).run()


async def test_artifact_multi_outputs() -> None:
    run = await simulate("pipelines/critical/multiple_artifacts_namedtuple", nothing)
    (leaf,) = run.of("root.crust-comp")
    names = {key: one["artifacts"][0]["name"] for key, one in leaf.artifacts.items()}
    assert len(set(names.values())) == 2
    assert {makers(one)[0] for one in leaf.artifacts.values()} == {("root.mantle.core.core-comp", None)}


async def test_importer_workspace_direct() -> None:
    run = await simulate("pipelines/critical/pipeline_with_importer_workspace", made(Output="s3://b/x"))
    for scope, key in (("root.import-stage.train", "dataset"), ("root.import-stage.read-dir", "data")):
        (one,) = run.of(scope)[0].artifacts[key]["artifacts"]
        assert one["metadata"]["_kfp_workspace"] is True
    assert all("_kfp_workspace" not in one["metadata"] for one in run.artifacts.values())


async def test_importer_uri_kinds() -> None:
    """The importer's URI is an input as any other: a constant, or what the DAG was given or computed."""
    uri = "gs://ml-pipeline-playground/shakespeare1.txt"
    run = await simulate("pipelines/pipeline_with_importer_and_gcpc_types", nothing)
    assert given(run, "root.importer") == {"uri": uri}
    run = await simulate("pipelines/critical/modelcar", nothing)
    assert given(run, "root.importer") == {"uri": "oci://registry.domain.local/modelcar:test"}
    run = await simulate("pipelines/critical/pipeline_with_importer_workspace", made(Output="s3://b/x"))
    assert given(run, "root.import-stage.importer") == {"uri": "s3://b/x"}


@pytest.mark.parametrize(("coin", "branch"), [("heads", "condition-2"), ("tails", "condition-3")])
async def test_oneof_artifacts(coin: str, branch: str) -> None:
    for name in ("pipelines/if_else_with_oneof_artifacts", "pipelines/critical/if_else_with_oneof_artifacts"):
        run = await simulate(name, made(Output=coin))
        consumers = [leaf for leaf in run.leaves if leaf.artifacts]
        assert consumers
        assert all(f".{branch}." in makers(leaf.artifacts["a"])[0][0] for leaf in consumers)


async def test_oneof_artifacts_of_the_branch_with_a_condition_of_its_own() -> None:
    def condition(leaf: Leaf) -> dict[str, Any]:
        return {"condition_out": leaf.parameters.get("condition_to_activate")}

    run = await simulate("driver_pipelines/oneof_simple", condition)
    branch = "root.secondary-pipeline.condition-branches-1.condition-3.give-animal-2"
    assert makers(run.of("root.check-animal")[0].artifacts["animal_input"]) == [(branch, None)]

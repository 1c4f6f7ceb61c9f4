"""KFP's own pipelines, simulated. Oracle: the expectations of spec RESOLVER 16 for those fixtures."""

import random
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from kfp_api.ir.load import pipeline_from_struct
from kfp_api.ir.pipeline import PipelineSpec
from kfp_api.messages import PipelineTask
from kfp_api.wire import UNSET
from tests.resolver.simulation import Leaf, LeafFunction, Simulation, TaskFailed, fabricated

FIXTURES = Path(__file__).parents[2].parent / "shared" / "conformance"
FILES = sorted(FIXTURES.glob("pipelines/**/*.yaml")) + sorted(FIXTURES.glob("driver_pipelines/**/*.yaml"))

pytestmark = pytest.mark.conformance


def load(name: str) -> PipelineSpec:
    path = FIXTURES / f"{name}.yaml"
    if not path.exists():
        pytest.skip(f"fixture {name} is not beside the project")
    documents = list(yaml.safe_load_all(path.read_text()))
    return pipeline_from_struct(documents[0]).spec


async def simulate(name: str, leaf: LeafFunction, **parameters: Any) -> Simulation:
    return await Simulation(load(name), leaf, parameters, seed=7).run()


def nothing(leaf: Leaf) -> dict[str, Any]:
    del leaf
    return {}


def names(artifact_list: dict[str, Any]) -> list[tuple[str, int | None]]:
    """Scope and iteration of the tasks that made the artifacts of one input."""
    return [
        (one["metadata"]["scope"], one["metadata"]["iteration"]) for one in artifact_list.get("artifacts", [])
    ]


def in_order_of_creation(artifact_list: dict[str, Any]) -> bool:
    order = [one["metadata"]["order"] for one in artifact_list["artifacts"]]
    return order == sorted(order)


def selected_keys(spec: PipelineSpec) -> list[str]:
    """Members of loop items that selectors of the pipeline name."""
    return sorted(set(re.findall(r"parseJson\(string_value\)\[\"([^\"]+)\"\]", repr(spec))))


@pytest.mark.skipif(not FILES, reason="the KFP fixtures are not beside the project")
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
async def test_every_pipeline_resolves_from_start_to_end(path: Path) -> None:
    spec = load(str(path.relative_to(FIXTURES).with_suffix("")))
    keys = selected_keys(spec)
    assert spec.root is not None
    wanted = {
        key: one.declared_type
        for key, one in spec.root.input_definitions.parameters.items()
        if one.default_value is UNSET and not one.is_optional
    }
    for seed in range(2):
        dice = random.Random(seed)

        def leaf(one: Leaf, dice: random.Random = dice) -> dict[str, Any]:
            declared = one.component.output_definitions
            values = {
                key: fabricated(out.declared_type, dice, keys) for key, out in declared.parameters.items()
            }
            return values | {key: dice.randrange(3) for key in declared.artifacts}

        given = {key: fabricated(declared, dice, keys) for key, declared in wanted.items()}
        simulation = await Simulation(spec, leaf, given, seed).run()
        assert simulation.leaves


def numbers(leaf: Leaf) -> dict[str, Any]:
    given = leaf.parameters
    if "num" in given:
        return {"Output": 2 * given["num"]}
    return {"Output": 0}


async def test_nested_loops_hand_nested_lists_to_their_consumers() -> None:
    run = await simulate("pipelines/parameters_complex", numbers)
    assert [leaf.parameters["nums"] for leaf in run.of("root.nested-add")] == [[[8, 10, 12]] * 3]
    inner = run.of("root.for-loop-6.nested-add-2")
    assert [leaf.parameters["nums"] for leaf in inner] == [[[8, 10, 12]] * 3] * 3
    assert [leaf.parameters["nums"] for leaf in run.of("root.for-loop-6.simple-add-2")] == [[2, 4, 6]] * 3
    assert [leaf.parameters["nums"] for leaf in run.of("root.for-loop-2.simple-add")] == [[8, 10, 12]] * 3


def chain(leaf: Leaf) -> dict[str, Any]:
    """Split, prepend, read: what the components of the collecting pipelines do."""
    given = leaf.parameters
    for key in ("ids", "model_ids"):
        if isinstance(given.get(key), str):
            return {"Output": given[key].split(",")}
    if "content" in given:
        return {"Output": f"model_id_{given['content']}"}
    return {"Output": given.get("expected", "completed")}


async def test_a_sibling_in_a_loop_gets_a_scalar_and_collectors_an_ordered_list() -> None:
    run = await simulate("pipelines/critical/collected_parameters", chain)
    collected = ["model_id_s1", "model_id_s2", "model_id_s3"]
    body = "root.collecting-parameters.for-loop-1.consume-single-id"
    assert [leaf.parameters["id"] for leaf in run.of(body)] == collected
    assert run.of("root.collecting-parameters.consume-ids")[0].parameters == {"ids": collected}
    assert run.of("root.consume-ids")[0].parameters == {"ids": collected}


async def test_collected_values_reach_a_sibling_and_the_root() -> None:
    run = await simulate("driver_pipelines/loop_collected_InputParameter_Iterator", chain)
    for scope in ("root.secondary-pipeline.read-values", "root.read-values"):
        assert run.of(scope)[0].parameters == {"values": ["s1", "s2", "s3", "s4"]}


async def test_artifacts_collected_from_a_loop_keep_their_order() -> None:
    run = await simulate("driver_pipelines/loop_collected_raw_Iterator", nothing)
    assert len([row for row in run.rows if row.name != "ROOT"]) == 11
    made_by = "root.secondary-pipeline.for-loop-2.process-dataset"
    expected = [(made_by, 0), (made_by, 1), (made_by, 2)]
    for scope in ("root.secondary-pipeline.analyze-artifact-list", "root.analyze-artifact-list"):
        assert names(run.of(scope)[0].artifacts["artifact_list_input"]) == expected
    analyzed = run.of("root.secondary-pipeline.for-loop-2.analyze-artifact")
    assert [names(leaf.artifacts["analyze_artifact_input"]) for leaf in analyzed] == [
        [one] for one in expected
    ]


async def test_artifacts_of_nested_loops_keep_their_order_inside_a_nested_pipeline() -> None:
    run = await simulate("pipelines/artifacts_complex", nothing, threshold=2)
    first = run.of("root.add-two-lists-of-datasets.add")[0].artifacts["in_datasets"]
    second = run.of("root.add-two-lists-of-datasets.add-2")[0].artifacts["in_datasets"]
    assert len(first["artifacts"]) == 3
    assert len(second["artifacts"]) == 6
    assert in_order_of_creation(first)
    assert in_order_of_creation(second)


async def test_the_same_key_at_three_levels_does_not_confuse() -> None:
    run = await simulate("driver_pipelines/nested_naming_conflicts", nothing)
    inner = "root.pipeline-b.pipeline-c"
    assert names(run.of(f"{inner}.c")[0].artifacts["artifact"]) == [(f"{inner}.b", None)]
    assert names(run.of(f"{inner}.b")[0].artifacts["input_dataset"]) == [(f"{inner}.a", None)]
    assert names(run.of("root.pipeline-b.b")[0].artifacts["input_dataset"]) == [("root.a", None)]
    assert names(run.of("root.verify")[0].artifacts["verify_input"]) == [(f"{inner}.c", None)]


def echo(leaf: Leaf) -> dict[str, Any]:
    given = leaf.parameters
    return {"Output": given.get("text", given.get("input", "")), "output_key": given.get("input", "")}


async def test_texts_with_embedded_parameters_keep_what_is_around_them() -> None:
    run = await simulate("pipelines/essential/pipeline_with_params_containing_format", echo)
    assert run.of("root.print-op")[0].parameters["text"] == "Hello KFP"
    assert run.of("root.print-op-2")[0].parameters["text"] == "Hello KFP, again."
    assert [leaf.parameters["text2"] for leaf in run.of("root.for-loop-2.print-op2")] == [" and KFP."] * 2


async def test_conditions_and_messages_see_the_number() -> None:
    def flip(leaf: Leaf) -> dict[str, Any]:
        return {"Output": "heads" if leaf.scope.endswith("flip-coin") else 7}

    run = await simulate("pipelines/critical/flip_coin", flip)
    messages = [leaf for leaf in run.leaves if "msg" in leaf.parameters]
    assert [leaf.scope for leaf in messages] == ["root.condition-1.condition-2.print-msg"]
    assert messages[0].parameters["msg"] == "heads and 7 > 5!"


async def test_placeholders_name_the_run_and_the_task() -> None:
    run = await simulate("pipelines/critical/pipeline_with_placeholders", nothing)
    assert run.leaves[0].parameters == {
        "job_id": "run-1",
        "job_name": "run one",
        "job_resource_name": "wf-1",
        "task_id": "t0",
        "task_name": "print-all-placeholders",
    }


@pytest.mark.parametrize(("coin", "message"), [("heads", "Got heads!"), ("tails", "Got tails!")])
async def test_the_branch_taken_gives_the_output_through_three_levels(coin: str, message: str) -> None:
    def flip(leaf: Leaf) -> dict[str, Any]:
        return {"Output": coin} if leaf.scope.endswith("flip-coin") else echo(leaf)

    run = await simulate("pipelines/critical/parameter_oneof", flip)
    assert run.of("root.crust-comp")[0].parameters == {"input": message}


async def test_the_artifact_of_the_branch_taken_arrives() -> None:
    def condition(leaf: Leaf) -> dict[str, Any]:
        return {"condition_out": leaf.parameters.get("condition_to_activate")}

    run = await simulate("driver_pipelines/oneof_simple", condition)
    branch = "root.secondary-pipeline.condition-branches-1.condition-3.give-animal-2"
    assert names(run.of("root.check-animal")[0].artifacts["animal_input"]) == [(branch, None)]


async def test_the_final_status_passes_through_a_nested_exit_pipeline() -> None:
    def fail(leaf: Leaf) -> dict[str, Any]:
        if leaf.scope.endswith("fail-op"):
            raise TaskFailed("boom")
        status = leaf.parameters.get("status")
        return {"Output": status["state"]} if isinstance(status, dict) else {}

    run = await simulate("pipelines/pipeline_as_exit_task", fail)
    (seen,) = run.of("root.conditional-notification.get-run-state")
    assert seen.parameters["status"] == {
        "state": "FAILED",
        "pipelineTaskName": "exit-handler-1",
        "pipelineJobResourceName": "wf-1",
        "error": {"code": 2},
    }
    assert run.of("root.conditional-notification.condition-1.print-op")


async def test_a_failed_producer_that_is_ignored_leaves_the_default() -> None:
    def fail(leaf: Leaf) -> dict[str, Any]:
        if leaf.scope == "root.fail-op":
            raise TaskFailed
        return {}

    run = await simulate("pipelines/pipeline_with_task_using_ignore_upstream_failure", fail)
    spec = load("pipelines/pipeline_with_task_using_ignore_upstream_failure")
    default = spec.components["comp-print-op"].input_definitions.parameters["message"].default_value
    assert run.of("root.print-op")[0].parameters == {"message": default}


async def test_optional_inputs_take_their_defaults_or_stay_out() -> None:
    run = await simulate("driver_pipelines/component_with_optional_inputs", nothing)
    (leaf,) = run.leaves
    assert leaf.parameters == {
        "input_str1": "Hello",
        "input_str2": "World",
        "input_str4_from_pipeline": "Some component default",
        "input_str5_from_pipeline": "Some pipeline default",
        "input_bool1": True,
        "input_dict": {"a": 1},
        "input_list": ["123"],
        "input_int": 100,
    }
    types = {entry.parameter_key: entry.type.value for entry in row_of(run, leaf.scope).input_parameters}
    assert types["input_str4_from_pipeline"] == "COMPONENT_DEFAULT_INPUT"
    assert types["input_str5_from_pipeline"] == "COMPONENT_INPUT"


async def test_a_nested_pipeline_stores_its_defaults_for_its_children() -> None:
    run = await simulate("driver_pipelines/nested_pipeline_opt_input_child_level_compiled", nothing)
    nested = row_of(run, "root.nested-pipeline").input_parameters
    types = [entry.type.value for entry in nested]
    assert types.count("RUNTIME_VALUE_INPUT") == 3
    assert types.count("COMPONENT_DEFAULT_INPUT") == 3
    assert "nestedInputStr1" in {entry.parameter_key for entry in nested}
    assert all(leaf.parameters for leaf in run.leaves)


async def test_component_inputs_and_constants_keep_their_kinds() -> None:
    run = await simulate("driver_pipelines/componentInput", nothing)
    types = [entry.type.value for row in run.rows[1:] for entry in row.input_parameters]
    assert types.count("COMPONENT_INPUT") == 4
    assert types.count("RUNTIME_VALUE_INPUT") == 3


async def test_channels_inside_a_struct_become_text() -> None:
    def machine(leaf: Leaf) -> dict[str, Any]:
        return {"Output": 2 if leaf.scope.endswith("count") else leaf.scope.rsplit(".", 1)[-1]}

    name = "pipelines/pipeline_with_dynamic_task_output_custom_training_job"
    run = await simulate(name, machine, location="here", project="mine")
    (pool,) = run.of("root.custom-training-job")[0].parameters["worker_pool_specs"]
    assert pool["machine_spec"]["machine_type"] == "machine-type"
    assert pool["machine_spec"]["accelerator_count"] == "2"


async def test_imported_artifacts_in_the_workspace_are_marked() -> None:
    def uris(leaf: Leaf) -> dict[str, Any]:
        return dict.fromkeys(leaf.component.output_definitions.parameters, "s3://b/x")

    run = await simulate("pipelines/critical/pipeline_with_importer_workspace", uris)
    for scope, key in (("root.import-stage.train", "dataset"), ("root.import-stage.read-dir", "data")):
        (one,) = run.of(scope)[0].artifacts[key]["artifacts"]
        assert one["metadata"]["_kfp_workspace"] is True
    assert all("_kfp_workspace" not in one["metadata"] for one in run.artifacts.values())


def row_of(run: Simulation, scope: str) -> PipelineTask:
    (row,) = [row for row in run.rows if row.scope_path == scope]
    return row

"""Parameters in KFP's own pipelines, simulated. Oracle: spec RESOLVER 16 and what the pipelines compute."""

from typing import Any

import pytest

from kfp_api.ir.kubernetes import KubernetesExecutorConfig
from kfp_api.messages import IOType
from kfp_api.wire import UNSET
from resolver.errors import NullInputError
from resolver.outputs import PARAMETERS, read_output
from resolver.parameters import resolve_input_parameter, resolve_input_parameter_str
from resolver.scope import ScopePath
from tests.resolver.fixtures import given, load, made, nothing, row_of, simulate, types_of
from tests.resolver.listed_rows import ListedRows
from tests.resolver.simulation import Leaf, Simulation, TaskFailed

pytestmark = pytest.mark.conformance


async def test_param_component_and_constants() -> None:
    run = await simulate("driver_pipelines/componentInput", nothing)
    assert given(run, "root.process-inputs") == {
        "a_runtime_bool": True,
        "a_runtime_number": 10,
        "a_runtime_string": "foo",
        "active": True,
        "name": "default_name",
        "number": 42,
        "threshold": 0.5,
    }
    types = list(types_of(row_of(run, "root.process-inputs")).values())
    assert types.count(IOType.COMPONENT_INPUT) == 4
    assert types.count(IOType.RUNTIME_VALUE_INPUT) == 3


async def test_param_task_output() -> None:
    run = await simulate(
        "driver_pipelines/taskOutputParameter_test",
        made(create_dataset={"output_parameter_path": "a,b"}, process_dataset={"output_int": 7}),
    )
    assert given(run, "root.process-dataset") == {"input_dataset": "a,b"}
    assert given(run, "root.analyze-artifact") == {"data_input": 7}
    run = await simulate("pipelines/critical/producer_consumer_param_pipeline", made(output_value="made"))
    assert given(run, "root.consumer") == {"input_value": "made"}
    assert types_of(row_of(run, "root.consumer")) == {"input_value": IOType.TASK_OUTPUT_INPUT}


async def test_param_multi_outputs() -> None:
    name = "pipelines/critical/multiple_parameters_namedtuple"
    keys = list(load(name).spec.components["comp-core-comp"].output_definitions.parameters)
    run = await simulate(name, lambda _: {key: f"value of {key}" for key in keys})
    values = given(run, "root.crust-comp")
    assert len(values) == 2
    assert sorted(values.values()) == sorted(f"value of {key}" for key in keys)


async def test_placeholders_name_the_run_and_the_task() -> None:
    run = await simulate("pipelines/critical/pipeline_with_placeholders", nothing)
    assert run.leaves[0].parameters == {
        "job_id": "run-1",
        "job_name": "run one",
        "job_resource_name": "wf-1",
        "task_id": "t0",
        "task_name": "print-all-placeholders",
    }


async def test_channel_whole_typed() -> None:
    run = await simulate(
        "pipelines/pipeline_with_string_machine_fields_task_output",
        made(accelerator_limit="1", accelerator_type="gpu", cpu_limit="4000m", memory_limit="15G"),
    )
    values = given(run, "root.sum-numbers")
    assert values["cpu_limit"] == "4000m"
    assert values["accelerator_count"] == "1"
    types = types_of(row_of(run, "root.sum-numbers"))
    assert types["cpu_limit"] is IOType.TASK_OUTPUT_INPUT
    run = await k8s_run()
    types = types_of(row_of(run, "root.assert-values"))
    assert types["cpu_limit"] is IOType.COMPONENT_INPUT
    assert types["cpu_request"] is IOType.TASK_OUTPUT_INPUT


def echo(leaf: Leaf) -> dict[str, Any]:
    text = leaf.parameters.get("text", leaf.parameters.get("input", ""))
    return {"Output": text, "output_key": text}


async def test_channel_embedded() -> None:
    """D2: upstream replaces the whole text by the first channel's value."""
    run = await simulate("pipelines/essential/pipeline_with_params_containing_format", echo)
    assert given(run, "root.print-op")["text"] == "Hello KFP"
    assert given(run, "root.print-op-2")["text"] == "Hello KFP, again."
    assert [leaf.parameters["text2"] for leaf in run.of("root.for-loop-2.print-op2")] == [" and KFP."] * 2

    def flip(leaf: Leaf) -> dict[str, Any]:
        coin = leaf.scope.endswith("flip-coin")
        return dict.fromkeys(leaf.component.output_definitions.parameters, "heads" if coin else 7)

    run = await simulate("pipelines/critical/flip_coin", flip)
    messages = {leaf.scope: leaf.parameters["msg"] for leaf in run.leaves if "msg" in leaf.parameters}
    assert messages == {"root.condition-1.condition-2.print-msg": "heads and 7 > 5!"}
    run = await simulate("pipelines/essential/pipeline_with_nested_conditions_yaml", flip)
    assert [leaf.parameters["msg"] for leaf in run.leaves if "msg" in leaf.parameters] == ["heads and 7 > 5!"]


async def test_channel_in_struct_constant() -> None:
    """D4: upstream substitutes nothing in lists and structs."""

    def machine(leaf: Leaf) -> dict[str, Any]:
        key = leaf.scope.rsplit(".", 1)[-1]
        return {"Output": 2 if key.endswith("count") else "heads" if "coin" in key else key}

    for name in (
        "pipelines/pipeline_with_dynamic_task_output_custom_training_job",
        "pipelines/pipeline_with_condition_dynamic_task_output_custom_training_job",
    ):
        run = await simulate(name, machine, location="here", project="mine")
        (job,) = [leaf for leaf in run.leaves if leaf.scope.endswith("custom-training-job")]
        (pool,) = job.parameters["worker_pool_specs"]
        assert pool["machine_spec"]["machine_type"] == "machine-type"
        assert pool["machine_spec"]["accelerator_count"] == "2"


async def test_selector_loop_subvar() -> None:
    produced = [{"a": 7, "b": 8}, {"a": 9, "b": 10}]
    name = "pipelines/pipeline_with_parallelfor_parallelism"
    run = await simulate(name, lambda _: {"Output": produced}, loop_parameter=["x"])
    numbers = {tuple(leaf.parameters.items()) for leaf in run.leaves if "print-int-3" in leaf.scope}
    assert numbers == {(("x", 7),), (("x", 9),)}
    for key, texts in (("print-text-3", ["1", "10"]), ("print-text-4", ["2", "20"])):
        assert [leaf.parameters["msg"] for leaf in run.of(f"root.for-loop-4.{key}")] == texts

    def heads(leaf: Leaf) -> dict[str, Any]:
        members = [{"A_a": "heads", "B_b": ["A"]}, {"A_a": "heads", "B_b": ["X"]}]
        return {"Output": members if "generator" in leaf.scope else "heads"}

    run = await simulate("pipelines/pipeline_with_loops_and_conditions", heads, msg="hello")
    messages = {
        key: [leaf.parameters["msg"] for leaf in run.leaves if leaf.scope.endswith(key)]
        for key in ("for-loop-9.print-text-5", "for-loop-16.print-text-9")
    }
    assert messages["for-loop-9.print-text-5"][:2] == [
        '{"A_a":"heads","B_b":["A","B"]}',
        '{"A_a":"tails","B_b":["X","Y","Z"]}',
    ]
    assert messages["for-loop-16.print-text-9"] == ["A", "B"]


async def test_optional_null_default_omit() -> None:
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
    types = types_of(row_of(run, leaf.scope))
    assert types["input_str4_from_pipeline"] is IOType.COMPONENT_DEFAULT_INPUT
    assert types["input_str5_from_pipeline"] is IOType.COMPONENT_INPUT
    run = await simulate("pipelines/critical/component_with_optional_inputs", nothing)
    assert given(run, "root.component-op") == {"input1": "Hello", "input2": "World"}


async def test_optional_nested_child_level() -> None:
    for folder in ("driver_pipelines", "pipelines/parallel_and_nested"):
        name = f"{folder}/nested_pipeline_opt_input_child_level_compiled"
        run = await simulate(name, nothing)
        types = types_of(row_of(run, "root.nested-pipeline"))
        assert list(types.values()).count(IOType.RUNTIME_VALUE_INPUT) == 3
        assert list(types.values()).count(IOType.COMPONENT_DEFAULT_INPUT) == 3
        assert "nestedInputStr1" in types
        assert given(run, "root.nested-pipeline.component-b-int") == {"componentInputInt": 0}
        assert given(run, "root.nested-pipeline.component-b-bool") == {"componentInputBool": False}


async def test_optional_nested_nil() -> None:
    run = await simulate("pipelines/parallel_and_nested/nested_pipeline_opt_inputs_nil_compiled", nothing)
    assert len(run.leaves) == 3
    assert [leaf.parameters for leaf in run.leaves] == [{}] * 3


async def test_default_without_optional() -> None:
    name = "pipelines/arguments_parameters"
    spec = load(name).spec
    assert spec.root is not None
    declared = spec.root.input_definitions.parameters["param1"]
    assert not declared.is_optional
    run = await simulate(name, nothing, param2="given")
    assert given(run, "root.echo") == {"param1": declared.default_value, "param2": "given"}


async def test_optional_if_present_args() -> None:
    name = "pipelines/essential/placeholder_with_if_placeholder_none_input_value"
    run = await simulate(name, nothing)
    assert given(run, "root.component-with-optional-inputs") == {"required_input": "input0"}
    run = await simulate("pipelines/container_with_if_placeholder", nothing)
    assert given(run, "root.container-with-if-placeholder") == {"optional_input": "default"}


async def k8s_run() -> Simulation:
    outputs = dict.fromkeys(("Output", "name", "some_output"), "made")
    access = {"access_mode": ["ReadWriteOnce"], "node_affinity": [{"matchExpressions": []}]}
    requests = {"cpu_request_out": "100m", "memory_request_out": "50Mi"}
    return await simulate("driver_pipelines/k8s_parameters", lambda _: {**outputs, **access, **requests})


def kubernetes_config(name: str, label: str) -> KubernetesExecutorConfig:
    return KubernetesExecutorConfig.parse(load(name).kubernetes_executors[label])


async def test_k8s_optional_inputs() -> None:
    """Settings whose component input is null say so, and callers skip them; others have their texts."""
    name = "pipelines/critical/missing_kubernetes_optional_inputs"
    run = await simulate(name, nothing)
    (label,) = load(name).kubernetes_executors
    config = kubernetes_config(name, label)
    context = run.context_of(run.leaves[0].scope)
    specs = [one.secret_name_parameter for one in config.secret_as_env]
    specs += [one.secret_name_parameter for one in config.secret_as_volume]
    specs += [one.config_map_name_parameter for one in config.config_map_as_env]
    specs += [one.toleration_json for one in config.tolerations]
    asked = [spec for spec in specs if spec is not None]
    assert asked
    for spec in asked:
        with pytest.raises(NullInputError):
            await resolve_input_parameter(context, spec)


async def test_k8s_parameters_of_every_kind() -> None:
    """Names from constants, component inputs and task outputs."""
    run = await k8s_run()
    name = "driver_pipelines/k8s_parameters"
    config = kubernetes_config(name, "exec-assert-values")
    context = run.context_of("root.assert-values")
    specs = [one.secret_name_parameter for one in config.secret_as_env]
    names = [await resolve_input_parameter_str(context, spec) for spec in specs if spec is not None]
    assert "secret-1" in names
    assert "made" in names
    assert all(names)


FAILED_GROUP = {
    "state": "FAILED",
    "pipelineTaskName": "exit-handler-1",
    "pipelineJobResourceName": "wf-1",
    "error": {"code": 2},
}


def failing(task: str) -> Any:
    def leaf(one: Leaf) -> dict[str, Any]:
        if one.scope.endswith(task):
            raise TaskFailed("boom")
        status = one.parameters.get("status")
        return {"Output": status["state"]} if isinstance(status, dict) else {}

    return leaf


@pytest.mark.parametrize(
    ("name", "exit_task", "failing_task"),
    [
        ("driver_pipelines/pipeline_with_input_status_state", "echo-state", "some-task"),
        ("pipelines/pipeline_with_task_final_status", "exit-op", "fail-op"),
        ("pipelines/local_execution/local_execution_pipeline_with_exit_handler", "record-exit", "echo"),
    ],
)
async def test_final_status_failed_and_ok(name: str, exit_task: str, failing_task: str) -> None:
    failed = given(await simulate(name, failing(failing_task)), f"root.{exit_task}")
    assert failed["status"] == FAILED_GROUP
    fine = given(await simulate(name, failing("nobody")), f"root.{exit_task}")
    assert fine["status"] == {**FAILED_GROUP, "state": "SUCCEEDED", "error": {}}


async def test_final_status_into_nested_pipeline() -> None:
    run = await simulate("pipelines/pipeline_as_exit_task", failing("fail-op"))
    assert given(run, "root.conditional-notification.get-run-state")["status"] == FAILED_GROUP
    assert run.of("root.conditional-notification.condition-1.print-op")


async def test_final_status_optional_unset() -> None:
    run = await simulate("pipelines/component_with_task_final_status_GH-12033", nothing)
    assert given(run, "root.exit-comp") == {}


async def test_ignore_upstream_failure() -> None:
    """D12: upstream fails although the input has a default."""
    name = "pipelines/pipeline_with_task_using_ignore_upstream_failure"
    run = await simulate(name, failing("fail-op"))
    default = (
        load(name).spec.components["comp-print-op"].input_definitions.parameters["message"].default_value
    )
    assert default is not UNSET
    assert given(run, "root.print-op") == {"message": default}
    name = "pipelines/local_execution/local_execution_pipeline_with_ignore_upstream_failure"
    run = await simulate(name, failing("fail-always"), marker_path="/tmp/marker")
    assert given(run, "root.write-marker") == {"marker_path": "/tmp/marker"}


async def test_dag_output_params() -> None:
    run = await simulate("pipelines/critical/parameter_cache", made(Output="deep", output_key="deep"))
    (value,) = given(run, "root.crust-comp").values()
    assert value == "deep"


async def test_dag_output_pvc() -> None:
    name = "driver_pipelines/nested_k8s_pvc_outputs"
    spec = load(name).spec
    run = await simulate(name, made(createpvc={"name": "claim-1"}))
    found = await read_output(
        ListedRows(run.rows),
        PARAMETERS,
        row_of(run, "root.nested"),
        ScopePath.from_dot(spec, "root.nested"),
        key="pvc_name",
    )
    assert found is not None
    assert found.value == "claim-1"


@pytest.mark.parametrize(("coin", "message"), [("heads", "Got heads!"), ("tails", "Got tails!")])
async def test_oneof_params(coin: str, message: str) -> None:
    def flip(leaf: Leaf) -> dict[str, Any]:
        return {"Output": coin} if leaf.scope.endswith("flip-coin") else echo(leaf)

    run = await simulate("pipelines/critical/parameter_oneof", flip)
    assert given(run, "root.crust-comp") == {"input": message}


@pytest.mark.parametrize("side", ["heads", "tails", "draw"])
async def test_oneof_params_of_three_branches(side: str) -> None:
    def roll(leaf: Leaf) -> dict[str, Any]:
        return {"Output": side} if "flip" in leaf.scope else echo(leaf)

    run = await simulate("pipelines/if_elif_else_with_oneof_parameters", roll)
    expected = {"heads": "Got heads!", "tails": "Got tails!", "draw": "Draw!"}[side]
    assert given(run, "root.print-and-return") == {"text": expected}

"""The cache fingerprint is byte for byte KFP's own.

Oracle: the vectors of spec DRIVER 11.2 and 11.5, which come from KFP's Go driver and its unit tests.
"""

from typing import Any

import pytest

from driver_plugin.drivers.fingerprint import (
    cache_key_text,
    custom_fingerprint,
    fingerprint,
    hash_cache_key,
    output_artifacts_spec,
)
from kfp_api.ir.executor_input import ArtifactList, ExecutorInputs, RuntimeArtifact
from kfp_api.ir.pipeline import ComponentSpec, ContainerSpec, TaskSpec

TASK = TaskSpec.parse({"cachingOptions": {"enableCache": True}, "componentRef": {"name": "comp-train"}})


def of(**changes: Any) -> str:
    given: dict[str, Any] = {
        "task": TASK,
        "component": ComponentSpec(),
        "container": ContainerSpec(image="alpine", command=["echo"]),
        "inputs": ExecutorInputs(),
        "pipeline_name": "p",
        "pvc_names": [],
        "publish_logs": False,
    }
    return fingerprint(**{**given, **changes})


def artifact(key: str) -> ArtifactList:
    return ArtifactList(artifacts=[RuntimeArtifact(artifact_id=key, name="n", uri="s3://b/x")])


@pytest.mark.parametrize(
    ("component", "expected"),
    [
        ("my-component", "ad05e747b67b95e4fc4ce080cdb5850f89744360a85753b90a1a434d46dedd2e"),
        ("other-component", "3b3a067cac2d9161742542c6afa8a1291699e27c637dd0d5d66cd8b2bdc5ab76"),
    ],
)
def test_a_custom_key_is_hashed_with_the_component_name(component: str, expected: str) -> None:
    task = TaskSpec.parse(
        {
            "componentRef": {"name": component},
            "cachingOptions": {"enableCache": True, "cacheKey": "my-custom-cache-key"},
        }
    )
    assert custom_fingerprint(task) == expected


def test_a_custom_key_makes_everything_else_irrelevant() -> None:
    task = TaskSpec.parse({"cachingOptions": {"enableCache": True, "cacheKey": "k"}})
    assert of(task=task) == of(
        task=task, pipeline_name="other", container=ContainerSpec(image="other"), pvc_names=["a"]
    )


WORKED_TEXT = (
    '{"containerSpec":{"cmdArgs":["python3","-m","train","--lr",'
    '"{{$.inputs.parameters[\'lr\']}}","__kfp_pipeline_name=demo"],"image":"python:3.11",'
    '"pvcNames":["data-pvc","wf-x7k2p-kfp-workspace"]},"inputArtifactNames":{"data":{"artifactNames":'
    '["6f1c0a52-3f0e-4f8e-9a53-2f6f0a7c1d11"]}},"inputParameterValues":{"epochs":3,"lr":2.5e-7,'
    r'"names":["a\u003cb","c\u0026d"],"note":null},"outputArtifactsSpec":{"executor-logs":'
    '{"name":"executor-logs","type":{"schemaTitle":"system.Artifact"}},"model":{"name":"model",'
    '"type":{"schemaTitle":"system.Model","schemaVersion":"0.0.1"}}},"outputParametersSpec":'
    '{"acc":"NUMBER_DOUBLE"}}'
)


def test_the_worked_example_gives_the_published_fingerprint() -> None:
    assert len(WORKED_TEXT) == 612
    assert hash_cache_key(WORKED_TEXT) == "a075b43017827738144932264d3bc90fae2785671608c1a7ada0bd7c4b372807"
    component = ComponentSpec.parse(
        {
            "outputDefinitions": {
                "artifacts": {
                    "model": {"artifactType": {"schemaTitle": "system.Model", "schemaVersion": "0.0.1"}}
                },
                "parameters": {"acc": {"parameterType": "NUMBER_DOUBLE"}},
            }
        }
    )
    inputs = ExecutorInputs(
        parameter_values={"epochs": 3, "lr": 2.5e-07, "names": ["a<b", "c&d"], "note": None},
        artifacts={"data": artifact("6f1c0a52-3f0e-4f8e-9a53-2f6f0a7c1d11")},
    )
    container = ContainerSpec(
        image="python:3.11",
        command=["python3", "-m", "train"],
        args=["--lr", "{{$.inputs.parameters['lr']}}"],
    )
    assert (
        of(
            component=component,
            container=container,
            inputs=inputs,
            pipeline_name="demo",
            pvc_names=["wf-x7k2p-kfp-workspace", "data-pvc"],
            publish_logs=True,
        )
        == "a075b43017827738144932264d3bc90fae2785671608c1a7ada0bd7c4b372807"
    )


def test_a_task_without_inputs_and_outputs_has_only_its_container() -> None:
    assert (
        of(container=ContainerSpec(image="test-image"), pipeline_name="")
        == "7e2d195e8cb46f83baf3a0318db5e6508cdc1c3d0fc4e1db4cfb562cb0cc306c"
    )


def test_an_input_without_artifacts_is_an_empty_entry() -> None:
    assert (
        of(
            container=ContainerSpec(image="alpine", command=["echo", "hi"]),
            inputs=ExecutorInputs(artifacts={"d": ArtifactList()}),
        )
        == "fa7a676850a083f59aa1f9bb7b98cdb21ccc904b58ef4666270222983fdcc46d"
    )


def test_published_logs_and_output_types_are_part_of_the_key() -> None:
    component = ComponentSpec.parse(
        {"outputDefinitions": {"parameters": {"Output": {"parameterType": "STRING"}}}}
    )
    inputs = ExecutorInputs(parameter_values={"x": True})
    assert (
        of(component=component, inputs=inputs, publish_logs=True)
        == "532e4b28fdb1d5be1b4e523259d2852022af8d8edbc347fe8d99d6fbd99d7638"
    )
    assert of(component=component, inputs=inputs) != of(component=component, inputs=inputs, publish_logs=True)


def test_order_and_repetition_of_claims_do_not_matter() -> None:
    assert of(pvc_names=["b", "a", "b"]) == of(pvc_names=["a", "b"])
    assert of(pvc_names=["a"]) != of()


def test_pipelines_do_not_share_results() -> None:
    assert of(pipeline_name="p") != of(pipeline_name="q")


def test_declared_empty_type_and_metadata_stay_visible() -> None:
    component = ComponentSpec.parse(
        {"outputDefinitions": {"artifacts": {"a": {"artifactType": {}, "metadata": {}}, "b": {}}}}
    )
    text = cache_key_text(
        inputs=ExecutorInputs(),
        output_artifacts=output_artifacts_spec(component, publish_logs=False),
        output_parameters={},
        image="i",
        command=["c"],
        pvc_names=[],
    )
    assert '"outputArtifactsSpec":{"a":{"metadata":{},"name":"a","type":{}},"b":{"name":"b"}}' in text


def test_the_key_of_the_go_drivers_unit_test_gives_its_fingerprint() -> None:
    text = cache_key_text(
        inputs=ExecutorInputs(artifacts={"dataset": artifact("10")}),
        output_artifacts={},
        output_parameters={"output_parameter": "DOUBLE"},
        image="python:3.11",
        command=["sh", "ec", "run"],
        pvc_names=[],
    )
    assert hash_cache_key(text) == "3d9a2a778fa3174c6cfc6e639c507c265b5f21ef6e5b1dd70b236462cc6da464"


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"b": 1, "a": 2, "B": 3, "ä": 4}, '{"B":3,"a":2,"b":1,"ä":4}'),
        ({"x": {"z": 1, "a": [{"d": 1, "c": 2}]}}, '{"x":{"a":[{"c":2,"d":1}],"z":1}}'),
        (
            {"x": [3.0, -0.0, 0.1, 1e20, 1e21, 1e-6, 1e-7, 5e-324]},
            '{"x":[3,-0,0.1,100000000000000000000,1e+21,0.000001,1e-7,5e-324]}',
        ),
        ({"x": 2**53 + 1}, '{"x":9007199254740992}'),
        ({"x": "<a href='x'>&</a>"}, r"""{"x":"\u003ca href='x'\u003e\u0026\u003c/a\u003e"}"""),
        ({"x": "ü 漢 😀 \u2028\u2029\x7f"}, '{"x":"ü 漢 😀 \\u2028\\u2029\x7f"}'),
        ({"x": '\b\f\n\r\t\x01"\\'}, r'{"x":"\b\f\n\r\t\u0001\"\\"}'),
        ({"x": [True, False, None]}, '{"x":[true,false,null]}'),
    ],
    ids=[
        "key order",
        "nested key order",
        "numbers",
        "big integer",
        "HTML",
        "unicode",
        "controls",
        "constants",
    ],
)
def test_values_are_hashed_in_the_bytes_that_go_writes(values: dict[str, Any], text: str) -> None:
    key = cache_key_text(
        inputs=ExecutorInputs(parameter_values=values),
        output_artifacts={},
        output_parameters={},
        image="i",
        command=[],
        pvc_names=[],
    )
    assert key == '{"containerSpec":{"image":"i"},"inputParameterValues":' + text + "}"


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_number_that_json_does_not_have_is_refused(number: float) -> None:
    with pytest.raises(ValueError, match="number"):
        of(inputs=ExecutorInputs(parameter_values={"x": number}))

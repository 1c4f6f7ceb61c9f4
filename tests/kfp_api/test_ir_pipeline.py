"""The pipeline IR models hold what KFP's own messages hold.

Oracle: the published ``kfp-pipeline-spec`` package: a document and what the models made of it must parse to
equal protobuf messages. Documents come from the KFP SDK, and from the KFP fixtures beside the project.
"""

from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import json_format
from kfp import compiler
from kfp.pipeline_spec import pipeline_spec_pb2

from kfp_api.ir.base import unknown_fields
from kfp_api.ir.load import InvalidPipelineError, parse_pipeline_spec, pipeline_from_struct
from kfp_api.ir.pipeline import (
    DagOutputParameter,
    InputParameter,
    ParameterType,
    PipelineSpec,
    RuntimeValue,
)
from kfp_api.wire import UNSET
from tests.kfp_api.sdk_pipelines import conditions, inner, loops, settings

FIXTURES = Path(__file__).parents[3] / "shared" / "conformance"
FOLDERS = ("pipelines", "driver_pipelines")


def official(document: dict[str, Any]) -> tuple[Any, Any]:
    """The document as KFP's messages; the deployment is a message of its own inside a Struct."""
    rest = {key: value for key, value in document.items() if key not in {"deploymentSpec", "deployment_spec"}}
    deployment = document.get("deploymentSpec", document.get("deployment_spec", {}))
    return (
        json_format.ParseDict(rest, pipeline_spec_pb2.PipelineSpec(), ignore_unknown_fields=True),
        json_format.ParseDict(
            deployment, pipeline_spec_pb2.PipelineDeploymentConfig(), ignore_unknown_fields=True
        ),
    )


@pytest.mark.parametrize("pipeline", [inner, loops, conditions, settings], ids=lambda one: one.name)
def test_what_the_sdk_compiles_is_read_whole(pipeline: Any, tmp_path: Path) -> None:
    target = tmp_path / "pipeline.yaml"
    compiler.Compiler().compile(pipeline, str(target))
    document = next(yaml.safe_load_all(target.read_text()))
    model = parse_pipeline_spec(document)
    assert official(model.to_json()) == official(document)
    assert unknown_fields(PipelineSpec, document) == []


def fixture_files() -> list[Path]:
    return sorted(file for folder in FOLDERS for file in (FIXTURES / folder).rglob("*.yaml"))


@pytest.mark.conformance
def test_what_kfp_tests_with_is_read_whole() -> None:
    files = fixture_files()
    if not files:
        pytest.skip(f"the KFP fixtures are not at {FIXTURES}")
    unlike = []
    for file in files:
        for document in yaml.safe_load_all(file.read_text()):
            if not isinstance(document, dict) or "pipelineInfo" not in document:
                continue
            model = parse_pipeline_spec(document)
            if official(model.to_json()) != official(document) or unknown_fields(PipelineSpec, document):
                unlike.append(file.name)
    assert unlike == []


MINIMAL: dict[str, Any] = {"pipelineInfo": {"name": "p"}, "root": {"dag": {"tasks": {}}}}


def test_ir_keeps_map_keys() -> None:
    snake = {
        "pipeline_info": {"name": "p"},
        "root": {
            "input_definitions": {
                "parameters": {"someKey_x": {"parameter_type": "STRUCT", "default_value": {"snake_key": 1}}}
            }
        },
    }
    spec = parse_pipeline_spec(snake)
    assert spec.root is not None
    declared = spec.root.input_definitions.parameters["someKey_x"]
    assert declared.declared_type is ParameterType.STRUCT
    assert declared.default_value == {"snake_key": 1}


def test_null_is_a_value_only_where_values_are() -> None:
    assert RuntimeValue.parse({"constant": None}).constant is None
    assert RuntimeValue.parse({}).constant is UNSET
    assert InputParameter.parse({"defaultValue": None, "description": None}).default_value is None


def test_deprecated_types_are_understood() -> None:
    types = [InputParameter.parse({"type": name}).declared_type for name in ("INT", "DOUBLE", "STRING", "X")]
    assert types == [
        ParameterType.NUMBER_INTEGER,
        ParameterType.NUMBER_DOUBLE,
        ParameterType.STRING,
        ParameterType.UNSPECIFIED,
    ]


def test_integers_stay_integers() -> None:
    constant = RuntimeValue.parse({"constant": {"n": 1, "x": 1.5, "flag": True}}).constant
    assert [type(value) for value in constant.values()] == [int, float, bool]  # type: ignore[union-attr]


def test_alternatives_of_an_output_keep_their_order() -> None:
    one = DagOutputParameter.parse(
        {"valueFromOneof": {"parameterSelectors": [{"producerSubtask": "b"}, {"producerSubtask": "a"}]}}
    )
    assert [selector.producer_subtask for selector in one.selectors] == ["b", "a"]
    assert DagOutputParameter.parse({}).selectors == []


@pytest.mark.parametrize("inner_key", ["pipeline_spec", "pipelineSpec"])
@pytest.mark.parametrize("platform_key", ["platform_spec", "platformSpec"])
def test_both_forms_of_a_submission_are_read(inner_key: str, platform_key: str) -> None:
    executors: dict[str, Any] = {"exec-a": {"secretAsEnv": []}}
    platform = {"platforms": {"kubernetes": {"deploymentSpec": {"executors": executors}}}}
    wrapped = pipeline_from_struct({inner_key: MINIMAL, platform_key: platform})
    assert wrapped.spec == pipeline_from_struct(MINIMAL).spec
    assert wrapped.kubernetes_executors == executors
    assert wrapped.submission == {"pipeline_spec": MINIMAL, "platform_spec": platform}
    assert pipeline_from_struct(MINIMAL).submission == MINIMAL
    assert pipeline_from_struct(MINIMAL).kubernetes == {}


@pytest.mark.parametrize(
    ("document", "text"),
    [
        (None, "not an object"),
        ({}, "pipeline spec is empty"),
        ({"root": {"dag": {"tasks": {"a.b": {}}}}}, 'task name "a.b" contains a dot'),
        ({"components": {"c": {"dag": {"tasks": {"a.b": {}}}}}}, 'component "c": task name "a.b"'),
        ({"root": {"dag": {"tasks": []}}}, "root.dag.tasks"),
        ({"components": 5}, "components"),
    ],
)
def test_what_is_no_pipeline_is_refused_with_the_place(document: object, text: str) -> None:
    """D18: upstream takes a dot in a task key, and its scope paths become ambiguous."""
    with pytest.raises(InvalidPipelineError) as caught:
        pipeline_from_struct(document)
    assert text in str(caught.value)


def test_unknown_fields_are_ignored_and_named() -> None:
    document = {
        **MINIMAL,
        "newThing": 1,
        "components": {"c": {"dag": {"tasks": {"t": {"triggerPolicy": {"color": "red"}}}}}},
        "deploymentSpec": {"executors": {"e": {"container": {"env": [{"name": "A", "secret": 1}]}}}},
    }
    parse_pipeline_spec(document)
    assert unknown_fields(PipelineSpec, document) == [
        "newThing",
        "components.c.dag.tasks.t.triggerPolicy.color",
        "deploymentSpec.executors.e.container.env[0].secret",
    ]

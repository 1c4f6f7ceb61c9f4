"""Reading what user code produced. Oracle: the tables of spec LAUNCHER A8, A9 and KFP_API 11 rule 9."""

import json
from pathlib import Path
from typing import Any

import pytest

from kfp_api.ir.executor_input import ExecutorInput, ExecutorOutput
from kfp_api.ir.pipeline import ArtifactTypeSchema, ComponentSpec, ParameterType
from kfp_api.messages import ArtifactType
from launcher.artifact_types import SCHEMA_TITLE_KEY, artifact_type
from launcher.errors import LauncherError
from launcher.outputs import (
    collect_artifacts,
    collect_parameters,
    read_executor_output,
    text_to_parameter,
)


@pytest.mark.parametrize(
    ("text", "declared", "value"),
    [
        (" keep me \n", ParameterType.STRING, " keep me \n"),
        (" 42\n", ParameterType.NUMBER_INTEGER, 42),
        ("-9223372036854775808", ParameterType.NUMBER_INTEGER, -(2**63)),
        ("0.93\n", ParameterType.NUMBER_DOUBLE, 0.93),
        ("1e-3", ParameterType.NUMBER_DOUBLE, 0.001),
        ("T", ParameterType.BOOLEAN, True),
        ("False\n", ParameterType.BOOLEAN, False),
        ('["a", 1]', ParameterType.LIST, ["a", 1]),
        ('{"a": null}', ParameterType.STRUCT, {"a": None}),
    ],
)
def test_text_becomes_a_value_of_the_declared_type(text: str, declared: ParameterType, value: Any) -> None:
    assert text_to_parameter(text, declared) == value


@pytest.mark.parametrize(
    ("text", "declared"),
    [
        ("1.0", ParameterType.NUMBER_INTEGER),
        ("1_0", ParameterType.NUMBER_INTEGER),
        ("0x1", ParameterType.NUMBER_INTEGER),
        ("9223372036854775808", ParameterType.NUMBER_INTEGER),
        ("nan", ParameterType.NUMBER_DOUBLE),
        ("inf", ParameterType.NUMBER_DOUBLE),
        ("1e999", ParameterType.NUMBER_DOUBLE),
        ("yes", ParameterType.BOOLEAN),
        ("{}", ParameterType.LIST),
        ("[1", ParameterType.LIST),
        ("[NaN]", ParameterType.LIST),
        ("[]", ParameterType.STRUCT),
        ("x", ParameterType.TASK_CONFIG),
    ],
)
def test_text_that_does_not_fit_is_refused(text: str, declared: ParameterType) -> None:
    with pytest.raises(ValueError, match=r".+"):
        text_to_parameter(text, declared)


def component(**parameters: str) -> ComponentSpec:
    definitions = {name: {"parameterType": kind} for name, kind in parameters.items()}
    return ComponentSpec.parse({"outputDefinitions": {"parameters": definitions}})


def test_values_in_the_executor_output_win_over_files(tmp_path: Path) -> None:
    (tmp_path / "b").write_text("5", encoding="utf-8")
    executor_input = ExecutorInput.parse(
        {"outputs": {"parameters": {name: {"outputFile": str(tmp_path / name)} for name in ("a", "b")}}}
    )
    output = ExecutorOutput.parse({"parameterValues": {"a": [1], "extra": True}})
    declared = component(a="LIST", b="NUMBER_INTEGER")
    assert collect_parameters(executor_input, output, declared) == {"a": [1], "b": 5, "extra": True}


@pytest.mark.parametrize(
    ("declared", "text"),
    [
        ({"a": "STRING"}, 'failed to read output parameter name="a" type="STRING"'),
        ({}, 'failed to find output parameter name="a" in component spec'),
    ],
)
def test_missing_output_parameter_is_named(declared: dict[str, str], text: str, tmp_path: Path) -> None:
    executor_input = ExecutorInput.parse(
        {"outputs": {"parameters": {"a": {"outputFile": str(tmp_path / "a")}}}}
    )
    with pytest.raises(LauncherError, match=text):
        collect_parameters(executor_input, ExecutorOutput(), component(**declared))


def test_missing_executor_output_is_an_empty_one(tmp_path: Path) -> None:
    assert read_executor_output(str(tmp_path / "none.json")) == ExecutorOutput()
    assert read_executor_output("") == ExecutorOutput()


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"unknown": 1}', '{"parameterValues": {"a": NaN}}', "\udcff"]
)
def test_broken_executor_output_names_the_file(text: str, tmp_path: Path) -> None:
    file = tmp_path / "output_metadata.json"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(LauncherError, match=str(file)):
        read_executor_output(str(file))


@pytest.mark.parametrize(
    ("title", "kind"),
    [
        ("system.Artifact", ArtifactType.Artifact),
        ("system.Dataset", ArtifactType.Dataset),
        ("system.Model", ArtifactType.Model),
        ("system.Metrics", ArtifactType.Metric),
        ("system.ClassificationMetrics", ArtifactType.ClassificationMetric),
        ("system.SlicedClassificationMetrics", ArtifactType.SlicedClassificationMetric),
        ("system.HTML", ArtifactType.HTML),
        ("system.Markdown", ArtifactType.Markdown),
    ],
)
def test_schema_title_has_its_api_type(title: str, kind: ArtifactType) -> None:
    assert artifact_type(ArtifactTypeSchema(schema_title=title)) == (kind, {})


def test_unknown_schema_title_is_kept_in_metadata() -> None:
    kind, mark = artifact_type(ArtifactTypeSchema(schema_title="google.VertexModel"))
    assert (kind, mark) == (ArtifactType.Artifact, {SCHEMA_TITLE_KEY: "google.VertexModel"})


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (None, (ArtifactType.Artifact, {})),
        (ArtifactTypeSchema(instance_schema="title: system.Model\ntype: object"), (ArtifactType.Model, {})),
        (
            ArtifactTypeSchema(instance_schema="title: my.Type\n"),
            (ArtifactType.Artifact, {SCHEMA_TITLE_KEY: "my.Type"}),
        ),
    ],
)
def test_type_may_be_given_by_its_instance_schema(
    schema: ArtifactTypeSchema | None, expected: tuple[ArtifactType, dict[str, str]]
) -> None:
    assert artifact_type(schema) == expected


def test_type_given_by_uri_is_refused() -> None:
    with pytest.raises(LauncherError, match="schemaUri are not supported"):
        artifact_type(ArtifactTypeSchema(schema_uri="https://x/y.yaml"))


def test_string_is_taken_byte_for_byte(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes("first\r\nsecond\rthird\n\u2028".encode())
    executor_input = ExecutorInput.parse({"outputs": {"parameters": {"a": {"outputFile": f"{tmp_path}/a"}}}})
    found = collect_parameters(executor_input, ExecutorOutput(), component(a="STRING"))
    assert found == {"a": "first\r\nsecond\rthird\n\u2028"}


def artifacts_of(title: str, metadata: dict[str, Any], path: Path | str) -> tuple[list[Any], list[str]]:
    provisioned = {"name": "out", "uri": str(path), "type": {"schemaTitle": title}}
    executor_input = ExecutorInput.parse({"outputs": {"artifacts": {"out": {"artifacts": [provisioned]}}}})
    reported = {"artifacts": {"out": {"artifacts": [{"name": "out", "uri": "", "metadata": metadata}]}}}
    output = ExecutorOutput.parse(json.loads(json.dumps(reported)))
    return collect_artifacts(executor_input, output, namespace="ns", workspace="/kfp-workspace")


def test_every_metric_becomes_an_artifact_of_its_own(tmp_path: Path) -> None:
    found, warnings = artifacts_of(
        "system.Metrics", {"acc": 0.5, "n": 3, "bad": float("nan")}, tmp_path / "m"
    )
    assert [(one.artifact.name, one.artifact.number_value, one.artifact.uri) for one in found] == [
        ("acc", 0.5, None),
        ("n", 3.0, None),
    ]
    assert len(warnings) == 1
    assert "bad" in warnings[0]


def test_metric_that_is_no_number_fails_the_task(tmp_path: Path) -> None:
    with pytest.raises(LauncherError, match='metric value "acc" must be a number'):
        artifacts_of("system.Metrics", {"acc": "high"}, tmp_path / "m")


def test_classification_metrics_live_in_metadata(tmp_path: Path) -> None:
    found, _ = artifacts_of(
        "system.ClassificationMetrics", {"confusionMatrix": {"rows": [float("inf")]}}, tmp_path
    )
    assert found[0].artifact.uri is None
    assert found[0].artifact.metadata == {"confusionMatrix": {"rows": ["Infinity"]}}


def test_file_artifact_must_exist(tmp_path: Path) -> None:
    with pytest.raises(LauncherError, match='declared output artifact "out" is missing'):
        artifacts_of("system.Dataset", {}, tmp_path / "none")
    (tmp_path / "some").write_text("x", encoding="utf-8")
    found, _ = artifacts_of("system.Dataset", {"rows": 1}, tmp_path / "some")
    assert found[0].artifact.uri == str(tmp_path / "some")
    assert found[0].artifact.metadata == {"rows": 1}


@pytest.mark.parametrize("title", ["system.Model", "system.ClassificationMetrics"])
def test_artifact_in_an_image_is_recorded_and_not_stored(title: str) -> None:
    (found,), warnings = artifacts_of(title, {"rows": 1}, "oci://r.io/a:1")
    assert (found.artifact.uri, found.path, warnings) == ("oci://r.io/a:1", None, [])
    assert found.artifact.metadata == {"rows": 1}


def test_artifact_that_no_store_takes_is_not_recorded() -> None:
    found, (warning,) = artifacts_of("system.Dataset", {}, "ftp://x/y")
    assert found == []
    assert 'output "out" is not recorded: failed to generate local path for URI ftp://x/y' in warning

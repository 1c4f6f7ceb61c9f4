"""Runtime placeholders and local paths. Oracle: the vectors of spec LAUNCHER A5, A6 and G."""

import json
from typing import Any

import pytest

from kfp_api.ir.executor_input import ExecutorInput, RuntimeArtifact
from launcher.errors import LauncherError
from launcher.paths import artifact_path, local_path
from launcher.placeholders import expand

INPUT = {
    "inputs": {
        "parameterValues": {
            "entrypoint": "python",
            "l": ["a", "b"],
            "s": {"alpha": "beta"},
            "n": 9312,
            "third": 1 / 3,
            "small": 0.00001,
            "on": True,
            "none": None,
        },
        "artifacts": {
            "data": {"artifacts": [{"name": "d", "uri": "s3://b/k"}, {"name": "e", "uri": "s3://b/k2"}]},
            "odd": {"artifacts": [{"name": "o", "uri": "ftp://b/k"}]},
            "empty": {},
        },
    },
    "outputs": {
        "parameters": {"acc": {"outputFile": "/tmp/kfp/outputs/acc"}},
        "artifacts": {"model": {"artifacts": [{"name": "model", "uri": "/data/run/model"}]}},
        "outputFile": "/data/run/output_metadata.json",
    },
}


def expanded(*command: str, document: dict[str, Any] | None = None) -> list[str]:
    return expand(command, ExecutorInput.parse(document or INPUT), workspace="/kfp-workspace")


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("{{$.inputs.parameters['entrypoint']}}", "python"),
        ("--items={{$.inputs.parameters['l']}}", '--items=["a","b"]'),
        ("--config={{$.inputs.parameters['s']}}", '--config={"alpha":"beta"}'),
        ("{{$.inputs.parameters['n']}}", "9312"),
        ("{{$.inputs.parameters['small']}}", "0.00001"),
        ("{{$.inputs.parameters['on']}}", "true"),
        ("[{{$.inputs.parameters['none']}}]", "[]"),
        ("{{$.inputs.artifacts['data'].uri}}", "s3://b/k"),
        ("{{$.inputs.artifacts['data'].path}}", "/s3/b/k"),
        ("{{$.inputs.artifacts['odd'].path}}", "{{$.inputs.artifacts['odd'].path}}"),
        ("{{$.outputs.artifacts['model'].path}}", "/data/run/model"),
        ("{{$.outputs.parameters['acc'].output_file}}", "/tmp/kfp/outputs/acc"),
        ("{{$.inputs.parameters['unknown']}}", "{{$.inputs.parameters['unknown']}}"),
        ("{{workflow.name}} {{$.json}}", "{{workflow.name}} {{$.json}}"),
    ],
)
def test_placeholder_is_replaced_by_its_text(text: str, result: str) -> None:
    assert expanded(text) == [result]


def test_whole_executor_input_keeps_integers_and_escapes_inserted_values() -> None:
    document = {
        "inputs": {
            "parameterValues": {
                "n": 3.0,
                "quoted": 'say "hi"',
                "text": "n is {{$.inputs.parameters['n']}}: {{$.inputs.parameters['quoted']}}",
            }
        },
        "outputs": {},
    }
    values = json.loads(expanded("{{$}}", document=document)[0])["inputs"]["parameterValues"]
    assert values == {"n": 3, "quoted": 'say "hi"', "text": 'n is 3: say "hi"'}
    assert type(values["n"]) is int


def test_inserted_text_is_never_scanned_again() -> None:
    document = {
        "inputs": {
            "parameterValues": {"a": "{{$.inputs.parameters['b']}}", "b": "{{$.inputs.parameters['a']}}"}
        },
        "outputs": {},
    }
    twice = expanded("{{$.inputs.parameters['a']}}", "{{$.inputs.parameters['b']}}", document=document)
    assert twice == ["{{$.inputs.parameters['a']}}", "{{$.inputs.parameters['b']}}"]


def test_output_artifact_without_local_path_is_an_error() -> None:
    document = {"outputs": {"artifacts": {"m": {"artifacts": [{"name": "m", "uri": "ftp://x/y"}]}}}}
    with pytest.raises(LauncherError, match=r'output artifact "m".*unsupported storage scheme'):
        expanded("true", document=document)


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("gs://B/K", "/gcs/B/K"),
        ("s3://B/K", "/s3/B/K"),
        ("minio://B/K", "/minio/B/K"),
        ("oci://r.io/a/b:1", "/oci/r.io_a_b:1/models"),
        ("/data/kfp/x", "/data/kfp/x"),
    ],
)
def test_uri_has_the_path_that_the_sdk_computes(uri: str, path: str) -> None:
    assert local_path(uri) == path


def test_workspace_artifact_lies_below_the_workspace() -> None:
    artifact = RuntimeArtifact(uri="minio://mlpipeline/sample/sample.txt", metadata={"_kfp_workspace": True})
    path = "/kfp-workspace/.artifacts/minio/mlpipeline/sample/sample.txt"
    assert artifact_path(artifact, "/kfp-workspace") == path


def test_custom_path_wins() -> None:
    assert artifact_path(RuntimeArtifact(uri="s3://b/k", custom_path="/x"), "/kfp-workspace") == "/x"

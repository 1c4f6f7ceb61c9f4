"""Output places: examples and rules of spec PODSPEC 6 and 11.2."""

import pytest

from driver_plugin.podspec.errors import OutputPathError
from driver_plugin.podspec.provision import output_uri, provision_outputs, run_root
from kfp_api.ir.executor_input import ExecutorInput, executor_input_to_json
from kfp_api.ir.pipeline import ComponentSpec

COMPONENT = ComponentSpec.parse(
    {
        "outputDefinitions": {
            "artifacts": {
                "model": {
                    "artifactType": {"schemaTitle": "system.Model", "schemaVersion": "0.0.1"},
                    "metadata": {"framework": "xgboost"},
                }
            },
            "parameters": {"acc": {"parameterType": "NUMBER_DOUBLE"}},
        }
    }
)


@pytest.mark.parametrize(
    ("root", "expected"),
    [
        ("s3://b/r/?region=eu", "s3://b/r/demo/run1?region=eu"),
        ("s3://b/r", "s3://b/r/demo/run1"),
        ("gs://b", "gs://b/demo/run1"),
        ("", "minio://mlpipeline/v2/artifacts/demo/run1"),
        (" minio://b/r\n", "minio://b/r/demo/run1"),
        ("/data/artifacts/", "/data/artifacts/demo/run1"),
        ("s3://b/r?x=1?y=2", "s3://b/r?x=1?y=2/demo/run1"),
    ],
)
def test_run_root_when_given_a_pipeline_root(root: str, expected: str) -> None:
    assert run_root(root, "demo", "run1") == expected


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (["a", "", "b"], "s3://b/a/b"),
        (["a/./b", "c"], "s3://b/a/b/c"),
        (["a", "/c"], "s3://b/a/c"),
        (["a//b"], "s3://b/a/b"),
        (["a..b"], "s3://b/a..b"),
        ([], "s3://b"),
    ],
)
def test_parts_of_a_uri_are_normalised(parts: list[str], expected: str) -> None:
    assert output_uri("s3://b/", parts, keep_query=False) == expected


@pytest.mark.parametrize("part", ["..", "a/../b", "../x"])
def test_parts_that_leave_the_root_are_refused(part: str) -> None:
    with pytest.raises(OutputPathError, match=r"\.\."):
        output_uri("s3://b", [part], keep_query=False)


def test_outputs_when_the_root_has_a_query() -> None:
    outputs = provision_outputs(
        pipeline_root="s3://b/r/p/run1?region=eu",
        task_name="train",
        salt="S",
        component=COMPONENT,
        publish_logs=True,
    )
    assert executor_input_to_json(ExecutorInput(outputs=outputs)) == {
        "outputs": {
            "artifacts": {
                "model": {
                    "artifacts": [
                        {
                            "name": "model",
                            "uri": "s3://b/r/p/run1/train/S/model",
                            "type": {"schemaTitle": "system.Model", "schemaVersion": "0.0.1"},
                            "metadata": {"framework": "xgboost"},
                        }
                    ]
                },
                "executor-logs": {
                    "artifacts": [
                        {
                            "name": "executor-logs",
                            "uri": "s3://b/r/p/run1/train/S/executor-logs",
                            "type": {"schemaTitle": "system.Artifact"},
                        }
                    ]
                },
            },
            "parameters": {"acc": {"outputFile": "/tmp/kfp/outputs/acc"}},
            "outputFile": "/s3/b/r/p/run1/train/S/output_metadata.json",
        }
    }


@pytest.mark.parametrize(
    ("root", "file"),
    [
        ("gs://b/r", "/gcs/b/r/train/S/output_metadata.json"),
        ("minio://b/r", "/minio/b/r/train/S/output_metadata.json"),
        ("oci://reg/r", "/oci/reg_r_train_S/models/output_metadata.json"),
        ("/data/r", "/data/r/train/S/output_metadata.json"),
        ("mem://b/r", "/tmp/kfp_outputs/output_metadata.json"),
    ],
)
def test_metadata_file_lies_where_the_scheme_is_mounted(root: str, file: str) -> None:
    outputs = provision_outputs(
        pipeline_root=root, task_name="train", salt="S", component=COMPONENT, publish_logs=False
    )
    assert outputs.output_file == file


def test_log_artifact_does_not_leak_into_the_component() -> None:
    for publish_logs in (True, False):
        outputs = provision_outputs(
            pipeline_root="s3://b",
            task_name="train",
            salt="S",
            component=COMPONENT,
            publish_logs=publish_logs,
        )
        assert ("executor-logs" in outputs.artifacts) is publish_logs
    assert set(COMPONENT.output_definitions.artifacts) == {"model"}


def test_same_salt_gives_the_same_places_and_another_salt_others() -> None:
    first, again, other = (
        provision_outputs(
            pipeline_root="s3://b", task_name="t", salt=salt, component=COMPONENT, publish_logs=True
        )
        for salt in ("A", "A", "B")
    )
    assert first == again != other

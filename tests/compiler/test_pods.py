"""Volumes and flags of the pods that remain: executors and importers.

Oracle: spec COMPILER 6.4 and 6.8.
"""

import pytest

from compiler.options import Mode
from tests.compiler.pipelines import Json, compiled, pipeline, task, templates

IMPORTER = {
    "importer": {
        "artifactUri": {"constant": "s3://bucket/data"},
        "typeSchema": {"schemaTitle": "system.Dataset"},
        "downloadToWorkspace": True,
    }
}


def volumes(template: Json) -> list[str]:
    names = [one["name"] for one in template["volumes"]]
    assert [one["name"] for one in template["container"]["volumeMounts"]] == names
    return names


def test_ca_bundle_comes_before_the_launcher_config_except_in_driver_pods() -> None:
    given = pipeline({"a": task(), "b": task("comp-import")})
    found = templates(compiled(given, mode=Mode.CONTAINER, ca_configmap="ca-map", ca_key="bundle"))
    assert volumes(found["system-dag-driver"]) == ["kfp-launcher-token", "kfp-launcher-config", "custom-ca"]
    assert volumes(found["system-importer"]) == ["kfp-launcher-token", "custom-ca", "kfp-launcher-config"]
    assert volumes(found["system-container-impl"])[-2:] == ["custom-ca", "kfp-launcher-config"]
    assert found["system-importer"]["volumes"][1] == {
        "name": "custom-ca",
        "configMap": {"name": "ca-map", "items": [{"key": "bundle", "path": "ca.crt"}]},
    }


def test_ca_secret_wins_over_the_config_map_and_reaches_plugin_arguments() -> None:
    found = templates(compiled(pipeline({"a": task()}), ca_configmap="ca-map", ca_secret="ca"))
    assert (
        found["system-dag-driver"]["plugin"]["driver-plugin"]["args"]["ca_cert_path"] == "/kfp/certs/ca.crt"
    )
    mounted = next(one for one in found["system-container-impl"]["volumes"] if one["name"] == "custom-ca")
    assert mounted == {
        "name": "custom-ca",
        "secret": {"secretName": "ca", "items": [{"key": "ca.crt", "path": "ca.crt"}]},
    }


def test_importer_into_the_workspace_mounts_the_claim() -> None:
    given = pipeline({"a": task("comp-import")}, executors={"exec-import": IMPORTER})
    found = templates(compiled(given))["system-importer-workspace"]
    assert volumes(found) == ["kfp-launcher-token", "kfp-workspace", "kfp-launcher-config"]
    assert found["volumes"][1]["persistentVolumeClaim"] == {"claimName": "{{workflow.name}}-kfp-workspace"}


@pytest.mark.parametrize("mode", list(Mode))
def test_importer_stays_a_launcher_pod_in_both_modes(mode: Mode) -> None:
    found = templates(compiled(pipeline({"a": task("comp-import")}), mode=mode))["system-importer"]
    assert found["container"]["command"] == ["launcher-v2"]
    assert found["container"]["args"][:6] == [
        "--executor_type",
        "importer",
        "--task_name",
        "{{inputs.parameters.task-name}}",
        "--importer_spec",
        "{{inputs.parameters.importer}}",
    ]


def test_token_is_bound_to_the_run() -> None:
    found = templates(compiled(pipeline({"a": task()}), token_audience="audience"))
    token = found["system-container-impl"]["volumes"][1]["projected"]["sources"][0]["serviceAccountToken"]
    assert token == {
        "audience": "audience/runs/{{workflow.uid}}",
        "expirationSeconds": 7200,
        "path": "token",
    }

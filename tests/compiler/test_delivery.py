"""The plugin inside the Workflow, for Argo 4.1.

Oracles: the snippet of spec DEPLOY 3.2 word for word; Argo's validation of executor plugins (2.4); the
published Kubernetes schemas; what Argo's strategic merge keeps.
"""

import json
from typing import Any

import kubernetes_validate
import pytest
import yaml

from compiler.delivery import Delivery, DeliveryError, PluginDelivery, delivery_operations
from compiler.errors import CompileError
from compiler.finalize import finalize_workflow
from compiler.json_patch import applied
from compiler.profile import PluginProfile
from tests.compiler.argo_rules import violations
from tests.compiler.json_patch import patched
from tests.compiler.pipelines import Json, compiled, loop, pipeline, task, templates

VOLUMES = """
- name: kfp-driver-run
  projected:
    sources:
    - serviceAccountToken:
        path: token
        audience: "pipelines.kubeflow.org/runs/{{workflow.uid}}"
        expirationSeconds: 7200
    - serviceAccountToken:
        path: base-token
        audience: "pipelines.kubeflow.org"
        expirationSeconds: 7200
- name: kfp-driver-kube
  projected:
    sources:
    - serviceAccountToken: {path: token, expirationSeconds: 3607}
    - configMap: {name: kube-root-ca.crt, items: [{key: ca.crt, path: ca.crt}]}
    - downwardAPI: {items: [{path: namespace, fieldRef: {fieldPath: metadata.namespace}}]}
- name: kfp-driver-launcher-config
  configMap: {name: kfp-launcher, optional: true}
- name: kfp-driver-tmp
  emptyDir: {medium: Memory, sizeLimit: 64Mi}
"""
MOUNTS = """
- {name: kfp-driver-run, mountPath: /var/run/secrets/kfp, readOnly: true}
- {name: kfp-driver-kube, mountPath: /var/run/secrets/kubernetes.io/serviceaccount, readOnly: true}
- {name: kfp-driver-launcher-config, mountPath: /etc/kfp/launcher-config, readOnly: true}
- {name: kfp-driver-tmp, mountPath: /tmp}
"""

INLINE = PluginDelivery(delivery=Delivery.INLINE)
FORWARDER = PluginDelivery(
    delivery=Delivery.INLINE,
    profile=PluginProfile.parse("mode: forward\ncentralURL: https://central\ncaConfigMap: {name: ca}"),
)


def inline(**options: Any) -> Json:
    return compiled(pipeline({"a": task(), "b": loop()}), **{"plugin": INLINE, **options})


def sidecar(workflow: Json) -> Json:
    (entry,) = workflow["spec"]["executorPlugins"]
    container: Json = entry["spec"]["sidecar"]["container"]
    return container


def delivered(spec: Json, plugin: PluginDelivery = INLINE, *, run_id: str = "run-1") -> Json:
    document = {"spec": spec}
    operations = delivery_operations(spec, ("spec",), plugin, run_id=run_id)
    result = applied(document, operations)
    assert result == patched(document, operations)
    assert delivery_operations(result["spec"], ("spec",), plugin, run_id=run_id) == []
    changed: Json = result["spec"]
    return changed


def test_volumes_and_mounts_are_those_of_the_contract() -> None:
    workflow = inline()
    patch = json.loads(workflow["spec"]["podSpecPatch"])
    assert patch == {"volumes": yaml.safe_load(VOLUMES)}
    assert sidecar(workflow)["volumeMounts"] == yaml.safe_load(MOUNTS)


def test_plugin_is_named_and_asks_for_no_account_of_its_own() -> None:
    (entry,) = inline()["spec"]["executorPlugins"]
    assert entry["metadata"] == {"name": "kfp-driver"}
    assert list(entry["spec"]["sidecar"]) == ["container"]
    container = entry["spec"]["sidecar"]["container"]
    assert container["name"] == "driver-plugin"
    assert [port["containerPort"] for port in container["ports"]] == [10790, 10791]
    assert container["args"] == ["serve"]
    assert container["lifecycle"] == {
        "postStart": {"exec": {"command": ["kfp-driver", "wait-ready", "--timeout=25"]}}
    }


def test_run_id_waits_for_submission() -> None:
    workflow = inline()
    assert {"name": "KFP_RUN_ID", "value": "{{workflow.uid}}"} in sidecar(workflow)["env"]
    bound = finalize_workflow(workflow, run_id="run-7", namespace="team-a", display_name="d")
    assert {"name": "KFP_RUN_ID", "value": "run-7"} in sidecar(bound)["env"]
    assert "pipelines.kubeflow.org/runs/run-7" in bound["spec"]["podSpecPatch"]


def test_without_delivery_only_pod_metadata_is_added() -> None:
    spec = compiled(pipeline({"a": task()}))["spec"]
    assert spec["podMetadata"]["annotations"]["sidecar.istio.io/inject"] == "false"
    assert "podSpecPatch" not in spec
    assert "executorPlugins" not in spec


@pytest.mark.parametrize("plugin", [INLINE, FORWARDER], ids=["serve", "forward"])
def test_output_satisfies_argo(plugin: PluginDelivery) -> None:
    assert violations(inline(plugin=plugin)) == []


@pytest.mark.parametrize("plugin", [INLINE, FORWARDER], ids=["serve", "forward"])
@pytest.mark.parametrize("version", ["1.28.0", "1.32.0", "1.34.0"])
def test_sidecar_and_volumes_make_a_valid_pod(plugin: PluginDelivery, version: str) -> None:
    workflow = inline(plugin=plugin)
    patch = json.loads(workflow["spec"]["podSpecPatch"])
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "agent"},
        "spec": {"containers": [sidecar(workflow)], **patch},
    }
    kubernetes_validate.validate(pod, version, strict=True)
    mounted = {mount["name"] for mount in sidecar(workflow)["volumeMounts"]}
    assert mounted == {volume["name"] for volume in patch["volumes"]}
    assert set(patch) == {"volumes"}


def test_forwarder_holds_no_kubernetes_token_and_knows_its_target() -> None:
    workflow = inline(plugin=FORWARDER)
    names = [volume["name"] for volume in json.loads(workflow["spec"]["podSpecPatch"])["volumes"]]
    assert names == ["kfp-driver-run", "kfp-driver-ca"]
    assert sidecar(workflow)["args"] == ["forward"]
    assert {"name": "KFP_DRIVER_CENTRAL_URL", "value": "https://central"} in sidecar(workflow)["env"]
    assert sidecar(workflow)["resources"]["requests"] == {"cpu": "10m", "memory": "32Mi"}


def test_only_the_public_certificate_is_mounted() -> None:
    plugin = PluginDelivery(
        delivery=Delivery.INLINE, profile=PluginProfile.parse("caConfigMap: {name: ca, key: root.pem}")
    )
    volumes = json.loads(inline(plugin=plugin)["spec"]["podSpecPatch"])["volumes"]
    assert volumes[-1] == {
        "name": "kfp-driver-ca",
        "configMap": {"name": "ca", "items": [{"key": "root.pem", "path": "ca.crt"}]},
    }


@pytest.mark.parametrize(
    "existing",
    ['{"nodeSelector": {"disk": "ssd"}, "volumes": [{"name": "own", "emptyDir": {}}]}',
     "nodeSelector:\n  disk: ssd\nvolumes:\n- name: own\n  emptyDir: {}\n"],
    ids=["json", "yaml"],
)  # fmt: skip
def test_existing_pod_spec_patch_is_kept_and_completed(existing: str) -> None:
    patch = json.loads(delivered({"podSpecPatch": existing})["podSpecPatch"])
    assert patch["nodeSelector"] == {"disk": "ssd"}
    assert [volume["name"] for volume in patch["volumes"]][:2] == ["own", "kfp-driver-run"]
    assert len(patch["volumes"]) == 5


def test_existing_patch_is_read_as_argo_reads_it() -> None:
    patch = json.loads(delivered({"podSpecPatch": "a: 12:30\nb: 1e3\nc: on\nd: 0o17"})["podSpecPatch"])
    assert {key: patch[key] for key in "abcd"} == {"a": "12:30", "b": 1000, "c": True, "d": 15}


def test_merged_patch_is_written_the_same_each_time() -> None:
    spec = {"podSpecPatch": '{"volumes": [], "a": 1}'}
    assert delivered(spec) == delivered(spec)
    assert ": " not in delivered(spec)["podSpecPatch"]


def test_what_a_workflow_has_already_is_left_as_it_is() -> None:
    spec = {
        "podMetadata": {"annotations": {"sidecar.istio.io/inject": "true"}},
        "podSpecPatch": "volumes: [{name: kfp-driver-tmp, emptyDir: {sizeLimit: 1Gi}}]",
        "executorPlugins": [{"metadata": {"name": "kfp-driver"}, "spec": "pinned"}],
    }
    result = delivered(spec)
    assert result["podMetadata"] == spec["podMetadata"]
    assert result["executorPlugins"] == spec["executorPlugins"]
    volumes = json.loads(result["podSpecPatch"])["volumes"]
    assert volumes[0] == {"name": "kfp-driver-tmp", "emptyDir": {"sizeLimit": "1Gi"}}
    assert [volume["name"] for volume in volumes].count("kfp-driver-tmp") == 1


def test_other_plugins_stay_in_front() -> None:
    result = delivered({"executorPlugins": [{"metadata": {"name": "other"}}]})
    assert [one["metadata"]["name"] for one in result["executorPlugins"]] == ["other", "kfp-driver"]


@pytest.mark.parametrize("spec", [{}, {"podMetadata": None}, {"podMetadata": {"annotations": None}}], ids=str)
def test_missing_parents_of_pod_metadata_are_added(spec: Json) -> None:
    assert delivered(spec)["podMetadata"] == {"annotations": {"sidecar.istio.io/inject": "false"}}


def test_profiles_metadata_never_overwrites() -> None:
    profile = PluginProfile.parse("podMetadata: {annotations: {a: new, b: new}, labels: {team: x}}")
    spec = {"podMetadata": {"annotations": {"a": "old"}}}
    assert delivered(spec, PluginDelivery(profile=profile))["podMetadata"] == {
        "annotations": {"a": "old", "b": "new"},
        "labels": {"team": "x"},
    }


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"podSpecPatch": "cpu: {{workflow.parameters.cpu}}"}, "podSpecPatch cannot be read"),
        ({"podSpecPatch": "[1]"}, "podSpecPatch is not one object"),
        ({"podSpecPatch": "a: 1\n---\nb: 1"}, "podSpecPatch is not one object"),
        ({"podSpecPatch": {"volumes": []}}, "podSpecPatch: expected a text"),
        ({"podSpecPatch": "volumes: 7"}, "podSpecPatch.volumes: expected a list"),
        ({"podMetadata": []}, "podMetadata: expected an object"),
        ({"podMetadata": {"annotations": "x"}}, "podMetadata.annotations: expected an object"),
        ({"executorPlugins": {}}, "executorPlugins: expected a list"),
        ({"podSpecPatch": "[" * 5000}, "podSpecPatch cannot be read"),
        ({"podSpecPatch": f"a: &a [{'1,' * 999}1]\nb: [{'*a,' * 99}*a]"}, "more than 10000 values"),
    ],
    ids=str,
)  # fmt: skip
def test_part_that_cannot_be_merged_is_named(spec: Json, message: str) -> None:
    with pytest.raises(DeliveryError, match=message):
        delivered(spec)


def test_administrators_patch_comes_first_and_its_pod_metadata_wins() -> None:
    patch = {
        "podMetadata": {"annotations": {"sidecar.istio.io/inject": "true"}},
        "podSpecPatch": "terminationGracePeriodSeconds: 5",
    }
    spec = inline(spec_patch=json.dumps(patch))["spec"]
    assert spec["podMetadata"]["annotations"]["sidecar.istio.io/inject"] == "true"
    assert json.loads(spec["podSpecPatch"])["terminationGracePeriodSeconds"] == 5
    with pytest.raises(CompileError, match="podSpecPatch is not one object"):
        inline(spec_patch='{"podSpecPatch": "x"}')


def test_version_of_the_arguments_is_written_when_it_is_not_the_first() -> None:
    plugin = PluginDelivery(profile=PluginProfile.parse("argsVersion: '2'"))
    workflow = compiled(pipeline({"a": task()}), plugin=plugin)
    for name in ("system-dag-driver", "system-container-driver"):
        assert templates(workflow)[name]["plugin"]["driver-plugin"]["args"]["args_version"] == "2"
    assert "args_version" not in json.dumps(compiled(pipeline({"a": task()})))

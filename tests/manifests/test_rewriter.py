"""The webhook's manifests and the plugin profile that it reads.

Oracles: ``kubectl kustomize``; the published Kubernetes schemas; CEL's official runtime, for the API server's
match conditions; spec DEPLOY 3.7 for names and policies; the webhook and the rewriter themselves.
"""

import argparse
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from cel_expr_python import cel  # type: ignore[import-untyped]

from compiler.profile import PluginProfile
from compiler.rewriter.rewrite import RewriteOptions, rewrite
from compiler.sidecar import executor_plugin
from compiler.webhook import command
from compiler.webhook.app import PATH
from driver_plugin.settings import Settings
from tests.compiler.pipelines import Json
from tests.compiler.rewriter.workflows import INLINE, driver_pods, submitted
from tests.manifests.test_kustomize import PROJECT, build

OVERLAY = Path("manifests/kustomize/overlays/standalone-sidecar")
PROFILE = PROJECT / "configmaps/plugin-profile/kfp-driver-plugin-profile.yaml"
WITHOUT_SCHEMA = {"Certificate", "Issuer"}
CONTROLLER = "system:serviceaccount:kubeflow:argo"
API_SERVER = "system:serviceaccount:kubeflow:ml-pipeline"


@cache
def objects() -> list[Json]:
    return build(OVERLAY)


def rendered(kind: str, name: str = "kfp-driver-rewriter") -> Json:
    """The overlay's object of that kind and name."""
    found = [one for one in objects() if (one["kind"], one["metadata"]["name"]) == (kind, name)]
    assert len(found) == 1
    return found[0]


def shipped_profile() -> PluginProfile:
    config_map = yaml.safe_load(PROFILE.read_text(encoding="utf-8"))
    return PluginProfile.parse(config_map["data"]["profile.yaml"])


def entries() -> tuple[Json, Json]:
    create, update = rendered("MutatingWebhookConfiguration")["webhooks"]
    return create, update


@pytest.mark.parametrize("version", ["1.28.0", "1.32.0", "1.34.0"])
def test_objects_satisfy_kubernetes_schemas(version: str) -> None:
    for one in objects():
        if one["kind"] not in WITHOUT_SCHEMA:
            kubernetes_validate.validate(one, version, strict=True)


def test_shipped_profile_is_one_that_the_webhook_reads() -> None:
    profile = shipped_profile()
    defaults = PluginProfile()
    assert profile.image == defaults.image
    assert profile.pod_metadata == defaults.pod_metadata
    assert profile.audience_base == defaults.audience_base
    container, plain = (
        executor_plugin(one, run_id="r")["spec"]["sidecar"]["container"] for one in (profile, defaults)
    )
    assert container["resources"] == plain["resources"]
    known = {field.alias for field in Settings.model_fields.values()}
    assert {variable["name"] for variable in container["env"]} <= known
    for variable in container["env"]:
        assert variable.get("valueFrom", {}).get("secretKeyRef", {"optional": True})["optional"] is True


def test_sidecar_follows_the_image_of_the_webhook() -> None:
    image = rendered("Deployment")["spec"]["template"]["spec"]["containers"][0]["image"]
    text = rendered("ConfigMap", "kfp-driver-plugin-profile")["data"]["profile.yaml"]
    assert PluginProfile.parse(text).image == image


def test_configmap_of_the_other_mode_stays_out() -> None:
    assert {one["metadata"]["name"] for one in objects() if one["kind"] == "ConfigMap"} == {
        "kfp-driver-plugin-profile"
    }


def test_entries_have_the_names_and_policies_of_the_contract() -> None:
    create, update = entries()
    assert (create["name"], create["failurePolicy"]) == (
        "driver-plugin-rewriter.pipelines.kubeflow.org",
        "Ignore",
    )
    assert (update["name"], update["failurePolicy"]) == (
        "driver-plugin-restore.pipelines.kubeflow.org",
        "Fail",
    )
    assert create["rules"][0]["operations"] == ["CREATE"]
    assert update["rules"][0]["operations"] == ["UPDATE"]
    for one in (create, update):
        assert one["rules"][0]["resources"] == ["workflows"]
        assert (one["sideEffects"], one["timeoutSeconds"], one["reinvocationPolicy"]) == (
            "None",
            5,
            "IfNeeded",
        )
        assert one["objectSelector"]["matchExpressions"] == [
            {"key": "pipeline/runid", "operator": "Exists"},
            {"key": "kfp-driver/mode", "operator": "NotIn", "values": ["pod"]},
        ]


def test_api_server_finds_the_webhook_and_trusts_it() -> None:
    service, certificate = rendered("Service"), rendered("Certificate")
    namespace = service["metadata"]["namespace"]
    for one in entries():
        assert one["clientConfig"]["service"] == {
            "name": service["metadata"]["name"],
            "namespace": namespace,
            "path": PATH,
            "port": service["spec"]["ports"][0]["port"],
        }
    assert certificate["spec"]["dnsNames"] == [f"{service['metadata']['name']}.{namespace}.svc"]
    annotations = rendered("MutatingWebhookConfiguration")["metadata"]["annotations"]
    assert annotations["cert-manager.io/inject-ca-from"] == f"{namespace}/{certificate['metadata']['name']}"
    volumes = rendered("Deployment")["spec"]["template"]["spec"]["volumes"]
    assert volumes[0]["secret"]["secretName"] == certificate["spec"]["secretName"]


def test_container_calls_the_command_as_it_is() -> None:
    pod = rendered("Deployment")["spec"]["template"]["spec"]
    container = pod["containers"][0]
    assert container["args"][0] == "webhook"
    parser = argparse.ArgumentParser()
    command.configure(parser)
    arguments = parser.parse_args(container["args"][1:])
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"admission": arguments.port, "health": arguments.health_port}
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    assert mounts[str(arguments.profile.parent)] == "profile"
    for variable in container["env"]:
        assert mounts[str(Path(variable["value"]).parent)] == "tls"
        assert variable["name"] in {field.alias for field in Settings.model_fields.values()}
    selector = rendered("Service")["spec"]["selector"]
    assert selector.items() <= rendered("Deployment")["spec"]["template"]["metadata"]["labels"].items()


def test_webhook_has_no_rights_and_satisfies_pod_security_restricted() -> None:
    bound = [
        subject["name"] for one in objects() if one["kind"].endswith("Binding") for subject in one["subjects"]
    ]
    assert "kfp-driver-rewriter" not in bound
    pod = rendered("Deployment")["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    context = pod["containers"][0]["securityContext"]
    assert context == {
        "runAsNonRoot": True,
        "runAsUser": 8737,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "privileged": False,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def matches(workflow: Json, *, user: str) -> bool:
    """Whether the API server would call the UPDATE entry."""
    env = cel.NewEnv(variables={"object": cel.Type.DYN, "request": cel.Type.DYN})
    values: dict[str, Any] = {"object": workflow, "request": {"userInfo": {"username": user}}}
    return all(
        env.compile(condition["expression"]).eval(data=values).value()
        for condition in entries()[1]["matchConditions"]
    )


def test_update_entry_sees_retried_workflows_and_nothing_else() -> None:
    whole = rewrite(submitted(driver_pods()), RewriteOptions(plugin=INLINE)).obj
    lost = {**whole, "spec": {key: one for key, one in whole["spec"].items() if key != "executorPlugins"}}
    assert matches(lost, user=API_SERVER)
    assert not matches(lost, user=CONTROLLER)
    assert not matches(whole, user=API_SERVER)
    assert not matches(submitted(driver_pods()), user=API_SERVER)
    assert not matches({"spec": {"workflowTemplateRef": {"name": "w"}}}, user=API_SERVER)

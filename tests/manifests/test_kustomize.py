"""Manifests build and say what Argo demands.

Oracles: ``kubectl kustomize`` (the builds), Argo's validation of executor plugins (spec DEPLOY 2.4), and the
service's own settings (ports, variable names).
"""

import argparse
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from compiler.profile import PluginProfile
from compiler.sidecar import executor_plugin
from driver_plugin import wait_ready
from driver_plugin.cli import COMMANDS
from driver_plugin.settings import Settings

PROJECT = Path(__file__).parents[2]
DIRECTORIES = sorted(
    file.parent.relative_to(PROJECT)
    for root in ("configmaps", "manifests")
    for file in (PROJECT / root).rglob("kustomization.yaml")
)
OVERLAYS = [directory for directory in DIRECTORIES if "overlays" in directory.parts]
PLUGIN = PROJECT / "configmaps/executor-plugin/kfp-driver-executor-plugin.yaml"


def build(directory: Path) -> list[dict[str, Any]]:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed")
    command = [kubectl, "kustomize", str(PROJECT / directory)]
    answer = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert answer.returncode == 0, answer.stderr
    assert (
        answer.stdout
        == subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
    )
    return [document for document in yaml.safe_load_all(answer.stdout) if document]


def sidecar() -> dict[str, Any]:
    config_map = yaml.safe_load(PLUGIN.read_text(encoding="utf-8"))
    container: dict[str, Any] = yaml.safe_load(config_map["data"]["sidecar.container"])
    return container


@pytest.mark.parametrize("directory", DIRECTORIES, ids=str)
def test_kustomization_builds_and_is_deterministic(directory: Path) -> None:
    assert build(directory)


def test_sidecar_has_what_argo_calls_mandatory() -> None:
    container = sidecar()
    assert container["ports"], "at least one port is mandatory"
    assert container["resources"]["requests"], "resources requests are mandatory"
    assert container["resources"]["limits"], "resources limits are mandatory"
    assert container["securityContext"], "security context is mandatory"
    mounted = [mount["mountPath"] for mount in container["volumeMounts"]]
    assert not {"/var/run/argo", "/var/run/secrets/kubernetes.io/serviceaccount"} & set(mounted)


def test_sidecar_ports_are_the_services_own_with_the_api_first() -> None:
    ports = [port["containerPort"] for port in sidecar()["ports"]]
    settings = Settings()
    assert ports == [settings.port, settings.health_port]
    probes = [sidecar()[f"{kind}Probe"]["httpGet"]["port"] for kind in ("startup", "readiness", "liveness")]
    assert set(probes) == {settings.health_port}


def test_agent_is_held_back_until_the_service_is_ready_in_both_forms() -> None:
    """Argo starts its own container after the plugins', and the kubelet waits for the hook."""
    hook = sidecar()["lifecycle"]
    declared = executor_plugin(PluginProfile(), run_id="r")["spec"]["sidecar"]["container"]
    assert declared["lifecycle"] == hook
    program, name, *options = hook["postStart"]["exec"]["command"]
    assert program == "kfp-driver"
    (command,) = [one for one in COMMANDS if one.name == name]
    assert command.module == wait_ready.__name__
    parser = argparse.ArgumentParser()
    wait_ready.configure(parser)
    waiting = parser.parse_args(options)
    assert waiting.health_port == sidecar()["startupProbe"]["httpGet"]["port"]
    probe = sidecar()["startupProbe"]
    assert waiting.timeout < probe["periodSeconds"] * probe["failureThreshold"]


@pytest.mark.parametrize("version", ["1.28.0", "1.32.0", "1.34.0"])
def test_sidecar_makes_a_valid_pod(version: str) -> None:
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "agent"},
        "spec": {"containers": [sidecar()], "volumes": [{"name": "var-run-argo", "emptyDir": {}}]},
    }
    kubernetes_validate.validate(pod, version, strict=True)


def test_sidecar_variables_exist_in_the_settings() -> None:
    known = {field.alias for field in Settings.model_fields.values()}
    assert {variable["name"] for variable in sidecar()["env"]} <= known


def test_sidecar_references_are_optional_so_that_foreign_workflows_start() -> None:
    for variable in sidecar()["env"]:
        source = variable.get("valueFrom", {})
        for kind in ("secretKeyRef", "configMapKeyRef"):
            assert source.get(kind, {"optional": True})["optional"] is True


def test_sidecar_satisfies_pod_security_restricted() -> None:
    context = sidecar()["securityContext"]
    assert context["runAsNonRoot"] is True
    assert context["runAsUser"] == 8737
    assert context["allowPrivilegeEscalation"] is False
    assert context["readOnlyRootFilesystem"] is True
    assert context["capabilities"] == {"drop": ["ALL"]}
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}


def test_image_is_tagged_and_not_latest() -> None:
    name, _, tag = sidecar()["image"].partition(":")
    assert name == "kfp-central-driver"
    assert tag not in ("", "latest", "dummy")


def test_names_that_argo_derives_agree() -> None:
    objects = build(Path("manifests/kustomize/overlays/standalone-sidecar-argo40"))
    names = {(one["kind"], one["metadata"]["name"]) for one in objects}
    account = "kfp-driver-executor-plugin"
    assert ("ConfigMap", account) in names
    assert ("ServiceAccount", account) in names
    secret = next(
        one for one in objects if one["kind"] == "Secret" and one["metadata"]["name"].startswith(account)
    )
    assert secret["metadata"]["name"] == f"{account}.service-account-token"
    assert secret["type"] == "kubernetes.io/service-account-token"
    assert secret["metadata"]["annotations"]["kubernetes.io/service-account.name"] == account


@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda overlay: overlay.name)
def test_bindings_name_the_namespace_of_their_accounts(overlay: Path, tmp_path: Path) -> None:
    """Kubernetes demands one of a ServiceAccount, and in another namespace there is another account.

    The second namespace shows that an overlay decides it, not the base.
    """
    moved = tmp_path / "project" / overlay
    shutil.copytree(PROJECT / "manifests", tmp_path / "project/manifests")
    shutil.copytree(PROJECT / "configmaps", tmp_path / "project/configmaps")
    kustomization = moved / "kustomization.yaml"
    text = kustomization.read_text(encoding="utf-8")
    kustomization.write_text(
        text.replace("namespace: kubeflow\n", "namespace: elsewhere\n"), encoding="utf-8"
    )
    for directory, namespace in ((PROJECT / overlay, "kubeflow"), (moved, "elsewhere")):
        bindings = [one for one in build(directory) if one["kind"].endswith("RoleBinding")]
        subjects = [subject for one in bindings for subject in one["subjects"]]
        assert {subject["name"] for subject in subjects} >= {"pipeline-runner"}
        assert {subject["kind"] for subject in subjects} == {"ServiceAccount"}
        assert [subject.get("namespace") for subject in subjects] == [namespace] * len(subjects)


def test_roles_grant_exactly_what_is_documented() -> None:
    """Rows G1, G2 and T4 to T7 of spec DEPLOY 5.3; every rule has its reason above it in the source."""
    objects = build(Path("manifests/kustomize/overlays/standalone-sidecar-argo40"))
    granted = {
        (
            one["metadata"]["name"],
            rule["resources"][0],
            tuple(rule["verbs"]),
            tuple(rule.get("resourceNames", ())),
        )
        for one in objects
        if one["kind"] == "Role"
        for rule in one["rules"]
    }
    assert granted == {
        ("kfp-driver-agent", "workflowtasksets", ("list", "watch"), ()),
        ("kfp-driver-agent", "workflowtasksets/status", ("patch",), ()),
        ("kfp-driver-executor-plugin", "configmaps", ("get",), ("kfp-launcher",)),
        ("kfp-driver-executor-plugin", "secrets", ("get",), ("mlpipeline-minio-artifact",)),
        ("kfp-driver-executor-plugin", "persistentvolumeclaims", ("create", "get", "delete"), ()),
        ("kfp-driver-executor-plugin", "workflows", ("get",), ()),
    }

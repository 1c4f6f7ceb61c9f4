"""The driver's sidecar as a workflow carries it, for Argo 4.1 and newer (spec DEPLOY 3.2, 3.4, 4).

Argo takes the container from ``spec.executorPlugins`` and the pod's volumes from ``spec.podSpecPatch``. The
patch is applied to every pod of the workflow, so it holds volumes only: the kubelet sets up none that no
container mounts.
"""

from typing import Final, NamedTuple

from compiler.argo import Json
from compiler.profile import PluginProfile

PLUGIN_NAME: Final = "kfp-driver"
"""Name under which the plugin is declared."""

_CONTAINER_NAME: Final = "driver-plugin"
_CA_DIRECTORY: Final = "/etc/kfp/ca"
_API_PORT: Final = 10790
_HEALTH_PORT: Final = 10791
_ARGO_USER: Final = 8737
"""Argo writes the agent's token for this user id."""

_WAIT_READY: Final = ("kfp-driver", "wait-ready", "--timeout=25")

_RESOURCES: Final = {
    "serve": {
        "requests": {"cpu": "50m", "memory": "128Mi", "ephemeral-storage": "16Mi"},
        "limits": {"cpu": "1", "memory": "512Mi", "ephemeral-storage": "128Mi"},
    },
    "forward": {
        "requests": {"cpu": "10m", "memory": "32Mi"},
        "limits": {"cpu": "200m", "memory": "64Mi"},
    },
}


class _Volume(NamedTuple):
    """A volume and where the sidecar mounts it."""

    name: str
    source: Json
    path: str
    read_only: bool = True


def executor_plugin(profile: PluginProfile, *, run_id: str) -> Json:
    """The entry of ``spec.executorPlugins``.

    Args:
        profile: the operator's settings.
        run_id: id of the KFP run, or the tag that will be replaced by it.
    """
    return {
        "metadata": {"name": PLUGIN_NAME},
        "spec": {"sidecar": {"container": _container(profile, run_id)}},
    }


def pod_volumes(profile: PluginProfile, *, run_id: str) -> list[Json]:
    """The volumes that the sidecar mounts, for ``spec.podSpecPatch``."""
    return [{"name": volume.name, **volume.source} for volume in _volumes(profile, run_id)]


def _container(profile: PluginProfile, run_id: str) -> Json:
    return {
        "name": _CONTAINER_NAME,
        "image": profile.image,
        "imagePullPolicy": profile.image_pull_policy,
        "args": [profile.mode],
        # Argo calls the first port.
        "ports": [
            {"name": "api", "containerPort": _API_PORT},
            {"name": "health", "containerPort": _HEALTH_PORT},
        ],
        "env": _environment(profile, run_id),
        # Argo's agent, the next container, is started when the API listens; it would not retry for long.
        "lifecycle": {"postStart": {"exec": {"command": list(_WAIT_READY)}}},
        "startupProbe": {**_probe("/healthz"), "periodSeconds": 1, "failureThreshold": 60},
        "readinessProbe": {**_probe("/readyz"), "periodSeconds": 5},
        "livenessProbe": {
            **_probe("/healthz"),
            "periodSeconds": 20,
            "timeoutSeconds": 5,
            "failureThreshold": 6,
        },
        "resources": profile.resources.model_dump() if profile.resources else _RESOURCES[profile.mode],
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _ARGO_USER,
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "privileged": False,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumeMounts": [_mount(volume) for volume in _volumes(profile, run_id)],
    }


def _probe(path: str) -> Json:
    return {"httpGet": {"path": path, "port": _HEALTH_PORT}}


def _mount(volume: _Volume) -> Json:
    mount: Json = {"name": volume.name, "mountPath": volume.path}
    return {**mount, "readOnly": True} if volume.read_only else mount


def _environment(profile: PluginProfile, run_id: str) -> list[Json]:
    written: list[Json] = [
        {"name": "KFP_RUN_ID", "value": run_id},
        {"name": "NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
    ]
    if profile.mode == "forward":
        written.append({"name": "KFP_DRIVER_CENTRAL_URL", "value": profile.central_url})
    if profile.audience_base != PluginProfile.model_fields["audience_base"].default:
        written.append({"name": "KFP_TOKEN_AUDIENCE_BASE", "value": profile.audience_base})
    if profile.ca_config_map:
        written.append({"name": "KFP_CA_FILE", "value": f"{_CA_DIRECTORY}/ca.crt"})
    return [*written, *profile.env]


def _volumes(profile: PluginProfile, run_id: str) -> list[_Volume]:
    volumes = [_Volume("kfp-driver-run", _run_tokens(profile, run_id), "/var/run/secrets/kfp")]
    if profile.mode == "serve":
        volumes += [
            _Volume("kfp-driver-kube", _kubernetes(), "/var/run/secrets/kubernetes.io/serviceaccount"),
            _Volume(
                "kfp-driver-launcher-config",
                {"configMap": {"name": "kfp-launcher", "optional": True}},
                "/etc/kfp/launcher-config",
            ),
            _Volume(
                "kfp-driver-tmp",
                {"emptyDir": {"medium": "Memory", "sizeLimit": "64Mi"}},
                "/tmp",  # noqa: S108 (a volume of the pod)
                read_only=False,
            ),
        ]
    if profile.ca_config_map:
        # The one key only: whoever names a bundle beside a private key must not hand out the key.
        items = [{"key": profile.ca_config_map.key, "path": "ca.crt"}]
        source = {"configMap": {"name": profile.ca_config_map.name, "items": items}}
        volumes.append(_Volume("kfp-driver-ca", source, _CA_DIRECTORY))
    return volumes


def _run_tokens(profile: PluginProfile, run_id: str) -> Json:
    def token(path: str, audience: str) -> Json:
        life = profile.token_expiration_seconds
        return {"serviceAccountToken": {"path": path, "audience": audience, "expirationSeconds": life}}

    base = profile.audience_base
    return {"projected": {"sources": [token("token", f"{base}/runs/{run_id}"), token("base-token", base)]}}


def _kubernetes() -> Json:
    """What ``automountServiceAccountToken`` would mount, without a second service account."""
    authority = {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}
    namespace = {"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}
    sources: list[Json] = [
        {"serviceAccountToken": {"path": "token", "expirationSeconds": 3607}},
        {"configMap": authority},
        {"downwardAPI": {"items": [namespace]}},
    ]
    return {"projected": {"sources": sources}}

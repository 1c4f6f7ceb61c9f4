"""Building blocks of KFP's pods: security, environment, volumes, metadata (spec COMPILER 6.2 to 6.4)."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from compiler.argo import RUN_ID_TAG, Json
from compiler.options import GRPC_BACKOFF_VARIABLES, CompilerOptions

CA_CERT_PATH: Final = "/kfp/certs/ca.crt"
"""Where pods find the CA bundle, if one is configured."""

WORKSPACE_CLAIM: Final = "kfp-workspace"
"""Name of the workspace's volume and of its claim template."""


def pod_security() -> Json:
    """Pod security of drivers and importers: never root."""
    return {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}


def user_pod_security() -> Json:
    """Pod security of executors: user images may run as root."""
    return {"seccompProfile": {"type": "RuntimeDefault"}}


def container_security(*, may_be_root: bool = False) -> Json:
    """Security of a container: no privileges to gain, no capabilities."""
    context: Json = {"allowPrivilegeEscalation": False}
    if not may_be_root:
        context["runAsNonRoot"] = True
    return {**context, "capabilities": {"drop": ["ALL"]}, "seccompProfile": {"type": "RuntimeDefault"}}


def propagated_user(options: CompilerOptions) -> Json:
    """The workflow's user for a template's pod security, as Argo never merges the two levels."""
    if options.propagate_run_as_user and options.run_as_user is not None:
        return {"runAsUser": options.run_as_user}
    return {}


def resources(*, limits: Mapping[str, str], requests: Mapping[str, str]) -> Json:
    """Compute resources of a container."""
    return {"limits": dict(limits), "requests": dict(requests)}


def system_resources() -> Json:
    """Compute resources of driver and importer containers."""
    return resources(limits={"cpu": "500m", "memory": "512Mi"}, requests={"cpu": "100m", "memory": "64Mi"})


def pod_environment(options: CompilerOptions) -> list[Json]:
    """Environment of every pod: its own identity, then the gRPC settings."""
    identity = [
        {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}
        for name, path in (
            ("KFP_POD_NAME", "metadata.name"),
            ("KFP_POD_UID", "metadata.uid"),
            ("NAMESPACE", "metadata.namespace"),
        )
    ]
    backoff = [
        {"name": name, "value": value}
        for name in GRPC_BACKOFF_VARIABLES
        if (value := options.grpc_backoff.get(name))
    ]
    return [*identity, *backoff]


def proxy_environment(options: CompilerOptions) -> list[Json]:
    """Proxy variables in both spellings, the non-empty ones."""
    proxies = {
        "http_proxy": options.http_proxy,
        "https_proxy": options.https_proxy,
        "no_proxy": options.effective_no_proxy,
    }
    return [
        {"name": spelling, "value": value}
        for name, value in proxies.items()
        if value
        for spelling in (name, name.upper())
    ]


def launcher_environment_source() -> list[Json]:
    """The config map that upstream still lets executors and importers read."""
    return [{"configMapRef": {"name": "metadata-grpc-configmap", "optional": True}}]


class Mount:
    """A volume together with the mount of it: what goes into a pod goes into both lists."""

    def __init__(self, name: str, source: Json, *, path: str, read_only: bool = False) -> None:
        self.volume: Json = {"name": name, **source}
        self.mount: Json = {"name": name, "mountPath": path}
        if read_only:
            self.mount["readOnly"] = True


def scratch(name: str, path: str) -> Mount:
    """An empty directory."""
    return Mount(name, {"emptyDir": {}}, path=path)


def token_mount(options: CompilerOptions) -> Mount:
    """The service account token whose audience is this run."""
    token = {
        "audience": f"{options.token_audience}/runs/{RUN_ID_TAG}",
        "expirationSeconds": 7200,
        "path": "token",
    }
    return Mount(
        "kfp-launcher-token",
        {"projected": {"sources": [{"serviceAccountToken": token}]}},
        path="/var/run/secrets/kfp",
        read_only=True,
    )


def launcher_config_mount() -> Mount:
    """KFP's launcher configuration, if the namespace has one."""
    return Mount(
        "kfp-launcher-config",
        {"configMap": {"name": "kfp-launcher", "optional": True}},
        path="/etc/kfp/launcher-config",
        read_only=True,
    )


def custom_ca_mounts(options: CompilerOptions) -> list[Mount]:
    """The CA bundle, if one is configured; a secret wins over a config map."""
    if not options.has_custom_ca:
        return []
    items = [{"key": options.ca_key, "path": "ca.crt"}]
    if options.ca_secret:
        source: Json = {"secret": {"secretName": options.ca_secret, "items": items}}
    else:
        source = {"configMap": {"name": options.ca_configmap, "items": items}}
    return [Mount("custom-ca", source, path="/kfp/certs")]


def workspace_mount() -> Mount:
    """The run's workspace."""
    claim = f"{{{{workflow.name}}}}-{WORKSPACE_CLAIM}"
    return Mount(WORKSPACE_CLAIM, {"persistentVolumeClaim": {"claimName": claim}}, path=f"/{WORKSPACE_CLAIM}")


def ca_cert_path(options: CompilerOptions) -> str:
    """The CA bundle's path in a pod, or the empty text."""
    return CA_CERT_PATH if options.has_custom_ca else ""


def system_metadata(
    name: str,
    *,
    runtime_role: str,
    pod_role: str,
    annotations: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
) -> Json:
    """Metadata that marks a system template; additional entries never override the marks."""
    return {
        "annotations": {
            **(annotations or {}),
            "pipelines.kubeflow.org/runtime-role": runtime_role,
            "pipelines.kubeflow.org/template-name": name,
        },
        "labels": {**(labels or {}), "pipelines.kubeflow.org/pod-role": pod_role},
    }


def flags(entries: Iterable[tuple[str, Any]]) -> list[str]:
    """Command line flags the way upstream spells them: switches with ``=``, all others as two items."""
    items: list[str] = []
    for name, value in entries:
        text = str(value).lower() if isinstance(value, bool) else str(value)
        if name in {"cache_disabled", "ml_pipeline_tls_enabled"}:
            items.append(f"--{name}={text}")
        else:
            items += [f"--{name}", text]
    return items


def serialisation_noise(options: CompilerOptions, **fields: Any) -> Json:
    """Empty fields that upstream's serialisation leaves in its output; only parity wants them."""
    return fields if options.parity else {}

"""Environment of main: the author's variables, proxies, and the pod's identity (spec PODSPEC 4 and 10)."""

from collections.abc import Iterable
from typing import Final

from driver_plugin.argo.arguments import DriverCall
from driver_plugin.podspec.errors import PodSpecError, naming
from driver_plugin.podspec.values import EventLog, JsonObject
from kfp_api.ir.pipeline import EnvVar

IDENTITY: Final = {
    "KFP_POD_NAME": "metadata.name",
    "KFP_POD_UID": "metadata.uid",
    "NAMESPACE": "metadata.namespace",
}
"""Variables that the launcher's command line refers to, and the pod fields they come from."""

_RETRY_INDEX: Final = "KFP_RETRY_INDEX"

_NO_PROXY: Final = (
    "localhost",
    "127.0.0.1",
    ".svc",
    ".svc.{cluster_domain}",
    "kubernetes.default.svc",
    "minio-service.kubeflow",
    "minio-service.kubeflow.svc",
    "seaweedfs.kubeflow",
    "seaweedfs.kubeflow.svc",
    "ml-pipeline.kubeflow",
    "ml-pipeline.kubeflow.svc",
)


def literal(name: str, value: str) -> JsonObject:
    """A variable with a literal value; an empty value is left out, as Kubernetes does."""
    return {"name": name, "value": value} if value else {"name": name}


def from_field(name: str, field_path: str) -> JsonObject:
    """A variable with the value of a field of the pod."""
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": field_path}}}


def identity_variables() -> list[JsonObject]:
    """The pod's name, uid and namespace."""
    return [from_field(name, path) for name, path in IDENTITY.items()]


def author_variables(variables: Iterable[EnvVar], *, log: EventLog) -> list[JsonObject]:
    """The variables of the component; their values are literal, placeholders in them are not resolved.

    Raises:
        PodSpecError: a name is reserved.
    """
    with naming("container.env"):
        return [literal(one.name, one.value) for one in variables if is_allowed(one.name, log=log)]


def is_allowed(name: str, *, log: EventLog) -> bool:
    """Whether an author may set the variable; ``False`` drops it with a warning.

    Raises:
        PodSpecError: the name belongs to the pod's identity.
    """
    if name in IDENTITY:
        raise PodSpecError(f'environment variable "{name}" is reserved for KFP runtime identity')
    if name == _RETRY_INDEX:
        log.warning("environment variable is set by the retry policy and was ignored", name=name)
        return False
    return True


def proxy_variables(call: DriverCall, *, cluster_domain: str) -> list[JsonObject]:
    """The proxies of user pods, in both spellings; cluster addresses never go through a proxy."""
    no_proxy = call.no_proxy
    if call.http_proxy or call.https_proxy:
        given = [entry.strip() for entry in no_proxy.split(",")]
        defaults = [entry.format(cluster_domain=cluster_domain) for entry in _NO_PROXY]
        no_proxy = ",".join(dict.fromkeys(entry for entry in [*given, *defaults] if entry))
    settings = {"http_proxy": call.http_proxy, "https_proxy": call.https_proxy, "no_proxy": no_proxy}
    return [
        literal(spelling, value)
        for name, value in settings.items()
        if value
        for spelling in (name, name.upper())
    ]

"""Everything a compilation can be told besides the pipeline itself, in one immutable object.

The names, variables and defaults are those of KFP's API server (spec COMPILER 2.3), so that
:meth:`CompilerOptions.from_environ` in its environment compiles what it would compile. Where a variable
is set but empty, the empty value counts for ``log_level`` and ``publish_logs``, as upstream.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from compiler.delivery import PluginDelivery
from compiler.errors import OptionsError

RESERVED_METADATA_PREFIX: Final = "pipelines.kubeflow.org/"

GRPC_BACKOFF_VARIABLES: Final = (
    "ML_PIPELINE_GRPC_BACKOFF_BASE_DELAY",
    "ML_PIPELINE_GRPC_BACKOFF_MULTIPLIER",
    "ML_PIPELINE_GRPC_BACKOFF_JITTER",
    "ML_PIPELINE_GRPC_BACKOFF_MAX_DELAY",
    "ML_PIPELINE_GRPC_MIN_CONNECT_TIMEOUT",
)

_TRUE: Final = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE: Final = frozenset({"0", "f", "F", "FALSE", "false", "False"})

_QUALIFIED_NAME: Final = re.compile(
    r"(?:(?=.{1,253}/)[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*/)?"
    r"[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
)
_LABEL_VALUE: Final = re.compile(r"(?:[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")


class Mode(StrEnum):
    """What executes the two driver templates."""

    PLUGIN = "plugin"
    CONTAINER = "container"


@dataclass(frozen=True, kw_only=True)
class CompilerOptions:
    """Options of one compilation; the defaults are those of a plain KFP installation."""

    mode: Mode = Mode.PLUGIN
    """Driver templates as plugin calls, or as upstream's driver pods."""
    parity: bool = False
    """Reproduce upstream exactly: keep its defects (spec COMPILER 14), its plain embedded JSON and the
    empty fields that its serialisation leaves behind."""

    launcher_image: str = "ghcr.io/kubeflow/kfp-launcher:latest"
    """Image of the launcher's init container and of importer pods."""
    launcher_command: tuple[str, ...] = ("launcher-v2",)
    """Command of the launcher."""
    driver_image: str = "ghcr.io/kubeflow/kfp-driver:latest"
    """Image of driver pods; container mode only."""
    driver_command: tuple[str, ...] = ("driver",)
    """Command of driver pods; container mode only."""
    pipeline_root: str = ""
    """Where artifacts go; empty leaves the choice to the driver's configuration."""
    cache_disabled: bool = False
    """Switch the cache off for the whole workflow."""
    run_as_user: int | None = None
    """User id in the workflow's pod security context."""
    propagate_run_as_user: bool = False
    """Also write ``run_as_user`` into the templates of executor and importer pods, where it has effect."""
    log_level: str = "1"
    """Log level of driver and launcher."""
    publish_logs: str = "true"
    """Whether executor logs are published as artifacts."""
    service_account: str = "pipeline-runner"
    """Service account of the workflow's pods."""
    server_address: str = "ml-pipeline.kubeflow.svc.cluster.local"
    """Host of the KFP API as the launcher sees it."""
    server_port: str = "8887"
    """Port of the KFP API for the launcher: 8887 is gRPC (Go launcher), 8888 REST."""
    server_tls: bool = False
    """Whether that port speaks TLS."""
    cluster_domain: str = "cluster.local"
    """DNS domain of the cluster; part of the default proxy exceptions."""
    http_proxy: str = ""
    """Proxy for plain HTTP, passed on to pods."""
    https_proxy: str = ""
    """Proxy for HTTPS, passed on to pods."""
    no_proxy: str = ""
    """Hosts without proxy; see :attr:`effective_no_proxy`."""
    ca_secret: str = ""
    """Secret that holds a CA bundle for pods; wins over ``ca_configmap``."""
    ca_configmap: str = ""
    """Config map that holds a CA bundle for pods."""
    ca_key: str = "ca.crt"
    """Key of the bundle in the secret or config map."""
    grpc_backoff: Mapping[str, str] = field(default_factory=dict)
    """Environment of pods that tunes gRPC retries, by variable name."""
    default_run_as_user: int | None = None
    """Administrator's user id of executor containers."""
    default_run_as_group: int | None = None
    """Administrator's group id of executor containers."""
    default_run_as_non_root: bool | None = None
    """Administrator's ``runAsNonRoot`` of executor containers."""
    default_host_users: bool | None = None
    """Administrator's ``hostUsers`` of executor pods."""
    token_audience: str = "pipelines.kubeflow.org"  # noqa: S105 (an audience, not a secret)
    """Base audience of the run-bound service account tokens."""
    driver_pod_labels: Mapping[str, str] = field(default_factory=dict)
    """Labels of driver pods; without effect in plugin mode."""
    driver_pod_annotations: Mapping[str, str] = field(default_factory=dict)
    """Annotations of driver pods; without effect in plugin mode."""
    default_workspace: Mapping[str, Any] = field(default_factory=dict)
    """PersistentVolumeClaimSpec that pipeline workspaces start from."""
    spec_patch: str = ""
    """Strategic merge patch on the workflow's ``spec``: JSON text, or empty."""
    plugin: PluginDelivery = field(default_factory=PluginDelivery)
    """How the plugin gets to the workflow's agent pod; plugin mode only."""

    @property
    def effective_no_proxy(self) -> str:
        """``no_proxy``, completed with the cluster's own hosts where a proxy is set."""
        if not (self.http_proxy or self.https_proxy):
            return self.no_proxy
        entries = [*self.no_proxy.split(","), *_in_cluster_hosts(self.cluster_domain)]
        return ",".join(dict.fromkeys(entry.strip() for entry in entries if entry.strip()))

    @property
    def has_custom_ca(self) -> bool:
        """Whether pods mount a CA bundle."""
        return bool(self.ca_secret or self.ca_configmap)

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> "CompilerOptions":
        """The options as KFP's API server reads them from its environment.

        Raises:
            OptionsError: names the variable and what is wrong with it.
        """
        domain = environ.get("CLUSTER_DOMAIN") or cls.cluster_domain
        service = environ.get("ML_PIPELINE_SERVICE_NAME") or "ml-pipeline"
        namespace = environ.get("POD_NAMESPACE") or "kubeflow"
        return cls(
            launcher_image=environ.get("V2_LAUNCHER_IMAGE") or cls.launcher_image,
            launcher_command=_words(environ.get("V2_LAUNCHER_COMMAND")) or cls.launcher_command,
            driver_image=environ.get("V2_DRIVER_IMAGE") or cls.driver_image,
            driver_command=_words(environ.get("V2_DRIVER_COMMAND")) or cls.driver_command,
            cache_disabled=_boolean(environ, "CacheEnabled") is False,
            run_as_user=_lenient_integer(environ.get("PIPELINE_RUN_AS_USER", "")),
            log_level=environ.get("PIPELINE_LOG_LEVEL", cls.log_level),
            publish_logs=environ.get("PUBLISH_LOGS", cls.publish_logs),
            service_account=environ.get("DEFAULTPIPELINERUNNERSERVICEACCOUNT") or cls.service_account,
            server_address=f"{service}.{namespace}.svc.{domain}",
            cluster_domain=domain,
            http_proxy=environ.get("HTTP_PROXY", ""),
            https_proxy=environ.get("HTTPS_PROXY", ""),
            no_proxy=environ.get("NO_PROXY", ""),
            ca_secret=environ.get("CABUNDLE_SECRET_NAME", ""),
            ca_configmap=environ.get("CABUNDLE_CONFIGMAP_NAME", ""),
            ca_key=environ.get("CABUNDLE_KEY_NAME") or cls.ca_key,
            grpc_backoff={name: environ[name] for name in GRPC_BACKOFF_VARIABLES if environ.get(name)},
            default_run_as_user=_integer(environ, "DEFAULT_SECURITY_CONTEXT_RUN_AS_USER"),
            default_run_as_group=_integer(environ, "DEFAULT_SECURITY_CONTEXT_RUN_AS_GROUP"),
            default_run_as_non_root=_boolean(environ, "DEFAULT_SECURITY_CONTEXT_RUN_AS_NON_ROOT"),
            default_host_users=_boolean(environ, "DEFAULT_SECURITY_CONTEXT_HOST_USERS"),
            token_audience=environ.get("TOKEN_REVIEW_AUDIENCE") or cls.token_audience,
            driver_pod_labels=_metadata(environ, "DRIVER_POD_LABELS", value=_LABEL_VALUE),
            driver_pod_annotations=_metadata(environ, "DRIVER_POD_ANNOTATIONS", value=None),
            spec_patch=environ.get("COMPILED_PIPELINE_SPEC_PATCH", ""),
        )


def _in_cluster_hosts(domain: str) -> tuple[str, ...]:
    return (
        "localhost",
        "127.0.0.1",
        ".svc",
        f".svc.{domain}",
        "kubernetes.default.svc",
        "minio-service.kubeflow",
        "minio-service.kubeflow.svc",
        "seaweedfs.kubeflow",
        "seaweedfs.kubeflow.svc",
        "metadata-grpc-service",
        "metadata-grpc-service.kubeflow",
        "metadata-grpc-service.kubeflow.svc",
        "ml-pipeline.kubeflow",
        "ml-pipeline.kubeflow.svc",
    )


def _words(text: str | None) -> tuple[str, ...]:
    return tuple(text.split(" ")) if text else ()


def _integer(environ: Mapping[str, str], name: str) -> int | None:
    text = environ.get(name, "").strip()
    if not text:
        return None
    if (number := _lenient_integer(text)) is None:
        raise OptionsError(f'{name}: expected an integer, got "{text}"')
    return number


def _lenient_integer(text: str) -> int | None:
    """A 64-bit integer, or ``None`` where there is none: upstream ignores an unusable run-as user."""
    if not re.fullmatch(r"[+-]?[0-9]{1,19}", text):
        return None
    number = int(text)
    return number if -(2**63) <= number < 2**63 else None


def _boolean(environ: Mapping[str, str], name: str) -> bool | None:
    text = environ.get(name, "").strip()
    if not text:
        return None
    if text not in _TRUE | _FALSE:
        raise OptionsError(f'{name}: expected true or false, got "{text}"')
    return text in _TRUE


def _metadata(environ: Mapping[str, str], name: str, *, value: re.Pattern[str] | None) -> Mapping[str, str]:
    """Driver pod labels or annotations: a JSON object of strings with Kubernetes' names."""
    text = environ.get(name, "").strip()
    if not text:
        return {}
    try:
        entries = json.loads(text)
    except ValueError as error:
        raise OptionsError(f"{name}: not JSON: {error}") from error
    if not isinstance(entries, dict):
        raise OptionsError(f"{name}: expected a JSON object of strings")
    for key, entry in entries.items():
        if not isinstance(entry, str):
            raise OptionsError(f'{name}: the value of "{key}" is not a JSON string')
        if key.startswith(RESERVED_METADATA_PREFIX):
            continue
        if not _QUALIFIED_NAME.fullmatch(key):
            raise OptionsError(f'{name}: "{key}" is not a valid Kubernetes key')
        if value is not None and not value.fullmatch(entry):
            raise OptionsError(f'{name}: "{entry}" is not a valid Kubernetes label value (key "{key}")')
    return {key: entry for key, entry in entries.items() if not key.startswith(RESERVED_METADATA_PREFIX)}

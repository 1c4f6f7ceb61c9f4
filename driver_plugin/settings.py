"""Every setting of the service: one class, one field per environment variable of spec DEPLOY 4.

The docstring under a field is its documentation: ``kfp-driver serve --help`` prints it and the README's
table is made from it. An empty variable counts as unset, because optional references of a pod
definition arrive that way. A value that cannot be used is a :class:`ConfigurationError` which names the
variable; secret values are never part of a message.
"""

import ast
import re
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)

from driver_plugin.errors import ConfigurationError

_UNITS: Final = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)")
_BOOLEANS: Final = {
    **dict.fromkeys(("1", "t", "T", "TRUE", "true", "True"), True),
    **dict.fromkeys(("0", "f", "F", "FALSE", "false", "False"), False),
}


def parse_duration(text: str) -> float:
    """Seconds of a Go duration such as ``3s``, ``10m``, ``1h30m``, ``1500ms`` or ``0``."""
    parts = _DURATION.findall(text)
    if text == "0":
        return 0.0
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError("expected a duration such as 3s, 10m or 1h30m")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def _seconds(value: object) -> object:
    return parse_duration(value) if isinstance(value, str) else value


def _boolean(value: object) -> object:
    if isinstance(value, str):
        if value not in _BOOLEANS:
            raise ValueError("expected true or false")
        return _BOOLEANS[value]
    return value


Seconds = Annotated[float, BeforeValidator(_seconds), Field(ge=0)]
"""A duration: ``3s``, ``10m`` in the environment, seconds in Python."""

Flag = Annotated[bool, BeforeValidator(_boolean)]
Port = Annotated[int, Field(ge=0, le=65535)]
Count = Annotated[int, Field(ge=1)]
LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR"]


class Settings(BaseModel):
    """Settings of one service process. Field names in Python, variable names as aliases."""

    model_config = ConfigDict(frozen=True, extra="ignore", validate_by_name=True, validate_by_alias=True)

    api_url: str = Field("http://ml-pipeline.kubeflow:8888", alias="KFP_API_URL")
    """REST base address of the KFP API server."""

    api_address: str = Field("ml-pipeline.kubeflow.svc.cluster.local", alias="KFP_API_ADDRESS")
    """Host of the launcher's endpoint, written into launcher commands; the driver never connects to it."""

    api_port: str = Field("8887", alias="KFP_API_PORT")
    """Port of the launcher's endpoint: gRPC for the Go launcher, REST for this project's."""

    api_tls: Flag = Field(False, alias="KFP_API_TLS")
    """Whether both endpoints speak TLS."""

    ca_file: str = Field("", alias="KFP_CA_FILE")
    """File with extra trust anchors (PEM), added to the system's."""

    ca_pem: str = Field("", alias="KFP_CA_PEM")
    """Extra trust anchors as literal PEM text, added to the system's."""

    token_path: str = Field("/var/run/secrets/kfp/token", alias="KFP_TOKEN_PATH")
    """Run-bound token file for the KFP API; without the file no credential is sent."""

    base_token_path: str = Field("/var/run/secrets/kfp/base-token", alias="KFP_BASE_TOKEN_PATH")
    """Base-audience token file, for the few calls that need it; optional."""

    token_mode: Literal["run", "base", "tokenrequest", "none"] = Field("run", alias="KFP_TOKEN_MODE")
    """Which credential goes to the KFP API. `run` and `base` take the mounted token files; `tokenrequest`
    asks Kubernetes for tokens of the pod's own service account, one for each run, where none can be mounted
    (Argo 4.0), which needs `create` on `serviceaccounts/token` of that account; `none` sends nothing."""

    token_audience_base: str = Field("pipelines.kubeflow.org", alias="KFP_TOKEN_AUDIENCE_BASE")
    """Audience base; must equal the API server's `TOKEN_REVIEW_AUDIENCE`."""

    run_id: str = Field("", alias="KFP_RUN_ID")
    """When set, calls for any other run are refused (403)."""

    namespace: str = Field("", alias="NAMESPACE")
    """Namespace this service is bound to; when set, calls for any other are refused (403)."""

    pod_name: str = Field("", alias="KFP_POD_NAME")
    """Recorded as DRIVER pod on task rows when `KFP_POD_UID` is set too."""

    pod_uid: str = Field("", alias="KFP_POD_UID")
    """Recorded as DRIVER pod on task rows when `KFP_POD_NAME` is set too."""

    port: Port = Field(10790, alias="KFP_DRIVER_PORT")
    """API port, on loopback only; 0 takes any free port."""

    health_port: Port = Field(10791, alias="KFP_DRIVER_HEALTH_PORT")
    """Port of `/healthz`, `/readyz` and `/metrics`, on all interfaces; 0 takes any free port."""

    caller_auth: Literal["agent-token", "token-review"] = Field("agent-token", alias="KFP_DRIVER_CALLER_AUTH")
    """How callers prove themselves: `agent-token` (sidecar) or `token-review` (central service)."""

    tls_cert_file: str = Field("", alias="KFP_DRIVER_TLS_CERT_FILE")
    """Server certificate (PEM) of the central service, and of the admission webhook."""

    tls_key_file: str = Field("", alias="KFP_DRIVER_TLS_KEY_FILE")
    """Private key (PEM) of that certificate."""

    agent_token_file: str = Field("/var/run/argo/token", alias="KFP_DRIVER_AGENT_TOKEN_FILE")
    """Argo's token for this plugin; while it is unreadable every call is refused."""

    allowed_api_hosts: tuple[str, ...] = Field((), alias="KFP_DRIVER_ALLOWED_API_HOSTS")
    """Hosts to which a credential may be sent, separated by commas; default: the host of `KFP_API_URL`."""

    plugin_hosts: tuple[str, ...] = Field((), alias="KFP_DRIVER_PLUGIN_HOSTS")
    """Hosts that task plugins such as MLflow may talk to, separated by commas; by default there are none."""

    mlflow_token: SecretStr = Field(SecretStr(""), alias="MLFLOW_TRACKING_TOKEN")
    """The service's own token for MLflow, for runs whose MLflow is used with `authType` `bearer`."""

    mlflow_username: str = Field("", alias="MLFLOW_TRACKING_USERNAME")
    """The service's own user name for MLflow, with `authType` `basic-auth`."""

    mlflow_password: SecretStr = Field(SecretStr(""), alias="MLFLOW_TRACKING_PASSWORD")
    """The service's own password for MLflow, with `authType` `basic-auth`."""

    launcher_config_dir: str = Field("/etc/kfp/launcher-config", alias="KFP_LAUNCHER_CONFIG_DIR")
    """Mounted ConfigMap `kfp-launcher`, one file per key."""

    log_root: str = Field("", alias="KFP_DRIVER_LOG_ROOT")
    """Where driver logs go: `minio://`, `s3://` or an absolute directory; default: derived from the
    namespace's default pipeline root."""

    log_level: LogLevel = Field("INFO", alias="KFP_DRIVER_LOG_LEVEL")
    """Least severity on standard output and in uploaded logs."""

    log_upload: Flag = Field(True, alias="KFP_DRIVER_LOG_UPLOAD")
    """`false`: logs go to standard output only."""

    log_upload_wait: Seconds = Field(3.0, alias="KFP_DRIVER_LOG_UPLOAD_WAIT")
    """How long a reply waits for the upload of its log, e.g. `3s`."""

    s3_access_key: SecretStr = Field(SecretStr(""), alias="KFP_DRIVER_S3_ACCESS_KEY")
    """Access key of the log store; default: the launcher's credentials."""

    s3_secret_key: SecretStr = Field(SecretStr(""), alias="KFP_DRIVER_S3_SECRET_KEY")
    """Secret key of the log store."""

    http_proxy: str = Field("", alias="HTTP_PROXY")
    """Proxy of the service's own plain HTTP requests."""

    https_proxy: str = Field("", alias="HTTPS_PROXY")
    """Proxy of the service's own HTTPS requests."""

    no_proxy: str = Field("", alias="NO_PROXY")
    """Hosts that the service reaches without a proxy, separated by commas."""

    central_url: str = Field("", alias="KFP_DRIVER_CENTRAL_URL")
    """Target of the forwarder."""

    max_concurrency: Count = Field(16, alias="KFP_DRIVER_MAX_CONCURRENCY")
    """Driver calls at work at once; beyond it new calls get 503. Repeated calls always join."""

    max_per_namespace: Annotated[int, Field(ge=1)] | None = Field(None, alias="KFP_DRIVER_MAX_PER_NAMESPACE")
    """Driver calls at work at once for one namespace; unlimited by default."""

    outage_budget: Seconds = Field(600.0, alias="KFP_DRIVER_OUTAGE_BUDGET")
    """How long one call goes on trying while the KFP API or Kubernetes is down, e.g. `10m`."""

    cache_lookup_optional: Flag = Field(False, alias="KFP_DRIVER_CACHE_LOOKUP_OPTIONAL")
    """`true`: a refused credential at the cache lookup counts as a miss."""

    max_iterations: Count = Field(10_000, alias="KFP_DRIVER_MAX_ITERATIONS")
    """Items of one loop; more fail the node."""

    max_executor_input: Count = Field(122_880, alias="KFP_DRIVER_MAX_EXECUTOR_INPUT")
    """Bytes of the encoded executor input; more fail the node."""

    pvc_storage_class: str = Field("standard", alias="KFP_DRIVER_PVC_STORAGE_CLASS")
    """Storage class of a CreatePVC without one; `-` leaves the field out."""

    workspace_path: str = Field("/kfp-workspace", alias="KFP_WORKSPACE_PATH")
    """Text of `{{$.workspace_path}}`; only the local stack changes it."""

    cluster_domain: str = Field("cluster.local", alias="CLUSTER_DOMAIN")
    """DNS domain of the cluster."""

    object_store_host: str = Field("", alias="OBJECT_STORE_HOST")
    """Host of the in-cluster object store, with `OBJECT_STORE_PORT`."""

    object_store_port: str = Field("", alias="OBJECT_STORE_PORT")
    """Port of the in-cluster object store, with `OBJECT_STORE_HOST`."""

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Self:
        """Settings of that environment; :class:`ConfigurationError` names the first bad variable."""
        known = [field.alias for field in cls.model_fields.values()]
        given = {alias: environ[alias] for alias in known if alias and environ.get(alias)}
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"][:1]) or "settings"
            raise ConfigurationError(f"{where}: {_reason(first['msg'])}") from None

    @property
    def credential_hosts(self) -> tuple[str, ...]:
        """Hosts to which a credential may be sent."""
        return self.allowed_api_hosts or (urlsplit(self.api_url).hostname or "",)

    def run_audience(self, run_id: str) -> str:
        """Audience of a token that is bound to that run."""
        return f"{self.token_audience_base}/runs/{run_id}"

    @field_validator("api_url")
    @classmethod
    def _url(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("expected an http:// or https:// address")
        if parts.username or parts.password:
            raise ValueError("credentials do not belong into an address")
        return value.rstrip("/")

    @field_validator("allowed_api_hosts", "plugin_hosts", mode="before")
    @classmethod
    def _hosts(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(host.strip() for host in value.split(",") if host.strip())
        return value

    @field_validator("log_level", mode="before")
    @classmethod
    def _level(cls, value: object) -> object:
        if isinstance(value, str):
            upper = value.upper()
            return "WARNING" if upper == "WARN" else upper
        return value

    @field_validator("log_root")
    @classmethod
    def _root(cls, value: str) -> str:
        if value and not value.startswith(("minio://", "s3://", "/")):
            raise ValueError("expected minio://, s3:// or an absolute directory")
        return value

    @model_validator(mode="after")
    def _central(self) -> Self:
        if self.caller_auth == "token-review" and not (self.tls_cert_file and self.tls_key_file):
            raise ValueError(
                "KFP_DRIVER_CALLER_AUTH=token-review needs "
                "KFP_DRIVER_TLS_CERT_FILE and KFP_DRIVER_TLS_KEY_FILE"
            )
        return self


class SettingDocumentation(BaseModel):
    """One row of the settings table."""

    variable: str
    default: str
    text: str


def document_settings() -> list[SettingDocumentation]:
    """The documentation of every variable, in order, read from the docstrings under the fields."""
    tree = ast.parse(Path(__file__).read_text(encoding="utf-8"))
    body = next(node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Settings")
    texts: dict[str, str] = {}
    for node, after in pairwise(body):
        if (
            isinstance(node, ast.AnnAssign)
            and isinstance(node.target, ast.Name)
            and isinstance(after, ast.Expr)
            and isinstance(after.value, ast.Constant)
        ):
            texts[node.target.id] = " ".join(str(after.value.value).split())
    return [
        SettingDocumentation(
            variable=field.alias or name, default=_default_text(name, field.default), text=texts.get(name, "")
        )
        for name, field in Settings.model_fields.items()
    ]


def _default_text(name: str, default: Any) -> str:
    if isinstance(default, SecretStr) or default in ("", (), None):
        return "unset"
    if name in {"log_upload_wait", "outage_budget"}:
        return f"{default / 60:g}m" if default >= _UNITS["m"] else f"{default:g}s"
    return str(default).lower() if isinstance(default, bool) else str(default)


def _reason(message: str) -> str:
    return message.removeprefix("Value error, ")

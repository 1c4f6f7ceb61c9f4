"""How to reach the object store of a pipeline root: bucket, provider settings, credentials (spec PODSPEC 11).

The ``providers`` text of ConfigMap ``kfp-launcher`` holds defaults and per-bucket overrides. What comes out
are KFP's session parameters, all of them text; Secrets are named, never read here. Driver and launcher both
reach stores by them.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl

_BUCKET_PATH: Final = re.compile(
    r"(?P<scheme>[a-z][a-z0-9]+):///?(?P<bucket>[^/?]+)(?P<prefix>/[^?]*)?(?:\?(?P<query>.+))?", re.ASCII
)
_ENCODED: Final = re.compile(r"%(?:3f|26|23)", re.IGNORECASE)
_PROVIDERS: Final = ("gs", "s3", "minio")
_BUILT_IN_MINIO: Final = {
    "region": "minio",
    "disableSSL": "true",
    "fromEnv": "false",
    "maxRetries": "5",
    "secretName": "mlpipeline-minio-artifact",
    "accessKeyKey": "accesskey",
    "secretKeyKey": "secretkey",
}
_DEFAULT_ENDPOINT: Final = "seaweedfs.kubeflow:9000"
_SECRET_KEYS: Final = {
    "s3": ("secretName", "accessKeyKey", "secretKeyKey"),
    "minio": ("secretName", "accessKeyKey", "secretKeyKey"),
    "gs": ("secretName", "tokenKey"),
}
_CONNECTION: Final = ("endpoint", "region", "disableSSL", "forcePathStyle", "maxRetries")
_QUERY_NAMES: Final = {
    "disablessl": "disableSSL",
    "disable_https": "disableSSL",
    "s3forcepathstyle": "forcePathStyle",
    "use_path_style": "forcePathStyle",
}
_AWS_ENDPOINT: Final = re.compile(r"(https://)?s3\.amazonaws\.com(:[0-9]+)?(/.*)?", re.ASCII)


class SessionInfoError(ValueError):
    """A pipeline root or the provider settings of the launcher configuration cannot be used."""


@dataclass(frozen=True)
class BucketPath:
    """A pipeline root in an object store; ``prefix`` is empty or ends in a slash."""

    provider: str
    bucket: str
    prefix: str = ""
    query: str = ""


@dataclass(frozen=True)
class SessionInfo:
    """What the launcher needs to open the store."""

    provider: str
    params: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        """The launcher's form."""
        return {"Provider": self.provider, "Params": dict(self.params)}


@dataclass(frozen=True, kw_only=True)
class S3Connection:
    """How a client reaches an S3 server; where its keys come from is said by the session parameters."""

    endpoint: str | None
    """Address with scheme; ``None`` lets the client choose AWS' own."""

    region: str | None
    path_style: bool
    """Bucket in the path, not in the host name."""

    max_retries: int


def s3_connection(info: SessionInfo, *, query: str = "") -> S3Connection:
    """The connection that session parameters of ``s3`` or ``minio`` describe.

    Without any parameter but ``fromEnv`` everything is the client's default. A root's own query has the
    last word; one that names no endpoint means AWS, whose buckets are hosts.

    Raises:
        SessionInfoError: the number of retries is no number.
    """
    configured = {name: text for name, text in info.params.items() if name in _CONNECTION and text}
    of_query = {_QUERY_NAMES.get(name.lower(), name): text for name, text in parse_qsl(query) if text}
    given = configured | of_query
    endpoint = given.get("endpoint") or None
    if endpoint is not None and _AWS_ENDPOINT.fullmatch(endpoint):
        endpoint = None
    if endpoint is not None and "://" not in endpoint:
        endpoint = f"{'http' if given.get('disableSSL') == 'true' else 'https'}://{endpoint}"
    retries = given.get("maxRetries", "5")
    if not (retries.isascii() and retries.isdecimal()):
        raise SessionInfoError(f'invalid provider config: maxRetries "{retries}" is not a number')
    path_style = "true" if configured or "endpoint" in of_query else "false"
    return S3Connection(
        endpoint=endpoint,
        region=given.get("region"),
        path_style=given.get("forcePathStyle", path_style) == "true",
        max_retries=int(retries),
    )


def parse_bucket_path(root: str) -> BucketPath:
    """Take a pipeline root apart.

    Raises:
        SessionInfoError: the root is malformed, or its store has no provider.
    """
    match = _BUCKET_PATH.fullmatch(root)
    if match is None or _ENCODED.search(match["prefix"] or ""):
        raise SessionInfoError(f'unrecognized pipeline root format: "{root}"')
    if match["scheme"] not in _PROVIDERS:
        raise SessionInfoError(f'unsupported Cloud bucket: "{root}"')
    prefix = (match["prefix"] or "").removeprefix("/")
    if prefix and not prefix.endswith("/"):
        prefix += "/"
    return BucketPath(match["scheme"], match["bucket"], prefix, match["query"] or "")


def read_providers(text: str) -> Mapping[str, Any]:
    """The ``providers`` text of a launcher configuration, YAML or JSON; empty when there is none.

    Raises:
        SessionInfoError: the text cannot be read, or is no object.
    """
    if not text.strip():
        return {}
    try:
        document = json.loads(text)
    except ValueError:
        document = _read_yaml(text)
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise SessionInfoError("invalid provider config: providers is not an object")
    return document


def session_info(root: str, providers: Mapping[str, Any], *, object_store: str = "") -> SessionInfo | None:
    """Session parameters for a pipeline root; ``None`` for a directory, which needs none.

    Args:
        root: the pipeline root, its query included.
        providers: as :func:`read_providers` gives them.
        object_store: ``host:port`` of the in-cluster store; empty for KFP's own.

    Raises:
        SessionInfoError: the root or its provider's settings cannot be used.
    """
    if root.startswith("/"):
        return None
    path = parse_bucket_path(root)
    config = _Section(_Section(providers).section(path.provider) or {})
    default, overrides = config.section("default"), config.get("overrides")
    if default is None and overrides is None:
        if path.provider == "minio" and not path.query:
            endpoint = {"endpoint": object_store or _DEFAULT_ENDPOINT}
            return SessionInfo(path.provider, _BUILT_IN_MINIO | endpoint)
        return SessionInfo(path.provider, {"fromEnv": "true"})
    if path.query and path.provider != "gs":
        return SessionInfo(path.provider, {"fromEnv": "true"})
    credentials = None if default is None else _Section(default).section("credentials")
    if default is None or credentials is None:
        raise SessionInfoError("invalid provider config: missing default credentials")
    params = {} if path.provider == "gs" else _connection(_Section(default))
    params |= _credentials(path.provider, _Section(credentials), place="default")
    override = _override(path, overrides)
    if override is not None:
        _apply_override(params, path.provider, override)
    return SessionInfo(path.provider, params)


def is_within_configured_stores(root: str, providers: Mapping[str, Any], *, default_root: str) -> bool:
    """Whether KFP's own launcher agrees to write below ``root``; directories are always fine.

    It wants artifacts below the namespace's default pipeline root or in a bucket that an override names, so
    that nobody sends the default credentials to a bucket of his choice.

    Raises:
        SessionInfoError: a root or the provider settings cannot be used.
    """
    if root.startswith("/"):
        return True
    path = parse_bucket_path(root)
    if not default_root.startswith("/"):
        default = parse_bucket_path(default_root)
        same_bucket = (path.provider, path.bucket) == (default.provider, default.bucket)
        if same_bucket and path.prefix.startswith(default.prefix):
            return True
    config = _Section(_Section(providers).section(path.provider) or {})
    return _override(path, config.get("overrides")) is not None


class _Section:
    """A mapping of the configuration; names match in any case, as in KFP's reader."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._members = {str(key).lower(): value for key, value in document.items()}

    def get(self, name: str) -> Any:
        return self._members.get(name.lower())

    def section(self, name: str) -> Mapping[str, Any] | None:
        found = self.get(name)
        if found is not None and not isinstance(found, Mapping):
            raise SessionInfoError(f"invalid provider config: {name} is not an object")
        return found

    def text(self, name: str) -> str:
        """A scalar as the launcher wants it; empty when unset."""
        found = self.get(name)
        if isinstance(found, bool):
            return "true" if found else "false"
        if found is not None and not isinstance(found, (str, int)):
            raise SessionInfoError(f"invalid provider config: {name} is not a scalar")
        return "" if found is None else str(found)


def _connection(default: _Section) -> dict[str, str]:
    return {
        "endpoint": default.text("endpoint"),
        "region": default.text("region"),
        "disableSSL": default.text("disableSSL") or "false",
        "forcePathStyle": default.text("forcePathStyle") or "true",
        "maxRetries": default.text("maxRetries") or "5",
    }


def _credentials(provider: str, credentials: _Section, *, place: str) -> dict[str, str]:
    if credentials.text("fromEnv") == "true":
        return {"fromEnv": "true"}
    reference = credentials.section("secretRef")
    if reference is None:
        raise SessionInfoError(f"invalid provider config: missing {place} secretref")
    secret = _Section(reference)
    return {"fromEnv": "false"} | {key: secret.text(key) for key in _SECRET_KEYS[provider]}


def _override(path: BucketPath, overrides: Any) -> _Section | None:
    if overrides is not None and not isinstance(overrides, list):
        raise SessionInfoError("invalid provider config: overrides is not a list")
    for entry in overrides or ():
        if not isinstance(entry, Mapping):
            raise SessionInfoError("invalid provider config: an override is not an object")
        section = _Section(entry)
        wanted = section.text("keyPrefix").strip("/")
        within = not wanted or f"{path.prefix.strip('/')}/".startswith(f"{wanted}/")
        if section.text("bucketName") == path.bucket and within:
            return section
    return None


def _apply_override(params: dict[str, str], provider: str, override: _Section) -> None:
    if provider != "gs":
        params.update({name: text for name in _CONNECTION if (text := override.text(name))})
    credentials = override.section("credentials")
    if credentials is None:
        missing = "secretref" if provider == "gs" else "credentials"
        raise SessionInfoError(f"invalid provider config: missing override {missing}")
    for key in _SECRET_KEYS[provider]:
        params.pop(key, None)
    params.update(_credentials(provider, _Section(credentials), place="override"))


def _read_yaml(text: str) -> Any:
    import yaml  # noqa: PLC0415 (only configurations with providers need it)

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SessionInfoError(f"invalid provider config: {error}") from error

"""How to reach the server of a bucket, from KFP's session parameters (spec LAUNCHER A19, PODSPEC 11.5).

Google Cloud Storage is reached through its S3-compatible endpoint with an HMAC key of the environment;
service account tokens, which KFP's own launcher takes, are refused before anything runs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qs

from kfp_api.session_info import SessionInfo
from launcher.errors import LauncherError

GCS_ENDPOINT: Final = "https://storage.googleapis.com"
_AWS_ENDPOINT: Final = "s3.amazonaws.com"
_DEFAULT_ATTEMPTS: Final = 5
_SECRET_KEYS: Final = ("accessKeyKey", "secretKeyKey")

SecretReader = Callable[[str, str], str]
"""Gives the value of a Secret's key; raises :class:`LauncherError` where there is none."""


@dataclass(frozen=True, kw_only=True)
class S3Settings:
    """Server and credentials. Without keys, boto3's own chain finds them (environment, profile, ambient)."""

    endpoint: str | None = None
    region: str | None = None
    path_style: bool = False
    attempts: int = _DEFAULT_ATTEMPTS
    access_key: str = ""
    secret_key: str = ""


def s3_settings(
    session: SessionInfo, *, query: str, secret: SecretReader, gcs_endpoint: str = ""
) -> S3Settings:
    """The settings that KFP's session parameters and the query of a pipeline root mean.

    Args:
        session: provider and parameters.
        query: query of the pipeline root, without the question mark; where there is one, it decides.
        secret: reads a Secret.
        gcs_endpoint: replaces the address of Google Cloud Storage.

    Raises:
        LauncherError: a Secret cannot be read, or the provider's credentials are of an unsupported kind.
    """
    if session.provider == "gs":
        return _gcs(session, gcs_endpoint or GCS_ENDPOINT)
    params = _query_params(query) if query else dict(session.params)
    keys = {}
    if params.get("fromEnv") == "false":
        name = params.get("secretName", "")
        access, secret_key = (secret(name, params.get(key, "")) for key in _SECRET_KEYS)
        keys = {"access_key": access, "secret_key": secret_key}
    return S3Settings(
        endpoint=_endpoint(params.get("endpoint", ""), plain=params.get("disableSSL") == "true"),
        region=params.get("region") or None,
        # Without any setting it is AWS itself, whose buckets are hosts.
        path_style=params.get("forcePathStyle", "false" if set(params) == {"fromEnv"} else "true") == "true",
        attempts=_attempts(params.get("maxRetries", "")),
        **keys,
    )


def _gcs(session: SessionInfo, endpoint: str) -> S3Settings:
    if session.params.get("fromEnv") != "true":
        raise LauncherError(
            f'Secret "{session.params.get("secretName", "")}" holds a service account token for gs://, which '
            "this launcher does not support: use an HMAC key (credentials.fromEnv: true, AWS_ACCESS_KEY_ID "
            "and AWS_SECRET_ACCESS_KEY)"
        )
    return S3Settings(endpoint=endpoint, region="auto", path_style=True)


def _query_params(query: str) -> dict[str, str]:
    """A root's query under the names of the session parameters; both generations of names are in use."""
    given = {name: values[-1] for name, values in parse_qs(query, keep_blank_values=True).items()}
    params = {"fromEnv": "true"}
    for name, aliases in {
        "endpoint": ("endpoint",),
        "region": ("region",),
        "disableSSL": ("disableSSL", "disable_https"),
        "forcePathStyle": ("s3ForcePathStyle", "use_path_style"),
    }.items():
        for alias in aliases:
            if alias in given:
                params[name] = given[alias]
    if "endpoint" not in params:
        params.setdefault("forcePathStyle", "false")
    return params


def _endpoint(text: str, *, plain: bool) -> str | None:
    """The server's URL; ``None`` for AWS, whose regional address boto3 knows."""
    scheme, separator, host = text.rpartition("://")
    if not host or host.partition("/")[0].partition(":")[0] == _AWS_ENDPOINT:
        return None
    return text if separator and scheme else f"{'http' if plain else 'https'}://{host}"


def _attempts(text: str) -> int:
    if not text:
        return _DEFAULT_ATTEMPTS
    if not text.isdecimal():
        raise LauncherError(f'invalid provider config: maxRetries "{text}" is not a number')
    return max(1, int(text))

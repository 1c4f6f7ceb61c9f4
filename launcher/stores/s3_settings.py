"""How to reach the server of a bucket, from KFP's session parameters (spec LAUNCHER A19, PODSPEC 11.5).

Google Cloud Storage is reached through its S3-compatible endpoint with an HMAC key of the environment;
service account tokens, which KFP's own launcher takes, are refused before anything runs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from kfp_api.session_info import SessionInfo, SessionInfoError, s3_connection
from launcher.errors import LauncherError

GCS_ENDPOINT: Final = "https://storage.googleapis.com"
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
        query: query of the pipeline root, without the question mark.
        secret: reads a Secret.
        gcs_endpoint: replaces the address of Google Cloud Storage.

    Raises:
        LauncherError: a Secret cannot be read, or the provider's credentials are of an unsupported kind.
    """
    if session.provider == "gs":
        return _gcs(session, gcs_endpoint or GCS_ENDPOINT)
    try:
        connection = s3_connection(session, query=query)
    except SessionInfoError as error:
        raise LauncherError(str(error)) from error
    keys = {}
    if session.params.get("fromEnv") == "false":
        name = session.params.get("secretName", "")
        access, secret_key = (secret(name, session.params.get(key, "")) for key in _SECRET_KEYS)
        keys = {"access_key": access, "secret_key": secret_key}
    return S3Settings(
        endpoint=connection.endpoint,
        region=connection.region,
        path_style=connection.path_style,
        attempts=max(1, connection.max_retries),
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

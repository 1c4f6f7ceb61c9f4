"""Where logs are kept: a directory, or a bucket of an S3 server.

Stores are synchronous and are called in threads. Whatever goes wrong is a :class:`LogStoreError`; nothing
else leaves this module. boto3 is imported when the first log is written, because the service starts
faster and smaller without it.
"""

import contextlib
import secrets
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, cast
from urllib.parse import unquote

from driver_plugin.settings import Settings

_CONTENT_TYPE: Final = "text/plain; charset=utf-8"
_CONNECT_SECONDS: Final = 2
_TRY_SECONDS: Final = 10


class _PutsObjects(Protocol):
    """The one call of boto3's S3 client that logs need."""

    def put_object(self, **request: Any) -> object: ...


class LogStoreError(Exception):
    """A log could not be written; the text says why, without credentials."""


class LogStore(Protocol):
    """Writes whole objects below a log root."""

    def put(self, key: str, body: bytes) -> None:
        """Write one object; raises :class:`LogStoreError`."""


class DirectoryLogStore:
    """Logs as files below an absolute directory. A file appears whole or not at all."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def put(self, key: str, body: bytes) -> None:
        """Write ``<root>/<key>``, making its directories."""
        target = self._root.joinpath(*key.split("/"))
        if ".." in target.parts:
            raise LogStoreError(f"the key {key!r} leaves the log root")
        part = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            part.write_bytes(body)
            part.replace(target)
        except OSError as error:
            with contextlib.suppress(OSError):
                part.unlink()
            raise LogStoreError(f"cannot write {target}: {error.strerror}") from error


@dataclass(frozen=True, kw_only=True)
class S3Target:
    """A place in a bucket, and how to reach its server."""

    bucket: str
    prefix: str
    """Key prefix without slashes at its ends; may be empty."""
    endpoint: str | None
    """Address of the server; ``None`` is AWS."""
    region: str | None
    path_style: bool
    access_key: str = ""
    """Empty: the ambient chain (environment, profile, workload identity)."""
    secret_key: str = ""
    ca_file: str = ""


class S3LogStore:
    """Logs as objects of a bucket: one PUT each, without retries of its own."""

    def __init__(self, target: S3Target) -> None:
        self._target = target
        self._lock = threading.Lock()
        self._client: _PutsObjects | None = None

    def put(self, key: str, body: bytes) -> None:
        """Write one object below the target's prefix."""
        from boto3.exceptions import Boto3Error  # noqa: PLC0415 (import budget)
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 (import budget)

        full = f"{self._target.prefix}/{key}" if self._target.prefix else key
        try:
            self._connect().put_object(
                Bucket=self._target.bucket, Key=full, Body=body, ContentType=_CONTENT_TYPE
            )
        except (BotoCoreError, ClientError, Boto3Error, OSError, ValueError) as error:
            raise LogStoreError(f"cannot write s3 object {full!r}: {error}") from error

    def _connect(self) -> _PutsObjects:
        with self._lock:
            if self._client is None:
                self._client = _s3_client(self._target)
            return self._client


def open_store(log_root: str, settings: Settings) -> LogStore:
    """The store of a log root as :func:`~driver_plugin.system_logs.location.derive_log_root` gives it."""
    if log_root.startswith("/"):
        return DirectoryLogStore(Path(log_root))
    return S3LogStore(s3_target(log_root, settings))


def s3_target(log_root: str, settings: Settings) -> S3Target:
    """Server, bucket and credentials of a ``minio://`` or ``s3://`` log root (spec LAUNCHER A19)."""
    scheme, _, rest = log_root.partition("://")
    bucket, _, prefix = rest.partition("/")
    minio = scheme == "minio"
    configured = settings.object_store_host and settings.object_store_port
    host = (
        f"{settings.object_store_host}:{settings.object_store_port}"
        if configured
        else "seaweedfs.kubeflow:9000"
    )
    return S3Target(
        bucket=bucket,
        prefix=unquote(prefix).strip("/"),
        endpoint=f"http://{host}" if minio else None,
        region="minio" if minio else None,
        path_style=minio,
        access_key=settings.s3_access_key.get_secret_value(),
        secret_key=settings.s3_secret_key.get_secret_value(),
        ca_file=settings.ca_file,
    )


def _s3_client(target: S3Target) -> _PutsObjects:
    from boto3.session import Session  # noqa: PLC0415 (import budget)
    from botocore.config import Config  # noqa: PLC0415 (import budget)

    client = Session().client(
        "s3",
        endpoint_url=target.endpoint,
        region_name=target.region,
        aws_access_key_id=target.access_key or None,
        aws_secret_access_key=target.secret_key or None,
        verify=target.ca_file or None,
        config=Config(
            connect_timeout=_CONNECT_SECONDS,
            read_timeout=_TRY_SECONDS,
            retries={"total_max_attempts": 1},
            s3={"addressing_style": "path" if target.path_style else "auto"},
            # Many S3 servers refuse the newer default checksums.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )
    return cast("_PutsObjects", client)

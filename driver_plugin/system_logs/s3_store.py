"""Logs as objects of a bucket of an S3 server.

boto3 is imported when the first log is written or read, because the service starts faster and smaller
without it. There are no retries in here: whoever calls has a budget, and only one (spec DEPLOY 9.4).
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final, TypeVar

from driver_plugin.system_logs.redaction import redact
from driver_plugin.system_logs.store import (
    LISTED,
    READ_LIMIT,
    SUFFIX,
    Listing,
    LogNotFoundError,
    LogStoreError,
    StoredLog,
    oldest_first,
)

_CONTENT_TYPE: Final = "text/plain; charset=utf-8"
_CONNECT_SECONDS: Final = 2
_TRY_SECONDS: Final = 10
_CONNECTIONS: Final = 4
_REFUSED: Final = frozenset({401, 403})
_NOT_FOUND: Final = 404

_Answer = TypeVar("_Answer")


@dataclass(frozen=True, kw_only=True)
class S3Target:
    """A place in a bucket, and how to reach its server."""

    bucket: str
    prefix: str = ""
    """Key prefix without slashes at its ends."""
    endpoint: str | None = None
    """Address of the server; ``None`` is AWS."""
    region: str | None = None
    path_style: bool = True
    access_key: str = field(default="", repr=False)
    """Empty: the ambient chain (environment, profile, workload identity)."""
    secret_key: str = field(default="", repr=False)
    ca_file: str = ""
    """Trust anchors in place of the built-in ones."""


class S3LogStore:
    """A store in a bucket; safe for several threads."""

    def __init__(self, target: S3Target) -> None:
        self._target = target
        self._lock = threading.Lock()
        self._opened: Any = None

    def put(self, key: str, body: bytes) -> None:
        """Write one object below the target's prefix: one PUT."""
        full = self._full(key)
        self._ask(
            f"write {self._shown(full)}",
            lambda client: client.put_object(
                Bucket=self._target.bucket, Key=full, Body=body, ContentType=_CONTENT_TYPE
            ),
        )

    def list(self, prefix: str, *, limit: int = LISTED) -> Listing:
        """Objects below ``<prefix>/`` in the order of their keys; where there are too many, the first."""
        full = self._full(prefix) + "/"
        cut = len(self._full("x")) - 1

        def ask(client: Any) -> list[StoredLog]:
            pages = client.get_paginator("list_objects_v2").paginate(
                Bucket=self._target.bucket, Prefix=full, PaginationConfig={"PageSize": min(limit + 1, LISTED)}
            )
            objects = (
                StoredLog(key=one["Key"][cut:], size=one["Size"], modified=one["LastModified"])
                for page in pages
                for one in page.get("Contents", ())
                if one["Key"].endswith(SUFFIX)
            )
            return list(islice(objects, limit + 1))

        found = self._ask(f"list {self._shown(full)}", ask)
        return Listing(logs=oldest_first(found[:limit]), truncated=len(found) > limit)

    def get(self, key: str, *, limit: int = READ_LIMIT) -> bytes:
        """The object's first bytes."""
        full = self._full(key)

        def ask(client: Any) -> bytes:
            with client.get_object(Bucket=self._target.bucket, Key=full)["Body"] as body:
                return bytes(body.read(limit))

        return self._ask(f"read {self._shown(full)}", ask)

    def end(self, key: str, *, limit: int) -> tuple[bytes, bool]:
        """The object's last bytes, and whether they are all."""
        full = self._full(key)

        def ask(client: Any) -> tuple[bytes, bool]:
            # Servers disagree on a range of an empty object; so its size first.
            size = int(client.head_object(Bucket=self._target.bucket, Key=full)["ContentLength"])
            if not size:
                return b"", True
            wanted = f"bytes={max(0, size - limit)}-"
            answer = client.get_object(Bucket=self._target.bucket, Key=full, Range=wanted)
            with answer["Body"] as body:
                return bytes(body.read(limit)), size <= limit

        return self._ask(f"read {self._shown(full)}", ask)

    def _ask(self, what: str, ask: Callable[[Any], _Answer]) -> _Answer:
        """One request; everything that boto3 raises becomes a :class:`LogStoreError`."""
        from boto3.exceptions import Boto3Error  # noqa: PLC0415 (import budget)
        from botocore.exceptions import (  # noqa: PLC0415 (import budget)
            BotoCoreError,
            ClientError,
            NoCredentialsError,
            PartialCredentialsError,
        )

        try:
            return ask(self._client())
        except ClientError as error:
            raise self._failure(what, error) from None
        except (BotoCoreError, Boto3Error, OSError, ValueError) as error:
            refused = isinstance(error, (NoCredentialsError, PartialCredentialsError))
            raise LogStoreError(f"cannot {what}: {self._text(error)}", refused=refused) from None

    def _failure(self, what: str, error: Any) -> LogStoreError:
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        code = error.response.get("Error", {}).get("Code")
        message = f"cannot {what}: {self._text(error)}"
        if status == _NOT_FOUND and code != "NoSuchBucket":
            return LogNotFoundError(message)
        return LogStoreError(message, refused=status in _REFUSED)

    def _text(self, error: Exception) -> str:
        """What went wrong, without the keys, which some servers quote."""
        keys = [key for key in (self._target.secret_key, self._target.access_key) if key]
        return redact(str(error), keys)

    def _full(self, key: str) -> str:
        return f"{self._target.prefix}/{key}" if self._target.prefix else key

    def _shown(self, full: str) -> str:
        return f"s3 object {self._target.bucket}/{full}"

    def _client(self) -> Any:
        with self._lock:
            if self._opened is None:
                self._opened = _s3_client(self._target)
            return self._opened


def _s3_client(target: S3Target) -> Any:
    from boto3.session import Session  # noqa: PLC0415 (import budget)
    from botocore.config import Config  # noqa: PLC0415 (import budget)

    return Session().client(
        "s3",
        endpoint_url=target.endpoint,
        region_name=target.region,
        aws_access_key_id=target.access_key or None,
        aws_secret_access_key=target.secret_key or None,
        verify=target.ca_file or None,
        config=Config(
            connect_timeout=_CONNECT_SECONDS,
            read_timeout=_TRY_SECONDS,
            max_pool_connections=_CONNECTIONS,
            retries={"total_max_attempts": 1},
            s3={"addressing_style": "path" if target.path_style else "auto"},
            # Many S3 servers refuse the newer default checksums.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )

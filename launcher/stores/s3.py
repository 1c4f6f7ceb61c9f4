"""S3 and servers that speak its protocol, through boto3, which is imported with the first client.

Files travel in parts by a few threads: memory does not grow with the artifact. Every object is tried
several times with growing pauses, besides what boto3 repeats itself.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar, cast

from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from launcher.errors import LauncherError
from launcher.stores.files import artifact_files, local_target
from launcher.stores.s3_settings import S3Settings
from launcher.stores.store import StoreError
from launcher.stores.uris import ObjectUri, parse_object_uri

if TYPE_CHECKING:
    from boto3.s3.transfer import TransferConfig
    from boto3.session import Session

T = TypeVar("T")

_MIB: Final = 1024 * 1024
_PART_BYTES: Final = 16 * _MIB
_THREADS: Final = 4
_QUEUED_CHUNKS: Final = 32
"""Downloaded pieces of 256 KiB that may wait for the disk."""

_OBJECT_ATTEMPTS: Final = 5
_CONNECT_SECONDS: Final = 10
_READ_SECONDS: Final = 60
_NOT_FOUND: Final = 404
_FORBIDDEN: Final = 403
_TOO_MANY: Final = 429
_SERVER_ERROR: Final = 500
_PASSING_CODES: Final = frozenset(
    {"ExpiredToken", "InternalError", "RequestTimeout", "ServiceUnavailable", "SlowDown"}
)


class _S3Client(Protocol):
    """The calls of boto3's S3 client that artifacts need."""

    def upload_file(self, file: str, bucket: str, key: str, *, Config: "TransferConfig") -> None: ...  # noqa: N803

    def download_file(self, bucket: str, key: str, file: str, *, Config: "TransferConfig") -> None: ...  # noqa: N803

    def list_objects_v2(self, **request: Any) -> dict[str, Any]: ...

    def head_object(self, **request: Any) -> dict[str, Any]: ...

    def close(self) -> None: ...


class S3Store:
    """The buckets that one set of settings reaches.

    Args:
        settings: server and credentials.
        ca_file: trust anchors for TLS; empty uses boto3's own.
        pause_seconds: scale of the pauses between attempts.
        keys_per_page: how many names one listing asks for.
    """

    def __init__(
        self,
        settings: S3Settings,
        *,
        ca_file: str = "",
        pause_seconds: float = 0.5,
        keys_per_page: int = 1000,
    ) -> None:
        self._settings = settings
        self._ca_file = ca_file
        self._pause_seconds = pause_seconds
        self._keys_per_page = keys_per_page
        self._client: _S3Client | None = None

    def close(self) -> None:
        """Close all connections; the next call opens new ones, with credentials as they are then."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def check(self) -> None:
        """Find out whether there are credentials at all."""
        from botocore.exceptions import BotoCoreError  # noqa: PLC0415 (only runs with such artifacts need it)

        try:
            found = self._settings.access_key or self._session().get_credentials()
        except BotoCoreError as error:
            raise LauncherError(f"no credentials for {self._name}: {error}") from error
        if not found:
            raise LauncherError(
                f"no credentials for {self._name}: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
                "or name a Secret in the launcher configuration"
            )

    def download(self, uri: str, destination: Path) -> bool:
        """Copy the object or the tree at ``uri``; see :class:`~launcher.stores.store.ObjectStore`.

        Objects below ``<key>/`` are the artifact where there are any; an object with the key itself is then
        a mere directory marker.
        """
        place, found = parse_object_uri(uri), False
        for key in self._nested(place):
            relative = key.removeprefix(f"{place.key}/")
            if relative and not key.endswith("/"):
                self._fetch(place, key, local_target(destination, relative))
                found = True
        if not found and self._exists(place):
            self._fetch(place, place.key, destination)
            found = True
        return found

    def upload(self, source: Path, uri: str, *, done: set[str]) -> None:
        """Copy a file or a directory tree; see :class:`~launcher.stores.store.ObjectStore`."""
        place = parse_object_uri(uri)
        for file, relative in artifact_files(source):
            key = f"{place.key}/{relative}" if relative else place.key
            target = f"{place.provider}://{place.bucket}/{key}"
            if target not in done:
                self._send(file, place.bucket, key)
                done.add(target)

    @property
    def _name(self) -> str:
        return self._settings.endpoint or "AWS S3"

    def _send(self, file: Path, bucket: str, key: str) -> None:
        self._attempted(
            lambda: self._open().upload_file(str(file), bucket, key, Config=_transfer_config()),
            what=f"writing s3 object {bucket}/{key}",
        )

    def _fetch(self, place: ObjectUri, key: str, target: Path) -> None:
        try:
            target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"creating {target.parent} failed: {error.strerror}") from error
        self._attempted(
            lambda: self._open().download_file(place.bucket, key, str(target), Config=_transfer_config()),
            what=f"reading s3 object {place.bucket}/{key}",
        )

    def _nested(self, place: ObjectUri) -> Iterator[str]:
        token = ""
        while True:
            try:
                page = self._page(place, token)
            except _ForbiddenError:
                # Who may read an object need not be allowed to list its bucket.
                if self._exists(place):
                    return
                raise
            for entry in page.get("Contents", []):
                yield entry["Key"]
            token = page.get("NextContinuationToken", "")
            if not token:
                return

    def _page(self, place: ObjectUri, token: str) -> dict[str, Any]:
        request = {"Bucket": place.bucket, "Prefix": f"{place.key}/", "MaxKeys": self._keys_per_page}
        if token:
            request["ContinuationToken"] = token
        return self._attempted(
            lambda: self._open().list_objects_v2(**request),
            what=f"listing s3 objects {place.bucket}/{place.key}",
        )

    def _exists(self, place: ObjectUri) -> bool:
        try:
            self._attempted(
                lambda: self._open().head_object(Bucket=place.bucket, Key=place.key),
                what=f"reading s3 object {place.bucket}/{place.key}",
            )
        except _NotFoundError:
            return False
        return True

    def _attempted(self, call: Callable[[], T], *, what: str) -> T:
        from boto3.exceptions import Boto3Error  # noqa: PLC0415 (as above)
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 (as above)

        def attempt() -> T:
            try:
                return call()
            except (BotoCoreError, ClientError, Boto3Error, OSError, ValueError) as error:
                raise _store_error(error, what) from error

        retrying = Retrying(
            stop=stop_after_attempt(_OBJECT_ATTEMPTS),
            wait=wait_random_exponential(multiplier=self._pause_seconds, max=10),
            retry=retry_if_exception(lambda error: isinstance(error, StoreError) and error.transient),
            reraise=True,
        )
        return retrying(attempt)

    def _session(self) -> "Session":
        from boto3.session import Session  # noqa: PLC0415 (as above)

        return Session()

    def _open(self) -> _S3Client:
        if self._client is None:
            self._client = self._new_client()
        return self._client

    def _new_client(self) -> _S3Client:
        from botocore.config import Config  # noqa: PLC0415 (as above)

        settings = self._settings
        client = self._session().client(
            "s3",
            endpoint_url=settings.endpoint,
            region_name=settings.region,
            aws_access_key_id=settings.access_key or None,
            aws_secret_access_key=settings.secret_key or None,
            verify=self._ca_file or None,
            config=Config(
                connect_timeout=_CONNECT_SECONDS,
                read_timeout=_READ_SECONDS,
                retries={"mode": "standard", "total_max_attempts": settings.attempts},
                s3={"addressing_style": "path" if settings.path_style else "auto"},
                # Many S3 servers refuse the newer default checksums.
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )
        return cast("_S3Client", client)


class _NotFoundError(StoreError):
    """There is no such object or bucket."""


class _ForbiddenError(StoreError):
    """The credentials do not allow this."""


def _transfer_config() -> "TransferConfig":
    from boto3.s3.transfer import TransferConfig  # noqa: PLC0415 (as above)

    return TransferConfig(
        multipart_threshold=_PART_BYTES,
        multipart_chunksize=_PART_BYTES,
        max_concurrency=_THREADS,
        max_io_queue=_QUEUED_CHUNKS,
        preferred_transfer_client="classic",
    )


def _store_error(error: Exception, what: str) -> StoreError:
    """The failure in one line, with what the causes behind boto3's wrappers say about trying again."""
    import botocore.exceptions as botocore  # noqa: PLC0415 (as above)

    unreached = (
        botocore.ConnectionError,
        botocore.HTTPClientError,
        botocore.IncompleteReadError,
        ConnectionError,
        TimeoutError,
    )
    message = f"{what} failed: {error}"
    for cause in _causes(error):
        if isinstance(cause, botocore.ClientError):
            status = cause.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            code = cause.response.get("Error", {}).get("Code", "")
            if status >= _SERVER_ERROR or status == _TOO_MANY or code in _PASSING_CODES:
                return StoreError(message, transient=True)
            kind = {_NOT_FOUND: _NotFoundError, _FORBIDDEN: _ForbiddenError}.get(status, StoreError)
            return kind(message)
        if isinstance(cause, unreached):
            return StoreError(message, transient=True)
    return StoreError(message)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = getattr(error, "last_exception", None) or error.__cause__ or error.__context__

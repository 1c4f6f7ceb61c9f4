"""Which store an artifact's URI belongs to, and whether we may use its credentials (spec LAUNCHER A19).

An artifact must lie below the default pipeline root, below the run's own root, or in a bucket that the
administrator named in an override: default credentials are not for buckets that a pipeline makes up.
"""

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from urllib.parse import unquote

from kfp_api.session_info import (
    BucketPath,
    SessionInfoError,
    is_within_configured_stores,
    parse_bucket_path,
    session_info,
)
from launcher.configuration import ConfigurationReader, LauncherConfiguration
from launcher.errors import LauncherError
from launcher.stores.directory import DirectoryStore
from launcher.stores.s3 import S3Store
from launcher.stores.s3_settings import S3Settings, s3_settings
from launcher.stores.store import ObjectStore, StoreError
from launcher.stores.uris import ObjectUri, parse_object_uri


@dataclass(kw_only=True)
class Stores:
    """All stores of one task, opened when an artifact needs them; one per server and credentials.

    Attributes:
        reader: where configuration and Secrets come from.
        environment: the process environment (``OBJECT_STORE_HOST``, ``OBJECT_STORE_PORT``,
            ``KFP_GCS_ENDPOINT``).
        run_root: the run's own pipeline root, empty where it has none.
        ca_file: trust anchors for TLS; empty uses the system's.
        pause_seconds: scale of the pauses between attempts.
    """

    reader: ConfigurationReader
    environment: Mapping[str, str]
    run_root: str = ""
    ca_file: str = ""
    pause_seconds: float = 0.5
    _directories: DirectoryStore = field(default_factory=DirectoryStore, init=False)
    _opened: dict[S3Settings, S3Store] = field(default_factory=dict, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def store(self, uri: str) -> ObjectStore:
        """The store that holds ``uri``.

        Raises:
            LauncherError: no store serves the URI, or we may not use its credentials.
        """
        if uri.startswith("/"):
            return self._directories
        place = parse_object_uri(uri)
        # The growing log is uploaded by another thread.
        with self._lock:
            settings = self._settings(place)
            if settings not in self._opened:
                self._opened[settings] = S3Store(
                    settings, ca_file=self.ca_file, pause_seconds=self.pause_seconds
                )
            return self._opened[settings]

    def check(self, uris: Iterable[str]) -> None:
        """Find out what would fail later, before the user's command starts.

        Raises:
            LauncherError: one of the URIs has no usable store.
        """
        for store in {id(store): store for store in map(self.store, uris)}.values():
            store.check()

    def download(self, uri: str, destination: str) -> bool:
        """Copy the object or tree at ``uri`` to the disk; whether anything was there."""
        return self.store(uri).download(uri, Path(destination))

    def upload(self, source: str, uri: str) -> None:
        """Copy one file or tree to ``uri``."""
        self.store(uri).upload(Path(source), uri, done=set())

    def upload_all(self, uploads: Iterable[tuple[str, str]]) -> None:
        """Copy ``(local path, URI)`` pairs; after a passing failure the rest once more, with new connections.

        Raises:
            LauncherError: an upload failed; which objects are written then is unknown.
        """
        pairs, done = list(uploads), set[str]()
        try:
            self._upload_rest(pairs, done)
        except StoreError as error:
            if not error.transient:
                raise
            self.close()
            self._upload_rest(pairs, done)

    def close(self) -> None:
        """Close all connections; credentials are read again when a store is used again."""
        with self._lock:
            for store in self._opened.values():
                store.close()
            self._opened.clear()

    def _upload_rest(self, pairs: Iterable[tuple[str, str]], done: set[str]) -> None:
        for source, uri in pairs:
            self.store(uri).upload(Path(source), uri, done=done)

    @cached_property
    def _configuration(self) -> LauncherConfiguration:
        return self.reader.configuration()

    def _settings(self, place: ObjectUri) -> S3Settings:
        try:
            root = self._root_of(place)
            session = session_info(
                root, self._configuration.providers, object_store=_in_cluster_store(self.environment)
            )
            assert session is not None
            query = parse_bucket_path(root).query
        except SessionInfoError as error:
            raise LauncherError(str(error)) from error
        return s3_settings(
            session,
            query=query,
            secret=self.reader.secret,
            gcs_endpoint=self.environment.get("KFP_GCS_ENDPOINT", ""),
        )

    def _root_of(self, place: ObjectUri) -> str:
        """The directory of ``place`` with the query of the root it lies below."""
        configuration = self._configuration
        for root in (configuration.default_pipeline_root, self.run_root):
            if root and not root.startswith("/"):
                path = parse_bucket_path(root)
                if _is_below(place, path):
                    return f"{place.directory}?{path.query}" if path.query else place.directory
        if is_within_configured_stores(
            place.directory, configuration.providers, default_root=configuration.default_pipeline_root
        ):
            return place.directory
        raise LauncherError(
            f'artifact URI "{place.directory}" is outside the configured pipeline root '
            "and has no explicit provider override"
        )


def _is_below(place: ObjectUri, root: BucketPath) -> bool:
    same_bucket = (place.provider, place.bucket) == (root.provider, root.bucket)
    return same_bucket and place.key.startswith(unquote(root.prefix))


def _in_cluster_store(environment: Mapping[str, str]) -> str:
    host, port = environment.get("OBJECT_STORE_HOST", ""), environment.get("OBJECT_STORE_PORT", "")
    return f"{host}:{port}" if host and port else ""

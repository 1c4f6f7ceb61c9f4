"""Where logs are kept, and the store that is a directory.

Stores are synchronous and are called in threads. Whatever goes wrong is a :class:`LogStoreError`; nothing
else leaves a store. Keys are those of :mod:`driver_plugin.system_logs.location`, relative to the log root.
"""

import contextlib
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from heapq import nlargest
from pathlib import Path
from typing import BinaryIO, Final, Protocol

LISTED: Final = 1000
"""Logs that one listing gives at most."""

READ_LIMIT: Final = 5 << 20
"""Bytes of a log that are read at most: what an object may have."""

SUFFIX: Final = ".log"


class LogStoreError(Exception):
    """A log could not be written or read; the text says why, without credentials.

    ``refused`` means that the store did not accept the credential: another one may help, waiting does not.
    """

    def __init__(self, message: str, *, refused: bool = False) -> None:
        super().__init__(message)
        self.refused = refused


class LogNotFoundError(LogStoreError):
    """There is no such log, or not yet."""


@dataclass(frozen=True, kw_only=True)
class StoredLog:
    """One log in a store. ``size`` in bytes."""

    key: str
    size: int
    modified: datetime

    @property
    def scope(self) -> str:
        """``root``, or ``<parent task id>/<slug>[.<index>]``."""
        return self.key.partition("/")[2].rpartition("/")[0]

    @property
    def invocation_id(self) -> str:
        """Name of the call; sorts by time."""
        return self.key.rpartition("/")[2].removesuffix(SUFFIX)


@dataclass(frozen=True, kw_only=True)
class Listing:
    """Logs below a prefix, the oldest call first; ``truncated`` when there are more than were asked for."""

    logs: tuple[StoredLog, ...]
    truncated: bool


class LogStore(Protocol):
    """Whole objects below a log root."""

    def put(self, key: str, body: bytes) -> None:
        """Write one object; raises :class:`LogStoreError`."""

    def list(self, prefix: str, *, limit: int = LISTED) -> Listing:
        """The logs below ``prefix``, a key without its last parts; nothing below it is no error."""

    def get(self, key: str, *, limit: int = READ_LIMIT) -> bytes:
        """The first ``limit`` bytes of a log; raises :class:`LogNotFoundError`."""

    def end(self, key: str, *, limit: int) -> tuple[bytes, bool]:
        """The last ``limit`` bytes of a file, and whether they are all; raises :class:`LogNotFoundError`."""


class DirectoryLogStore:
    """Logs as files below an absolute directory. A file appears whole or not at all."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def put(self, key: str, body: bytes) -> None:
        """Write ``<root>/<key>``, making its directories."""
        target = self._path(key)
        part = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            part.write_bytes(body)
            part.replace(target)
        except OSError as error:
            with contextlib.suppress(OSError):
                part.unlink()
            raise LogStoreError(f"cannot write {target}: {error.strerror}") from error

    def list(self, prefix: str, *, limit: int = LISTED) -> Listing:
        """Files below the directory of that name; the newest calls where there are too many."""
        top = self._path(prefix)
        try:
            found = list(_files(top))
        except OSError as error:
            raise LogStoreError(f"cannot list {top}: {error.strerror}") from error
        newest = nlargest(limit, found, key=lambda entry: entry.name)
        logs = [self._described(entry) for entry in newest]
        return Listing(logs=oldest_first(logs), truncated=len(found) > limit)

    def get(self, key: str, *, limit: int = READ_LIMIT) -> bytes:
        """The file's first bytes."""
        with self._reading(key) as file:
            return file.read(limit)

    def end(self, key: str, *, limit: int) -> tuple[bytes, bool]:
        """The file's last bytes."""
        with self._reading(key) as file:
            return end_of(file, limit)

    @contextlib.contextmanager
    def _reading(self, key: str) -> Iterator[BinaryIO]:
        path = self._path(key)
        try:
            with path.open("rb") as file:
                yield file
        except FileNotFoundError:
            raise LogNotFoundError(f"there is no log {path}") from None
        except OSError as error:
            raise LogStoreError(f"cannot read {path}: {error.strerror}") from error

    def _path(self, key: str) -> Path:
        parts = key.split("/")
        if {"", ".", ".."} & set(parts):
            raise LogStoreError(f"the key {key!r} leaves the log root")
        return self._root.joinpath(*parts)

    def _described(self, entry: "os.DirEntry[str]") -> StoredLog:
        status = entry.stat()
        return StoredLog(
            key=Path(entry.path).relative_to(self._root).as_posix(),
            size=status.st_size,
            modified=datetime.fromtimestamp(status.st_mtime, UTC),
        )


def end_of(file: BinaryIO, limit: int) -> tuple[bytes, bool]:
    """The last ``limit`` bytes of an open file, and whether they are all of it."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - limit))
    return file.read(limit), size <= limit


def oldest_first(logs: "list[StoredLog]") -> tuple[StoredLog, ...]:
    """In the order of the calls, which their names give."""
    return tuple(sorted(logs, key=lambda log: (log.invocation_id, log.key)))


def _files(directory: Path) -> Iterator["os.DirEntry[str]"]:
    """All logs below a directory; unfinished files start with a dot."""
    try:
        entries = os.scandir(directory)
    except (FileNotFoundError, NotADirectoryError):
        return
    with entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _files(Path(entry.path))
            elif entry.name.endswith(SUFFIX) and not entry.name.startswith("."):
                yield entry

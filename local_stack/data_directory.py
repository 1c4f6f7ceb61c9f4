"""The data directory of the local stack: its layout, and one user at a time.

Everything that a local run leaves behind is below this directory. A lock, held for as long as the
process lives, keeps a second run from using the same database, log and artifact directories.
"""

import errno
import fcntl
import json
import os
import shlex
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any, Final

DEFAULT_NAME: Final = ".kfp-driver"


_REFUSALS: Final = frozenset(
    {
        errno.EACCES,
        errno.EDQUOT,
        errno.EFBIG,
        errno.EIO,
        errno.ENOENT,
        errno.ENOSPC,
        errno.EPERM,
        errno.EROFS,
    }
)


class DataDirectoryError(Exception):
    """The directory cannot be used; the text is one line for the user."""

    exit_code = 2


@dataclass(frozen=True)
class DataDirectory:
    """Paths below one absolute directory."""

    root: Path

    @classmethod
    def at(cls, path: Path) -> "DataDirectory":
        """The data directory at ``path``, which need not exist."""
        return cls(path.expanduser().absolute())

    @property
    def option(self) -> str:
        """What a command line needs to mean this directory: `` --data-dir PATH``, nothing for the default."""
        if self.root == Path(DEFAULT_NAME).absolute():
            return ""
        relative = os.path.relpath(self.root)
        return f" --data-dir {shlex.quote(str(self.root) if relative.startswith('..') else relative)}"

    @property
    def database(self) -> Path:
        """The embedded KFP API's SQLite file."""
        return self.root / "kfp.db"

    @property
    def artifacts(self) -> Path:
        """Pipeline root: artifacts are plain files here."""
        return self.root / "artifacts"

    @property
    def driver_logs(self) -> Path:
        """One file per driver call."""
        return self.root / "driver-logs"

    @property
    def services(self) -> Path:
        """Logs, ready files and token of the services."""
        return self.root / "services"

    @property
    def python(self) -> Path:
        """Virtual environment of lightweight components."""
        return self.root / "python"

    @property
    def secrets(self) -> Path:
        """Secrets by name, one file per key; filled by the user."""
        return self.root / "secrets"

    @property
    def configmaps(self) -> Path:
        """ConfigMaps by name, one file per key; filled by the user."""
        return self.root / "configmaps"

    @property
    def claims(self) -> Path:
        """Volume claims by name, one directory each; made and filled by the user."""
        return self.root / "volumes"

    def run(self, workflow_name: str) -> Path:
        """State of one run: manifest, nodes, pods."""
        return self.root / "runs" / workflow_name

    def workspace(self, workflow_name: str) -> Path:
        """Workspace of one run."""
        return self.run(workflow_name) / "pvc" / "kfp-workspace"

    def holder(self) -> dict[str, Any] | None:
        """Who holds the lock (``pid``, ``command``, ``since``, ``stays``), or ``None`` when nobody does."""
        try:
            lock = (self.root / "lock").open("r+")
        except FileNotFoundError:
            return None
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return _read_holder(lock)
        return None

    @contextmanager
    def locked(self, *, stays: bool = False) -> Iterator[None]:
        """Create the directory and hold its lock; ``stays`` says that the holder serves until it is stopped.

        Raises:
            DataDirectoryError: it cannot be created or written, or another process holds the lock.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            lock = (self.root / "lock").open("a+")
        except OSError as error:
            reason = "it is a file" if self.root.is_file() else error.strerror
            raise DataDirectoryError(f"data directory {self.root}: {reason}") from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise DataDirectoryError(
                    f"data directory {self.root} is in use by {_described(_read_holder(lock), self.option)}"
                ) from None
            lock.truncate(0)
            json.dump(
                {
                    "pid": os.getpid(),
                    "command": " ".join(["kfp-driver", *sys.argv[1:]]),
                    "since": datetime.now().astimezone().strftime("%H:%M:%S"),
                    "stays": stays,
                },
                lock,
            )
            lock.flush()
            yield
            lock.truncate(0)


def refusal(error: BaseException) -> str:
    """Why the file system refuses, where that is all an error comes down to; empty for any other error.

    Of a group, every member has to: a defect must not hide behind a full disk.
    """
    if isinstance(error, BaseExceptionGroup):
        reasons = [refusal(member) for member in error.exceptions]
        return reasons[0] if all(reasons) else ""
    if isinstance(error, OSError) and error.errno in _REFUSALS:
        return str(error.strerror) + (f": {error.filename}" if error.filename else "")
    return ""


def _read_holder(lock: IO[str]) -> dict[str, Any]:
    lock.seek(0)
    try:
        holder = json.load(lock)
    except ValueError:
        # It has the lock and has not written its name yet.
        return {}
    return holder if isinstance(holder, dict) else {}


def _described(holder: Mapping[str, Any], option: str) -> str:
    if not holder:
        return "another process; wait for it to end or choose another --data-dir"
    who = f"process {holder['pid']} ({holder['command']}, since {holder['since']})"
    if holder["stays"]:
        return f"{who}; submit to it with kfp.Client, or end it with kfp-driver local stop{option}"
    return f"{who}; wait for it to end or choose another --data-dir"

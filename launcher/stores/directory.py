"""Directories as object store: the URI is an absolute path, as on one machine (spec LAUNCHER E5.2).

Where the pipeline root is a directory, an artifact's URI is its local path, and nothing is copied.
"""

import shutil
from pathlib import Path, PurePosixPath

from launcher.errors import LauncherError
from launcher.stores.files import artifact_files, local_target
from launcher.stores.store import StoreError


class DirectoryStore:
    """Artifacts below absolute directories of this machine."""

    def check(self) -> None:
        """Directories need no credentials."""

    def download(self, uri: str, destination: Path) -> bool:
        """Copy the file or directory at ``uri``; see :class:`~launcher.stores.store.ObjectStore`."""
        source = _path(uri)
        if not source.exists():
            return False
        for file, relative in artifact_files(source):
            _copy(file, local_target(destination, relative) if relative else destination)
        return True

    def upload(self, source: Path, uri: str, *, done: set[str]) -> None:
        """Copy a file or a directory tree; see :class:`~launcher.stores.store.ObjectStore`."""
        target = _path(uri)
        for file, relative in artifact_files(source):
            place = f"{uri}/{relative}" if relative else uri
            if place not in done:
                _copy(file, target / relative if relative else target)
                done.add(place)


def _path(uri: str) -> Path:
    if ".." in PurePosixPath(uri).parts:
        raise LauncherError(f"artifact URI {uri} leaves its directory")
    return Path(uri)


def _copy(source: Path, destination: Path) -> None:
    try:
        if destination.exists() and source.samefile(destination):
            return
        destination.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, destination)
    except OSError as error:
        raise StoreError(f"copying {source} to {destination} failed: {error.strerror}") from error

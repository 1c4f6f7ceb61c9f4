"""What every object store does, and how it fails."""

from pathlib import Path
from typing import Protocol

from launcher.errors import LauncherError


class StoreError(LauncherError):
    """An object could not be read or written; ``transient`` when trying again may help."""

    def __init__(self, message: str, *, transient: bool = False) -> None:
        super().__init__(message)
        self.transient = transient


class ObjectStore(Protocol):
    """Reads and writes artifacts, each a file or a tree of files."""

    def check(self) -> None:
        """Find out what cannot work before the user's command starts.

        Raises:
            LauncherError: there are no credentials for this store.
        """
        ...

    def download(self, uri: str, destination: Path) -> bool:
        """Copy the object or the tree of objects at ``uri`` to the disk; whether anything was there.

        Raises:
            StoreError: the store refused or failed.
            LauncherError: an object's name would leave ``destination``.
        """
        ...

    def upload(self, source: Path, uri: str, *, done: set[str]) -> None:
        """Copy a file or a directory tree to ``uri``.

        Args:
            source: an existing file or directory.
            uri: where it goes.
            done: URIs of the objects that need not be written any more; written ones are added.

        Raises:
            StoreError: the store refused or failed.
            LauncherError: something below ``source`` cannot be stored.
        """
        ...

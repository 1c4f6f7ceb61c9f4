"""Artifacts between the executor's disk and the object store.

This launcher serves one machine, where the pipeline root is an absolute directory: the artifact's URI is
its path, and nothing is copied. Other schemes are refused by name instead of being dropped silently.
"""

import shutil
from pathlib import Path, PurePosixPath

from launcher.errors import LauncherError


def download(uri: str, destination: str) -> bool:
    """Copy the object or the tree of objects at ``uri`` to ``destination``; whether anything was there.

    Raises:
        LauncherError: this launcher has no store for the URI's scheme, or the copy failed.
    """
    source = _directory(uri)
    if not source.exists():
        return False
    _copy(source, Path(destination))
    return True


def upload(source: str, uri: str) -> None:
    """Copy a file or a directory tree from the disk to ``uri``.

    Raises:
        LauncherError: this launcher has no store for the URI's scheme, or the copy failed.
    """
    _copy(Path(source), _directory(uri))


def can_store(uri: str) -> bool:
    """Whether this launcher can write to ``uri``."""
    return uri.startswith("/")


def _directory(uri: str) -> Path:
    if not can_store(uri):
        scheme = uri.partition("://")[0] if "://" in uri else uri
        raise LauncherError(
            f'the object store "{scheme}" cannot be reached from here: '
            "this launcher reads and writes absolute directories only"
        )
    if ".." in PurePosixPath(uri).parts:
        raise LauncherError(f"artifact URI {uri} leaves its directory")
    return Path(uri)


def _copy(source: Path, destination: Path) -> None:
    if source == destination:
        return
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, destination, dirs_exist_ok=True)
        else:
            shutil.copyfile(source, destination)
    except OSError as error:
        raise LauncherError(f"copying {source} to {destination} failed: {error.strerror}") from error

"""Files on the executor's disk: what belongs to an artifact, and where downloaded objects may go."""

import os
from collections.abc import Iterator
from pathlib import Path

from launcher.errors import LauncherError


def artifact_files(root: Path) -> Iterator[tuple[Path, str]]:
    """Every file of an artifact with its path relative to ``root``; ``""`` when ``root`` is the file.

    Links to files are followed. Links to directories are followed while they stay inside the artifact;
    empty directories vanish, as object stores have none.

    Raises:
        LauncherError: a link leaves the artifact or leads nowhere, or something is no file.
    """
    if root.is_dir():
        real = root.resolve()
        yield from _below(root, "", artifact=real, above=frozenset({real}))
    elif root.is_file():
        yield root, ""
    else:
        raise LauncherError(f"{root} is neither a file nor a directory")


def local_target(destination: Path, relative: str) -> Path:
    """Where an object of a tree goes below ``destination``.

    Raises:
        LauncherError: the object's name would leave the artifact.
    """
    parts = relative.split("/")
    if relative.startswith("/") or ".." in parts:
        raise LauncherError(f'object "{relative}" would be written outside of {destination}')
    return destination.joinpath(*parts)


def _below(
    directory: Path, prefix: str, *, artifact: Path, above: frozenset[Path]
) -> Iterator[tuple[Path, str]]:
    for entry in sorted(os.scandir(directory), key=lambda entry: entry.name):
        path, relative = Path(entry.path), prefix + entry.name
        if entry.is_dir():
            real = path.resolve()
            if not real.is_relative_to(artifact) or real in above:
                raise LauncherError(f"{path} links to {real}, which is not a directory inside the artifact")
            yield from _below(path, f"{relative}/", artifact=artifact, above=above | {real})
        elif entry.is_file():
            yield path, relative
        else:
            raise LauncherError(f"{path} is neither a file nor a directory")

"""The file system of a sandbox: the base system read-only, everything else as it is mounted (spec E5.2).

A mount point that the base system does not have cannot be made below a read-only directory. Such a directory
is opened: made anew, with each of its entries read-only in its place.
"""

import os
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import Final

from local_stack.runner.container_runtime import Mount

_SYSTEM: Final = ("/bin", "/etc", "/lib*", "/sbin", "/sys", "/usr")
_DEVICES: Final = ("nvidia*", "dri", "kfd")
LAUNCHER_PACKAGES: Final = ("launcher", "propagation", "resolver", "kfp_api")
_FROM_HOME: Final = (".aws", ".config/pip", ".pip")
"""What user and launcher look for below their home, which is ``/`` inside."""
_FILE_VARIABLES: Final = ("AWS_", "PIP_")


@dataclass(frozen=True)
class Link:
    """A symbolic link."""

    text: str
    target: str


def system() -> list[Mount | Link]:
    """The base system of this machine."""
    found: list[Mount | Link] = []
    for pattern in _SYSTEM:
        for path in sorted(Path("/").glob(pattern.lstrip("/"))):
            if path.is_symlink():
                found.append(Link(str(path.readlink()), str(path)))
            elif path.is_dir():
                found.append(Mount(path, str(path), read_only=True))
    # Name resolution is often a link to a file of a running service.
    for file in (Path("/etc/resolv.conf"), Path("/etc/hosts"), Path("/etc/localtime")):
        real = file.resolve()
        if file.is_symlink() and real.exists() and not _is_below(real, found):
            found.append(Mount(real, str(real), read_only=True))
    return found


def interpreter() -> list[Mount]:
    """Python, its packages and the launcher, where they are on this machine; without what the system has."""
    paths = sysconfig.get_paths()
    places = {
        Path(sys.base_prefix),
        Path(sys.base_exec_prefix),
        Path(sys.executable).resolve().parents[1],
        Path(sys.prefix),
        Path(paths["purelib"]),
        Path(paths["platlib"]),
        *map(package_directory, LAUNCHER_PACKAGES),
    }
    found: list[Mount] = []
    for place in sorted(places):
        if not _is_below(place, [*system(), *found]):
            found.append(Mount(place, str(place), read_only=True))
    return found


def package_directory(name: str) -> Path:
    """Where a package of ours is."""
    spec = find_spec(name)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def named_by_environment(environment: dict[str, str]) -> list[Mount]:
    """Files that the runner's environment names, and settings of its user that have no variable."""
    files = {
        Path(value)
        for name, value in environment.items()
        if name.startswith(_FILE_VARIABLES) and value.startswith("/") and Path(value).exists()
    }
    home = Path(environment.get("HOME") or "/")
    names = [] if home == Path("/") else [name for name in _FROM_HOME if (home / name).exists()]
    return [
        *(Mount(file, str(file), read_only=True) for file in sorted(files)),
        *(Mount(home / name, f"/{name}", read_only=True) for name in names),
    ]


def devices() -> list[Path]:
    """Accelerators of this machine."""
    return [path for pattern in _DEVICES for path in sorted(Path("/dev").glob(pattern))]


def bubblewrap_arguments(base: Iterable[Mount | Link], mounts: Iterable[Mount]) -> Iterator[str]:
    """The options that make ``base`` and on it ``mounts``; a later mount of the same path wins."""
    entries: dict[PurePosixPath, Mount | Link] = {PurePosixPath(one.target): one for one in base}
    for mount in sorted(mounts, key=_depth):
        target = PurePosixPath(mount.target)
        _open_up(entries, target)
        entries[target] = mount
    for entry in sorted(entries.values(), key=_depth):
        if isinstance(entry, Link):
            yield from ("--symlink", entry.text, entry.target)
        else:
            yield from ("--ro-bind" if entry.read_only else "--bind", os.fspath(entry.source), entry.target)


def _open_up(entries: dict[PurePosixPath, Mount | Link], target: PurePosixPath) -> None:
    """Make it possible to make the mount point ``target``."""
    while True:
        above = next((path for path in target.parents if path in entries), None)
        entry = entries.get(above) if above else None
        if above is None or not isinstance(entry, Mount) or not entry.read_only:
            return
        if (entry.source / target.relative_to(above)).exists() or not entry.source.is_dir():
            return
        del entries[above]
        for child in sorted(entry.source.iterdir()):
            place = above / child.name
            if place in entries:
                continue
            if child.is_symlink():
                entries[place] = Link(str(child.readlink()), str(place))
            else:
                entries[place] = Mount(child, str(place), read_only=True)


def _depth(entry: Mount | Link) -> int:
    return len(PurePosixPath(entry.target).parts)


def _is_below(path: Path, places: Iterable[Mount | Link]) -> bool:
    return any(isinstance(one, Mount) and path.is_relative_to(one.target) for one in places)

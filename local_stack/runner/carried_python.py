"""This project's launcher in any image: Python is carried along, with the C library that it was built for.

An image may have another C library than this machine, or none, and any Python or none. So the launcher is
started by this machine's own dynamic loader with this machine's libraries, all mounted below one directory
that no image has. Nothing of that is in the environment: what the launcher starts is the image's own.
"""

import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from local_stack.runner.container_runtime import Mount
from local_stack.runner.errors import ExecutorModeError
from local_stack.runner.sandbox_mounts import LAUNCHER_PACKAGES, package_directory

CARRIED: Final = "/kfp-carried"
_PYTHON: Final = f"{CARRIED}/python"
_START: Final = "import sys; sys.path += {packages!r}; from launcher.__main__ import main; sys.exit(main())"
_MAPS: Final = Path("/proc/self/maps")
_MAPPED_FIELDS: Final = 6


@dataclass(frozen=True)
class CarriedPython:
    """The launcher's command line in an image, and the mounts that it needs."""

    command: Sequence[str]
    mounts: Sequence[Mount]

    @classmethod
    def find(cls) -> Self:
        """What of this machine the launcher needs.

        Raises:
            ExecutorModeError: this Python does not use the GNU C library.
        """
        libraries = _mapped_libraries() if _MAPS.exists() else []
        loader = next((one for one in libraries if one.name.startswith("ld-linux")), None)
        if loader is None:
            raise ExecutorModeError(
                "--executor container carries this Python into images, which needs Linux with the GNU C "
                "library; use --executor sandbox or process"
            )
        folders = {folder: f"{CARRIED}/lib/{n}" for n, folder in enumerate(_folders(libraries))}
        packages = {folder: f"{CARRIED}/packages/{n}" for n, folder in enumerate(_package_folders())}
        base = Path(sys.base_prefix)
        executable = Path(sys.executable).resolve().relative_to(base.resolve())
        shown = [
            Mount(base, _PYTHON, read_only=True),
            *(Mount(folder, place, read_only=True) for folder, place in folders.items()),
            *(Mount(folder, place, read_only=True) for folder, place in packages.items()),
            *(
                Mount(package_directory(name), f"{CARRIED}/launcher/{name}", read_only=True)
                for name in LAUNCHER_PACKAGES
            ),
        ]
        start = _START.format(packages=[f"{CARRIED}/launcher", *packages.values()])
        command = [
            f"{folders[loader.parent]}/{loader.name}",
            "--library-path",
            ":".join(folders.values()),
            f"{_PYTHON}/{executable}",
            # Isolated: the image's PYTHONHOME and PYTHONPATH are for the image's Python.
            *("-I", "-S", "-X", "utf8", "-u", "-c", start),
        ]
        return cls(command, shown)


def _mapped_libraries() -> list[Path]:
    """The shared libraries that this process uses, but those that Python finds itself."""
    found = []
    for line in _MAPS.read_text(encoding="utf-8").splitlines():
        fields = line.split(maxsplit=_MAPPED_FIELDS - 1)
        path = Path(fields[-1]) if len(fields) == _MAPPED_FIELDS else Path()
        own = any(path.is_relative_to(folder) for folder in _package_folders())
        if path.name.startswith(("lib", "ld-")) and ".so" in path.name and not own:
            found.append(path)
    return list(dict.fromkeys(found))


def _folders(libraries: Sequence[Path]) -> list[Path]:
    """Their folders, Python's own first: the system may have a ``libpython`` of another version."""
    folders = dict.fromkeys(library.parent for library in libraries)
    return sorted(folders, key=lambda folder: not folder.is_relative_to(sys.base_prefix))


def _package_folders() -> list[Path]:
    paths = sysconfig.get_paths()
    return [Path(folder) for folder in dict.fromkeys((paths["purelib"], paths["platlib"]))]

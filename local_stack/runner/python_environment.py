"""The Python that lightweight components run in: one virtual environment per data directory.

It has no packages of its own at first: a path file makes those of the running interpreter importable,
``kfp`` and ``pip`` among them, so that a component starts at once and without a network. What a component
asks to install goes into this environment and never into the one the runner itself lives in.
"""

import fcntl
import importlib.metadata
import re
import shlex
import shutil
import stat
import sys
import sysconfig
import venv
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from packaging.requirements import InvalidRequirement, Requirement

_PATH_FILE: Final = "kfp_driver_parent.pth"
_WRAPPER_END: Final = '"$0" "$@"'
_WRAPPER_LENGTH: Final = 3
_PIP_INSTALL: Final = re.compile(
    r"""python3? -m pip install\s(?P<arguments>(?:'[^']*'|"[^"]*"|[^'"&|;\n])*)"""
)
_OPTIONS_WITH_VALUE: Final = frozenset(
    {"-i", "--index-url", "--extra-index-url", "--trusted-host", "-f", "--find-links", "-c", "--constraint"}
)
_REFUSED_OPTIONS: Final = frozenset({"-r", "--requirement", "-e", "--editable", "-t", "--target"})
_INSTALLER: Final = """#!{python}
import fcntl, os, sys
lock = os.open(os.path.join(sys.prefix, "pip.lock"), os.O_RDWR | os.O_CREAT, 0o644)
fcntl.flock(lock, fcntl.LOCK_EX)
os.set_inheritable(lock, True)
os.environ.setdefault("PIP_DISABLE_PIP_VERSION_CHECK", "1")
os.execv(sys.executable, [sys.executable, "-m", "pip", "install", *sys.argv[1:]])
"""
_PIP: Final = '#!/bin/sh\nexec "{python}" -m pip "$@"\n'


class PipInstall(StrEnum):
    """What happens to the packages that a component asks to install."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


@dataclass(frozen=True)
class PythonEnvironment:
    """A virtual environment and the search path of its packages."""

    directory: Path

    @property
    def scripts(self) -> Path:
        """The directory to put first on ``PATH``."""
        return self.directory / "bin"

    @property
    def python(self) -> Path:
        """The interpreter."""
        return self.scripts / "python3"

    @property
    def search_path(self) -> list[str]:
        """Where its packages are: its own directory, then those of the running interpreter."""
        return [str(self._site_packages), *_parent_packages()]

    @property
    def _site_packages(self) -> Path:
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        return self.directory / "lib" / version / "site-packages"

    def ensure(self) -> None:
        """Create the environment, once; another interpreter than last time makes it anew."""
        self.directory.mkdir(parents=True, exist_ok=True)
        marker = self.directory / "interpreter"
        identity = f"{sys.executable} {sys.version}"
        with (self.directory / "create.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if self.python.exists() and marker.is_file() and marker.read_text() == identity:
                return
            for name in ("bin", "lib", "lib64", "include"):
                old = self.directory / name
                if old.is_symlink():
                    old.unlink()
                shutil.rmtree(old, ignore_errors=True)
            venv.EnvBuilder(with_pip=False, symlinks=True).create(self.directory)
            (self._site_packages / _PATH_FILE).write_text("\n".join(_parent_packages()) + "\n")
            _write_script(self.scripts / "pip", _PIP.format(python=self.python.absolute()))
            _write_script(self._installer, _INSTALLER.format(python=self.python.absolute()))
            marker.write_text(identity)

    @property
    def _installer(self) -> Path:
        """Runs ``pip install`` under a lock: components start concurrently."""
        return self.scripts / "kfp-pip-install"

    def prepare_command(self, command: Sequence[str], mode: PipInstall) -> list[str]:
        """A user command with its leading pip wrapper dropped, reduced or redirected (spec LAUNCHER E5.3).

        The wrapper is ``["sh", "-c", <script ending in "$0" "$@">]``. A script that does more than the
        SDK's is left alone where something has to be installed.
        """
        script = pip_wrapper(command)
        if script is None:
            return list(command)
        rest = without_pip_wrapper(command)
        if mode is PipInstall.NEVER:
            return rest
        installs = [match.group("arguments") for match in _PIP_INSTALL.finditer(script)]
        try:
            steps = [self._step(arguments, mode) for arguments in installs]
        except ValueError:
            return list(command)
        missing = [step for step in steps if step is not None]
        if not missing:
            return rest
        if "-m venv" in script:
            return list(command)
        return ["sh", "-c", " && ".join([*missing, _WRAPPER_END]), *rest]

    def is_changed_by(self, command: Sequence[str]) -> bool:
        """Whether a prepared command installs packages."""
        return any(
            _PIP_INSTALL.search(part) or str(self._installer.absolute()) in part for part in command[:3]
        )

    def _step(self, arguments: str, mode: PipInstall) -> str | None:
        """One ``pip install`` reduced to what is missing, as a shell command; ``None`` when nothing is."""
        options, requirements = _split_arguments(shlex.split(arguments))
        missing = [text for text in requirements if mode is PipInstall.ALWAYS or not self.satisfies(text)]
        return shlex.join([str(self._installer.absolute()), *options, *missing]) if missing else None

    def satisfies(self, requirement_text: str) -> bool:
        """Whether the requirement is installed; ``kfp`` counts in any version.

        The SDK's runtime that executes a component is the installed one, and it runs components that
        other versions compiled.
        """
        try:
            requirement = Requirement(requirement_text)
        except InvalidRequirement:
            return False
        return self._satisfied(requirement, extra="")

    def _satisfied(self, requirement: Requirement, extra: str) -> bool:
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
            return True
        if requirement.url:
            return False
        found = next(
            iter(importlib.metadata.distributions(name=requirement.name, path=self.search_path)), None
        )
        if found is None:
            return False
        if requirement.name.lower() != "kfp" and not requirement.specifier.contains(
            found.version, prereleases=True
        ):
            return False
        return all(
            self._satisfied(Requirement(text), extra=name)
            for name in requirement.extras
            for text in found.requires or ()
            if "extra" in text
        )


def pip_wrapper(command: Sequence[str]) -> str | None:
    """The script of the SDK's leading wrapper, or ``None`` when the command has none."""
    if len(command) <= _WRAPPER_LENGTH or list(command[:2]) != ["sh", "-c"]:
        return None
    script = command[2]
    if not script.rstrip().endswith(_WRAPPER_END) or "pip install" not in script:
        return None
    return script


def without_pip_wrapper(command: Sequence[str]) -> list[str]:
    """A user command without the SDK's leading wrapper, which installs packages."""
    return list(command if pip_wrapper(command) is None else command[_WRAPPER_LENGTH:])


def _split_arguments(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    options: list[str] = []
    requirements: list[str] = []
    position = 0
    while position < len(arguments):
        argument = arguments[position]
        position += 1
        if argument.partition("=")[0] in _REFUSED_OPTIONS:
            raise ValueError(f"{argument} cannot be checked")
        if argument in _OPTIONS_WITH_VALUE and position < len(arguments):
            options += [argument, arguments[position]]
            position += 1
        elif argument.startswith("-"):
            options.append(argument)
        else:
            requirements.append(argument)
    return options, requirements


def _parent_packages() -> list[str]:
    paths = sysconfig.get_paths()
    return list(dict.fromkeys((paths["purelib"], paths["platlib"])))


def _write_script(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)

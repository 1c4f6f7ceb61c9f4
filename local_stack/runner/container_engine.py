"""The container engine of this machine, docker or podman, by its command line."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from local_stack.runner.errors import ExecutorModeError

AUTO: Final = "auto"
ENGINES: Final = ("podman", "docker")
_SECONDS: Final = 60


@dataclass(frozen=True)
class ContainerEngine:
    """An engine that works; ``program`` is the path of its command."""

    program: str

    @classmethod
    def find(cls, name: str = AUTO) -> Self:
        """The engine of that name, or the first that works.

        Raises:
            ExecutorModeError: there is none; says what was tried, and what to do.
        """
        tried = []
        for candidate in ENGINES if name == AUTO else (name,):
            program = shutil.which(candidate)
            if program is None:
                tried.append(f"{candidate} is not on PATH")
                continue
            complaint = _complaint(program)
            if complaint is None:
                return cls(program)
            tried.append(f"{candidate} does not work: {complaint}")
        raise ExecutorModeError(
            f"--executor container needs docker or podman ({'; '.join(tried)}): install one or start its "
            "service, or use --executor sandbox or process"
        )

    @property
    def name(self) -> str:
        """Name of its command."""
        return Path(self.program).name

    @property
    def user_options(self) -> Sequence[str]:
        """Containers run as the user who runs us, so that files on this machine are that user's."""
        user = ["--user", f"{os.getuid()}:{os.getgid()}"]
        return [*user, "--userns", "keep-id"] if self.name == "podman" and os.getuid() else user

    def image(self, name: str) -> str:
        """An image's name as Kubernetes reads it: without a registry it is Docker Hub's."""
        registry, slash, rest = name.partition("/")
        if slash and (set(registry) & set(".:") or registry == "localhost"):
            return name
        return f"docker.io/{registry}/{rest}" if slash else f"docker.io/library/{name}"


def remove_labelled(program: str, label: str) -> None:
    """Remove all containers with a label, running or not; blocking."""
    found = _output(program, "ps", "--all", "--quiet", "--filter", f"label={label}").split()
    if found:
        _output(program, "rm", "--force", *found)


def _output(*argv: str) -> str:
    try:
        return subprocess.run(  # noqa: S603 (an engine that was found to work)
            argv, check=False, capture_output=True, text=True, timeout=_SECONDS
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""


def _complaint(program: str) -> str | None:
    """Why an engine does not work; ``None`` when it does."""
    try:
        asked = subprocess.run(  # noqa: S603 (found on PATH)
            [program, "info"], check=False, capture_output=True, text=True, timeout=_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    lines = asked.stderr.strip().splitlines()
    return (lines or [f"exit code {asked.returncode}"])[-1] if asked.returncode else None

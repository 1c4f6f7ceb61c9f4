"""What runs the containers of a pod on this machine: the one thing in which executor modes differ.

A pod is built, watched, stopped and reported in the same way whatever runs it (:mod:`pod_process`). A runtime
says what it cannot run, what its containers see, and which process of this machine stands for each of them.
"""

import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from local_stack.runner.pod_build import ConfigDirectories, Pod
from local_stack.runner.pod_command import LocalCommand
from local_stack.runner.python_environment import PipInstall, PythonEnvironment

TERMINATION_GRACE: Final = 30.0


@dataclass(frozen=True)
class Mount:
    """A file or directory of this machine, shown at an absolute path inside."""

    source: Path
    target: str
    read_only: bool = False


@dataclass(frozen=True, kw_only=True)
class PodSettings:
    """Where and how the pods of a run run.

    ``variables`` are set in every pod before the pod's own; ``grace`` is the time in seconds that a pod
    has between SIGTERM and SIGKILL. With ``scratch``, a directory with a short path, pods know their
    temporary directory by a name below it. ``claims`` has a directory for each volume claim, by name;
    ``mounts`` are shown in pods that have a file system of their own.
    """

    directory: Path
    workspace: Path
    config: ConfigDirectories
    python: PythonEnvironment | None = None
    pip_install: PipInstall = PipInstall.AUTO
    variables: Mapping[str, str] = field(default_factory=dict)
    grace: float = TERMINATION_GRACE
    scratch: Path | None = None
    claims: Path | None = None
    mounts: Sequence[Mount] = ()


@dataclass(frozen=True)
class PodDirectory:
    """What a pod has on this machine's disk."""

    root: Path
    temporary: Path
    """``tmp`` by a short name: Unix sockets, as ``multiprocessing`` makes, allow 107 bytes."""

    @property
    def outputs(self) -> Path:
        """Output parameters, where tasks share ``/tmp``."""
        return self.root / "outputs"

    @property
    def tmp(self) -> Path:
        """Its temporary directory."""
        return self.root / "tmp"

    @property
    def work(self) -> Path:
        """Its working directory."""
        return self.root / "work"

    @property
    def volumes(self) -> Path:
        """Volumes that live as long as the pod."""
        return self.root / "volumes"


@dataclass(frozen=True, kw_only=True)
class Step:
    """A process of this machine that stands for one container."""

    container: str
    argv: Sequence[str]
    environment: Mapping[str, str]
    cwd: Path
    death_signal: signal.Signals = signal.SIGKILL
    """What it gets when the runner dies."""


class ContainerRuntime(Protocol):
    """Runs the containers of pods."""

    def serving(self, pod: Pod) -> "ContainerRuntime":
        """What runs this pod: this runtime, but for pods that need nothing of it."""

    def admit(self, pod: Pod, settings: PodSettings) -> Pod:
        """The pod as it runs here.

        Raises:
            NodeError: it needs what this runtime cannot provide.
        """

    def environment(
        self, environment: Mapping[str, str], directory: PodDirectory, settings: PodSettings
    ) -> dict[str, str]:
        """What containers get of the runner's ``environment``, and the paths that they are told."""

    def command(self, pod: Pod, environment: Mapping[str, str], settings: PodSettings) -> LocalCommand:
        """What the main container executes.

        Raises:
            NodeError: that is not known.
        """

    def steps(
        self,
        pod: Pod,
        command: LocalCommand,
        environment: Mapping[str, str],
        *,
        directory: PodDirectory,
        settings: PodSettings,
    ) -> Sequence[Step]:
        """The processes to run one after the other, the main container's last.

        Raises:
            NodeError: a volume cannot be mounted.
        """

    async def stop(self, pod: Pod, process: int) -> None:
        """Send SIGTERM to the container that runs as ``process``."""

    async def reason(self, pod: Pod, status: int) -> str:
        """Why a container failed, where its exit status does not tell; else an empty text."""

    async def remove(self, pod: Pod) -> None:
        """Remove what is left of the pod's containers."""

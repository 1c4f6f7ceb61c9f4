"""Control groups of the kernel, where this process may make them: memory and CPU limits, and who met them.

Version 2 has one tree for all controllers, version 1 one for each. A group is made below our own or below
the nearest ancestor that lets us and has the controllers switched on for its children: version 2 allows no
limits directly below a group that has processes of its own, but a user's session has ancestors that are the
user's. Names hold our process id, so that a later runner removes what a killed one left.
"""

import asyncio
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Final, Self

PERIOD_MICROSECONDS: Final = 100_000
_PREFIX: Final = "kfp-driver-"
_LEAST_QUOTA: Final = 1_000
_TRIES: Final = 100
_PAUSE: Final = 0.02


@dataclass(frozen=True)
class Hierarchy:
    """Where groups of one controller are made; ``version`` is that of the kernel's interface."""

    directory: Path
    version: int


@dataclass(frozen=True)
class Cgroups:
    """Makes control groups for pods; ``cpu`` is ``None`` where CPU time cannot be limited."""

    memory: Hierarchy
    cpu: Hierarchy | None

    @classmethod
    def find(cls, proc: Path = Path("/proc/self")) -> Self | None:
        """Where this process may make groups that limit memory, if anywhere."""
        if not (proc / "cgroup").exists():
            return None
        memory = _find(proc, "memory")
        return None if memory is None else cls(memory, _find(proc, "cpu"))

    @property
    def has_cpu(self) -> bool:
        """Whether CPU time can be limited."""
        return self.cpu is not None

    def make(self, name: str, *, memory: int | None, cpu: Decimal | None) -> "Cgroup":
        """A group with limits: bytes of memory, cores of CPU time.

        Raises:
            OSError: the kernel refuses it.
        """
        hierarchies = [self.memory, *([self.cpu] if self.cpu else [])]
        full_name = f"{_PREFIX}{os.getpid()}-{name}"
        directories = list(dict.fromkeys(one.directory / full_name for one in hierarchies))
        for hierarchy in hierarchies:
            _remove_stale(hierarchy.directory)
        try:
            for directory in directories:
                directory.mkdir()
            if memory is not None:
                _limit_memory(self.memory.directory / full_name, self.memory.version, memory)
            if cpu is not None and self.cpu is not None:
                _limit_cpu(self.cpu.directory / full_name, self.cpu.version, cpu)
        except OSError:
            for directory in directories:
                with suppress(OSError):
                    directory.rmdir()
            raise
        return Cgroup(directories, self.memory.directory / full_name / _OOM_FILES[self.memory.version])


@dataclass(frozen=True)
class Cgroup:
    """A control group, as one directory for each hierarchy."""

    directories: Sequence[Path]
    oom_file: Path

    @property
    def entrances(self) -> list[Path]:
        """The files to which a process writes to move itself into the group."""
        return [directory / "cgroup.procs" for directory in self.directories]

    def ooms(self) -> int:
        """How many processes the kernel ended because the group's memory was used up."""
        lines = (line.split() for line in self.oom_file.read_text(encoding="ascii").splitlines())
        return next((int(line[1]) for line in lines if line[0] == "oom_kill"), 0)

    async def remove(self) -> None:
        """Remove the group; processes that were just killed are waited for."""
        for directory in self.directories:
            for _ in range(_TRIES):
                try:
                    directory.rmdir()
                except FileNotFoundError:
                    break
                except OSError:
                    await asyncio.sleep(_PAUSE)
                else:
                    break


_MEMORY_FILES: Final = {1: "memory.limit_in_bytes", 2: "memory.max"}
_OOM_FILES: Final = {1: "memory.oom_control", 2: "memory.events"}
_CPU_FILES: Final = {1: "cpu.cfs_quota_us", 2: "cpu.max"}
_LIMIT_FILES: Final[Mapping[str, Mapping[int, str]]] = {"memory": _MEMORY_FILES, "cpu": _CPU_FILES}


def _limit_memory(directory: Path, version: int, limit: int) -> None:
    (directory / _MEMORY_FILES[version]).write_text(str(limit), encoding="ascii")
    # Kubernetes' nodes have no swap; where swap is counted, it is not a way around the limit.
    swap, most = (("memory.memsw.limit_in_bytes", limit), ("memory.swap.max", 0))[version - 1]
    with suppress(OSError):
        (directory / swap).write_text(str(most), encoding="ascii")


def _limit_cpu(directory: Path, version: int, cores: Decimal) -> None:
    quota = max(int(cores * PERIOD_MICROSECONDS), _LEAST_QUOTA)
    text = str(quota) if version == 1 else f"{quota} {PERIOD_MICROSECONDS}"
    (directory / _CPU_FILES[version]).write_text(text, encoding="ascii")


def _find(proc: Path, controller: str) -> Hierarchy | None:
    for version, mount, own in _trees(proc, controller):
        for relative in (own, *Path(own).parents):
            directory = mount / str(relative).lstrip("/")
            if _can_limit(directory, _LIMIT_FILES[controller][version]):
                return Hierarchy(directory, version)
    return None


def _trees(proc: Path, controller: str) -> Iterator[tuple[int, Path, str]]:
    """Version, mount point and our own group of every tree that may have the controller."""
    groups = {}
    for line in (proc / "cgroup").read_text(encoding="utf-8").splitlines():
        _number, controllers, path = line.split(":", 2)
        for name in controllers.split(","):
            groups[name] = path
    for line in (proc / "mounts").read_text(encoding="utf-8").splitlines():
        _device, mount, kind, options, *_rest = line.split()
        if kind == "cgroup" and controller in options.split(",") and controller in groups:
            yield 1, Path(mount), groups[controller]
        elif kind == "cgroup2" and "" in groups:
            yield 2, Path(mount), groups[""]


def _can_limit(directory: Path, limit_file: str) -> bool:
    """Whether a group made here can be limited, tried by making one."""
    trial = directory / f"{_PREFIX}{os.getpid()}-trial"
    try:
        trial.mkdir()
    except OSError:
        return False
    try:
        return os.access(trial / limit_file, os.W_OK)
    finally:
        trial.rmdir()


def _remove_stale(directory: Path) -> None:
    """Remove groups of runners that are gone."""
    for group in directory.glob(f"{_PREFIX}*"):
        owner = group.name.removeprefix(_PREFIX).partition("-")[0]
        if owner.isdigit() and not Path("/proc", owner).exists():
            with suppress(OSError):
                group.rmdir()

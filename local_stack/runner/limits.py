"""CPU and memory limits of pods, enforced on request (spec LAUNCHER E5.3).

A limit is put on the user's command and what that starts, not on the launcher around it: a task that meets
its limit can then still be recorded as failed. Control groups count what Kubernetes counts. Without them,
memory is limited as address space, which is more than what a program uses, and CPU is not limited.
"""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, Protocol

from driver_plugin.podspec.errors import QuantityError
from driver_plugin.podspec.quantity import quantity_value
from local_stack.runner.cgroups import Cgroup, Cgroups
from local_stack.runner.errors import NodeError

_KIB: Final = 1024


@dataclass(frozen=True, kw_only=True)
class PodLimits:
    """Limits of a container: ``memory`` in bytes, ``cpu`` in cores; the texts are as the pod has them."""

    memory: int | None
    cpu: Decimal | None
    memory_text: str = ""
    cpu_text: str = ""

    @property
    def out_of_memory(self) -> str:
        """How a task that met its memory limit ended, in Kubernetes' word."""
        return f"OOMKilled: memory limit {self.memory_text}"

    @property
    def in_force(self) -> str:
        """What to say of a failure of which nobody knows whether the memory limit was the reason."""
        return "" if self.memory is None else f"Error: memory limit {self.memory_text} was in force"


def pod_limits(container: Mapping[str, Any]) -> PodLimits | None:
    """The limits of a container; ``None`` when it has none.

    Raises:
        NodeError: a limit is not a quantity.
    """
    limits = (container.get("resources") or {}).get("limits") or {}
    memory, cpu = str(limits.get("memory") or ""), str(limits.get("cpu") or "")
    if not memory and not cpu:
        return None
    try:
        return PodLimits(
            memory=int(quantity_value(memory)) if memory else None,
            cpu=quantity_value(cpu) if cpu else None,
            memory_text=memory,
            cpu_text=cpu,
        )
    except QuantityError as error:
        raise NodeError(f"resource limit: {error}") from error


class Enforcement(Protocol):
    """The limits of one pod, in force until it is closed."""

    @property
    def visible(self) -> Sequence[Path]:
        """Directories of this machine that the wrapped command writes to."""

    def wrap(self, command: Sequence[str]) -> list[str]:
        """The command that runs ``command`` below the limits."""

    def reason(self) -> str:
        """Why a command that failed may have failed: the limit that it met, else an empty text."""

    async def close(self) -> None:
        """Lift the limits; every process of the pod has ended."""


class Enforcer(Protocol):
    """Puts pods below their limits."""

    @property
    def description(self) -> str:
        """What is enforced, and how: one line for people."""

    def open(self, pod_uid: str, limits: PodLimits) -> Enforcement:
        """Put limits into force for a pod.

        Raises:
            NodeError: that is not possible.
        """


def find_enforcer() -> Enforcer:
    """The best way of this machine."""
    cgroups = Cgroups.find()
    return AddressSpaceEnforcer() if cgroups is None else CgroupEnforcer(cgroups)


@dataclass(frozen=True)
class CgroupEnforcer:
    """Limits by control groups of the kernel, version 1 or 2."""

    cgroups: Cgroups

    @property
    def description(self) -> str:
        """What is enforced, and how."""
        what = "memory and CPU limits" if self.cgroups.has_cpu else "memory limits (not CPU)"
        return f"{what} are enforced by control groups"

    def open(self, pod_uid: str, limits: PodLimits) -> "CgroupEnforcement":
        """Make the pod's control group."""
        try:
            group = self.cgroups.make(pod_uid, memory=limits.memory, cpu=limits.cpu)
        except OSError as error:
            raise NodeError(f"cannot limit the pod by a control group: {error}") from error
        return CgroupEnforcement(group, limits)


@dataclass(frozen=True)
class CgroupEnforcement:
    """One pod's control group; the command moves itself into it before it becomes the user's."""

    group: Cgroup
    limits: PodLimits

    @property
    def visible(self) -> Sequence[Path]:
        """The group's directories."""
        return self.group.directories

    def wrap(self, command: Sequence[str]) -> list[str]:
        """Enter the group, then become ``command``."""
        # Written to a group, 0 is whoever writes.
        enter = [f"echo 0 > {shlex.quote(str(file))}" for file in self.group.entrances]
        return ["sh", "-c", " && ".join([*enter, 'exec "$@"']), "sh", *command]

    def reason(self) -> str:
        """Whether the kernel ended a process of the group because of its memory."""
        return self.limits.out_of_memory if self.group.ooms() else ""

    async def close(self) -> None:
        """Remove the group."""
        await self.group.remove()


class AddressSpaceEnforcer:
    """Memory limits as address space of each process, for machines without writable control groups."""

    description = (
        "memory limits are enforced as address space of each process, CPU limits not at all: "
        "no control group can be made here"
    )

    def open(self, pod_uid: str, limits: PodLimits) -> "AddressSpaceEnforcement":
        """Nothing has to be prepared."""
        del pod_uid
        return AddressSpaceEnforcement(limits)


@dataclass(frozen=True)
class AddressSpaceEnforcement:
    """``ulimit -v`` for the command and its children."""

    limits: PodLimits
    visible: Sequence[Path] = ()

    def wrap(self, command: Sequence[str]) -> list[str]:
        """Set the limit, then become ``command``."""
        if self.limits.memory is None:
            return list(command)
        kib = max(self.limits.memory // _KIB, 1)
        return ["sh", "-c", f'ulimit -v {kib} && exec "$@"', "sh", *command]

    def reason(self) -> str:
        """Allocations fail, and what then happens is up to the program: the limit may be why it failed."""
        return self.limits.in_force and f"{self.limits.in_force} as address space"

    async def close(self) -> None:
        """Nothing is left."""

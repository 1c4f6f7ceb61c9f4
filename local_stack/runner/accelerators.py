"""Accelerators of this machine, counted so that tasks do not take more than there are (spec LAUNCHER E5.3).

A pod takes all that it asks for at once, or waits. Who waits is served in order: units that the first cannot
use yet are kept for it, so that many small tasks never starve a large one. Whoever holds accelerators waits
for nothing but a pod slot, and whoever has a pod slot waits for nothing: there is no way to a deadlock.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from driver_plugin.podspec.errors import QuantityError
from driver_plugin.podspec.quantity import quantity_value
from local_stack.runner.errors import NodeError

_VISIBLE: Final[Mapping[str, str]] = {
    "nvidia.com/gpu": "CUDA_VISIBLE_DEVICES",
    "amd.com/gpu": "HIP_VISIBLE_DEVICES",
}
"""Where programs look for the devices that are theirs, by resource."""


@dataclass
class _Waiter:
    wanted: Mapping[str, int]
    granted: asyncio.Future[dict[str, list[int]]]


class Accelerators:
    """The accelerators of one machine, by the name of the Kubernetes resource.

    Resources that are not named are not counted: who asks for them runs at once.
    """

    def __init__(self, capacity: Mapping[str, int]) -> None:
        self._capacity = dict(capacity)
        self._free = {name: list(range(count)) for name, count in capacity.items()}
        self._waiting: list[_Waiter] = []

    @property
    def are_counted(self) -> bool:
        """Whether any resource is."""
        return bool(self._capacity)

    @asynccontextmanager
    async def held(self, wanted: Mapping[str, int]) -> AsyncIterator[dict[str, str]]:
        """Hold as many units as are wanted; gives the environment that says which units they are.

        Raises:
            NodeError: there are not as many at all.
        """
        counted = {name: number for name, number in wanted.items() if name in self._capacity}
        for name, number in counted.items():
            if number > self._capacity[name]:
                raise NodeError(
                    f"the task asks for {number} {name}, and this machine has {self._capacity[name]} "
                    f"(--accelerator {name}={self._capacity[name]})"
                )
        units = await self._taken(counted)
        try:
            yield self._variables(units)
        finally:
            self._give_back(units)

    async def _taken(self, wanted: Mapping[str, int]) -> dict[str, list[int]]:
        waiter = _Waiter(wanted, asyncio.get_running_loop().create_future())
        self._waiting.append(waiter)
        self._serve()
        try:
            return await waiter.granted
        except asyncio.CancelledError:
            if waiter.granted.done() and not waiter.granted.cancelled():
                self._give_back(waiter.granted.result())
            else:
                self._waiting.remove(waiter)
                self._serve()
            raise

    def _give_back(self, units: Mapping[str, list[int]]) -> None:
        for name, numbers in units.items():
            self._free[name] = sorted([*self._free[name], *numbers])
        self._serve()

    def _serve(self) -> None:
        """Grant what can be granted, in order; the first that cannot be served keeps its resources."""
        kept: set[str] = set()
        for waiter in list(self._waiting):
            wanted = waiter.wanted
            if not kept & wanted.keys() and all(len(self._free[name]) >= n for name, n in wanted.items()):
                units = {name: self._free[name][:number] for name, number in wanted.items()}
                for name, number in wanted.items():
                    self._free[name] = self._free[name][number:]
                self._waiting.remove(waiter)
                waiter.granted.set_result(units)
            else:
                kept |= wanted.keys()

    def _variables(self, units: Mapping[str, list[int]]) -> dict[str, str]:
        """The units by the variables of their libraries; a pod without units sees none."""
        variables = {}
        for name, variable in _VISIBLE.items():
            if name in self._capacity:
                ours = [one for one in os.environ.get(variable, "").split(",") if one]
                mine = units.get(name, [])
                variables[variable] = ",".join(ours[unit] if unit < len(ours) else str(unit) for unit in mine)
        return variables


def wanted_accelerators(container: Mapping[str, Any]) -> dict[str, int]:
    """The extended resources of a container, which Kubernetes knows by the domain in their name.

    Raises:
        NodeError: a number of them is not a quantity.
    """
    resources = container.get("resources") or {}
    named = {**(resources.get("requests") or {}), **(resources.get("limits") or {})}
    try:
        return {name: int(quantity_value(str(number))) for name, number in named.items() if "/" in name}
    except QuantityError as error:
        raise NodeError(f"resource limit: {error}") from error

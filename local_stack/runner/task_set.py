"""How results of plugin and ``http`` templates reach the controller: in ticks, as merge patches.

Argo's agent collects results and writes them every ten seconds as one merge patch to the ``WorkflowTaskSet``
(spec LAUNCHER D5, D6). Locally nobody has to wait for that, so a tick takes no time unless one is asked for.
The strict mode keeps what surprises in a cluster: a member that a later result leaves out keeps its earlier
value, and a tick whose results are too large for the cluster's store loses all of them.
"""

import asyncio
import itertools
import json
import math
from dataclasses import dataclass, replace
from typing import Any, Final

from local_stack.runner.nodes import NodeResult, Phase

ARGO_PATCH_RATE: Final = 10.0
"""Seconds between two patches, as Argo's controller configures its agents."""

MAX_PATCH_BYTES: Final = 1_572_864
"""Largest request that etcd takes by default."""

_TOO_LARGE: Final = (
    "HTTP request completed successfully but an error occurred when patching its result: "
    "etcdserver: request is too large"
)


@dataclass(frozen=True)
class Reconciliation:
    """``patch_rate`` in seconds, 0 for at once; ``strict`` for Argo's merge patches and size limit."""

    patch_rate: float = 0.0
    strict: bool = False


class TaskSet:
    """The status of one workflow's task set. A *call* is any object that stands for one node."""

    def __init__(self, settings: Reconciliation | None = None) -> None:
        self._settings = settings or Reconciliation()
        self._begin = 0.0
        self._numbers = itertools.count()
        self._ticks: dict[int, dict[object, NodeResult]] = {}
        self._status: dict[object, NodeResult] = {}

    def note(self, call: object, result: NodeResult) -> None:
        """A result that is not the last one: the call will be made again."""
        if self._settings.strict:
            self._ticks.setdefault(self._next_tick(), {})[call] = result

    async def reported(self, call: object, result: NodeResult) -> NodeResult:
        """The last result of a call, as and when the controller finds it."""
        number = self._next_tick()
        self._ticks.setdefault(number, {})[call] = result
        if self._settings.patch_rate:
            now = asyncio.get_running_loop().time()
            await asyncio.sleep(self._begin + number * self._settings.patch_rate - now)
        self._patch_up_to(number)
        return self._status.pop(call)

    def _next_tick(self) -> int:
        if not self._settings.patch_rate:
            return next(self._numbers)
        now = asyncio.get_running_loop().time()
        self._begin = self._begin or now
        return math.floor((now - self._begin) / self._settings.patch_rate) + 1

    def _patch_up_to(self, number: int) -> None:
        for due in sorted(one for one in self._ticks if one <= number):
            results = self._ticks.pop(due)
            if self._settings.strict and _patch_bytes(results) > MAX_PATCH_BYTES:
                results = {call: NodeResult(phase=Phase.ERROR, message=_TOO_LARGE) for call in results}
            for call, result in results.items():
                earlier = self._status.get(call) if self._settings.strict else None
                self._status[call] = _merged(earlier, result) if earlier else result


def _merged(earlier: NodeResult, later: NodeResult) -> NodeResult:
    """A merge patch: what the later result leaves out stays as it was; a list is replaced as a whole."""
    return replace(
        later,
        message=later.message or earlier.message,
        outputs=later.outputs or earlier.outputs,
        result=earlier.result if later.result is None else later.result,
    )


def _patch_bytes(results: dict[object, NodeResult]) -> int:
    return sum(len(json.dumps(_as_status(result))) for result in results.values())


def _as_status(result: NodeResult) -> dict[str, Any]:
    outputs = [{"name": name, "value": value} for name, value in result.outputs.items()]
    return {
        "phase": result.phase.value,
        "message": result.message,
        "outputs": {"parameters": outputs, "result": result.result},
    }

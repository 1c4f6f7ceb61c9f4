"""Faults of an agent, to be switched on in tests of what it calls (spec LAUNCHER D8, E6).

Argo's agent delivers a call again after a time-out, a lost connection, its own restart, or when two agents
run for a moment. Each call suffers at most one fault of each kind, so that a run with faults still ends.
"""

import asyncio
import json
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, fields
from typing import Any, Final

Send = Callable[[bytes], Awaitable[bytes]]

_LONGEST_PATIENCE: Final = 0.1


class LostReplyError(Exception):
    """The plugin answered, or will, and the agent does not know."""


class DifferentRepliesError(Exception):
    """Two deliveries of one call were answered differently."""


@dataclass(frozen=True, kw_only=True)
class Faults:
    """Probabilities from 0 to 1 that a call suffers a fault."""

    duplicate: float = 0.0
    """The call is delivered twice at the same time; both replies must be equal."""

    abort: float = 0.0
    """The first connection is closed after a moment, while the plugin goes on."""

    drop: float = 0.0
    """The first reply is lost."""

    restart: float = 0.0
    """The agent restarts after it has the reply: it forgets it and delivers the call again."""

    @classmethod
    def parse(cls, text: str) -> "Faults":
        """Read ``NAME=PROBABILITY,...``; a name alone means always.

        Raises:
            ValueError: an unknown name, or not a probability.
        """
        known, given = [field.name for field in fields(cls)], dict[str, float]()
        for item in filter(None, text.split(",")):
            name, equals, value = item.strip().partition("=")
            if name not in known:
                raise ValueError(f"fault {name!r} is not one of {', '.join(known)}")
            try:
                given[name] = float(value) if equals else 1.0
            except ValueError:
                raise ValueError(f"{value!r} is not a probability") from None
            if not 0.0 <= given[name] <= 1.0:
                raise ValueError(f"{value} is not a probability between 0 and 1")
        return cls(**given)


class FaultyDelivery:
    """Delivers calls with faults."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._suffered: set[tuple[str, bytes]] = set()

    async def deliver(self, body: bytes, send: Send) -> bytes:
        """Send a call and return the reply.

        Raises:
            LostReplyError: the reply is lost; the agent tries again.
            DifferentRepliesError: the plugin gave two replies to one call.
        """
        if self._strikes("abort", body):
            return await _impatient(send, body)
        answer = await (_twice(send, body) if self._strikes("duplicate", body) else send(body))
        if self._strikes("drop", body):
            raise LostReplyError("connection reset by peer")
        if self._strikes("restart", body):
            answer = _same(answer, await send(body))
        return answer

    def _strikes(self, name: str, body: bytes) -> bool:
        if (name, body) in self._suffered:
            return False
        strikes: bool = random.random() < getattr(self._faults, name)  # noqa: S311 (chooses faults)
        if strikes:
            self._suffered.add((name, body))
        return strikes


async def _impatient(send: Send, body: bytes) -> bytes:
    try:
        async with asyncio.timeout(_LONGEST_PATIENCE * random.random()):  # noqa: S311 (chooses faults)
            return await send(body)
    except TimeoutError:
        raise LostReplyError("connection reset by peer") from None


async def _twice(send: Send, body: bytes) -> bytes:
    first, second = await asyncio.gather(send(body), send(body), return_exceptions=True)
    if isinstance(first, BaseException):
        raise first
    if isinstance(second, BaseException):
        raise second
    return _same(first, second)


def _same(first: bytes, second: bytes) -> bytes:
    """The second of two replies to one call, which must say the same."""
    said, repeated = _decision(first), _decision(second)
    # Work that takes long is answered with a requeue, to each delivery on its own.
    if said != repeated and None not in (said, repeated):
        raise DifferentRepliesError(f"one call, two replies: {said} and {repeated}")
    return second


def _decision(reply: bytes) -> dict[str, Any] | None:
    """Phase and outputs of a reply, without the address of its log: each delivery may write another."""
    node = json.loads(reply).get("node") or {}
    if not node.get("phase"):
        return None
    outputs = {one["name"]: one.get("value") for one in (node.get("outputs") or {}).get("parameters") or ()}
    outputs.pop("driver-log-uri", None)
    return {"phase": node["phase"]} | outputs

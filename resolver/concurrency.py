"""Asking independent questions together, with an outcome that does not depend on who answers first."""

import asyncio
from collections.abc import Coroutine, Iterable
from itertools import islice
from typing import Any, Final, TypeVar

T = TypeVar("T")
U = TypeVar("U")

AT_ONCE: Final = 32
"""Coroutines that run together; the iterations of a large loop must not occupy every connection."""


async def in_order(coroutines: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Run the coroutines, some of them together; results in the order given.

    All that were started end before this returns. When several fail, the first *in the order given* is
    raised, so the same rows always give the same error.
    """
    waiting = iter(coroutines)
    results: list[T] = []
    while some := list(islice(waiting, AT_ONCE)):
        if len(some) == 1:
            results.append(await some[0])
            continue
        for outcome in await asyncio.gather(*some, return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome
            results.append(outcome)
    return results


async def together(first: Coroutine[Any, Any, T], second: Coroutine[Any, Any, U]) -> tuple[T, U]:
    """Run two coroutines together; when both fail, the error of ``first`` is raised."""
    one, two = await asyncio.gather(first, second, return_exceptions=True)
    if isinstance(one, BaseException):
        raise one
    if isinstance(two, BaseException):
        raise two
    return one, two

"""Asking independent questions together, with an outcome that does not depend on who answers first."""

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

T = TypeVar("T")
U = TypeVar("U")


async def in_order(coroutines: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Run the coroutines together; results in the order given.

    All of them end before this returns. When several fail, the first *in the order given* is raised, so the
    same rows always give the same error.
    """
    waiting = list(coroutines)
    if len(waiting) == 1:
        return [await waiting[0]]
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    results: list[T] = []
    for outcome in outcomes:
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

"""What a random program computes, in plain Python: no pipeline, no SDK, nothing of the project.

It decides who is wrong where ``kfp.local`` and the local stack differ.
"""

import operator
from collections.abc import Callable
from typing import Final

from tests.differential.programs import Add, Branch, Loop, Nested, Span, Statement, Total

_COMPARE: Final[dict[str, Callable[[int, int], bool]]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def plain_outputs(program: tuple[Statement, ...]) -> dict[str, int | list[int]]:
    """Outputs of the program's pipeline with its default parameters."""
    computed = _Plain([3], [[1, 2]])
    computed.run(program)
    computed.keep(computed.numbers[-1] + 1)
    return {f"o{index}": value for index, value in enumerate(computed.kept)}


class _Plain:
    """A scope, as the pipeline has it: values from outside, then what this group computed."""

    def __init__(self, numbers: list[int], lists: list[list[int]]) -> None:
        self.numbers = numbers
        self.lists = lists
        self.kept: list[int | list[int]] = []

    def keep(self, value: int | list[int]) -> None:
        self.kept.append(value)
        if isinstance(value, list):
            self.lists.append(value)
        else:
            self.numbers.append(value)

    def run(self, body: tuple[Statement, ...]) -> None:
        for statement in body:
            match statement:
                case Add(a, b):
                    self.keep(self._number(a) + (100 if b is None else self._number(b)))
                case Span(n):
                    self.keep(_span(self._number(n)))
                case Total(values):
                    self.keep(sum(self._list(values)))
                case Loop(items, _, inner):
                    chosen = items if isinstance(items, tuple) else self._list(items)
                    self.keep([self._group(inner, item) for item in chosen])
                case Branch(left, compare, right, then, otherwise):
                    holds = _COMPARE[compare](self.numbers[left % len(self.numbers)], right)
                    if otherwise is not None:
                        self.keep(self._group(then if holds else otherwise))
                case Nested(first, second, inner):
                    given = self._number(first)
                    optional = 7 if second is None else self._number(second)
                    self.keep(_last(inner, _Plain([given, optional], [_span(given)])))

    def _group(self, body: tuple[Statement, ...], *numbers: int) -> int:
        return _last(body, _Plain([*self.numbers, *numbers], list(self.lists)))

    def _number(self, operand: tuple[bool, int]) -> int:
        is_reference, value = operand
        return self.numbers[value % len(self.numbers)] if is_reference else value

    def _list(self, reference: int) -> list[int]:
        return self.lists[reference % len(self.lists)]


def _last(body: tuple[Statement, ...], scope: _Plain) -> int:
    scope.run(body)
    return scope.numbers[-1] + 1


def _span(n: int) -> list[int]:
    return list(range(abs(n) % 3 + 1))

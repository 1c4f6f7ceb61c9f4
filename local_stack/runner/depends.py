"""The ``depends`` grammar of DAG tasks (spec LAUNCHER E3.3).

``||``, ``&&``, ``!``, parentheses, and operands ``task.Result``; a bare ``task`` stands for
``task.Succeeded || task.Skipped || task.Daemoned``.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from local_stack.runner.errors import ExpressionSyntaxError
from local_stack.runner.nodes import Phase

RESULTS: Final = (
    "Succeeded",
    "Failed",
    "Errored",
    "Skipped",
    "Omitted",
    "Daemoned",
    "AnySucceeded",
    "AllFailed",
)
_TOKEN: Final = re.compile(r"\s*(\|\||&&|!|\(|\)|[A-Za-z0-9_][A-Za-z0-9_.-]*)")
_NOT_A_RESULT: Final = ("||", "&&", ")")


@dataclass(frozen=True)
class TaskOutcome:
    """How a task ended: its phase, and for a group the phases of its iterations."""

    phase: Phase
    iterations: tuple[Phase, ...] | None = None

    def has(self, result: str) -> bool:
        """Whether ``task.<result>`` is true."""
        if result == "AnySucceeded":
            return any(phase is Phase.SUCCEEDED for phase in self.iterations or ())
        if result == "AllFailed":
            return bool(self.iterations) and all(phase is Phase.FAILED for phase in self.iterations or ())
        return self.phase is {
            "Succeeded": Phase.SUCCEEDED,
            "Failed": Phase.FAILED,
            "Errored": Phase.ERROR,
            "Skipped": Phase.SKIPPED,
            "Omitted": Phase.OMITTED,
        }.get(result)


Outcomes = Callable[[str], TaskOutcome]
_Test = Callable[[Outcomes], bool]


@dataclass(frozen=True)
class Depends:
    """A parsed ``depends`` clause; without a clause it names no task and is true."""

    tasks: frozenset[str]
    _test: _Test

    def satisfied(self, outcomes: Outcomes) -> bool:
        """Evaluate; every task in :attr:`tasks` must have ended."""
        return self._test(outcomes)


def parse_depends(expression: str) -> Depends:
    """Parse a clause.

    Raises:
        ExpressionSyntaxError: not of this grammar, or an unknown result name.
    """
    if not expression.strip():
        return Depends(frozenset(), lambda _outcomes: True)
    parser = _Parser(expression)
    test = parser.disjunction()
    parser.end()
    return Depends(frozenset(parser.tasks), test)


class _Parser:
    def __init__(self, expression: str) -> None:
        self._expression = expression
        self._tokens = self._split(expression)
        self.tasks: set[str] = set()

    def _split(self, expression: str) -> list[str]:
        tokens, position, text = [], 0, expression.rstrip()
        while position < len(text):
            match = _TOKEN.match(text, position)
            if match is None:
                raise self._error(f"unexpected {text[position:].lstrip()[:1]!r}")
            tokens.append(match.group(1))
            position = match.end()
        return tokens

    def _error(self, detail: str) -> ExpressionSyntaxError:
        return ExpressionSyntaxError(f"invalid depends '{self._expression}': {detail}")

    def end(self) -> None:
        if self._tokens:
            raise self._error(f"unexpected {self._tokens[0]!r}")

    def disjunction(self) -> _Test:
        test = self._conjunction()
        while self._take("||"):
            test = _either(test, self._conjunction())
        return test

    def _conjunction(self) -> _Test:
        test = self._factor()
        while self._take("&&"):
            test = _both(test, self._factor())
        return test

    def _factor(self) -> _Test:
        if self._take("!"):
            return _negated(self._factor())
        if self._take("("):
            test = self.disjunction()
            if not self._take(")"):
                raise self._error("a closing parenthesis is missing")
            return test
        if not self._tokens or self._tokens[0] in _NOT_A_RESULT:
            raise self._error("a task name is missing")
        return self._operand(self._tokens.pop(0))

    def _operand(self, text: str) -> _Test:
        task, dot, result = text.partition(".")
        if dot and result not in RESULTS:
            raise self._error(f"unknown task result {result!r}")
        self.tasks.add(task)
        wanted = (result,) if dot else ("Succeeded", "Skipped", "Daemoned")
        return lambda outcomes: any(outcomes(task).has(one) for one in wanted)

    def _take(self, token: str) -> bool:
        if self._tokens[:1] == [token]:
            self._tokens.pop(0)
            return True
        return False


def _either(left: _Test, right: _Test) -> _Test:
    return lambda outcomes: left(outcomes) or right(outcomes)


def _both(left: _Test, right: _Test) -> _Test:
    return lambda outcomes: left(outcomes) and right(outcomes)


def _negated(test: _Test) -> _Test:
    return lambda outcomes: not test(outcomes)

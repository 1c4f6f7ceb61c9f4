"""The ``depends`` grammar of DAG tasks (spec LAUNCHER E3.3).

``||``, ``&&``, ``!``, parentheses, and operands ``task.Result``; a bare ``task`` stands for
``task.Succeeded || task.Skipped || task.Daemoned``.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from kfp_api.shortening import beginning
from local_stack.runner.errors import ExpressionSyntaxError
from local_stack.runner.expressions import MAX_DEPTH, MAX_LENGTH, SHOWN
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
        if len(expression) > MAX_LENGTH:
            raise self._error(f"it has {len(expression)} characters; up to {MAX_LENGTH} are read")
        self._rest = self._split(expression)[::-1]
        self._depth = 0
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
        return ExpressionSyntaxError(f"invalid depends '{beginning(self._expression, SHOWN)}': {detail}")

    def end(self) -> None:
        if self._rest:
            raise self._error(f"unexpected {beginning(self._rest[-1], SHOWN)!r}")

    def disjunction(self) -> _Test:
        terms = [self._conjunction()]
        while self._take("||"):
            terms.append(self._conjunction())
        return terms[0] if len(terms) == 1 else lambda outcomes: any(term(outcomes) for term in terms)

    def _conjunction(self) -> _Test:
        terms = [self._factor()]
        while self._take("&&"):
            terms.append(self._factor())
        return terms[0] if len(terms) == 1 else lambda outcomes: all(term(outcomes) for term in terms)

    def _factor(self) -> _Test:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._error(f"it is nested deeper than {MAX_DEPTH} levels")
        try:
            if self._take("!"):
                negated = self._factor()
                return lambda outcomes: not negated(outcomes)
            return self._parenthesised() if self._take("(") else self._operand()
        finally:
            self._depth -= 1

    def _parenthesised(self) -> _Test:
        test = self.disjunction()
        if not self._take(")"):
            raise self._error("a closing parenthesis is missing")
        return test

    def _operand(self) -> _Test:
        if not self._rest or self._rest[-1] in _NOT_A_RESULT:
            raise self._error("a task name is missing")
        task, dot, result = self._rest.pop().partition(".")
        if dot and result not in RESULTS:
            raise self._error(f"unknown task result {result!r}")
        self.tasks.add(task)
        wanted = (result,) if dot else ("Succeeded", "Skipped", "Daemoned")
        return lambda outcomes: any(outcomes(task).has(one) for one in wanted)

    def _take(self, token: str) -> bool:
        if self._rest and self._rest[-1] == token:
            self._rest.pop()
            return True
        return False

"""A small expression language, common to ``when``, retry expressions and ``successCondition``.

Operators from weak to strong: ``||``, ``&&``, one comparison (``== != < <= > >= =~ !~`` and, not in
``when``, ``startsWith endsWith contains matches``), ``!``, parentheses. Comparison is strict in
types, as in Argo: values of different types are never equal (spec LAUNCHER E3.4). What a bare word
means is the caller's choice.
"""

import operator
import re
from collections.abc import Callable, Mapping
from typing import Final

from local_stack.runner.errors import ExpressionSyntaxError

Operand = bool | float | str
WordMeaning = Callable[[str], Operand]
Function = Callable[[Operand], Operand]

_TOKEN: Final = re.compile(
    r"""\s*(?:
        (?P<operator>\|\||&&|==|!=|<=|>=|=~|!~|<|>|!|\(|\))
      | (?P<quoted>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
      | (?P<word>[^\s()"'=!<>&|~]+)
    )""",
    re.VERBOSE,
)
_NUMBER: Final = re.compile(r"[-+]?\d+(\.\d+)?([eE][-+]?\d+)?")
_ORDERINGS: Final[Mapping[str, Callable[[Operand, Operand], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_TEXT_TESTS: Final[Mapping[str, Callable[[str, str], bool]]] = {
    "=~": lambda text, pattern: re.search(pattern, text) is not None,
    "!~": lambda text, pattern: re.search(pattern, text) is None,
    "matches": lambda text, pattern: re.search(pattern, text) is not None,
    "startsWith": str.startswith,
    "endsWith": str.endswith,
    "contains": lambda text, part: part in text,
}
_COMPARISONS: Final = frozenset({"==", "!=", *_ORDERINGS, *_TEXT_TESTS})


def evaluate(expression: str, *, word: WordMeaning, functions: Mapping[str, Function] | None = None) -> bool:
    """Evaluate the expression.

    Args:
        expression: the text, with all tags substituted.
        word: meaning of a word that is neither ``true``, ``false`` nor a number.
        functions: functions of one argument, by name.

    Raises:
        ExpressionSyntaxError: not an expression, operands that cannot be compared, or not a boolean.
    """
    parser = _Parser(_tokens(expression), word, functions or {})
    value = parser.disjunction()
    if parser.rest:
        raise ExpressionSyntaxError(f"unexpected {parser.rest[0][1]!r}")
    if not isinstance(value, bool):
        raise ExpressionSyntaxError(f"the result is {value!r}, not a boolean")
    return value


def _tokens(expression: str) -> list[tuple[str, str]]:
    tokens: list[tuple[str, str]] = []
    position = 0
    text = expression.rstrip()
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise ExpressionSyntaxError(f"unexpected character {text[position:].lstrip()[:1]!r}")
        kind = str(match.lastgroup)
        tokens.append((kind, match.group(kind)))
        position = match.end()
    return tokens


class _Parser:
    """Parses and evaluates in one walk; both sides of ``||`` and ``&&`` are always evaluated."""

    def __init__(
        self, tokens: list[tuple[str, str]], word: WordMeaning, functions: Mapping[str, Function]
    ) -> None:
        self.rest = tokens
        self._word = word
        self._functions = functions

    def disjunction(self) -> Operand:
        value = self._conjunction()
        while self._take("||"):
            right = self._conjunction()
            value = _boolean(value) | _boolean(right)
        return value

    def _conjunction(self) -> Operand:
        value = self._comparison()
        while self._take("&&"):
            right = self._comparison()
            value = _boolean(value) & _boolean(right)
        return value

    def _comparison(self) -> Operand:
        left = self._unary()
        if self.rest and self.rest[0][0] != "quoted" and self.rest[0][1] in _COMPARISONS:
            sign = self.rest.pop(0)[1]
            return _compare(left, sign, self._unary())
        return left

    def _unary(self) -> Operand:
        if self._take("!"):
            return not _boolean(self._unary())
        if self._take("("):
            value = self.disjunction()
            if not self._take(")"):
                raise ExpressionSyntaxError("a closing parenthesis is missing")
            return value
        return self._operand()

    def _operand(self) -> Operand:
        if not self.rest:
            raise ExpressionSyntaxError("unexpected end of expression")
        kind, text = self.rest.pop(0)
        if kind == "operator":
            raise ExpressionSyntaxError(f"a value is missing before {text!r}")
        if kind == "quoted":
            return re.sub(r"\\(.)", r"\1", text[1:-1])
        if text in ("true", "false"):
            return text == "true"
        if _NUMBER.fullmatch(text):
            return float(text)
        if text in self._functions and self._take("("):
            argument = self.disjunction()
            if not self._take(")"):
                raise ExpressionSyntaxError("a closing parenthesis is missing")
            return self._functions[text](argument)
        return self._word(text)

    def _take(self, sign: str) -> bool:
        if self.rest and self.rest[0] == ("operator", sign):
            self.rest.pop(0)
            return True
        return False


def _boolean(value: Operand) -> bool:
    if not isinstance(value, bool):
        raise ExpressionSyntaxError(f"{value!r} is not a boolean")
    return value


def _compare(left: Operand, sign: str, right: Operand) -> bool:
    same_type = type(left) is type(right)
    if sign == "==":
        return same_type and left == right
    if sign == "!=":
        return not (same_type and left == right)
    if sign in _TEXT_TESTS:
        if not (isinstance(left, str) and isinstance(right, str)):
            raise ExpressionSyntaxError(f"{sign} compares texts, not {left!r} and {right!r}")
        try:
            return _TEXT_TESTS[sign](left, right)
        except re.error as error:
            raise ExpressionSyntaxError(f"bad pattern {right!r}: {error}") from error
    if not same_type or isinstance(left, bool):
        raise ExpressionSyntaxError(f"{sign} cannot compare {left!r} and {right!r}")
    return _ORDERINGS[sign](left, right)

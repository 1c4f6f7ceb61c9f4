"""A small expression language, common to ``when``, retry expressions and ``successCondition``.

Operators from weak to strong: ``||``, ``&&``, one comparison (``== != < <= > >= =~ !~`` and, not in
``when``, ``startsWith endsWith contains matches``), ``!``, parentheses. Comparison is strict in
types, as in Argo: values of different types are never equal (spec LAUNCHER E3.4). What a bare word
means is the caller's choice.
"""

import json
import operator
import re
from collections.abc import Callable, Mapping
from typing import Final

from kfp_api.shortening import beginning
from local_stack.runner.errors import ExpressionSyntaxError
from resolver.errors import ExpressionError
from resolver.expressions import ExpressionEngine

MAX_LENGTH: Final = 1024 * 1024
"""Characters of an expression: no cluster takes a longer workflow."""

MAX_DEPTH: Final = 100
"""Parentheses and ``!`` that may stand around a value."""

SHOWN: Final = 200
"""Characters of an expression or value that a message quotes."""

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


def _matches(text: str, pattern: str) -> bool:
    """Search as Argo does: with RE2, whose time is bounded and whose dialect is not Python's."""
    try:
        found = ExpressionEngine().select(
            f"string_value.matches({json.dumps(pattern, ensure_ascii=False)})", text
        )
    except ExpressionError as error:
        raise ExpressionSyntaxError(f"pattern {shown(pattern)}: {error}") from error
    return found is True


_TEXT_TESTS: Final[Mapping[str, Callable[[str, str], bool]]] = {
    "=~": _matches,
    "!~": lambda text, pattern: not _matches(text, pattern),
    "matches": _matches,
    "startsWith": str.startswith,
    "endsWith": str.endswith,
    "contains": lambda text, part: part in text,
}
_COMPARISONS: Final = frozenset({"==", "!=", *_ORDERINGS, *_TEXT_TESTS})


def evaluate(expression: str, *, word: WordMeaning, functions: Mapping[str, Function] | None = None) -> bool:
    """Evaluate the expression, in time that grows with its length and no faster.

    The right side of ``||`` and ``&&`` is evaluated only where it counts; words must have a meaning anywhere.

    Args:
        expression: the text, with all tags substituted.
        word: meaning of a word that is neither ``true``, ``false`` nor a number.
        functions: functions of one argument, by name.

    Raises:
        ExpressionSyntaxError: not an expression, too long, too deep, operands that cannot be compared, or not
            a boolean.
    """
    if len(expression) > MAX_LENGTH:
        raise ExpressionSyntaxError(f"it has {len(expression)} characters; up to {MAX_LENGTH} are read")
    parser = _Parser(_tokens(expression), word, functions or {})
    compiled = parser.disjunction()
    if parser.rest:
        raise ExpressionSyntaxError(f"unexpected {beginning(parser.rest[-1][1], SHOWN)!r}")
    value = compiled()
    if not isinstance(value, bool):
        raise ExpressionSyntaxError(f"the result is {shown(value)}, not a boolean")
    return value


def shown(value: Operand) -> str:
    """A value for a message, shortened."""
    return repr(beginning(value, SHOWN) if isinstance(value, str) else value)


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


_Compiled = Callable[[], Operand]


class _Parser:
    """Turns tokens into a function; ``rest`` holds those to come, the next one last."""

    def __init__(
        self, tokens: list[tuple[str, str]], word: WordMeaning, functions: Mapping[str, Function]
    ) -> None:
        self.rest = tokens[::-1]
        self._word = word
        self._functions = functions
        self._depth = 0

    def disjunction(self) -> _Compiled:
        terms = [self._conjunction()]
        while self._take("||"):
            terms.append(self._conjunction())
        return terms[0] if len(terms) == 1 else lambda: any(_boolean(term()) for term in terms)

    def _conjunction(self) -> _Compiled:
        terms = [self._comparison()]
        while self._take("&&"):
            terms.append(self._comparison())
        return terms[0] if len(terms) == 1 else lambda: all(_boolean(term()) for term in terms)

    def _comparison(self) -> _Compiled:
        left = self._unary()
        if self.rest and self.rest[-1][0] != "quoted" and self.rest[-1][1] in _COMPARISONS:
            sign = self.rest.pop()[1]
            right = self._unary()
            return lambda: _compare(left(), sign, right())
        return left

    def _unary(self) -> _Compiled:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ExpressionSyntaxError(f"it is nested deeper than {MAX_DEPTH} levels")
        try:
            if self._take("!"):
                negated = self._unary()
                return lambda: not _boolean(negated())
            return self._parenthesised() if self._take("(") else self._operand()
        finally:
            self._depth -= 1

    def _parenthesised(self) -> _Compiled:
        inner = self.disjunction()
        if not self._take(")"):
            raise ExpressionSyntaxError("a closing parenthesis is missing")
        return inner

    def _operand(self) -> _Compiled:
        if not self.rest:
            raise ExpressionSyntaxError("unexpected end of expression")
        kind, text = self.rest.pop()
        if kind == "operator":
            raise ExpressionSyntaxError(f"a value is missing before {text!r}")
        if kind == "word" and text in self._functions and self._take("("):
            function, argument = self._functions[text], self._parenthesised()
            return lambda: function(argument())
        value = self._value(kind, text)
        return lambda: value

    def _value(self, kind: str, text: str) -> Operand:
        if kind == "quoted":
            return re.sub(r"\\(.)", r"\1", text[1:-1], flags=re.DOTALL)
        if text in ("true", "false"):
            return text == "true"
        return float(text) if _NUMBER.fullmatch(text) else self._word(text)

    def _take(self, sign: str) -> bool:
        if self.rest and self.rest[-1] == ("operator", sign):
            self.rest.pop()
            return True
        return False


def _boolean(value: Operand) -> bool:
    if not isinstance(value, bool):
        raise ExpressionSyntaxError(f"{shown(value)} is not a boolean")
    return value


def _compare(left: Operand, sign: str, right: Operand) -> bool:
    same_type = type(left) is type(right)
    if sign == "==":
        return same_type and left == right
    if sign == "!=":
        return not (same_type and left == right)
    if sign in _TEXT_TESTS:
        if not (isinstance(left, str) and isinstance(right, str)):
            raise ExpressionSyntaxError(f"{sign} compares texts, not {shown(left)} and {shown(right)}")
        return _TEXT_TESTS[sign](left, right)
    if not same_type or isinstance(left, bool):
        raise ExpressionSyntaxError(f"{sign} cannot compare {shown(left)} and {shown(right)}")
    return _ORDERINGS[sign](left, right)

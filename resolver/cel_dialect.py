"""KFP's dialect of CEL on the official runtime: names, functions, and the words of its errors.

``int`` and ``bool`` of the standard library are replaced by stricter ones (the library's accept blanks and
booleans), and ``parseJson`` is added. Macros that iterate (``all exists exists_one map filter``) are refused:
a short chain of them fills the memory, and the SDK emits none. What reads texts draws on an
:class:`Allowance`, because an expression may do it thousands of times.

The CEL library is imported with the first environment. Its messages are mapped to the words that pipeline
authors know from KFP.
"""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from kfp_api.shortening import beginning
from resolver.cel_values import CelConversion
from resolver.errors import ExpressionError
from resolver.values import InvalidValueError, parse_json

VARIABLES: Final = {
    "condition": ("inputs", "outputs"),
    "selector": ("null_value", "number_value", "string_value", "bool_value", "struct_value", "list_value"),
}
MAX_PARSED: Final = 4 * 1024 * 1024
"""Characters that one evaluation may hand to ``parseJson``."""

MAX_MATCHED: Final = 64 * 1024
"""Characters that one evaluation may search with ``matches``; the costliest patterns take 30 µs for each."""

_SEARCH_COST: Final = 256
"""What a search costs besides its text: the pattern is compiled."""

_MESSAGE_LIMIT: Final = 500
_INT64: Final = 2**63
_ITERATING_MACROS: Final = ("all", "exists", "exists_one", "map", "filter")
_TRUE_SPELLINGS: Final = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE_SPELLINGS: Final = frozenset({"0", "f", "F", "FALSE", "false", "False"})

# Possessive, and content with an optional end: an unterminated literal is skipped in one pass.
_TOKEN: Final = re.compile(
    r"""
    (?P<skip> //[^\n]*
      | [bB]?[rR][bB]? (?: \"{3} (?:(?!\"{3}).)*+ (?:\"{3})? | '{3} (?:(?!'{3}).)*+ (?:'{3})?
                         | "[^"\n]*+ "? | '[^'\n]*+ '? )
      | [bB]? (?: \"{3} (?:\\.|(?!\"{3})[^\\])*+ (?:\"{3})? | '{3} (?:\\.|(?!'{3})[^\\])*+ (?:'{3})?
                | "(?:\\.|[^"\\\n])*+ "? | '(?:\\.|[^'\\\n])*+ '? )
    )
    | (?P<dot>\.(?:\s|//[^\n]*+)*+)? (?P<name>[A-Za-z_][A-Za-z0-9_]*+) (?P<call>(?:\s|//[^\n]*+)*+\()?
    """,
    re.VERBOSE | re.DOTALL,
)
_OWN_FUNCTIONS: Final = {"int": "Int", "bool": "Bool", "matches": "Matches"}
"""Same length, so that the columns of syntax errors stay right. The standard ones cannot be called at all."""

_ENVIRONMENT: Final = f"""
stdlib:
  exclude_macros: [{", ".join(_ITERATING_MACROS)}]
  exclude_functions: [{", ".join(f"{{name: {name}}}" for name in _OWN_FUNCTIONS)}]
"""

_TOO_DEEP: Final = re.compile(r"(?:recursion limit exceeded|max recursion depth)\D*(\d+)", re.IGNORECASE)
_OWN_METHODS: Final = frozenset({"matches"})
_OWN_CALL: Final = re.compile(r"(?<=no such overload: )(?:Int|Bool|Matches)(?=\()|(?<=\)\.)Matches(?=\()")
_STATUS: Final = re.compile(r"^(?:[A-Z_]+: )(?=\S)")
_MESSAGES: Final[tuple[tuple[re.Pattern[str], str], ...]] = (
    (re.compile(r'^Key not found in map : "?(.*?)"?$', re.DOTALL), r"no such key: \1"),
    (re.compile(r"^No matching overloads found : (.*)$", re.DOTALL), r"no such overload: \1"),
    (re.compile(r'^No value with name "(.*)" found in Activation$'), r"no such attribute(s): \1"),
    (re.compile(r"^Applying SELECT to non-message type$"), r"no such overload: field of a scalar"),
    (re.compile(r"^Invalid container type: '(.*)'$"), r"no such overload: index of a \1"),
    (re.compile(r"^Index error: index=(-?\d+) size=\d+$"), r"index out of bounds: \1"),
    (re.compile(r"^[Tt]ype conversion error "), "type conversion error "),
)


class CelResult(Protocol):
    """What the library answers: a value, or an error as a value of the type ``ERROR``."""

    def plain_value(self) -> Any:
        """The value as Python data; the message of an error."""
        ...

    def type(self) -> Any:
        """The value's CEL type, which has a ``name()``."""
        ...


class CelProgram(Protocol):
    """A compiled expression."""

    def eval(self, *, data: Mapping[str, Any]) -> CelResult:
        """Evaluate; :class:`RuntimeError` when that cannot even begin."""
        ...


class CelEnvironment(Protocol):
    """Variables and functions that expressions may use."""

    def compile(self, expression: str) -> CelProgram:
        """Compile; :class:`RuntimeError` with a report of several lines when it is wrong."""
        ...


class Allowance:
    """How much text one evaluation may still read; :meth:`renew` before each."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """A new evaluation begins."""
        self._left = {"parseJson": MAX_PARSED, "matches": MAX_MATCHED}

    def take(self, function: str, characters: int) -> None:
        """Let ``function`` read that much; :class:`ValueError` when too much was read before."""
        self._left[function] -= characters
        if self._left[function] < 0:
            raise ValueError(f"{function} is asked to read too much text")


def environment(use: str, allowance: Allowance) -> CelEnvironment:
    """Variables and functions of conditions or selectors.

    Args:
        use: ``condition`` or ``selector``.
        allowance: what the functions may read.
    """
    # Most calls evaluate nothing. The package ships cel.pyi without py.typed.
    from cel_expr_python import cel  # type: ignore[import-untyped]  # noqa: PLC0415

    kinds = cel.Type
    search = cel.NewEnv(variables={"text": kinds.STRING, "pattern": kinds.STRING}).compile(
        "text.matches(pattern)"
    )

    def parse(text: str) -> Any:
        allowance.take("parseJson", len(text))
        try:
            return CelConversion().value(parse_json(text))
        except InvalidValueError as error:
            raise ValueError(f"failed to unmarshal JSON: {error}") from error

    def matches(text: str, pattern: str) -> bool:
        allowance.take("matches", len(text) + _SEARCH_COST)
        result = search.eval(data={"text": text, "pattern": pattern})
        found = result.plain_value()
        if not isinstance(found, bool):
            raise ValueError(_STATUS.sub("", str(found)))  # noqa: TRY004 (an invalid pattern)
        return found

    def function(
        name: str, result: cel.Type, *accepted: cel.Type, body: Callable[..., Any]
    ) -> cel.FunctionDecl:
        # One overload per kind: the library does not match arguments with an overload over DYN.
        overloads = [
            cel.Overload(f"{name}_{kind.name()}", result, [kind], is_member=False, impl=body)
            for kind in accepted
        ]
        return cel.FunctionDecl(name, overloads)

    texts = [kinds.STRING, kinds.STRING]
    dialect: CelEnvironment = cel.NewEnv(
        config=cel.NewEnvConfigFromYaml(_ENVIRONMENT),
        variables=dict.fromkeys(VARIABLES[use], kinds.DYN),
        functions=[
            function("parseJson", kinds.DYN, kinds.STRING, body=parse),
            function("Int", kinds.INT, kinds.INT, kinds.UINT, kinds.DOUBLE, kinds.STRING, body=_to_int),
            function("Bool", kinds.BOOL, kinds.BOOL, kinds.STRING, body=_to_bool),
            cel.FunctionDecl(
                "Matches",
                [
                    cel.Overload(f"Matches_{form}", kinds.BOOL, texts, is_member=member, impl=matches)
                    for form, member in (("call", False), ("member", True))
                ],
            ),
        ],
    )
    return dialect


def prepared(expression: str) -> str:
    """The expression with our own functions in place of the standard ones.

    Raises:
        ExpressionError: it uses a macro that iterates.
    """

    def replace(match: re.Match[str]) -> str:
        name, dot = match["name"], match["dot"]
        if not name or not match["call"]:
            return match[0]
        if dot is not None and name in _ITERATING_MACROS:
            raise ExpressionError(f"unsupported expression feature: {name}")
        if dot is None or name in _OWN_METHODS:
            name = _OWN_FUNCTIONS.get(name, name)
        return f"{dot or ''}{name}{match['call']}"

    return _TOKEN.sub(replace, expression)


def evaluation_message(message: str) -> str:
    """What went wrong in an evaluation, in KFP's words."""
    text = _STATUS.sub("", message, count=1)
    for pattern, replacement in _MESSAGES:
        if pattern.match(text):
            text = pattern.sub(replacement, text, count=1)
            break
    return beginning(_OWN_CALL.sub(lambda match: match[0].lower(), text), _MESSAGE_LIMIT)


def compile_message(message: str) -> str:
    """The first line of the library's report, in which our stand-ins have their CEL names again."""
    if too_deep := _TOO_DEEP.search(message):
        return f"expression is nested more than {too_deep[1]} levels deep"
    first = message.removeprefix("INVALID_ARGUMENT: ").removeprefix("ERROR: ").split("\n", 1)[0]
    for name, own in _OWN_FUNCTIONS.items():
        first = first.replace(f"'{own}'", f"'{name}'")
    return beginning(first.removesuffix(" [INVALID_ARGUMENT]"), _MESSAGE_LIMIT)


def _to_int(value: str | float) -> int:
    if isinstance(value, str):
        if re.fullmatch(r"[+-]?[0-9]{1,4000}", value) and -_INT64 <= int(value) < _INT64:
            return int(value)
        raise ValueError("type conversion error from 'string' to 'int'")
    if not math.isfinite(value) or not -_INT64 <= int(value) < _INT64:
        raise ValueError("integer overflow")
    return int(value)


def _to_bool(value: str | bool) -> bool:
    if isinstance(value, bool):
        return value
    if value in _TRUE_SPELLINGS or value in _FALSE_SPELLINGS:
        return value in _TRUE_SPELLINGS
    raise ValueError("type conversion error from 'string' to 'bool'")

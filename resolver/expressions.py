"""CEL expressions: trigger conditions over the executor input, selectors over one value (spec DRIVER 10).

Numbers of values are doubles, as in the Go driver, and ``bool`` is never a number. ``int`` and ``bool`` of
CEL's standard library are replaced by stricter ones (the library's accept blanks and booleans). Macros that
iterate (``all exists exists_one map filter``) are refused: nested, they could compute for hours.

The CEL library is imported at first use. Its messages are mapped to the words that pipeline authors know
from KFP.
"""

import math
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from pydantic import JsonValue

from kfp_api.ir.executor_input import ArtifactList, ExecutorInputs, RuntimeArtifact, integral
from kfp_api.wire import UNSET, Value
from resolver.errors import ResolutionError
from resolver.values import (
    MAX_NESTING,
    InvalidValueError,
    as_double,
    kind_of,
    next_level,
    parse_json,
    value_to_text,
    well_formed,
)

if TYPE_CHECKING:
    from cel_expr_python import cel  # type: ignore[import-untyped]  # ships cel.pyi without py.typed

MAX_EXPRESSION_BYTES: Final = 64 * 1024
_CACHED_EXPRESSIONS: Final = 512
_CACHED_BYTES: Final = 4 * 1024
"""Longer expressions are compiled each time, so that the cache stays small."""

_MESSAGE_LIMIT: Final = 500
_INT64: Final = 2**63
_ITERATING_MACROS: Final = ("all", "exists", "exists_one", "map", "filter")
_ENVIRONMENT: Final = f"stdlib:\n  exclude_macros: [{', '.join(_ITERATING_MACROS)}]\n"
_SELECTOR_KINDS: Final = ("null", "number", "string", "bool", "struct", "list")
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
    | (?P<dot>\.\s*+)? (?P<name>[A-Za-z_][A-Za-z0-9_]*+) (?P<call>\s*+\()?
    """,
    re.VERBOSE | re.DOTALL,
)
_OWN_FUNCTIONS: Final = {"int": "Int", "bool": "Bool"}
"""Same length, so that the columns of syntax errors stay right."""

_OWN_CALL: Final = re.compile(r"(?<=no such overload: )(?:Int|Bool)(?=\()")
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


class ExpressionError(ResolutionError):
    """An expression does not compile, fails, or does not yield what is needed."""


class ExpressionEngine:
    """Evaluates expressions and keeps a bounded number of compiled ones. For one event loop."""

    def __init__(self) -> None:
        self._environments: dict[str, cel.Env] = {}
        self._compiled: OrderedDict[tuple[str, str], cel.Expression] = OrderedDict()

    def condition(self, expression: str, executor_inputs: ExecutorInputs) -> bool:
        """Whether a trigger condition holds.

        Raises:
            ExpressionError: it does not compile, a value is missing, or the result is no bool.
        """
        variables: dict[str, Any] = {
            "inputs": _condition_inputs(executor_inputs),
            "outputs": {"parameters": {}, "artifacts": {}, "output_file": ""},
        }
        result = self._evaluate("condition", expression, variables)
        plain = result.plain_value()
        if isinstance(plain, bool):
            return plain
        shown = plain if isinstance(plain, str) else repr(result)
        raise ExpressionError(f"evaluation error: return type is not bool, got {shown}")

    def select(self, selector: str, value: JsonValue) -> JsonValue:
        """The part of a value that a ``parameterExpressionSelector`` names; ``None`` is JSON null.

        Raises:
            ExpressionError: it does not compile or fails, or the result is no JSON value.
        """
        variables = {
            f"{kind_of(value)}_value": _cel_value(value),
            "string_value": well_formed(value_to_text(value)),
        }
        result = self._evaluate("selector", selector, variables).plain_value()
        return _json_result(result)

    def _evaluate(self, use: str, expression: str, variables: Mapping[str, Any]) -> "cel.Value":
        compiled = self._compile(use, expression)
        try:
            result = compiled.eval(data=variables)
        except RuntimeError as error:
            raise ExpressionError(f"evaluation error: {_readable(str(error))}") from error
        if result.type().name() == "ERROR":
            raise ExpressionError(f"evaluation error: {_readable(str(result.plain_value()))}")
        return result

    def _compile(self, use: str, expression: str) -> "cel.Expression":
        key = (use, expression)
        if key in self._compiled:
            self._compiled.move_to_end(key)
            return self._compiled[key]
        size = len(expression.encode(errors="replace"))
        if size > MAX_EXPRESSION_BYTES:
            raise ExpressionError(f"expression is longer than {MAX_EXPRESSION_BYTES} bytes")
        if use not in self._environments:
            self._environments[use] = _environment(use)
        try:
            compiled = self._environments[use].compile(_prepared(well_formed(expression)))
        except RuntimeError as error:
            raise ExpressionError(_compile_message(str(error))) from error
        if size <= _CACHED_BYTES:
            self._compiled[key] = compiled
            if len(self._compiled) > _CACHED_EXPRESSIONS:
                self._compiled.popitem(last=False)
        return compiled


def _environment(use: str) -> "cel.Env":
    from cel_expr_python import cel  # noqa: PLC0415 (most calls evaluate nothing)

    names = ("inputs", "outputs") if use == "condition" else (f"{kind}_value" for kind in _SELECTOR_KINDS)

    kinds = cel.Type

    def function(
        name: str, result: cel.Type, *accepted: cel.Type, body: Callable[..., Any]
    ) -> cel.FunctionDecl:
        # One overload per kind: the library does not match arguments with an overload over DYN.
        overloads = [
            cel.Overload(f"{name}_{kind.name()}", result, [kind], is_member=False, impl=body)
            for kind in accepted
        ]
        return cel.FunctionDecl(name, overloads)

    return cel.NewEnv(
        config=cel.NewEnvConfigFromYaml(_ENVIRONMENT),
        variables=dict.fromkeys(names, kinds.DYN),
        functions=[
            function("parseJson", kinds.DYN, kinds.STRING, body=_parse_json),
            function("Int", kinds.INT, kinds.INT, kinds.UINT, kinds.DOUBLE, kinds.STRING, body=_to_int),
            function("Bool", kinds.BOOL, kinds.BOOL, kinds.STRING, body=_to_bool),
        ],
    )


def _prepared(expression: str) -> str:
    """The expression with our own conversions in place of the standard ones; refuses iterating macros."""

    def replace(match: re.Match[str]) -> str:
        name = match["name"]
        if not name or not match["call"]:
            return match[0]
        if match["dot"] is not None:
            if name in _ITERATING_MACROS:
                raise ExpressionError(f"unsupported expression feature: {name}")
            return match[0]
        return f"{_OWN_FUNCTIONS.get(name, name)}{match['call']}"

    return _TOKEN.sub(replace, expression)


def _condition_inputs(inputs: ExecutorInputs) -> dict[str, Any]:
    """ExecutorInput.inputs under proto names; unset members have their defaults, as in a message."""
    return {
        "parameters": {},
        "parameter_values": {
            well_formed(key): _cel_value(value)
            for key, value in inputs.parameter_values.items()
            if value is not UNSET
        },
        "artifacts": {well_formed(key): _cel_artifacts(value) for key, value in inputs.artifacts.items()},
    }


def _cel_artifacts(artifacts: ArtifactList) -> dict[str, Any]:
    return {"artifacts": [_cel_artifact(artifact) for artifact in artifacts.artifacts]}


def _cel_artifact(artifact: RuntimeArtifact) -> dict[str, Any]:
    schema = artifact.type
    return {
        "name": well_formed(artifact.name),
        "type": {
            "schema_title": (schema.schema_title if schema else None) or "",
            "schema_uri": (schema.schema_uri if schema else None) or "",
            "instance_schema": (schema.instance_schema if schema else None) or "",
            "schema_version": schema.schema_version if schema else "",
        },
        "uri": well_formed(artifact.uri),
        "metadata": {well_formed(key): _cel_value(value) for key, value in artifact.metadata.items()},
        "custom_path": artifact.custom_path or "",
        "artifact_id": artifact.artifact_id,
    }


def _cel_value(value: Value, levels: int = MAX_NESTING) -> Any:
    """JSON data as the CEL library takes it: every number a double."""
    if isinstance(value, bool) or value is None:
        return value
    if value is UNSET:
        return None
    if isinstance(value, str):
        return well_formed(value)
    if isinstance(value, (int, float)):
        return as_double(value)
    deeper = next_level(levels)
    if isinstance(value, list):
        return [_cel_value(item, deeper) for item in value]
    return {well_formed(key): _cel_value(item, deeper) for key, item in value.items()}


def _json_result(result: Any, levels: int = MAX_NESTING) -> JsonValue:
    """What CEL yields, as JSON data with integral numbers as ``int``."""
    if result is None or isinstance(result, (bool, str)):
        return result
    if isinstance(result, (int, float)):
        if not math.isfinite(result):
            raise ExpressionError(f"failed to convert result: {result} is not a JSON number")
        number: int | float = integral(result)
        return number
    deeper = next_level(levels)
    if isinstance(result, list):
        return [_json_result(item, deeper) for item in result]
    if isinstance(result, dict) and all(isinstance(key, str) for key in result):
        return {key: _json_result(item, deeper) for key, item in result.items()}
    raise ExpressionError(f"failed to convert result: {type(result).__name__} is not a JSON value")


def _parse_json(text: str) -> Any:
    try:
        return _cel_value(parse_json(text))
    except InvalidValueError as error:
        raise ValueError(f"failed to unmarshal JSON: {error}") from error


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


def _readable(message: str) -> str:
    text = _STATUS.sub("", message, count=1)
    for pattern, replacement in _MESSAGES:
        if pattern.match(text):
            text = pattern.sub(replacement, text, count=1)
            break
    return _OWN_CALL.sub(lambda match: match[0].lower(), text)[:_MESSAGE_LIMIT]


def _compile_message(message: str) -> str:
    """The first line of the library's report, in which our stand-ins have their CEL names again."""
    first = message.removeprefix("INVALID_ARGUMENT: ").removeprefix("ERROR: ").split("\n", 1)[0]
    for name, own in _OWN_FUNCTIONS.items():
        first = first.replace(f"'{own}'", f"'{name}'")
    return first.removesuffix(" [INVALID_ARGUMENT]")[:_MESSAGE_LIMIT]

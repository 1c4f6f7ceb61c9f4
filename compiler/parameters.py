"""Pipeline parameters: from ``NAME=VALUE`` to typed values, and the checks of KFP's CreateRun.

A mistake is one line that says what was expected (spec KFP_API 6.1).
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Final, NoReturn

from pydantic import JsonValue

from compiler.errors import ParameterError
from kfp_api.ir.pipeline import InputParameter, ParameterType, PipelineSpec
from kfp_api.wire import UNSET

_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,4000}")

_EXPECTED: Final = {
    ParameterType.NUMBER_INTEGER: "an integer such as 3",
    ParameterType.NUMBER_DOUBLE: "a number such as 0.5",
    ParameterType.STRING: "a text",
    ParameterType.BOOLEAN: "true or false",
    ParameterType.LIST: "a JSON list such as '[1, 2]'",
    ParameterType.STRUCT: "a JSON object such as '{\"key\": 1}'",
}


def parse_parameters(texts: Sequence[str], spec: PipelineSpec) -> dict[str, JsonValue]:
    """Read ``NAME=VALUE`` arguments against the parameters that the pipeline declares.

    Raises:
        ParameterError: no ``=``, an unknown name, a name given twice, or a value of the wrong type.
    """
    declared = declared_parameters(spec)
    values: dict[str, JsonValue] = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator or not name:
            raise ParameterError(f'"{text}": expected NAME=VALUE')
        if name not in declared:
            _refuse_unknown([name], declared)
        if name in values:
            raise ParameterError(f'parameter "{name}" is given twice')
        values[name] = parse_parameter(value, declared[name], name)
    return values


def parse_parameter(text: str, declared: InputParameter, name: str) -> JsonValue:
    """Read one value by its declared type: texts verbatim, numbers, booleans, JSON for lists and structs.

    Raises:
        ParameterError: the text is no such value, or not one of the declared literals.
    """
    kind = declared.declared_type
    if kind not in _EXPECTED:
        raise _not_settable(name, kind)
    value = _parse(text, kind)
    if value is None:
        raise ParameterError(f'parameter "{name}": expected {_EXPECTED[kind]} ({kind.value}), got "{text}"')
    _check_literal(name, value, declared)
    return value


def _parse(text: str, kind: ParameterType) -> JsonValue:
    """The value, or ``None`` where the text does not have the type; null is no value of any type."""
    stripped = text.strip()
    match kind:
        case ParameterType.STRING:
            return text
        case ParameterType.NUMBER_INTEGER:
            return int(stripped) if _INTEGER.fullmatch(stripped) else None
        case ParameterType.NUMBER_DOUBLE:
            return _number(stripped)
        case ParameterType.BOOLEAN:
            return {"true": True, "false": False}.get(stripped.lower())
    try:
        value: JsonValue = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return None
    wanted = list if kind is ParameterType.LIST else dict
    return value if isinstance(value, wanted) else None


def _number(text: str) -> int | float | None:
    if _INTEGER.fullmatch(text):
        return int(text)
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) and "_" not in text else None


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")


def check_parameters(spec: PipelineSpec, values: Mapping[str, JsonValue]) -> None:
    """Check given values as KFP's CreateRun does.

    Raises:
        ParameterError: unknown names, missing required ones (all are listed), a wrong kind of JSON, a
            type that cannot be given, or a value outside of the declared literals.
    """
    declared = declared_parameters(spec)
    if unknown := [name for name in values if name not in declared]:
        _refuse_unknown(unknown, declared)
    missing = [
        f"{name} ({parameter.declared_type.value})"
        for name, parameter in declared.items()
        if name not in values and not parameter.is_optional and parameter.default_value is UNSET
    ]
    if missing:
        plural = "s" if len(missing) > 1 else ""
        raise ParameterError(f"missing required parameter{plural}: {', '.join(missing)}")
    for name, value in values.items():
        kind = declared[name].declared_type
        if kind not in _EXPECTED:
            raise _not_settable(name, kind)
        if not _has_kind(value, kind):
            shown = json.dumps(value, ensure_ascii=False)
            raise ParameterError(
                f'parameter "{name}": expected {_EXPECTED[kind]} ({kind.value}), got {shown}'
            )
        _check_literal(name, value, declared[name])


def declared_parameters(spec: PipelineSpec) -> Mapping[str, InputParameter]:
    """The parameters that a run of the pipeline can set."""
    return spec.root.input_definitions.parameters if spec.root else {}


def _has_kind(value: JsonValue, kind: ParameterType) -> bool:
    match kind:
        case ParameterType.NUMBER_INTEGER | ParameterType.NUMBER_DOUBLE:
            return isinstance(value, int | float) and not isinstance(value, bool)
        case ParameterType.STRING:
            return isinstance(value, str)
        case ParameterType.BOOLEAN:
            return isinstance(value, bool)
        case ParameterType.LIST:
            return isinstance(value, list)
    return isinstance(value, dict)


def _check_literal(name: str, value: JsonValue, declared: InputParameter) -> None:
    """Literals compare as JSON: ``1`` equals ``1.0``, but ``true`` is not ``1``."""
    allowed = declared.literals
    if allowed and not any(
        literal == value and isinstance(literal, bool) == isinstance(value, bool) for literal in allowed
    ):
        shown = ", ".join(json.dumps(literal, ensure_ascii=False) for literal in allowed)
        got = json.dumps(value, ensure_ascii=False)
        raise ParameterError(f'parameter "{name}": expected one of {shown}, got {got}')


def _not_settable(name: str, kind: ParameterType) -> ParameterError:
    return ParameterError(f'parameter "{name}" has type {kind.value}, which a run cannot set')


def _refuse_unknown(names: Sequence[str], declared: Mapping[str, InputParameter]) -> NoReturn:
    known = ", ".join(declared) if declared else "none"
    quoted = ", ".join(f'"{name}"' for name in names)
    plural = "s" if len(names) > 1 else ""
    raise ParameterError(f"unknown parameter{plural} {quoted}; the pipeline's parameters: {known}")

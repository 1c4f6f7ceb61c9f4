"""Declared parameter types and allowed literals (spec RESOLVER 11.2 and 11.3)."""

from collections.abc import Sequence
from typing import Final

from pydantic import JsonValue

from kfp_api.ir.pipeline import ParameterType
from kfp_api.wire import Value
from resolver.context import shortened
from resolver.errors import ResolutionError
from resolver.values import equal, go_json, kind_of, value_to_text

_KINDS: Final = {
    ParameterType.NUMBER_INTEGER: "number",
    ParameterType.NUMBER_DOUBLE: "number",
    ParameterType.BOOLEAN: "bool",
    ParameterType.LIST: "list",
    ParameterType.STRUCT: "struct",
    ParameterType.TASK_FINAL_STATUS: "struct",
    ParameterType.TASK_CONFIG: "struct",
}


class TypeMismatchError(ResolutionError):
    """A value does not have the declared type, or is not among the allowed literals."""


def normalise(value: JsonValue, declared: ParameterType, key: str) -> JsonValue:
    """The value in its declared type: anything becomes text for a STRING, nothing else is converted.

    Raises:
        TypeMismatchError: the value has another kind.
    """
    if declared is ParameterType.STRING:
        return value_to_text(value)
    if value is None:
        raise TypeMismatchError(f'got null for input parameter "{key}"')
    kind = kind_of(value)
    if kind != _KINDS.get(declared):
        raise TypeMismatchError(f'input parameter "{key}" type mismatch: expect {declared.value}, got {kind}')
    return value


def check_literals(value: JsonValue, literals: Sequence[Value], key: str) -> None:
    """Refuse a value that equals none of the allowed literals; no literals allow everything.

    Raises:
        TypeMismatchError: names the value and the literals.
    """
    if literals and not any(equal(value, literal) for literal in literals):
        allowed = f"[{','.join(go_json(literal) for literal in literals)}]"
        raise TypeMismatchError(
            f'validating parameter "{key}": input parameter "{key}" value {shortened(go_json(value))} '
            f"does not match any of the allowed literal values: {shortened(allowed)}"
        )

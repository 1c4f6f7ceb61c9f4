"""From a list call's ``filter`` to SQL conditions (spec KFP_API 8.3).

Predicates are ANDed. Beyond KFP: enum names as string values, and ``%`` and ``_`` taken literally.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final
from urllib.parse import unquote_plus

import orjson
from sqlalchemy import Column, ColumnElement

from kfp_api.filters import Filter, Predicate, PredicateOperation
from kfp_api.wire import ValidationError, WireEnum
from local_stack.api_server.errors import InvalidInputError
from local_stack.api_server.storage.encoding import unix_seconds

_INT64: Final = range(-(2**63), 2**63)

_VALUE_MEMBERS: Final = (
    "int_value",
    "long_value",
    "string_value",
    "timestamp_value",
    "int_values",
    "long_values",
    "string_values",
)


class FieldKind(Enum):
    """How a column's values compare."""

    TEXT = "text"
    NUMBER = "number"
    TIMESTAMP = "timestamp"
    ENUM_NUMBER = "enum stored as its number"
    ENUM_NAME = "enum stored as its name"


@dataclass(frozen=True)
class ListField:
    """A column that a list call may sort or filter by."""

    column: Column[Any]
    kind: FieldKind = FieldKind.TEXT
    enum: type[WireEnum] | None = None


def parse_filter(text: str) -> Filter:
    """Read the query parameter: plain JSON, or JSON that was percent-encoded twice.

    Raises:
        InvalidInputError: neither.
    """
    document = _json_object(text) or _json_object(unquote_plus(text))
    if document is None:
        raise InvalidInputError("failed to parse valid filter: it is not a JSON object")
    try:
        return Filter.parse_strict(document)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InvalidInputError(f"failed to parse valid filter: {where}: {first['msg']}") from error


def _json_object(text: str) -> dict[str, Any] | None:
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return document if isinstance(document, dict) else None


def exact_uri(text: str) -> str | None:
    """The URI of a filter that is exactly ``uri EQUALS <text>``; read as plain JSON only."""
    document = _json_object(text)
    if document is None:
        return None
    try:
        predicates = Filter.parse_strict(document).predicates
    except ValidationError:
        return None
    if len(predicates) != 1:
        return None
    [only] = predicates
    if only.key != "uri" or only.operation is not PredicateOperation.EQUALS:
        return None
    return only.string_value or None


def predicate_clauses(list_filter: Filter, fields: Mapping[str, ListField]) -> list[ColumnElement[bool]]:
    """One SQL condition per predicate.

    Raises:
        InvalidInputError: unknown key or operation, no value, or a value the operation cannot use.
    """
    return [_clause(predicate, fields) for predicate in list_filter.predicates]


def _clause(predicate: Predicate, fields: Mapping[str, ListField]) -> ColumnElement[bool]:
    if not predicate.key:
        raise InvalidInputError("a filter predicate needs a key")
    field = fields.get(predicate.key)
    if field is None:
        raise InvalidInputError(f'no support for filtering on unrecognized field "{predicate.key}"')
    given = [name for name in _VALUE_MEMBERS if getattr(predicate, name) is not None]
    if len(given) != 1:
        raise InvalidInputError(f'the filter predicate on "{predicate.key}" needs exactly one value')
    member, operation, column = given[0], predicate.operation, field.column
    if operation is PredicateOperation.OPERATION_UNSPECIFIED:
        raise InvalidInputError(f'the filter predicate on "{predicate.key}" needs an operation')
    raw = getattr(predicate, member)
    if operation is PredicateOperation.IN:
        if not member.endswith("_values"):
            raise InvalidInputError(f"cannot use IN operator with scalar value ({member})")
        return column.in_([_operand(field, member, item, predicate.key) for item in raw.values])
    if member.endswith("_values"):
        raise InvalidInputError(f"cannot use {operation} operator with array value ({member})")
    if operation is PredicateOperation.IS_SUBSTRING:
        if member != "string_value":
            raise InvalidInputError(f"cannot use IS_SUBSTRING operator with {member}: it needs a string")
        return column.contains(raw, autoescape=True)
    return _COMPARISONS[operation](column, _operand(field, member, raw, predicate.key))


_COMPARISONS: Final[Mapping[PredicateOperation, Callable[[Column[Any], object], ColumnElement[bool]]]] = {
    PredicateOperation.EQUALS: lambda column, value: column == value,
    PredicateOperation.NOT_EQUALS: lambda column, value: column != value,
    PredicateOperation.GREATER_THAN: lambda column, value: column > value,
    PredicateOperation.GREATER_THAN_EQUALS: lambda column, value: column >= value,
    PredicateOperation.LESS_THAN: lambda column, value: column < value,
    PredicateOperation.LESS_THAN_EQUALS: lambda column, value: column <= value,
}


def _operand(field: ListField, member: str, value: Any, key: str) -> str | int:
    """The predicate's value in the column's own terms."""
    if member == "timestamp_value":
        if field.kind is not FieldKind.TIMESTAMP:
            raise InvalidInputError(f'cannot use timestamp_value with field "{key}"')
        return unix_seconds(value)
    if isinstance(value, str):
        if field.kind is FieldKind.ENUM_NUMBER:
            return _enum_number(field, value, key)
        if field.kind is FieldKind.TEXT or field.kind is FieldKind.ENUM_NAME:
            return value
        raise InvalidInputError(f'cannot use {member} with field "{key}"')
    number = int(value)
    if number not in _INT64:
        raise InvalidInputError(f'the value of the filter predicate on "{key}" is out of range')
    if field.kind is FieldKind.ENUM_NAME and field.enum is not None:
        try:
            return field.enum.from_number(number).value
        except ValueError:
            raise InvalidInputError(f'unknown number {number} for field "{key}"') from None
    return number


def _enum_number(field: ListField, name: str, key: str) -> int:
    member = None if field.enum is None else field.enum.__members__.get(name)
    if member is None:
        raise InvalidInputError(f'unknown value "{name}" for field "{key}"')
    return member.number

"""The JSON form of KFP's API messages: one base class that knows protobuf's presence rules.

KFP's REST gateway speaks protojson: snake_case names, enum names, 64-bit integers as strings,
zero values of plain fields absent, set ``optional`` and message fields present even when zero
(spec KFP_API 1.2 to 1.4). A field of a :class:`WireMessage` has presence exactly when its default
is ``None``; a field typed :data:`Value` keeps the difference between ``null`` and absent.
"""

import re
from datetime import UTC, datetime
from enum import Enum, StrEnum
from functools import cache
from typing import Annotated, Any, ClassVar, Final, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, JsonValue, ValidationError, model_validator
from pydantic.alias_generators import to_camel

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DECIMAL: Final = re.compile(r"-?[0-9]{1,19}", re.ASCII)


class Unset(Enum):
    """The one value that says "this field was not there", where ``None`` means JSON null."""

    UNSET = "unset"

    def __bool__(self) -> bool:
        return False


UNSET: Final = Unset.UNSET

Value = JsonValue | Unset
"""A ``google.protobuf.Value``: bare JSON, or :data:`UNSET`. ``None`` is the value null."""


class WireEnum(StrEnum):
    """An enum that travels as its name and is stored and filtered by its number."""

    number: int

    def __new__(cls, name: str, number: int) -> Self:  # noqa: D102 (enum machinery)
        member = str.__new__(cls, name)
        member._value_ = name
        member.number = number
        return member

    @classmethod
    def from_number(cls, number: int) -> Self:
        """The member with that number; ``ValueError`` names an unknown one."""
        for member in cls:
            if member.number == number:
                return member
        raise ValueError(f"unknown {cls.__name__} number {number}")

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        """Requests may carry enum numbers instead of names (spec KFP_API 1.2)."""
        if isinstance(value, int) and not isinstance(value, bool):
            return next((member for member in cls if member.number == value), None)
        return None


def _parse_int64(value: object) -> object:
    """A decimal string or an integral number within 64 bits; nothing else that Python would take."""
    if isinstance(value, str) and _DECIMAL.fullmatch(value):
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not -(2**63) <= value < 2**63:
        raise ValueError(f"invalid int64 {value!r}")
    return value


def _parse_timestamp(value: object) -> object:
    """RFC 3339 text to an aware UTC datetime in whole seconds, as the server stores it."""
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError("a timestamp needs a time zone")
        return value.astimezone(UTC).replace(microsecond=0)
    raise ValueError("a timestamp is RFC 3339 text")


Int64 = Annotated[int, BeforeValidator(_parse_int64)]
"""A 64-bit integer: a decimal string on the wire, ``int`` in Python."""

Timestamp = Annotated[datetime, BeforeValidator(_parse_timestamp)]
"""RFC 3339 with ``Z`` on the wire, whole seconds; an aware UTC ``datetime`` in Python."""


def format_timestamp(moment: datetime) -> str:
    """``2026-01-02T03:04:05Z``: UTC, whole seconds."""
    # strftime does not pad years before 1000.
    return moment.astimezone(UTC).replace(tzinfo=None, microsecond=0).isoformat() + "Z"


class ProtoModel(BaseModel):
    """A frozen protobuf message: reads snake_case and lowerCamelCase, ignores unknown fields."""

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        protected_namespaces=(),
        # Validators are built at first use: a service that starts must not pay for what it may never read.
        defer_build=True,
    )

    @model_validator(mode="before")
    @classmethod
    def _null_means_unset(cls, data: Any) -> Any:
        """Drop nulls, except where null is a value (spec KFP_API 1.2, requests rule 4)."""
        if not isinstance(data, dict) or None not in data.values():
            return data
        nullable = _nullable_names(cls)
        return {key: value for key, value in data.items() if value is not None or key in nullable}


class WireMessage(ProtoModel):
    """Base of all API messages: frozen, tolerant when reading, exact when writing.

    :meth:`from_wire` accepts snake_case and lowerCamelCase and ignores unknown fields (a newer
    server may send them); :meth:`parse_strict` refuses unknown fields as KFP's gateway does.
    """

    INT64_FIELDS: ClassVar[frozenset[str]] = frozenset()
    """Names of the fields that travel as decimal strings."""

    @classmethod
    def from_wire(cls, data: object) -> Self:
        """Read a server's answer: unknown fields are ignored."""
        return cls.model_validate(data)

    @classmethod
    def parse_strict(cls, data: object) -> Self:
        """Read a client's request: an unknown field is a ``ValidationError`` of type ``extra_forbidden``."""
        return cls.model_validate(data, extra="forbid")

    def to_wire(self) -> dict[str, Any]:
        """The message as JSON-ready data, by the presence rules of this module."""
        wire: dict[str, Any] = {}
        for name, default, int64 in _wire_fields(type(self)):
            value = getattr(self, name)
            if value is UNSET or (default is not UNSET and value == default):
                continue
            wire[name] = str(value) if int64 else _encode(value)
        return wire


@cache
def _wire_fields(model: type[WireMessage]) -> tuple[tuple[str, Any, bool], ...]:
    return tuple(
        (name, field.get_default(call_default_factory=True, validated_data={}), name in model.INT64_FIELDS)
        for name, field in model.model_fields.items()
    )


@cache
def _nullable_names(model: type[BaseModel]) -> frozenset[str]:
    """Spellings of the fields in which JSON null is a value of its own."""
    names = [name for name, field in model.model_fields.items() if field.default is UNSET]
    return frozenset(names) | frozenset(to_camel(name) for name in names)


def _encode(value: Any) -> Any:
    if isinstance(value, WireMessage):
        return value.to_wire()
    if isinstance(value, WireEnum):
        return value.value
    if isinstance(value, datetime):
        return format_timestamp(value)
    if isinstance(value, (list, tuple)):
        return [_encode(item) for item in value]
    if isinstance(value, dict):
        return {key: _encode(item) for key, item in value.items()}
    return value


__all__ = [
    "EPOCH",
    "UNSET",
    "Int64",
    "Timestamp",
    "Unset",
    "ValidationError",
    "Value",
    "WireEnum",
    "WireMessage",
    "format_timestamp",
]

"""Between messages and JSON columns: ``google.protobuf.Value`` numbers, timestamps, compact JSON.

A Value holds IEEE doubles: integers above 2**53 lose precision, as they do in KFP's API, and integral
numbers are written without a fraction.
"""

from datetime import UTC, datetime
from typing import Any, Final

import orjson

from kfp_api.messages import IOParameter
from kfp_api.wire import format_timestamp

_EXACT_INTEGERS: Final = 2**53
_INT64_END: Final = 2**63


def json_text(value: object) -> str:
    """Compact JSON in insertion order."""
    return orjson.dumps(value).decode()


def canonical_json(value: object) -> str:
    """Compact JSON with sorted keys: equal data, equal text."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


def stored_json(text: str | None, *, absent: str | None) -> orjson.Fragment | None:
    """A JSON column as it goes into an answer, unparsed; ``None`` where it holds ``absent``."""
    return None if text is None or text == absent else orjson.Fragment(text)


def present(wire: dict[str, Any]) -> dict[str, Any]:
    """``wire`` without the fields that are absent, which are ``None`` here."""
    return {name: value for name, value in wire.items() if value is not None}


def as_value(value: Any) -> Any:
    """``value`` as a ``google.protobuf.Value`` would carry it: every number a double."""
    if isinstance(value, dict):
        return {key: as_value(item) for key, item in value.items()}
    if isinstance(value, list):
        return [as_value(item) for item in value]
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return value
    number = float(value)
    if abs(number) <= _EXACT_INTEGERS:
        return int(number) if number.is_integer() else number
    return int(number) if isinstance(value, int) and abs(number) < _INT64_END else number


def parameter_wire(parameter: IOParameter) -> dict[str, Any]:
    """The stored form of a task's parameter."""
    wire = parameter.to_wire()
    if "value" in wire:
        wire["value"] = as_value(wire["value"])
    return wire


def timestamp(seconds: int) -> str:
    """Unix seconds as RFC 3339 text with ``Z``."""
    return format_timestamp(datetime.fromtimestamp(seconds, tz=UTC))


def unix_seconds(moment: datetime | None) -> int:
    """Whole Unix seconds; 0, which stands for "not given", for ``None``."""
    return 0 if moment is None else int(moment.timestamp())

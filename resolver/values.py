"""Values: their kinds, their one text form, JSON text byte for byte as Go writes it, equality and parsing.

A value is plain JSON data (spec RESOLVER 11). Numbers are doubles whatever Python type holds them, and
``bool`` is never a number. Nothing here changes its argument. Values nested more than
:data:`MAX_NESTING` levels deep are refused, so that no input can exhaust the stack.
"""

import json
import math
import re
from decimal import Decimal
from typing import Final, NoReturn

from pydantic import JsonValue

from kfp_api.wire import UNSET, Value
from resolver.errors import ResolutionError

MAX_NESTING: Final = 64

_DIGITS_WITHOUT_DOUBT: Final = 300
"""Integers of so many characters are within the range of doubles."""

_EXACT_BELOW: Final = 2**53
"""Below it, the digits of an integral double are those of the integer."""

_PLAIN_FROM: Final = 1e-6
_PLAIN_BELOW: Final = 1e21
_ESCAPES: Final = re.compile(r'[\x00-\x1f"\\<>&\u2028\u2029\ud800-\udfff]')
_SURROGATES: Final = re.compile(r"[\ud800-\udfff]")
_SHORT_ESCAPES: Final = {
    '"': '\\"',
    "\\": "\\\\",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\b": "\\b",
    "\f": "\\f",
}


class InvalidValueError(ResolutionError):
    """Data that is not a JSON value, or that is nested too deep."""


def kind_of(value: Value) -> str:
    """``null``, ``string``, ``number``, ``bool``, ``list`` or ``struct``; absent counts as null."""
    if value is None or value is UNSET:
        return "null"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, str):
        return "string"
    if isinstance(value, (int, float)):
        return "number"
    return "list" if isinstance(value, list) else "struct"


def value_to_text(value: Value) -> str:
    """The project's one text form of a value (spec RESOLVER 11.1).

    Null and absent are empty, strings are themselves, numbers are plain decimals without exponent, lists and
    structs are JSON text.

    Raises:
        InvalidValueError: a number inside a list or struct is not finite, or nesting is too deep.
    """
    if value is None or value is UNSET:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return _plain_number(as_double(value))
    return go_json(value)


def go_json(value: Value) -> str:
    r"""JSON text as Go's encoder writes it (spec DRIVER 11.4): sorted keys, no spaces, ``<>&`` escaped.

    Raises:
        InvalidValueError: a number is not finite, or nesting is too deep.
    """
    parts: list[str] = []
    _write(value, parts, MAX_NESTING)
    return "".join(parts)


def go_number(number: float) -> str:
    """A number in JSON text: plain from 1e-6 up to 1e21, else an exponent without padding.

    Raises:
        InvalidValueError: NaN or infinite.
    """
    x = as_double(number)
    if not math.isfinite(x):
        raise InvalidValueError(f"{x} is not a JSON number")
    if x == 0 or _PLAIN_FROM <= abs(x) < _PLAIN_BELOW:
        return _plain_number(x)
    mantissa, exponent = f"{Decimal(repr(x)).normalize():e}".split("e")
    return f"{mantissa}e{'-' if int(exponent) < 0 else '+'}{abs(int(exponent))}"


def parse_json(text: str) -> JsonValue:
    """Parse JSON text strictly: no NaN, no infinity, no number beyond a double.

    Raises:
        InvalidValueError: says what is wrong and where.
    """
    try:
        value: JsonValue = json.loads(
            text, parse_constant=_no_constant, parse_float=_parse_float, parse_int=_parse_int
        )
    except RecursionError:
        raise InvalidValueError(f"JSON is nested more than {MAX_NESTING} levels deep") from None
    except InvalidValueError:
        raise
    except ValueError as error:
        raise InvalidValueError(str(error)) from None
    check_nesting(value)
    return value


def check_nesting(value: Value, levels: int = MAX_NESTING) -> None:
    """Refuse a value that is nested more than ``levels`` levels deep (:class:`InvalidValueError`)."""
    if isinstance(value, (list, dict)):
        deeper = next_level(levels)
        for item in value.values() if isinstance(value, dict) else value:
            if isinstance(item, (list, dict)):
                check_nesting(item, deeper)


def next_level(levels: int) -> int:
    """One level less than ``levels`` remaining; :class:`InvalidValueError` when none remains."""
    if levels <= 0:
        raise InvalidValueError(f"value is nested more than {MAX_NESTING} levels deep")
    return levels - 1


def equal(left: Value, right: Value) -> bool:
    """Whether two values have the same kind and are equal; ``true`` is not ``1``, ``1`` is ``1.0``."""
    kind = kind_of(left)
    if kind != kind_of(right):
        return False
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(equal(a, b) for a, b in zip(left, right, strict=True))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(equal(item, right[key]) for key, item in left.items())
    if kind == "number" and isinstance(left, (int, float)) and isinstance(right, (int, float)):
        return as_double(left) == as_double(right)
    return kind == "null" or left == right


def well_formed(text: str) -> str:
    """The text with lone surrogates, which are no characters, replaced as Go's decoder does."""
    return text if text.isascii() else _SURROGATES.sub("\N{REPLACEMENT CHARACTER}", text)


def as_double(number: float) -> float:
    """The number as a double, which is what every number of a value is.

    Raises:
        InvalidValueError: an integer beyond the range of doubles.
    """
    try:
        return float(number)
    except OverflowError:
        raise InvalidValueError("number is out of the range of a double") from None


def _plain_number(x: float) -> str:
    if x and abs(x) < _EXACT_BELOW and x.is_integer():
        return str(int(x))
    text = format(Decimal(repr(x)), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _write(value: Value, parts: list[str], levels: int) -> None:
    if isinstance(value, str):
        parts.append(_quoted(value))
    elif value is None or value is UNSET:
        parts.append("null")
    elif isinstance(value, bool):
        parts.append("true" if value else "false")
    elif isinstance(value, (int, float)):
        parts.append(go_number(value))
    elif isinstance(value, list):
        deeper = next_level(levels)
        parts.append("[")
        for position, item in enumerate(value):
            parts.append("," if position else "")
            _write(item, parts, deeper)
        parts.append("]")
    else:
        deeper = next_level(levels)
        parts.append("{")
        for position, key in enumerate(sorted(value)):
            parts.append(f"{',' if position else ''}{_quoted(key)}:")
            _write(value[key], parts, deeper)
        parts.append("}")


def _quoted(text: str) -> str:
    return f'"{_ESCAPES.sub(_escape, text)}"'


def _escape(match: re.Match[str]) -> str:
    character = match[0]
    if "\ud800" <= character <= "\udfff":
        return well_formed(character)
    return _SHORT_ESCAPES.get(character) or f"\\u{ord(character):04x}"


def _no_constant(name: str) -> NoReturn:
    raise InvalidValueError(f"{name} is not a JSON number")


def _parse_float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise InvalidValueError("number is out of the range of a double")
    return number


def _parse_int(text: str) -> int:
    if len(text) > _DIGITS_WITHOUT_DOUBT:
        _parse_float(text)
    return int(text)

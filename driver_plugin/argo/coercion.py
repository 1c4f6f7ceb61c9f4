"""How an argument's JSON becomes a typed value: one function per kind (spec DRIVER 1.2).

Argo can only substitute strings, compilers differ, so every kind accepts its native JSON form and its
string form. Errors are :class:`ArgumentError` naming the argument; text from the caller is shortened.
"""

import math
import re
from collections.abc import Mapping
from typing import Any, Final

import orjson

from driver_plugin.argo.requests import RequestError, load_json
from driver_plugin.errors import ArgumentError
from driver_plugin.system_logs.redaction import redact

MAX_JSON_ARGUMENT: Final = 1 << 20
"""Bytes of one JSON-typed argument (spec DRIVER 15)."""

_INTEGER: Final = re.compile(r"\s*-?[0-9]+\s*", re.ASCII)
_INTEGER_CHARACTERS: Final = 32
_TRUE: Final = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE: Final = frozenset({"0", "f", "F", "FALSE", "false", "False"})
_UNRESOLVED: Final = ("{{inputs.", "{{workflow.", "{{tasks.")
_INT64: Final = range(-(1 << 63), 1 << 63)
_QUOTED: Final = 64


def as_string(args: Mapping[str, Any], name: str, default: str = "") -> str:
    """A string; numbers and booleans in their JSON spelling; null and absent are the default."""
    value = args.get(name)
    if value is None:
        return default
    if isinstance(value, (dict, list)):
        raise _invalid(name, value)
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    refuse_placeholder(name, text)
    return text


def as_integer(args: Mapping[str, Any], name: str) -> int | None:
    """A 64-bit integer: native, integral float, or decimal text; ``None`` when null, absent or empty."""
    value = args.get(name)
    if value is None or value == "":
        return None
    number: int | None = None
    if isinstance(value, str):
        refuse_placeholder(name, value)
        if len(value) <= _INTEGER_CHARACTERS and _INTEGER.fullmatch(value):
            number = int(value)
    elif isinstance(value, int) and not isinstance(value, bool):
        number = value
    elif isinstance(value, float) and math.isfinite(value) and value.is_integer():
        number = int(value)
    if number is None or number not in _INT64:
        raise _invalid(name, value)
    return number


def as_boolean(args: Mapping[str, Any], name: str) -> bool | None:
    """A boolean: native, or one of Go's spellings; ``None`` when null, absent or empty."""
    value = args.get(name)
    if value is None or value == "":
        return None
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        refuse_placeholder(name, value)
        if value in _TRUE or value in _FALSE:
            return value in _TRUE
    raise _invalid(name, value)


def as_object(args: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    """A JSON object, as is or as text; ``None`` when null, absent or empty.

    Placeholders are not looked for: these arguments carry user data. Parse errors never echo the text.
    """
    value = args.get(name)
    if value is None or value == "":
        return None
    if isinstance(value, str):
        if len(value) > MAX_JSON_ARGUMENT:
            raise _too_large(name)
        encoded = value.encode("utf-8")
        if len(encoded) > MAX_JSON_ARGUMENT:
            raise _too_large(name)
        try:
            value = load_json(encoded)
        except RequestError as error:
            raise ArgumentError(f"invalid {name} value: {error}") from None
    elif len(orjson.dumps(value)) > MAX_JSON_ARGUMENT:
        raise _too_large(name)
    if value is None:
        return None
    if not isinstance(value, dict):
        raise ArgumentError(f"invalid {name} value: not a JSON object")
    return value


def as_string_map(args: Mapping[str, Any], name: str) -> dict[str, str]:
    """A JSON object of strings, as is or as text; empty when null, absent or empty."""
    value = as_object(args, name) or {}
    if not all(isinstance(entry, str) for entry in value.values()):
        raise ArgumentError(f"invalid {name} value: every value must be a string")
    return value


def refuse_placeholder(name: str, text: str) -> None:
    """Raise when Argo left one of its tags in the text."""
    if any(tag in text for tag in _UNRESOLVED):
        raise ArgumentError(f"unresolved placeholder in argument {name}")


def _invalid(name: str, value: Any) -> ArgumentError:
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    if len(text) > _QUOTED:
        text = redact(text)[:_QUOTED] + "..."  # filtered before the cut: half a credential looks like none
    return ArgumentError(f'invalid {name} value "{text}"')


def _too_large(name: str) -> ArgumentError:
    return ArgumentError(f"invalid {name} value: larger than {MAX_JSON_ARGUMENT} bytes")

"""JSON text inside a Workflow: the encoding of embedded specs and of the runtime config.

Two encodings of the same value (spec COMPILER 5 and 10.3):

* *plain*: byte for byte what KFP's API server writes (protojson re-encoded by Go), for parity;
* *hardened*: pure ASCII without ``{{``, so that Argo, which substitutes tags in the text and quotes
  replacements the Go way, hands the value on unchanged whatever a user wrote into it.
"""

import json
import math
import re
from decimal import Decimal
from typing import Any, Final

from compiler.errors import CompileError

_NOT_IN_GO_JSON: Final = {
    ord("<"): "\\u003c",
    ord(">"): "\\u003e",
    ord("&"): "\\u0026",
    0x2028: "\\u2028",
    0x2029: "\\u2029",
}
_SURROGATES: Final = re.compile("[\ud800-\udfff]")
_FIXED_BELOW: Final = 1e21


def stable_json(value: object, *, hardened: bool) -> str:
    """``value`` as JSON without whitespace, keys in code point order.

    Args:
        value: JSON data; numbers must be finite.
        hardened: choose the encoding that survives Argo's substitution; integers stay exact in it,
            where the plain one rounds those beyond 2**53 as upstream does.
    """
    return _encode(value, hardened=hardened)


def _encode(value: Any, *, hardened: bool) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int():
            rounded = _go_integer(value)
            return str(value) if hardened else rounded
        case float():
            return go_json_number(value)
        case str():
            return _hardened_text(value) if hardened else _go_text(value)
        case dict():
            members = (
                f"{_encode(str(key), hardened=hardened)}:{_encode(value[key], hardened=hardened)}"
                for key in sorted(value)
            )
            return "{" + ",".join(members) + "}"
        case list() | tuple():
            return "[" + ",".join(_encode(item, hardened=hardened) for item in value) + "]"
    raise TypeError(f"{type(value).__name__} is not JSON")


def _go_integer(number: int) -> str:
    try:
        return go_json_number(float(number))
    except OverflowError as error:
        raise CompileError("an integer is too large for a JSON number") from error


def _go_text(text: str) -> str:
    """Go's string encoding; a lone surrogate is U+FFFD there, as Go strings are UTF-8."""
    whole = _SURROGATES.sub("\N{REPLACEMENT CHARACTER}", text)
    return json.dumps(whole, ensure_ascii=False).translate(_NOT_IN_GO_JSON)


def _hardened_text(text: str) -> str:
    return json.dumps(text, ensure_ascii=True).replace("\x7f", "\\u007f").replace("{{", "\\u007b\\u007b")


def go_json_number(number: float) -> str:
    """A float64 as Go's ``encoding/json`` writes it: ``3``, ``0.25``, ``1e-7``, ``1e+21``."""
    return _go_number(number, fixed_from=1e-6)


def go_text_number(number: float) -> str:
    """A float64 as Go's ``%v`` prints it: ``2``, ``1.5``, ``1e-05``."""
    text = _go_number(number, fixed_from=1e-4)
    return re.sub(r"e-(\d)$", r"e-0\1", text)


def _go_number(number: float, *, fixed_from: float) -> str:
    if not math.isfinite(number):
        raise CompileError(f"{number} is not a JSON number")
    if number == 0:
        return "-0" if math.copysign(1.0, number) < 0 else "0"
    digits = Decimal(repr(number)).normalize()
    if fixed_from <= abs(number) < _FIXED_BELOW:
        return format(digits, "f")
    mantissa, _, exponent = format(digits, "e").partition("e")
    return f"{mantissa}e{int(exponent):+d}"

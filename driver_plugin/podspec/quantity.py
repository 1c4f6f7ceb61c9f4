"""Kubernetes quantities in canonical form (spec PODSPEC 5.3).

The value is exact; only digits below 1e-9 are rounded, away from zero, as Kubernetes does. Kubernetes
keeps the text of some quantities that are not canonical, so compare quantities by value.
"""

import re
from decimal import ROUND_UP, Context, Decimal
from typing import Final

from driver_plugin.podspec.errors import QuantityError
from kfp_api.shortening import beginning

_QUANTITY: Final = re.compile(
    r"(?P<number>[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+))"
    r"(?:(?P<decimal>[numkMGTPE]?)|(?P<binary>[KMGTPE]i)|[eE](?P<exponent>[+-]?[0-9]+))"
)
_DECIMAL_POWERS: Final = {
    "n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18,
}  # fmt: skip
_DECIMAL_SUFFIXES: Final = {power: suffix for suffix, power in _DECIMAL_POWERS.items()}
_BINARY_SUFFIXES: Final = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")
_LARGEST_DECIMAL_POWER: Final = 18
_LARGEST_BINARY: Final = 2**63 - 1
_SMALLEST: Final = Decimal("1e-9")
_KIBI: Final = 1024

_MAX_TEXT: Final = 100
_MAX_EXPONENT: Final = 100
_EXACT: Final = Context(prec=500)


def canonical_quantity(text: str) -> str:
    """The canonical text of a quantity: ``0.5G`` gives ``500M``, ``1024Mi`` gives ``1Gi``.

    Raises:
        QuantityError: the text is not a quantity.
    """
    value, family = _parse(text)
    if value == 0:
        return "0"
    if family == "binary" and abs(value) >= _KIBI and value == value.to_integral_value():
        return _binary_text(int(value))
    return _decimal_text(value, exponent=family == "exponent")


def quantity_value(text: str) -> Decimal:
    """The exact value of a quantity in its base unit, rounded to 1e-9 away from zero.

    Raises:
        QuantityError: the text is not a quantity.
    """
    return _parse(text)[0]


def _parse(text: str) -> tuple[Decimal, str]:
    match = _QUANTITY.fullmatch(text) if len(text) <= _MAX_TEXT else None
    if match is None:
        raise _no_quantity(text)
    number = Decimal(match["number"])
    if match["binary"]:
        scaled = _EXACT.multiply(number, Decimal(_KIBI) ** _BINARY_SUFFIXES.index(match["binary"]))
        value = max(-Decimal(_LARGEST_BINARY), min(Decimal(_LARGEST_BINARY), scaled))
        return _rounded(value), "binary"
    if match["exponent"]:
        exponent = int(match["exponent"])
        if abs(exponent) > _MAX_EXPONENT:
            raise _no_quantity(text)
        return _rounded(_EXACT.scaleb(number, exponent)), "exponent"
    return _rounded(_EXACT.scaleb(number, _DECIMAL_POWERS[match["decimal"]])), "decimal"


def _no_quantity(text: str) -> QuantityError:
    # The reason is Kubernetes' own text, which people search for.
    starts_well = re.match(r"[+-]?\.?[0-9]", text)
    reason = ": unable to parse quantity's suffix" if starts_well else ""
    return QuantityError(f'"{beginning(text, _MAX_TEXT)}" is not a quantity such as 500m, 2 or 1.5Gi{reason}')


def _rounded(value: Decimal) -> Decimal:
    return value.quantize(_SMALLEST, rounding=ROUND_UP, context=_EXACT)


def _binary_text(value: int) -> str:
    power = 0
    while abs(value) >= _KIBI and value % _KIBI == 0:
        value, power = value // _KIBI, power + 1
    return f"{value}{_BINARY_SUFFIXES[power]}"


def _decimal_text(value: Decimal, *, exponent: bool) -> str:
    sign, digits, power = value.normalize(_EXACT).as_tuple()
    assert isinstance(power, int)
    number = int("".join(map(str, digits)))
    while power % 3 or (not exponent and power > _LARGEST_DECIMAL_POWER):
        number, power = number * 10, power - 1
    suffix = (f"e{power}" if power else "") if exponent else _DECIMAL_SUFFIXES[power]
    return f"{'-' if sign else ''}{number}{suffix}"

"""Kubernetes quantities: parsing, and the canonical spelling that the API server would store."""

import re
from decimal import ROUND_CEILING, Decimal, localcontext
from typing import Final

_PATTERN: Final = re.compile(
    r"([+-]?)([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(Ki|Mi|Gi|Ti|Pi|Ei|[numkMGTPE]?|[eE][-+]?[0-9]{1,3})"
)
_BINARY: Final = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")
_DECIMAL: Final = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_DECIMAL_SUFFIX: Final = {exponent: suffix for suffix, exponent in _DECIMAL.items()}
_STEP: Final = 1024


class Quantity:
    """A parsed quantity.

    Args:
        text: for example ``1.5Gi``, ``500m``, ``1e3``.

    Raises:
        ValueError: the text is not a quantity.
    """

    def __init__(self, text: str) -> None:
        if (match := _PATTERN.fullmatch(text)) is None:
            raise ValueError(
                "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
            )
        sign, digits, self._suffix = match.groups()
        with localcontext(prec=400):
            exact = Decimal(sign + digits) * self._factor()
            # Nothing below a nano-unit exists; Kubernetes rounds away from zero.
            nano = (abs(exact) * 10**9).to_integral_value(ROUND_CEILING)
            self.value: Decimal = (nano if exact >= 0 else -nano) / 10**9

    def __str__(self) -> str:
        """The canonical form: no fraction, the largest suffix that allows it."""
        with localcontext(prec=400):
            if self.value == 0:
                return "0"
            if self._suffix in _BINARY[1:] and abs(self.value) >= _STEP:
                return self._binary()
            return self._decimal(exponents=self._suffix not in (*_BINARY, *_DECIMAL))

    def _factor(self) -> Decimal:
        if self._suffix in _BINARY:
            return Decimal(_STEP) ** _BINARY.index(self._suffix)
        if self._suffix in _DECIMAL:
            return Decimal(10) ** _DECIMAL[self._suffix]
        return Decimal(10) ** int(self._suffix[1:])

    def _binary(self) -> str:
        magnitude = int(abs(self.value).to_integral_value(ROUND_CEILING))
        power = 0
        while magnitude % _STEP == 0 and power < len(_BINARY) - 1:
            magnitude //= _STEP
            power += 1
        return f"{'-' if self.value < 0 else ''}{magnitude}{_BINARY[power]}"

    def _decimal(self, *, exponents: bool) -> str:
        mantissa, exponent = int((self.value * 10**9).to_integral_value()), -9
        while mantissa % 1000 == 0 and exponent < max(_DECIMAL_SUFFIX):
            mantissa //= 1000
            exponent += 3
        if exponents:
            return f"{mantissa}e{exponent}" if exponent else str(mantissa)
        return f"{mantissa}{_DECIMAL_SUFFIX[exponent]}"

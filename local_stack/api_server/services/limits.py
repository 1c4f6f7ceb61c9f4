"""Lengths that the columns of KFP's database impose (spec KFP_API section 12 and D11)."""

import math
from typing import Final

from local_stack.api_server.errors import InvalidInputError

NAME: Final = 128
FINGERPRINT: Final = 255
URI: Final = 2048
KEY: Final = 191
RUN_TEXT: Final = 255


def check_length(field: str, value: str | None, limit: int) -> None:
    """Refuse text above ``limit`` characters.

    Raises:
        InvalidInputError: names field and limit.
    """
    if value is not None and len(value) > limit:
        raise InvalidInputError(f"{field} must not be longer than {limit} characters, got {len(value)}")


def check_finite(field: str, value: float | None) -> None:
    """Refuse NaN and infinities, which no column or Value can hold.

    Raises:
        InvalidInputError: names the field.
    """
    if value is not None and not math.isfinite(value):
        raise InvalidInputError(f"{field} must be finite")

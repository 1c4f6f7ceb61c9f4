"""Request bodies: JSON text of wire data, refusing what JSON or the server cannot hold."""

import json
import math
from typing import Any

import orjson

from kfp_api.errors import ApiRequestError


def encode_body(body: Any, operation: str) -> bytes:
    """UTF-8 JSON text of ``body``.

    Args:
        body: JSON-ready data.
        operation: RPC name for the error's text.

    Raises:
        ApiRequestError: a number is NaN or infinite, or a text is not valid Unicode.
    """
    # orjson would write null, and the server would then silently store nothing.
    if (number := _non_finite(body)) is not None:
        raise ApiRequestError(f"KFP API {operation}: the number {number} cannot be sent as JSON")
    try:
        return orjson.dumps(body)
    except orjson.JSONEncodeError:
        pass
    try:
        # Integers of more than 64 bits: the server reads them as doubles anyway.
        return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
    except (TypeError, ValueError) as error:
        raise ApiRequestError(f"KFP API {operation}: the request cannot be encoded: {error}") from error


def _non_finite(value: Any) -> float | None:
    if isinstance(value, float):
        return None if math.isfinite(value) else value
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, list):
        return None
    return next((found for item in value if (found := _non_finite(item)) is not None), None)

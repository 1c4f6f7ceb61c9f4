"""Durations as Argo writes them: ``90`` (seconds), ``1500ms``, ``1h30m``."""

import re
from typing import Final

_UNITS: Final = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
    "d": 86400.0,
}
_PART: Final = re.compile(r"(\d+(?:\.\d+)?|\.\d+)(ns|us|µs|ms|s|m|h|d)")


def parse_duration(text: str, *, bare_seconds: bool = True) -> float:
    """Seconds of a duration; a bare number counts as seconds where ``bare_seconds`` allows it.

    Raises:
        ValueError: not a duration.
    """
    stripped = text.strip()
    if bare_seconds and re.fullmatch(r"\d+(\.\d+)?", stripped):
        return float(stripped)
    parts = list(_PART.finditer(stripped))
    if not parts or "".join(part.group(0) for part in parts) != stripped:
        raise ValueError(f"invalid duration {text!r}")
    return sum(float(part.group(1)) * _UNITS[part.group(2)] for part in parts)

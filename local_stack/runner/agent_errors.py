"""Which failures Argo's agent repeats: the rules are applied to any error text (spec LAUNCHER D4)."""

import os
import re
from typing import Final

_PATTERNS: Final = (
    "connection refused",
    "unexpected EOF",
    "no such host",
    "i/o timeout",
    "connection timed out",
    "connection reset by peer",
    "TLS handshake timeout",
    "Connection closed by foreign host",
    "http2: client connection lost",
    "GOAWAY",
    "invalid connection",
    "request did not complete within requested timeout",
    "etcdserver: leader changed",
    "etcdserver: request timed out",
    "too many requests",
)
_TRANSIENT: Final = re.compile("|".join(re.escape(pattern) for pattern in _PATTERNS))


def is_transient(text: str) -> bool:
    """Whether Argo takes an error with this text for temporary; honours ``TRANSIENT_ERROR_PATTERN``."""
    if _TRANSIENT.search(text):
        return True
    extra = os.environ.get("TRANSIENT_ERROR_PATTERN", "")
    return bool(extra) and re.search(extra, text) is not None

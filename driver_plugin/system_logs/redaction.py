r"""The filter that every log line and node message passes: no secrets, one record on one line.

Replaces JSON web tokens, AWS access keys, bearer credentials, passwords in URLs and PEM blocks, and
escapes control characters (``\n``, ``\x1b``), so that text chosen by a user can neither leak what the
service holds nor forge log lines or terminal sequences (spec DEPLOY 9.6).
"""

import re
from collections.abc import Mapping
from typing import Any, Final

HIDDEN: Final = "***"

# Every quantifier below is bounded or runs over text that no other starting point scans again, so matching
# stays linear in the text, whoever wrote it.
_SECRETS: Final = (
    (re.compile(r"-----BEGIN [A-Z0-9 ]{1,64}-----[^-]*(?:-----END [A-Z0-9 ]{1,64}-----)?"), HIDDEN),
    (re.compile(r"eyJ[A-Za-z0-9_-]{4,2048}\.eyJ[A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]*)?"), HIDDEN),
    (re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{12,}"), HIDDEN),
    (re.compile(r"(?i)\b(bearer|basic)[ \t]+[A-Za-z0-9._~+/=-]{8,}"), r"\1 " + HIDDEN),
    (re.compile(r"""(?<=://)[^/\s?#@:"']*:[^/\s?#"']*@"""), HIDDEN + "@"),
)
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_SHORT: Final = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}
_SECRET_KEY: Final = re.compile(r"(?i)pass|secret|token|key|credential|auth")
_NAMES_A_THING: Final = frozenset({"key", "cache_key", "parameter_key", "task_key", "artifact_key"})


def clean(text: str) -> str:
    """``text`` without secrets and without control characters."""
    return escape_controls(redact(text))


def redact(text: str) -> str:
    """``text`` with everything that looks like a credential replaced."""
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


def escape_controls(text: str) -> str:
    r"""``text`` with control characters written as ``\n``, ``\r``, ``\t``, ``\xNN`` or ``\uNNNN``."""
    return _CONTROL.sub(_escape, text)


def is_secret_key(key: str) -> bool:
    """Whether a value under this name is never logged (passwords, tokens, keys, credentials)."""
    return key not in _NAMES_A_THING and _SECRET_KEY.search(key) is not None


def hide_secret_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """A copy in which the values of secret-sounding keys are hidden, at every depth of objects and lists."""
    return {key: HIDDEN if is_secret_key(str(key)) else _hide_inside(value) for key, value in values.items()}


def clean_deep(value: Any) -> Any:
    """A copy of JSON-like data whose texts and keys are clean."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, Mapping):
        return {clean(str(key)): clean_deep(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [clean_deep(item) for item in value]
    return value


def _hide_inside(value: Any) -> Any:
    if isinstance(value, Mapping):
        return hide_secret_values(value)
    if isinstance(value, (list, tuple)):
        return [_hide_inside(item) for item in value]
    return value


def _escape(match: re.Match[str]) -> str:
    character = match.group()
    code = ord(character)
    return _SHORT.get(character) or (f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}")  # noqa: PLR2004

r"""The filter that every log line and every message passes: no secrets, one record on one line.

Three rules, because no single one catches everything (spec DEPLOY 9.6): what *looks* like a credential goes
wherever it stands (JSON web tokens, keys of well-known services, bearer credentials, PEM blocks); what is
*assigned* to a secret-sounding name goes, in data and in text; and what the caller knows to be secret
(:func:`secret_texts`) goes by its value. Control characters are escaped (``\n``, ``\x1b``), so that text
chosen by a user can neither leak what the service holds nor forge log lines or terminal sequences.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import lru_cache
from types import NoneType
from typing import Any, Final

HIDDEN: Final = "***"

# Every quantifier below is bounded or runs over text that no other starting point scans again, so matching
# stays linear in the text, whoever wrote it.
_SERVICE_KEYS: Final = r"""(?x) \b (?:
      (?:AKIA|ASIA)[A-Z0-9]{12,} | gh[pousr]_[A-Za-z0-9]{16,} | github_pat_\w{16,} | glpat-[\w-]{16,}
    | xox[abeprs]-[\w-]{8,} | AIza[\w-]{24,} | ya29\.[\w.-]{8,} | sk-[\w-]{16,} | [rs]k_(?:live|test)_\w{8,}
    | hf_[A-Za-z0-9]{16,} | npm_[A-Za-z0-9]{24,} | pypi-[\w-]{16,} | dckr_pat_[\w-]{8,}
    | SG\.[\w-]{8,}\.[\w-]{8,} )"""
"""AWS, GitHub, GitLab, Slack, Google, OpenAI and Anthropic, Stripe, Hugging Face, registries, SendGrid."""

_SECRETS: Final = (
    (
        re.compile(r"-----BEGIN [A-Z0-9 ]{1,64}-----(?:(?!-----)[\s\S])*(?:-----END [A-Z0-9 ]{1,64}-----)?"),
        HIDDEN,
    ),
    (re.compile(r"eyJ[A-Za-z0-9_-]{4,2048}\.eyJ[A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]*)?"), HIDDEN),
    (re.compile(_SERVICE_KEYS), HIDDEN),
    (re.compile(r"(?i)\b(bearer|basic)[ \t]+[A-Za-z0-9._~+/=-]{8,}"), r"\1 " + HIDDEN),
    (re.compile(r"""(?<=://)[^/\s?#"']*@"""), HIDDEN + "@"),
)
_KINDS_OF_KEYS: Final = ("api", "access", "private", "account", "secret", "signing", "encryption")
_ASSIGNMENT: Final = re.compile(
    r"""(?ix)
    (?P<name>
      (?: passw(?:or)?d | passphrase | pwd | secret | token | cookie | credentials? | authorization
        | (?:{KINDS_OF_KEYS})[-_]?key
        | signature | \bsig | \bauth (?=\W) )
      [\w-]{0,32} )
    (?P<joint> \\{0,7}["']? \s{0,4} (?: [:=] | \bvalue\b ) \s{0,4} )
    (?P<value> \\{1,7}"[^"]*"? | "(?:[^"\\]|\\.)*"? | '[^']*'? | [^\s,;&"'}\])]+ )
    """.replace("{KINDS_OF_KEYS}", "|".join(_KINDS_OF_KEYS))
)
_DESCRIBES: Final = re.compile(
    r"(?i)(?:path|file|mode|dir|names?|audience|id|ids|ref|url|uri|count|bytes|digest|type|expiry|seconds)$"
)
"""Endings of names whose values describe a secret and are none: ``KFP_TOKEN_PATH``, ``secretName``."""

_HINTS: Final = (
    *("-----begin", "eyj", "akia", "asia", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-"),
    *("xox", "aiza", "ya29.", "sk-", "k_live_", "k_test_", "hf_", "npm_", "pypi-", "dckr_pat_", "sg."),
    *("bearer", "basic", "@", "passw", "passphrase", "pwd", "secret", "token", "cookie", "credential"),
    *("auth", "sig"),
)
_KEY_HINTS: Final = tuple(f"{kind}{joint}key" for kind in _KINDS_OF_KEYS for joint in ("", "-", "_"))
"""Lower-case texts of which every match of a pattern has at least one; most texts have none of them.

Only for ASCII: beyond it, a letter of any case can be written in more ways than :meth:`str.lower` undoes.
"""

_SHORT_TEXT: Final = 64
"""Characters up to which a result is remembered: names of fields and events come again and again."""

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_SHORT: Final = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}
_SECRET_KEY: Final = re.compile(r"(?i)pass|secret|token|key|credential|auth")
_NAMES_A_THING: Final = frozenset({"key", "cache_key", "parameter_key", "task_key", "artifact_key"})
_SHORTEST_SECRET: Final = 6
"""Characters; shorter values of secret parameters would make holes in unrelated text."""


def clean(text: str, secrets: Collection[str] = ()) -> str:
    """``text`` without secrets and without control characters."""
    return escape_controls(redact(text, secrets))


def is_clean_json(text: str) -> bool:
    """Whether no string in a JSON text has anything to filter; in doubt, as with escapes, it says no."""
    return text.isascii() and "\\" not in text and "\x7f" not in text and not _has_hint(text.lower())


def redact(text: str, secrets: Collection[str] = ()) -> str:
    """``text`` with everything replaced that looks like a credential or is one of ``secrets``."""
    text = _replace(text, secrets)
    return _redact_short(text) if len(text) <= _SHORT_TEXT else _redact(text)


def _redact(text: str) -> str:
    if text.isascii() and not _has_hint(text.lower()):
        return text
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return _ASSIGNMENT.sub(_hide_assigned, text)


def _has_hint(lowered: str) -> bool:
    # A plain loop: this runs for every text of every record, and a generator takes twice as long.
    for hint in _HINTS:
        if hint in lowered:
            return True
    return "key" in lowered and any(hint in lowered for hint in _KEY_HINTS)


_redact_short = lru_cache(maxsize=4096)(_redact)


def escape_controls(text: str) -> str:
    r"""``text`` with control characters written as ``\n``, ``\r``, ``\t``, ``\xNN`` or ``\uNNNN``."""
    return _CONTROL.sub(_escape, text)


@lru_cache(maxsize=4096)
def is_secret_key(key: str) -> bool:
    """Whether a value under this name is never logged (passwords, tokens, keys, credentials)."""
    return key not in _NAMES_A_THING and _SECRET_KEY.search(key) is not None


def hide_secret_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """A copy in which the values of secret-sounding keys are hidden, at every depth of objects and lists."""
    return {key: HIDDEN if is_secret_key(str(key)) else _hide_inside(value) for key, value in values.items()}


def secret_texts(values: Mapping[str, Any]) -> frozenset[str]:
    """The texts below secret-sounding keys, at every depth, for :func:`redact`."""
    return frozenset(text for text in _below_secret_keys(values) if len(text) >= _SHORTEST_SECRET)


def clean_deep(value: Any) -> Any:
    """A copy of JSON-like data whose texts and keys are clean."""
    return _each_text(value, clean)


def replace_deep(value: Any, secrets: Collection[str]) -> Any:
    """A copy of JSON-like data in which no text or key holds one of ``secrets``."""
    return _each_text(value, lambda text: _replace(text, secrets)) if secrets else value


def _replace(text: str, secrets: Collection[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, HIDDEN)
    return text


def _each_text(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {change(str(key)): _each_text(item, change) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_each_text(item, change) for item in value]
    return value


def _hide_assigned(match: re.Match[str]) -> str:
    if _DESCRIBES.search(match["name"]):
        return match.group()
    return f"{match['name']}{match['joint']}{HIDDEN}"


def _below_secret_keys(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _texts(item) if is_secret_key(str(key)) else _below_secret_keys(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _below_secret_keys(item)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value.strip()
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _texts(item)


def _hide_inside(value: Any) -> Any:
    if isinstance(value, (str, int, float, NoneType)):
        return value
    if isinstance(value, Mapping):
        return hide_secret_values(value)
    if isinstance(value, (list, tuple)):
        return [_hide_inside(item) for item in value]
    return value


def _escape(match: re.Match[str]) -> str:
    character = match.group()
    code = ord(character)
    return _SHORT.get(character) or (f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}")  # noqa: PLR2004

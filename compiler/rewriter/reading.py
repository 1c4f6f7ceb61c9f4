"""Reading parts of a Workflow that anybody may have written: of the right type, or refused by name."""

from typing import Any

from compiler.rewriter.errors import Refusal, RewriteRefused, shown

_EXPECTED: dict[type[Any], str] = {dict: "an object", list: "a list", str: "a text"}


def mapping(value: object, where: str) -> dict[str, Any]:
    """An object; absent and null are an empty one."""
    if value is None:
        return {}
    if isinstance(value, dict):
        return value
    raise _malformed(value, where, dict)


def sequence(value: object, where: str) -> list[Any]:
    """A list; absent and null are an empty one."""
    if value is None:
        return []
    if isinstance(value, list):
        return value
    raise _malformed(value, where, list)


def text(value: object, where: str) -> str:
    """A text; absent and null are the empty one."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    raise _malformed(value, where, str)


def _malformed(value: object, where: str, expected: type[Any]) -> RewriteRefused:
    found = {**_EXPECTED, bool: "a boolean"}.get(type(value), "a number")
    return RewriteRefused(Refusal.MALFORMED, f"{shown(where)}: expected {_EXPECTED[expected]}, got {found}")

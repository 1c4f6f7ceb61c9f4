"""The command line of a driver, read as Go's ``flag`` package reads it (spec COMPILER 11.3)."""

from collections.abc import Sequence
from typing import Final

from compiler.rewriter.errors import Refusal, RewriteRefused, shown

_SWITCHES: Final = frozenset({"cache_disabled", "ml_pipeline_tls_enabled", "metadata_tls_enabled"})
_BOOLEANS: Final = {
    **dict.fromkeys(("1", "t", "T", "TRUE", "true", "True"), True),
    **dict.fromkeys(("0", "f", "F", "FALSE", "false", "False"), False),
}

Flags = dict[str, str | bool]
"""Values by flag name; switches are booleans."""


def parse_flags(arguments: Sequence[str], *, template: str) -> Flags:
    """The flags of a driver's argument list; the last of a repeated flag counts.

    Args:
        arguments: the container's ``args``.
        template: name of the template, for messages.

    Raises:
        RewriteRefused: an item is no flag and no flag's value, a value is missing, or a switch is neither
            true nor false.
    """
    flags: Flags = {}
    items = iter(arguments)
    for item in items:
        name, separator, value = _split(item)
        if not name:
            raise RewriteRefused(
                Refusal.STRAY_ARGUMENT,
                f'template "{template}": argument "{shown(item)}" is neither a flag nor a flag\'s value.',
            )
        if name in _SWITCHES:
            flags[name] = boolean(value, name, template=template) if separator else True
        elif separator:
            flags[name] = value
        elif (following := next(items, None)) is not None:
            flags[name] = following
        else:
            raise RewriteRefused(
                Refusal.BAD_VALUE, f'template "{template}": flag --{shown(name)} has no value.'
            )
    return flags


def mentions(arguments: Sequence[object], *names: str) -> bool:
    """Whether one of the flags stands anywhere in the list, read without any other rule."""
    return any(isinstance(item, str) and _split(item)[0] in names for item in arguments)


def boolean(value: str, name: str, *, template: str) -> bool:
    """A boolean in Go's spellings."""
    if value not in _BOOLEANS:
        raise RewriteRefused(
            Refusal.BAD_VALUE,
            f'template "{template}": --{name}: expected true or false, got "{shown(value)}".',
        )
    return _BOOLEANS[value]


def _split(item: str) -> tuple[str, str, str]:
    """Name, ``=`` and value of a flag; no name where the item is none (``--`` ends the flags)."""
    body = item[2:] if item.startswith("--") else item[1:] if item.startswith("-") else ""
    name, separator, value = body.partition("=")
    return ("", "", "") if name.startswith("-") else (name, separator, value)

"""Why a Workflow is not rewritten (spec COMPILER 11.4)."""

from enum import StrEnum

from compiler.errors import CompilerError

_SHOWN_CHARACTERS = 128


class Refusal(StrEnum):
    """What is in the way; the code comes first in every message."""

    MLMD = "MLMD"
    PLUGIN_MLMD = "PLUGIN_MLMD"
    HYBRID = "HYBRID"
    UNRECOGNIZED_DRIVER = "UNRECOGNIZED_DRIVER"
    UNRECOGNIZED_PLUGIN = "UNRECOGNIZED_PLUGIN"
    BAD_TYPE = "BAD_TYPE"
    STRAY_ARGUMENT = "STRAY_ARGUMENT"
    UNKNOWN_FLAG = "UNKNOWN_FLAG"
    MISSING_FLAG = "MISSING_FLAG"
    BAD_VALUE = "BAD_VALUE"
    UNSUPPORTED_ENV = "UNSUPPORTED_ENV"
    POD_SPEC_PATCH = "POD_SPEC_PATCH"
    MALFORMED = "MALFORMED"


class RewriteRefused(CompilerError):  # noqa: N818 (an answer as much as an error)
    """The object stays as it is; ``code`` and ``message`` say why."""

    def __init__(self, code: Refusal, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


def shown(text: object) -> str:
    """A foreign value as part of a message: one line, bounded; only texts and numbers are shown."""
    whole = str(text) if isinstance(text, str | int | float) else type(text).__name__
    cut = whole if len(whole) <= _SHOWN_CHARACTERS else f"{whole[:_SHOWN_CHARACTERS]}..."
    return "".join(character if character.isprintable() else "?" for character in cut)

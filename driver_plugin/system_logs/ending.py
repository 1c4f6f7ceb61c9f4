"""The last lines of a task's own output: what the author of a component that failed wants to read first.

Output of users is long and may hold anything. So only the end of it is read, the filter sees all that was
read before anything is cut, and a first line of which only a part was read is left out: half a credential
would pass the filter.
"""

import re
from collections.abc import Collection
from pathlib import Path
from typing import Final

from driver_plugin.system_logs.redaction import clean, redact
from driver_plugin.system_logs.store import end_of

READ_BYTES: Final = 64 << 10
"""How much of the end of a log is read."""

_LINES: Final = 5
_LINE_WIDTH: Final = 300
_UNDERLINE: Final = re.compile(r"[\s^~|]*")
"""Blank, or what Python draws below a line of code."""
_LAUNCHER_SAYS_IT_AGAIN: Final = "launcher: failed to execute launcher: "


def ending_of(data: bytes, *, whole: bool, secrets: Collection[str] = ()) -> tuple[str, ...]:
    """The last lines that say something, clean and of bounded width; none where there are none.

    Args:
        data: the end of a log.
        whole: whether it is all of the log, so that its first line is a whole one.
        secrets: texts that are known to be secret.
    """
    text = data.decode("utf-8", "replace")
    if not whole:
        text = text.partition("\n")[2]
    lines = [
        clean(line.rstrip())
        for line in redact(text, secrets).splitlines()
        if not _UNDERLINE.fullmatch(line) and not line.startswith(_LAUNCHER_SAYS_IT_AGAIN)
    ]
    return tuple(
        line if len(line) <= _LINE_WIDTH else f"{line[: _LINE_WIDTH - 1]}…" for line in lines[-_LINES:]
    )


def ending_of_file(path: Path, *, secrets: Collection[str] = ()) -> tuple[str, ...]:
    """The last lines of a log file; none where it cannot be read."""
    try:
        with path.open("rb") as file:
            data, whole = end_of(file, READ_BYTES)
    except OSError:
        return ()
    return ending_of(data, whole=whole, secrets=secrets)

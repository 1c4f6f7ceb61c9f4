"""Text for a person's terminal: every line cleaned, because users chose parts of it."""

import sys
from collections.abc import Iterable
from typing import TextIO

from driver_plugin.system_logs.redaction import clean


def print_lines(lines: Iterable[str], stream: TextIO | None = None) -> None:
    """Write lines without secrets and control characters; a closed pipe ends it quietly, as in ``| head``."""
    chosen = sys.stdout if stream is None else stream
    for line in lines:
        chosen.write(clean(line) + "\n")
    chosen.flush()


def print_text(text: str, stream: TextIO | None = None) -> None:
    """Write a text of several lines."""
    print_lines(text.splitlines(), stream)

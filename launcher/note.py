"""The launcher's own words, beside the output of the user's command."""

import sys


def note(text: str) -> None:
    """One line on stderr."""
    print(f"launcher: {text}", file=sys.stderr, flush=True)  # noqa: T201

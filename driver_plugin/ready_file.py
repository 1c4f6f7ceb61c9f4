"""The file by which a starting process tells its parent where it listens.

It appears whole or not at all, and goes when the process stops; a file that another process wrote in the
meantime stays.
"""

import os
from collections.abc import Mapping
from pathlib import Path

import orjson


class ReadyFile:
    """A ready file at ``path``; without a path it does nothing."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._content = b""

    def write(self, content: Mapping[str, object]) -> None:
        """Put ``content`` there as JSON, atomically.

        Raises:
            OSError: the file cannot be written.
        """
        if self._path is None:
            return
        self._content = orjson.dumps(content) + b"\n"
        partial = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        try:
            partial.write_bytes(self._content)
            partial.replace(self._path)
        except OSError:
            partial.unlink(missing_ok=True)
            raise

    def remove(self) -> None:
        """Take the file away, if it is still the one that was written."""
        if self._path is None or not self._content:
            return
        try:
            if self._path.read_bytes() == self._content:
                self._path.unlink()
        except FileNotFoundError:
            return

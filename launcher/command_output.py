"""The output of the user's command on its way from a pipe to our stdout and to the log (spec LAUNCHER A7).

A thread carries it: a terminal that stalls or a slow disk holds up the command, as it would without us, but
no signal and nothing else of ours.
"""

import asyncio
import os
import select
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, Final

from launcher.note import note

_STDOUT: Final = 1
_PIPE_BYTES: Final = 64 * 1024
"""What the kernel keeps in a pipe for its reader."""


class CommandOutput:
    """One command's output; the command writes to ``write_end``, which is closed here once it has started."""

    def __init__(self, log: BinaryIO | None) -> None:
        self._read_end, self.write_end = os.pipe()
        self._wake, self._stop = os.pipe()
        # A descriptor of our own: the thread may outlast the log's file object, and must not write elsewhere.
        self._log = os.dup(log.fileno()) if log is not None else None
        self._targets = {_STDOUT: "stdout"}
        if log is not None and self._log is not None:
            self._targets[self._log] = log.name
        self._under_way = False

    async def carry(self) -> None:
        """Carry the output until nobody holds the other end any more, or until :meth:`stop`."""
        self._under_way = True
        await asyncio.to_thread(self._carry)

    def stop(self) -> None:
        """Carry what is in the pipe and nothing later: a process out of our reach may still hold it."""
        os.write(self._stop, b".")

    def close(self) -> None:
        """Close everything, unless the thread that carries the output still stands in a write."""
        if not self._under_way:
            for descriptor in (self._read_end, self._wake, self._stop, self._log):
                if descriptor is not None:
                    os.close(descriptor)

    def _carry(self) -> None:
        left = _PIPE_BYTES
        try:
            while left > 0:
                readable, _, _ = select.select([self._read_end, self._wake], [], [])
                chunk = os.read(self._read_end, _PIPE_BYTES) if self._read_end in readable else b""
                if not chunk:
                    return
                self._write(chunk)
                if self._wake in readable:
                    left -= len(chunk)
        finally:
            self._under_way = False

    def _write(self, chunk: bytes) -> None:
        """Write to all that take it: a full disk or a closed terminal never stops the user's command."""
        for target, name in list(self._targets.items()):
            rest = memoryview(chunk)
            try:
                while rest:
                    rest = rest[os.write(target, rest) :]
            except OSError as error:
                del self._targets[target]
                note(f"output of the command is no longer written to {name}: {error.strerror}")


@contextmanager
def command_output(log: BinaryIO | None) -> Iterator[CommandOutput]:
    """The way of a command's output to our stdout and to ``log``; its pipes are closed with the block."""
    output = CommandOutput(log)
    try:
        yield output
    finally:
        output.close()

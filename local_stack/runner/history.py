"""What became of a run's nodes, on disk: the file that lets an interrupted run go on (spec LAUNCHER E7).

``nodes.jsonl`` gets one line per change of a node, handed to the kernel before the engine goes on: what a
killed runner knew is known to the next one. The last line of a node counts; a line that the kill cut off
was never acted upon.

A machine that loses power takes along what is not on its disk. :meth:`StateDirectory.synced` puts it there,
once for all who wait; the engine waits before it starts a pod, and nowhere else. Any other line may be lost:
a driver call is repeated and answered from its row, a pod that is known to have started is asked for by its
row. For that the rows must be on the disk before the lines are, which is the embedded API's promise.
"""

import asyncio
import errno
import json
import os
from collections.abc import Iterable, Mapping
from io import FileIO
from pathlib import Path
from typing import Any, Final

from local_stack.runner.nodes import Node, NodeType, Phase

LEAVES: Final = (NodeType.PLUGIN, NodeType.HTTP, NodeType.POD, NodeType.SUSPEND)
"""Nodes that do work. All others follow from these and are computed anew when a run goes on."""

_JOURNAL: Final = "nodes.jsonl"
_MANIFEST: Final = "workflow.json"


class StateDirectory:
    """``<data directory>/runs/<workflow name>``."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._journal: FileIO | None = None
        self._recorded = 0
        self._on_disk = 0
        self._syncing: asyncio.Task[None] | None = None

    @property
    def pods(self) -> Path:
        """Directories of pods, by node id."""
        return self.directory / "pods"

    def manifest(self) -> dict[str, Any] | None:
        """The workflow that runs here; ``None`` before it was stored."""
        try:
            found: dict[str, Any] = json.loads((self.directory / _MANIFEST).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        return found

    def create(self, manifest: Mapping[str, Any]) -> None:
        """Make the directory and store the workflow that is about to run."""
        self.pods.mkdir(parents=True, exist_ok=True)
        replace_file(self.directory / _MANIFEST, json.dumps(manifest, indent=1))
        for directory in (self.directory.parent, self.directory.parent.parent):
            sync_directory(directory)

    def nodes(self) -> dict[str, Node]:
        """Nodes of the run so far, by name."""
        try:
            text = (self.directory / _JOURNAL).read_bytes()
        except FileNotFoundError:
            return {}
        # Behind the last line feed stands nothing, or the line that a kill cut off.
        nodes = (Node.from_json(json.loads(line)) for line in text.split(b"\n")[:-1])
        return {node.name: node for node in nodes}

    def rewrite(self, nodes: Iterable[Node]) -> None:
        """Make ``nodes`` all that is known of the run, in one step."""
        self.close()
        replace_file(self.directory / _JOURNAL, "".join(_line(node) for node in nodes))

    def record(self, node: Node) -> None:
        """Note a changed node.

        Raises:
            OSError: it cannot be written; nothing of it is.
        """
        if self._journal is None:
            self._journal = _opened_behind_last_line(self.directory / _JOURNAL)
            sync_directory(self.directory)
        line = _line(node).encode()
        written = self._journal.write(line)
        if written != len(line):
            # No room for all of it: half a line would spoil the next one.
            self._journal.truncate(self._journal.tell() - written)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._recorded += 1

    async def synced(self) -> None:
        """Wait until all that is recorded so far would survive a loss of power.

        Raises:
            OSError: the disk does not take it.
        """
        wanted = self._recorded
        while self._on_disk < wanted:
            if self._syncing is None:
                self._syncing = asyncio.create_task(self._sync())
            await asyncio.shield(self._syncing)

    async def _sync(self) -> None:
        assert self._journal is not None, "what was recorded has a file"
        recorded = self._recorded
        try:
            # A handle of its own: the journal may be closed meanwhile.
            await asyncio.to_thread(_sync_and_close, os.dup(self._journal.fileno()))
            self._on_disk = recorded
        finally:
            self._syncing = None

    def close(self) -> None:
        """Put everything on the disk and let go of the file; a later record opens it again."""
        if self._journal is not None:
            os.fdatasync(self._journal.fileno())
            self._on_disk = self._recorded
            self._journal.close()
            self._journal = None


def kept_by_retry(nodes: Mapping[str, Node]) -> dict[str, Node]:
    """The nodes that RetryRun keeps: work that succeeded, and all attempts that led to a success.

    As KFP's own retry of a workflow, which drops every other node together with its pods.
    """
    succeeded_retries = [
        node for node in nodes.values() if node.type is NodeType.RETRY and node.phase is Phase.SUCCEEDED
    ]
    kept = {child for node in succeeded_retries for child in node.children}
    attempts = {child for node in nodes.values() if node.type is NodeType.RETRY for child in node.children}
    kept |= {
        node.name
        for node in nodes.values()
        if node.type in LEAVES and node.phase is Phase.SUCCEEDED and node.name not in attempts
    }
    return {name: node for name, node in nodes.items() if name in kept}


def replace_file(path: Path, text: str) -> None:
    """Write a file so that it is whole at every moment, loss of power included, and there afterwards."""
    temporary = path.with_name(f".{path.name}.new")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_directory(path.parent)


def _sync_and_close(handle: int) -> None:
    try:
        os.fdatasync(handle)
    finally:
        os.close(handle)


def sync_directory(path: Path) -> None:
    """Put the names of a directory's files on the disk."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _opened_behind_last_line(path: Path) -> FileIO:
    """The journal, ready for its next line; a line that a kill cut off goes first."""
    journal = FileIO(path, "a+")
    try:
        journal.seek(0)
        journal.truncate(journal.readall().rfind(b"\n") + 1)
        journal.seek(0, os.SEEK_END)
    except OSError:
        journal.close()
        raise
    return journal


def _line(node: Node) -> str:
    return json.dumps(node.to_json(), separators=(",", ":")) + "\n"

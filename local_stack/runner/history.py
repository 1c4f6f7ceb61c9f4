"""What became of a run's nodes, on disk: the file that lets an interrupted run go on (spec LAUNCHER E7).

``nodes.jsonl`` gets one line per change of a node, handed to the kernel before the engine goes on: what a
killed runner knew is known to the next one. The last line of a node counts; a line that the kill cut off
was never acted upon.
"""

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
        line = _line(node).encode()
        written = self._journal.write(line)
        if written != len(line):
            # No room for all of it: half a line would spoil the next one.
            self._journal.truncate(self._journal.tell() - written)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def close(self) -> None:
        """Let go of the file; a later record opens it again."""
        if self._journal is not None:
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
    """Write a file so that it is whole at every moment."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


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

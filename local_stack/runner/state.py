"""What a run leaves on disk: its manifest, its nodes and the directories of its pods (spec LAUNCHER E7)."""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from local_stack.runner.nodes import Node

_DELAY: Final = 0.05


class StateDirectory:
    """``<data directory>/runs/<workflow name>``; files are replaced whole, never half written.

    ``nodes.json`` follows every change of a node; changes within 50 ms share one write.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._nodes: dict[str, Node] = {}
        self._pending: asyncio.TimerHandle | None = None

    @property
    def pods(self) -> Path:
        """Directories of pods, by node id."""
        return self.directory / "pods"

    def create(self, manifest: Mapping[str, Any]) -> None:
        """Make the directory and store the workflow that is about to run."""
        self.pods.mkdir(parents=True, exist_ok=True)
        _replace(self.directory / "workflow.json", manifest)

    def record(self, node: Node) -> None:
        """Note a changed node; the file follows shortly."""
        self._nodes[node.name] = node
        if self._pending is None:
            self._pending = asyncio.get_running_loop().call_later(_DELAY, self.flush)

    def flush(self) -> None:
        """Write ``nodes.json`` now."""
        if self._pending is not None:
            self._pending.cancel()
            self._pending = None
        _replace(
            self.directory / "nodes.json", {node.id: node.to_json() for node in list(self._nodes.values())}
        )


def _replace(path: Path, document: object) -> None:
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(document, indent=1))
    temporary.replace(path)

"""What a local run shows while it runs: one line per event, and on a terminal the tasks at work below.

On a terminal the running tasks are redrawn in place; anywhere else lines are only ever appended, so that
a log file of a run reads like a log.
"""

import asyncio
import io
import os
import re
import shutil
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TextIO

from local_stack.runner.nodes import Node, NodeType, Phase

_ITERATION: Final = re.compile(r"iteration-iterations\((\d+):.*\)")
_ATTEMPT: Final = re.compile(r"(.*)\((\d+)\)")
_REDRAW_SECONDS: Final = 0.2
_STATE_WIDTH: Final = 10
_COLOURS: Final = {
    "succeeded": "32",
    "failed": "31",
    "error": "31",
    "running": "36",
    "cached": "33",
    "skipped": "2",
    "dim": "2",
    "bold": "1",
}


@dataclass(frozen=True)
class Screen:
    """Where lines go; ``live`` says that it is a terminal which can be redrawn."""

    stream: TextIO
    live: bool
    colour: bool

    @classmethod
    def of(cls, stream: TextIO | None = None) -> "Screen":
        """The screen of a stream, standard output by default; what its encoding lacks is shown as ``?``."""
        chosen = sys.stdout if stream is None else stream
        if chosen is None:
            # Started with standard output closed.
            chosen = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 (open as long as we are)
        if isinstance(chosen, io.TextIOWrapper):
            chosen.reconfigure(errors="replace")
        live = chosen.isatty() and os.environ.get("TERM", "") != "dumb"
        return cls(chosen, live=live, colour=live and "NO_COLOR" not in os.environ)

    @property
    def width(self) -> int:
        """Columns that a redrawn line may fill."""
        return shutil.get_terminal_size((100, 24)).columns - 1

    @property
    def height(self) -> int:
        """Lines that the terminal has."""
        return shutil.get_terminal_size((100, 24)).lines

    def paint(self, text: str, style: str) -> str:
        """``text`` in the colour of a state, where colours are shown."""
        code = _COLOURS.get(style)
        return f"\x1b[{code}m{text}\x1b[0m" if self.colour and code else text

    def line(self, text: str = "") -> None:
        """Write one line."""
        self.write(text + "\n")

    def write(self, text: str) -> None:
        """Write now. Whoever stops reading, or has no room, does not end what is shown: it goes on unseen."""
        try:
            self.stream.write(text)
            self.stream.flush()
        except OSError as error:
            self._let_go(error)

    def _let_go(self, error: OSError) -> None:
        unseen = os.open(os.devnull, os.O_WRONLY)
        # What the stream still holds back has to go somewhere, at the end of the process at the latest.
        os.dup2(unseen, self.stream.fileno())
        os.close(unseen)
        if not isinstance(error, BrokenPipeError):
            print(f"kfp-driver: output is no longer shown: {error.strerror}", file=sys.stderr)  # noqa: T201


class Progress:
    """Follows the nodes of one run. ``observe`` is the engine's observer.

    Counts pods as executors started, and container drivers that answered from the cache. ``label`` stands
    before every line.
    """

    def __init__(self, screen: Screen, workflow_name: str, *, label: str = "") -> None:
        self._screen = screen
        self._label = f"{label}  " if label else ""
        self._workflow_name = workflow_name
        self._active: dict[str, Node] = {}
        self._announced: set[str] = set()
        self._drawn = 0
        self.cached = 0

    def observe(self, node: Node) -> None:
        """Note a change of a node."""
        if node.type not in (NodeType.POD, NodeType.PLUGIN, NodeType.HTTP):
            return
        name = task_path(self._workflow_name, node.name)
        if not node.phase.fulfilled:
            if node.phase is Phase.RUNNING:
                self._started(node, name)
            return
        self._active.pop(node.name, None)
        if node.type is NodeType.PLUGIN:
            self._driven(node, name)
        else:
            self._say(node.phase.value.lower(), name, _detail(node))

    def note(self, text: str) -> None:
        """Show a line that belongs to no task."""
        self._erase()
        self._screen.line(self._screen.paint(text, "dim"))
        self._draw()

    async def refresh(self) -> None:
        """Redraw the running tasks until cancelled; returns at once where nothing can be redrawn."""
        while self._screen.live:
            self._erase()
            self._draw()
            await asyncio.sleep(_REDRAW_SECONDS)

    def close(self) -> None:
        """Leave only the lines of what happened."""
        self._active.clear()
        self._erase()

    def _started(self, node: Node, name: str) -> None:
        self._active[node.name] = node
        if node.type is not NodeType.PLUGIN and not self._screen.live and node.name not in self._announced:
            self._announced.add(node.name)
            self._say("running", name, "")

    def _driven(self, node: Node, name: str) -> None:
        if node.phase is not Phase.SUCCEEDED:
            self._say(node.phase.value.lower(), name, f"driver: {node.message}")
        elif node.outputs.get("cached-decision") == "true":
            self.cached += 1
            self._say("cached", name, "served from cache")
        elif node.outputs.get("condition") == "false":
            self._say("skipped", name, "its condition is false")

    def _say(self, state: str, name: str, detail: str) -> None:
        self._erase()
        painted = self._screen.paint(f"{state:<{_STATE_WIDTH}}", state)
        self._screen.line(f"{self._label}{painted}{name:<32}  {detail}".rstrip())
        self._draw()

    def _draw(self) -> None:
        if not self._screen.live:
            return
        room = max(self._screen.height - 2, 1)
        nodes = list(self._active.values())
        for node in nodes[:room]:
            state = "driving" if node.type is NodeType.PLUGIN else "running"
            name = task_path(self._workflow_name, node.name)
            seconds = (datetime.now(UTC) - node.started).total_seconds()
            text = f"{state:<{_STATE_WIDTH}}{name:<32}  {duration_text(seconds)}"
            self._screen.line(self._screen.paint(text[: self._screen.width], "running"))
        self._drawn = min(len(nodes), room)

    def _erase(self) -> None:
        if self._drawn:
            self._screen.write(f"\x1b[{self._drawn}F\x1b[J")
            self._drawn = 0


def task_path(workflow_name: str, node_name: str) -> str:
    """A node as its task's place in the pipeline: ``for-loop-2[0]/train``, ``train (attempt 2)``."""
    parts = node_name.removeprefix(workflow_name).strip(".").split(".")
    names: list[str] = []
    suffix = ""
    for part in parts:
        iteration = _ITERATION.fullmatch(part)
        attempt = _ATTEMPT.fullmatch(part)
        if iteration and names:
            names[-1] += f"[{iteration[1]}]"
        elif part in ("executor", "iteration-driver") or (part == "root" and not names):
            continue
        elif attempt and attempt[1] == "executor":
            suffix = f" (attempt {int(attempt[2]) + 1})" if attempt[2] != "0" else ""
        elif part == "onExit":
            # The exit task stands beside the task that it watches, as in the pipeline.
            del names[-1:]
        else:
            names.append(part.removesuffix("-driver"))
    return ("/".join(names) or workflow_name) + suffix


def duration_text(seconds: float, *, decimals: int = 1) -> str:
    """``0.4s``, ``12.3s``, ``4m05s``, ``1h02m``."""
    if seconds < 60:  # noqa: PLR2004 (a minute)
        return f"{max(seconds, 0.0):.{decimals}f}s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes_left = divmod(minutes, 60)
    return f"{hours}h{minutes_left:02d}m" if hours else f"{minutes}m{rest:02d}s"


def _detail(node: Node) -> str:
    took = (node.finished - node.started).total_seconds() if node.finished else 0.0
    return "  ".join(filter(None, (duration_text(took), node.message)))

"""Child processes that cannot outlive us: whole-tree kills, and leftovers found by a mark (Linux)."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")


def kill_tree(root: int) -> None:
    """SIGKILL a process and all its descendants, whatever process groups they made."""
    for process in [root, *_descendants(root)]:
        send(process, signal.SIGKILL)


def children(parent: int) -> list[int]:
    """Ids of the processes that ``parent`` started, and of orphans that it got."""
    return [process for process in _processes() if _parent(process) == parent]


def marked(variable: str, value: str) -> list[int]:
    """Ids of the other processes whose environment has ``variable=value``."""
    mark = f"{variable}={value}".encode()
    return [process for process in _processes() if process != os.getpid() and mark in _environment(process)]


def kill_marked(variable: str, value: str) -> None:
    """SIGKILL every process whose environment has ``variable=value``."""
    for process in marked(variable, value):
        send(process, signal.SIGKILL)


def send(process: int, number: signal.Signals) -> None:
    """Send a signal; a process that is gone is fine."""
    try:
        os.kill(process, number)
    except ProcessLookupError:
        return


def _processes() -> Iterator[int]:
    if _PROC.is_dir():
        yield from (int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit())


def _environment(process: int) -> list[bytes]:
    try:
        return (_PROC / str(process) / "environ").read_bytes().split(b"\0")
    except OSError:
        return []


def _descendants(root: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for process in _processes():
        parent = _parent(process)
        if parent is not None:
            children.setdefault(parent, []).append(process)
    found, waiting = [], [root]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


def _parent(process: int) -> int | None:
    try:
        stat = (_PROC / str(process) / "stat").read_text()
    except OSError:
        return None
    # The command name stands in parentheses and may hold anything, parentheses included.
    return int(stat.rpartition(")")[2].split()[1])

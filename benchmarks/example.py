"""The example pipeline on the local stack: once computed, once from the cache."""

import sys
from pathlib import Path

from measure import PROJECT, Rows, timed


def measure(directory: Path) -> Rows:
    """The example pipeline: once computed, once from the cache; services included."""
    command = [sys.executable, "-m", "driver_plugin.cli", "local", "run", "--data-dir", str(directory)]
    command.append(str(PROJECT / "examples/tune_classifier.yaml"))
    return [
        ("example, first run: 10 executors, services started and stopped", f"{timed(command):.1f} s"),
        ("example, second run: everything cached", f"{timed(command):.1f} s"),
    ]

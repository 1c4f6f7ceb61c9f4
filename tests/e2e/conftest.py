"""Runs of the whole stack through its public door, the command line."""

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.executor_modes import container_mode, each_mode, mode, mounting, sandbox_mode

__all__ = ["container_mode", "each_mode", "mode", "mounting", "sandbox_mode"]
PROJECT = Path(__file__).parents[2]
KFP_DRIVER = (sys.executable, "-m", "driver_plugin.cli")
SECONDS = 240


@dataclass(frozen=True)
class Finished:
    """A command that ended."""

    returncode: int
    stdout: str
    stderr: str

    @property
    def complaint(self) -> str:
        """Everything on stderr, which for wrong usage is one line."""
        return self.stderr.strip()


def kfp_driver(*arguments: str | Path, cwd: Path, environment: Mapping[str, str] | None = None) -> Finished:
    """Run ``kfp-driver`` to its end."""
    process = subprocess.run(
        [*KFP_DRIVER, *map(str, arguments)],
        check=False,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        cwd=cwd,
        env={**os.environ, **(environment or {})},
    )
    return Finished(process.returncode, process.stdout, process.stderr)

"""What every benchmark measures with: seconds, CPU and memory of processes."""

import os
import statistics
import subprocess
import time
from pathlib import Path

PROJECT = Path(__file__).parents[1]
# Processes are measured as users start them: compiling every module anew doubles the start of most of them.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
Rows = list[tuple[str, str]]
"""What a benchmark returns: what was measured, and the measurement with its unit."""


def timed(command: list[str]) -> float:
    """Seconds that a command takes."""
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=PROJECT)
    return time.perf_counter() - started


def resident(process: int) -> float:
    """Resident memory in MiB."""
    status = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def cpu_seconds(process: int) -> float:
    """User and system time so far."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def ms(samples: list[float]) -> str:
    """Median in milliseconds."""
    return f"{statistics.median(samples) * 1000:.1f}"

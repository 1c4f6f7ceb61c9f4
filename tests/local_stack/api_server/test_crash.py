"""A server killed under load comes back with every acknowledged write, and with no half of any. Oracle: the
answers that clients got before the kill; SQLite's integrity and foreign-key checks.
"""

import contextlib
import json
import signal
import sqlite3
import threading
import urllib.error
from pathlib import Path

import pytest

from .conftest import SPEC
from .servers import Server, StartServer

WORKERS = 4
GROUP = 3


class Worker:
    """Writes to a run until the server is gone; knows what was acknowledged."""

    def __init__(self, server: Server, run: str, name: str) -> None:
        self.server = server
        self.run = run
        self.name = name
        self.created: dict[str, str] = {}
        self.artifacts: set[str] = set()
        self.group = [self._task(f"{name}-group-{i}") for i in range(GROUP)]
        self.acknowledged = 0
        self.enough = threading.Event()

    def work(self) -> None:
        with contextlib.suppress(OSError, urllib.error.URLError, json.JSONDecodeError):
            for i in range(1, 1_000_000):
                name = f"{self.name}-{i}"
                task = self._task(name)
                self.created[task] = name
                patches = {member: {"display_name": str(i)} for member in self.group}
                self.server.post(f"/runs/{self.run}/tasks:batchUpdate", {"tasks": patches})
                self.acknowledged = i
                artifact = {"name": "a", "type": "Model", "uri": f"s3://b/{name}", "namespace": "n"}
                made = self.server.post(
                    "/artifacts",
                    {"run_id": self.run, "task_id": task, "producer_key": "o", "artifact": artifact},
                )
                self.artifacts.add(made["artifact_id"])
                if i == 8:
                    self.enough.set()

    def check(self, database: Path) -> None:
        with contextlib.closing(sqlite3.connect(database)) as connection:
            names = dict(connection.execute("SELECT UUID, Name FROM tasks WHERE RunUUID = ?", (self.run,)))
            labels = dict(connection.execute("SELECT UUID, DisplayName FROM tasks"))
            linked = {row for (row,) in connection.execute("SELECT ArtifactID FROM artifact_tasks")}
            stored = {row for (row,) in connection.execute("SELECT UUID FROM artifacts")}
        assert self.created.items() <= names.items()
        assert self.artifacts <= stored
        # An artifact and its link are one write, acknowledged or not.
        assert linked == stored
        [label] = {labels[member] for member in self.group}
        assert int(label or 0) in (self.acknowledged, self.acknowledged + 1)

    def _task(self, name: str) -> str:
        body = {"name": name, "type": "RUNTIME", "scope_path": f"root.{name}", "state": "RUNNING"}
        return str(self.server.post(f"/runs/{self.run}/tasks", body)["task_id"])


def kill_under_load(start_server: StartServer) -> list[Worker]:
    """Start a server, let it work, kill it; the workers that wrote."""
    server = start_server()
    run = server.post("/runs", {"display_name": "a", "pipeline_spec": SPEC})["run_id"]
    mine = [Worker(server, run, f"w{number}") for number in range(WORKERS)]
    threads = [threading.Thread(target=worker.work) for worker in mine]
    for thread in threads:
        thread.start()
    assert all(worker.enough.wait(timeout=60) for worker in mine)
    server.stop(signal.SIGKILL)
    for thread in threads:
        thread.join(timeout=30)
    server.ready_file.unlink()
    return mine


@pytest.mark.parametrize("kills", [1, pytest.param(12, marks=pytest.mark.slow)])
def test_every_acknowledged_write_survives_sigkill(
    start_server: StartServer, tmp_path: Path, kills: int
) -> None:
    workers = [worker for _ in range(kills) for worker in kill_under_load(start_server)]
    last = start_server()
    assert last.get("/runs")["total_size"] == kills
    assert last.stop(signal.SIGTERM) == 128 + signal.SIGTERM
    for worker in workers:
        worker.check(tmp_path / "kfp.db")
    with contextlib.closing(sqlite3.connect(tmp_path / "kfp.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []

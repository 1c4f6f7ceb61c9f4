"""The server as a process: started, asked, stopped or killed by tests."""

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

PREFIX = "/apis/v2beta1"
COMMAND = [sys.executable, "-m", "driver_plugin.cli", "api-server"]


class Server:
    """A server process that is ready."""

    def __init__(self, directory: Path, *arguments: str) -> None:
        self.ready_file = directory / "ready.json"
        self.process = subprocess.Popen(
            [*COMMAND, "--port", "0", "--ready-file", "ready.json", *arguments],
            cwd=directory,
            stderr=subprocess.PIPE,
            text=True,
        )
        deadline = time.monotonic() + 30
        while not self.ready_file.exists():
            assert self.process.poll() is None, self.process.stderr and self.process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        self.ready = json.loads(self.ready_file.read_text())

    def post(self, path: str, body: object) -> Any:
        request = urllib.request.Request(self.ready["url"] + PREFIX + path, json.dumps(body).encode())
        with urllib.request.urlopen(request, timeout=20) as response:
            return json.load(response)

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(self.ready["url"] + PREFIX + path, timeout=20) as response:
            return json.load(response)

    def stop(self, signal_number: int) -> int:
        self.process.send_signal(signal_number)
        self.process.communicate(timeout=20)
        return self.process.returncode


StartServer = Callable[..., Server]

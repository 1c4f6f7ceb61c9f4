"""What a run left in its data directory, asked of the embedded API as any client of KFP would."""

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from kfp_api.client import KfpApiClient
from kfp_api.messages import PipelineTask, Run, TaskState
from kfp_api.wire import UNSET
from tests.e2e.conftest import KFP_DRIVER


@dataclass(frozen=True)
class StoredRun:
    """A run and its task rows."""

    run: Run
    tasks: list[PipelineTask]

    def rows(self, name: str) -> list[PipelineTask]:
        """Rows of that task key, in order of iteration."""
        found = [task for task in self.tasks if task.name == name]
        return sorted(found, key=lambda task: task.iteration_index or 0)

    def states(self) -> dict[str, list[TaskState]]:
        """States by task key, in order of iteration."""
        return {name: [row.state for row in self.rows(name)] for name in {task.name for task in self.tasks}}

    def output(self, name: str, key: str = "Output") -> JsonValue:
        """Value of an output parameter of the one row of that task key."""
        (row,) = self.rows(name)
        (parameter,) = [one for one in row.output_parameters if one.parameter_key == key]
        assert parameter.value is not UNSET
        return parameter.value

    def outputs(self, name: str, key: str = "Output") -> list[JsonValue]:
        """Values of an output parameter over the iterations."""
        return [
            parameter.value
            for row in self.rows(name)
            for parameter in row.output_parameters
            if parameter.parameter_key == key and parameter.value is not UNSET
        ]


def stored_runs(data_directory: Path) -> list[StoredRun]:
    """All runs of a data directory, oldest first."""
    return asyncio.run(_read(next(data_directory.glob("*.db"))))


async def _read(database: Path) -> list[StoredRun]:
    async with _api(database) as client:
        runs = sorted((await client.list_runs(page_size=100)).runs, key=lambda run: str(run.created_at))
        return [StoredRun(run, [task async for task in client.iterate_tasks(run.run_id)]) for run in runs]


@asynccontextmanager
async def _api(database: Path) -> AsyncIterator[KfpApiClient]:
    ready = database.with_name("test-ready.json")
    command = [
        *KFP_DRIVER,
        "api-server",
        "--port",
        "0",
        "--database",
        f"sqlite:///{database}",
        "--ready-file",
        ready,
    ]
    process = await asyncio.create_subprocess_exec(
        *map(str, command), stdout=subprocess.DEVNULL, env={**os.environ, "PYTHONUNBUFFERED": "1"}
    )
    try:
        async with asyncio.timeout(60):
            while not ready.exists():
                assert process.returncode is None
                await asyncio.sleep(0.02)
        async with KfpApiClient(json.loads(ready.read_text(encoding="utf-8"))["url"]) as client:
            yield client
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await process.wait()

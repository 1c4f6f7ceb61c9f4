"""The driver service: how soon it is ready, how big it is, what a call costs and whether that grows."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from measure import Rows, cpu_seconds, ms, resident, timed

from kfp_api.client import KfpApiClient
from kfp_api.messages import Run, RuntimeConfig
from local_stack.data_directory import DataDirectory
from local_stack.stack import LocalStack

ITERATIONS = 1000
IN_FLIGHT = 16
STARTS = 5


def measure(directory: Path) -> Rows:
    """Start-up, then one loop of many iterations."""
    return [*start_up(directory), *asyncio.run(driver_calls(directory / "calls"))]


def start_up(directory: Path) -> Rows:
    """Time from start to ready, and memory when ready, of the service alone."""
    token = directory / "token"
    token.write_text("benchmark", encoding="utf-8")
    ready = directory / "ready.json"
    environment = {
        **os.environ,
        "KFP_DRIVER_AGENT_TOKEN_FILE": str(token),
        "KFP_TOKEN_MODE": "none",
        "KFP_DRIVER_LOG_ROOT": str(directory / "logs"),
    }
    command = [sys.executable, "-m", "driver_plugin.cli", "serve", "--port", "0", "--health-port", "0"]
    seconds, memory, cpu = [], 0.0, []
    for _ in range(STARTS):
        ready.unlink(missing_ok=True)
        started = time.perf_counter()
        with subprocess.Popen(
            [*command, "--ready-file", str(ready)], env=environment, stdout=subprocess.DEVNULL
        ) as process:
            while not ready.exists():
                time.sleep(0.002)
            seconds.append(time.perf_counter() - started)
            memory = resident(process.pid)
            cpu.append(cpu_seconds(process.pid))
            process.terminate()
    bare = min(timed([sys.executable, "-c", "pass"]) for _ in range(STARTS))
    aiohttp_alone = min(timed([sys.executable, "-c", "import aiohttp.web"]) for _ in range(STARTS))
    return [
        ("service: start to ready, best of 5", f"{min(seconds) * 1000:.0f} ms"),
        ("service: CPU until ready, best of 5", f"{min(cpu) * 1000:.0f} ms"),
        ("for comparison: python -c pass", f"{bare * 1000:.0f} ms"),
        ("for comparison: import aiohttp.web", f"{aiohttp_alone * 1000:.0f} ms"),
        ("service: resident when ready", f"{memory:.0f} MiB"),
    ]


async def driver_calls(directory: Path) -> Rows:
    """One loop of many iterations, call by call: its beginning, its end, and in between 16 at once."""
    rows: Rows = []
    async with stack(directory) as (local, client, agent):
        run = await client.create_run(
            Run(
                display_name="benchmark",
                pipeline_spec=loop_pipeline(ITERATIONS),
                runtime_config=RuntimeConfig(pipeline_root=str(directory / "artifacts")),
            )
        )
        root = await agent.call(type="ROOT_DAG", run_id=run.run_id, runtime_config="{}")
        loop = await agent.call(
            type="DAG", run_id=run.run_id, parent_task_id=root["task-id"], task_name="loop", runtime_config=""
        )

        async def drive(index: int) -> float:
            started = time.perf_counter()
            await agent.call(
                type="CONTAINER",
                run_id=run.run_id,
                parent_task_id=loop["task-id"],
                task_name="work",
                iteration_index=str(index),
                kubernetes_config="",
            )
            return time.perf_counter() - started

        slots = asyncio.Semaphore(IN_FLIGHT)

        async def bounded(index: int) -> None:
            async with slots:
                await drive(index)

        first = [await drive(index) for index in range(50)]
        started = time.perf_counter()
        await asyncio.gather(*(bounded(index) for index in range(50, ITERATIONS - 50)))
        rate = (ITERATIONS - 100) / (time.perf_counter() - started)
        last = [await drive(index) for index in range(ITERATIONS - 50, ITERATIONS)]
        rows += [
            ("container driver call: median, tasks 1 to 50 of the run", f"{ms(first)} ms"),
            (f"container driver call: median, tasks {ITERATIONS - 50} to {ITERATIONS}", f"{ms(last)} ms"),
            (
                f"container driver calls at {IN_FLIGHT} in flight, API on the same two cores",
                f"{rate:.0f} per second",
            ),
            (
                f"service: resident after {ITERATIONS} calls with log upload",
                f"{resident(local.driver_pid):.0f} MiB",
            ),
        ]
    return rows


@dataclass(frozen=True)
class Agent:
    """Calls the service as Argo's agent does."""

    session: aiohttp.ClientSession
    url: str

    async def call(self, **arguments: str) -> dict[str, str]:
        """One call; its outputs by name."""
        defaults = {
            "pipeline_name": "benchmark",
            "run_name": "benchmark-1",
            "run_display_name": "benchmark",
            "parent_task_id": "",
            "task_name": "",
            "iteration_index": "-1",
            "namespace": "local",
        }
        body = {
            "workflow": {"metadata": {"name": "benchmark-1", "namespace": "local", "uid": "u"}},
            "template": {"name": "t", "plugin": {"driver-plugin": {"args": {**defaults, **arguments}}}},
        }
        async with self.session.post(f"{self.url}/api/v1/template.execute", json=body) as answer:
            reply = await answer.json()
        if reply["node"].get("phase") != "Succeeded":
            raise SystemExit(f"a driver call failed: {reply}")
        return {one["name"]: one["value"] for one in reply["node"]["outputs"]["parameters"]}


@asynccontextmanager
async def stack(directory: Path) -> AsyncIterator[tuple[LocalStack, KfpApiClient, Agent]]:
    """The local services, a client of the API, and an agent."""
    directory.mkdir()
    async with LocalStack(DataDirectory.at(directory)) as local:
        token = local.token_file.read_text(encoding="utf-8")
        headers = {"Authorization": f"Bearer {token}"}
        async with KfpApiClient(local.api_url) as client, aiohttp.ClientSession(headers=headers) as session:
            yield local, client, Agent(session, local.driver_url)


def loop_pipeline(iterations: int) -> dict[str, Any]:
    """A loop over many items with one container task in its body."""
    body = {
        "executorLabel": "exec-work",
        "inputDefinitions": {"parameters": {"item": {"parameterType": "NUMBER_INTEGER"}}},
        "outputDefinitions": {"parameters": {"text": {"parameterType": "STRING"}}},
    }
    loop = {
        "dag": {
            "tasks": {
                "work": {
                    "taskInfo": {"name": "work"},
                    "componentRef": {"name": "comp-work"},
                    "cachingOptions": {"enableCache": True},
                    "inputs": {"parameters": {"item": {"componentInputParameter": "item"}}},
                }
            }
        },
        "inputDefinitions": {"parameters": {"item": {"parameterType": "NUMBER_INTEGER"}}},
    }
    head = {
        "taskInfo": {"name": "loop"},
        "componentRef": {"name": "comp-loop"},
        "parameterIterator": {"items": {"raw": json.dumps(list(range(iterations)))}, "itemInput": "item"},
    }
    container = {"image": "alpine", "command": ["echo", "{{$.inputs.parameters['item']}}"]}
    return {
        "schemaVersion": "2.1.0",
        "pipelineInfo": {"name": "benchmark"},
        "root": {"dag": {"tasks": {"loop": head}}},
        "components": {"comp-loop": loop, "comp-work": body},
        "deploymentSpec": {"executors": {"exec-work": {"container": container}}},
    }

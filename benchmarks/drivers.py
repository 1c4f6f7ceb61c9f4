"""The driver service alone: one process on one core, against a KFP API that answers at once.

The stand-in of the API and the load generator share the other core. Besides the rate, the service's own
processor time per call is measured: other work on the machine changes it less.
"""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import aiohttp
from measure import Rows, cpu_seconds, ms, resident

IN_FLIGHT: Final = 16
CALLS: Final = 2000
SINGLE_CALLS: Final = 200
RUN_ID: Final = "0b6c2222-0000-4000-8000-000000000000"
ROOT_ID: Final = "5f313333-0000-4000-8000-000000000000"
TOKEN: Final = "benchmark"  # noqa: S105 (for this benchmark alone)


def measure(directory: Path) -> Rows:
    """Container driver calls of two kinds, one at a time and 16 at once."""
    return asyncio.run(_measure(directory))


async def _measure(directory: Path) -> Rows:
    rows: Rows = []
    for upload in (True, False):
        async with _service(directory, upload=upload) as (process, url):
            for task, what in (
                ("plain", "two inputs"),
                ("consumer", "an input parameter and artifact of another task"),
            ):
                if not upload and task != "plain":
                    continue
                label = f"container driver call, {what}{'' if upload else ', no log upload'}"
                rows += await _calls(process, url, task, label)
            rows.append(
                (
                    f"service: resident after that{'' if upload else ', no log upload'}",
                    f"{resident(process):.0f} MiB",
                )
            )
    return rows


async def _calls(process: int, url: str, task: str, label: str) -> Rows:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    connector = aiohttp.TCPConnector(limit=IN_FLIGHT)
    async with aiohttp.ClientSession(headers=headers, connector=connector) as session:

        async def call(index: int) -> float:
            started = time.perf_counter()
            body = _request(task, index)
            async with session.post(f"{url}/api/v1/template.execute", data=body) as answer:
                reply = await answer.json()
            if reply["node"].get("phase") != "Succeeded":
                raise SystemExit(f"a driver call failed: {reply}")
            return time.perf_counter() - started

        async def worker(indexes: "asyncio.Queue[int]") -> None:
            while not indexes.empty():
                await call(indexes.get_nowait())

        for index in range(IN_FLIGHT):
            await call(index)
        alone = [await call(index) for index in range(SINGLE_CALLS)]
        queue: asyncio.Queue[int] = asyncio.Queue()
        for index in range(CALLS):
            queue.put_nowait(index)
        cpu, started = cpu_seconds(process), time.perf_counter()
        await asyncio.gather(*(worker(queue) for _ in range(IN_FLIGHT)))
        seconds = time.perf_counter() - started
        used = cpu_seconds(process) - cpu
    return [
        (f"{label}: one at a time, median", f"{ms(alone)} ms"),
        (f"{label}: {IN_FLIGHT} in flight", f"{CALLS / seconds:.0f} per second"),
        (f"{label}: processor time", f"{used / CALLS * 1000:.2f} ms"),
    ]


def _request(task: str, index: int) -> bytes:
    args = {
        "type": "CONTAINER",
        "pipeline_name": "benchmark",
        "run_id": RUN_ID,
        "run_name": "benchmark-1",
        "run_display_name": "benchmark",
        "parent_task_id": ROOT_ID,
        "task_name": task,
        "iteration_index": str(index),
        "namespace": "team-a",
        "kubernetes_config": "",
    }
    return json.dumps(
        {
            "workflow": {"metadata": {"name": "benchmark-1", "namespace": "team-a", "uid": "u"}},
            "template": {"name": "t", "plugin": {"driver-plugin": {"args": args}}},
        }
    ).encode()


@asynccontextmanager
async def _service(directory: Path, *, upload: bool) -> AsyncIterator[tuple[int, str]]:
    """The service on the first core, its API on the last one; yields process id and address."""
    cores = sorted(os.sched_getaffinity(0))
    token, ready = directory / "token", directory / f"ready-{upload}.json"
    token.write_text(TOKEN, encoding="utf-8")
    api = subprocess.Popen(  # noqa: ASYNC220 (starting a process takes a moment only)
        [sys.executable, __file__], stdout=subprocess.PIPE, text=True
    )
    assert api.stdout is not None
    os.sched_setaffinity(api.pid, {cores[-1]})
    os.sched_setaffinity(0, {cores[-1]})
    environment = {
        **os.environ,
        "KFP_API_URL": f"http://127.0.0.1:{api.stdout.readline().strip()}",
        "KFP_TOKEN_MODE": "none",
        "KFP_DRIVER_AGENT_TOKEN_FILE": str(token),
        "KFP_DRIVER_LOG_ROOT": str(directory / "logs"),
        "KFP_DRIVER_LOG_UPLOAD": str(upload).lower(),
    }
    command = [sys.executable, "-m", "driver_plugin.cli", "serve", "--port", "0", "--health-port", "0"]
    service = subprocess.Popen(  # noqa: ASYNC220
        [*command, "--ready-file", str(ready)], env=environment, stdout=subprocess.DEVNULL
    )
    os.sched_setaffinity(service.pid, {cores[0]})
    try:
        while not ready.exists():  # noqa: ASYNC110 (a file of another process has no event)
            await asyncio.sleep(0.01)
        yield service.pid, json.loads(ready.read_text(encoding="utf-8"))["url"]
    finally:
        for process in (service, api):
            process.terminate()
            process.wait()
        os.sched_setaffinity(0, set(cores))


PARAMETERS: Final = {"lr": {"parameterType": "NUMBER_DOUBLE"}, "name": {"parameterType": "STRING"}}
PIPELINE: Final = {
    "schemaVersion": "2.1.0",
    "pipelineInfo": {"name": "benchmark"},
    "root": {
        "dag": {
            "tasks": {
                "plain": {
                    "taskInfo": {"name": "plain"},
                    "componentRef": {"name": "comp-plain"},
                    "cachingOptions": {"enableCache": True},
                    "inputs": {
                        "parameters": {
                            "lr": {"componentInputParameter": "lr"},
                            "name": {"runtimeValue": {"constant": "x"}},
                        }
                    },
                },
                "make": {"taskInfo": {"name": "make"}, "componentRef": {"name": "comp-plain"}},
                "consumer": {
                    "taskInfo": {"name": "consumer"},
                    "componentRef": {"name": "comp-consumer"},
                    "cachingOptions": {"enableCache": True},
                    "dependentTasks": ["make"],
                    "inputs": {
                        "parameters": {
                            "text": {
                                "taskOutputParameter": {"producerTask": "make", "outputParameterKey": "text"}
                            }
                        },
                        "artifacts": {
                            "data": {
                                "taskOutputArtifact": {"producerTask": "make", "outputArtifactKey": "data"}
                            }
                        },
                    },
                },
            }
        },
        "inputDefinitions": {"parameters": {"lr": {"parameterType": "NUMBER_DOUBLE"}}},
    },
    "components": {
        "comp-plain": {
            "executorLabel": "exec",
            "inputDefinitions": {"parameters": PARAMETERS},
            "outputDefinitions": {
                "parameters": {"text": {"parameterType": "STRING"}},
                "artifacts": {"data": {"artifactType": {"schemaTitle": "system.Dataset"}}},
            },
        },
        "comp-consumer": {
            "executorLabel": "exec",
            "inputDefinitions": {
                "parameters": {"text": {"parameterType": "STRING"}},
                "artifacts": {"data": {"artifactType": {"schemaTitle": "system.Dataset"}}},
            },
        },
    },
    "deploymentSpec": {
        "executors": {
            "exec": {
                "container": {
                    "image": "python:3.11",
                    "command": ["sh", "-c", "x" * 2000, "python3 -m kfp.dsl.executor_main"],
                    "args": ["--executor_input", "{{$}}"],
                }
            }
        }
    },
}
RUN: Final = {
    "run_id": RUN_ID,
    "display_name": "benchmark",
    "pipeline_spec": PIPELINE,
    "runtime_config": {"pipeline_root": "minio://mlpipeline/v2/artifacts"},
    "created_at": "2026-01-02T03:04:05Z",
}
ROOT: Final = {
    "name": "ROOT",
    "task_id": ROOT_ID,
    "run_id": RUN_ID,
    "type": "ROOT",
    "state": "RUNNING",
    "scope_path": "root",
    "inputs": {
        "parameters": [
            {
                "parameter_key": "lr",
                "value": 0.1,
                "type": "RUNTIME_VALUE_INPUT",
                "producer": {"task_name": "ROOT"},
            }
        ]
    },
}
MADE: Final = {
    "name": "make",
    "task_id": "9d414444-0000-4000-8000-000000000000",
    "run_id": RUN_ID,
    "type": "RUNTIME",
    "state": "SUCCEEDED",
    "scope_path": "root.make",
    "parent_task_id": ROOT_ID,
    "outputs": {
        "parameters": [
            {"parameter_key": "text", "value": "x", "type": "OUTPUT", "producer": {"task_name": "make"}}
        ],
        "artifacts": [
            {
                "artifact_key": "data",
                "type": "OUTPUT",
                "producer": {"task_name": "make"},
                "artifacts": [
                    {
                        "artifact_id": "1a515555-0000-4000-8000-000000000000",
                        "name": "data",
                        "type": "Dataset",
                        "uri": "s3://bucket/data",
                    }
                ],
            }
        ],
    },
}


class InstantApi(asyncio.Protocol):
    """Answers prepared JSON as soon as a request is complete; a created task comes back with an id."""

    PREPARED: Final[dict[bytes, bytes]] = {
        key.encode(): json.dumps(value).encode()
        for key, value in (
            (f"GET /apis/v2beta1/runs/{RUN_ID}", RUN),
            (f"GET /apis/v2beta1/runs/{RUN_ID}/tasks/{ROOT_ID}", ROOT),
            (f"GET /apis/v2beta1/runs/{RUN_ID}/tasks", {"tasks": [MADE], "total_size": 1}),
            ("POST /apis/v2beta1/tasks:findCached", {}),
            ("POST /apis/v2beta1/artifact_tasks:batchCreate", {"artifact_tasks": []}),
        )
    }
    CREATE: Final = f"POST /apis/v2beta1/runs/{RUN_ID}/tasks".encode()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client is there."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._received = b""

    def data_received(self, data: bytes) -> None:
        """Answer every request that is complete."""
        self._received += data
        while True:
            head, end, rest = self._received.partition(b"\r\n\r\n")
            if not end:
                return
            lowered = head.lower()
            length = int(lowered.partition(b"content-length:")[2].split(b"\r\n", 1)[0] or 0)
            if len(rest) < length:
                return
            self._received = rest[length:]
            self._answer(head.split(b" HTTP/", 1)[0].split(b"?")[0], rest[:length])

    def _answer(self, request: bytes, body: bytes) -> None:
        if request == self.CREATE:
            answer = b'{"task_id":"%s",' % os.urandom(8).hex().encode() + body[1:]
        else:
            answer = self.PREPARED[request]
        self._transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(answer)
            + answer
        )


async def serve_instant_api() -> None:
    """Print the port and serve until the process is stopped."""
    server = await asyncio.get_running_loop().create_server(InstantApi, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve_instant_api())

"""The embedded KFP API with a run of 10,000 tasks, and what a request costs its client."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import orjson
from measure import Rows, cpu_seconds, ms, resident

from kfp_api.client import KfpApiClient
from kfp_api.filters import Filter, Predicate, PredicateOperation
from kfp_api.messages import PipelineTask, Run, TaskState, TaskType

TASKS = 10_000
IN_FLIGHT = 16
SMALL = 100
SAMPLES = 200
CLIENT_REQUESTS = 1_000
ROUNDS = 5
CALLS = ("CreateTask", "GetTask", "UpdateTask", "ListTasks of one name")
SPEC = {"schemaVersion": "2.1.0", "pipelineInfo": {"name": "benchmark"}, "root": {"dag": {"tasks": {}}}}


def measure(directory: Path) -> Rows:
    """A flat run of 10,000 tasks beside a small one: the same calls in both."""
    with server(directory) as (url, process):
        return asyncio.run(_measure(url, process, directory / "kfp.db"))


@contextmanager
def server(directory: Path) -> Iterator[tuple[str, int]]:
    """The API server as a process; its URL and process id."""
    ready = directory / "ready.json"
    command = [sys.executable, "-m", "driver_plugin.cli", "api-server", "--port", "0"]
    command += ["--database", f"sqlite:///{directory / 'kfp.db'}", "--ready-file", str(ready)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        while not ready.exists():
            time.sleep(0.01)
        yield json.loads(ready.read_text(encoding="utf-8"))["url"], process.pid
        process.terminate()


async def _measure(url: str, process: int, database: Path) -> Rows:
    async with KfpApiClient(url) as client:
        big, small = await Flat.opened(client), await Flat.opened(client)
        started, before = time.perf_counter(), cpu_seconds(process)
        await big.grow(to=TASKS)
        rate = TASKS / (time.perf_counter() - started)
        server_ms = (cpu_seconds(process) - before) / TASKS * 1000
        await small.grow(to=SMALL)
        rows = [
            (f"API {name}: median in a run of {SMALL}, of {TASKS:,} tasks", f"{ms(few)}, {ms(many)} ms")
            for name, few, many in await side_by_side(small, big)
        ]
        pages = await big.pages()
        return [
            *rows,
            (
                f"API ListTasks, pages of 200: median of the first and of the last 10 of {len(pages)}",
                f"{ms(pages[:10])}, {ms(pages[-10:])} ms",
            ),
            (f"API CreateTask at {IN_FLIGHT} in flight", f"{rate:.0f} per second"),
            (f"API server: CPU per CreateTask at {IN_FLIGHT} in flight", f"{server_ms:.2f} ms"),
            (f"API server: resident after {TASKS:,} tasks", f"{resident(process):.0f} MiB"),
            (f"API database: {TASKS:,} tasks", f"{database.stat().st_size / 2**20:.0f} MiB"),
            *await client_cost(url, big),
        ]


async def side_by_side(small: "Flat", big: "Flat") -> list[tuple[str, list[float], list[float]]]:
    """Seconds of the same calls in two runs, turn by turn: what else the machine does hits both."""
    return [
        (name, [sample[0] for sample in samples], [sample[1] for sample in samples])
        for name, few, many in zip(CALLS, small.calls(), big.calls(), strict=True)
        for samples in [[(await seconds(few), await seconds(many)) for _ in range(SAMPLES)]]
    ]


class Flat:
    """A run whose tasks are all children of its root."""

    def __init__(self, client: KfpApiClient, run_id: str) -> None:
        self.client = client
        self.run_id = run_id
        self.root = ""
        self.last = ""
        self.size = 0
        self.label = 0

    @classmethod
    async def opened(cls, client: KfpApiClient) -> "Flat":
        """A new run with its root."""
        run = await client.create_run(Run(display_name="benchmark", pipeline_spec=SPEC))
        flat = cls(client, run.run_id)
        root = PipelineTask(run_id=flat.run_id, name="ROOT", type=TaskType.ROOT, scope_path="root")
        flat.root = (await client.create_task(root)).task_id
        return flat

    async def create(self) -> None:
        """Add one child."""
        self.size += 1
        name = f"task-{self.size}"
        created = await self.client.create_task(
            PipelineTask(
                run_id=self.run_id,
                parent_task_id=self.root,
                name=name,
                type=TaskType.RUNTIME,
                scope_path=f"root.{name}",
                state=TaskState.RUNNING,
            )
        )
        self.last = created.task_id

    async def grow(self, *, to: int) -> None:
        """Add children, many at a time."""
        await in_flight(self.create, to - self.size)

    async def get(self) -> None:
        """Read the newest child."""
        await self.client.get_task(self.run_id, self.last)

    async def update(self) -> None:
        """Change the newest child."""
        self.label += 1
        patch = PipelineTask(display_name=f"label {self.label}")
        await self.client.update_task(self.run_id, self.last, patch)

    async def find(self) -> None:
        """Find a child by name, as drivers do."""
        wanted = Predicate(operation=PredicateOperation.EQUALS, key="name", string_value=f"task-{SMALL}")
        await self.client.list_tasks(
            self.run_id, parent_id=self.root, filter=Filter(predicates=[wanted]), page_size=2
        )

    def calls(self) -> list[Callable[[], Awaitable[None]]]:
        """What is compared, in the order of :data:`CALLS`."""
        return [self.create, self.get, self.update, self.find]

    async def pages(self) -> list[float]:
        """Seconds of each page of all tasks."""
        samples = []
        token, more = "", True
        while more:
            started = time.perf_counter()
            page = await self.client.list_tasks(self.run_id, page_size=200, page_token=token)
            samples.append(time.perf_counter() - started)
            token = page.next_page_token
            more = bool(token)
        return samples


async def seconds(call: Callable[[], Awaitable[None]]) -> float:
    """How long a call takes."""
    started = time.perf_counter()
    await call()
    return time.perf_counter() - started


async def in_flight(call: Callable[[], Awaitable[None]], times: int) -> None:
    """Make a call many times, some at once."""
    slots = asyncio.Semaphore(IN_FLIGHT)

    async def bounded() -> None:
        async with slots:
            await call()

    await asyncio.gather(*(bounded() for _ in range(times)))


async def client_cost(url: str, flat: Flat) -> Rows:
    """CPU of this process per request when 16 are under way: this client, and the libraries below it."""
    address = f"{url}/apis/v2beta1/runs/{flat.run_id}/tasks/{flat.last}"
    async with aiohttp.ClientSession() as session:

        async def by_aiohttp() -> None:
            async with session.get(address) as answer:
                orjson.loads(await answer.read())

        calls = {
            f"API client: CPU per GetTask at {IN_FLIGHT} in flight, best of {ROUNDS}": flat.get,
            "for comparison: aiohttp, JSON decoded": by_aiohttp,
        }
        costs = [[await cpu_of(call) for call in calls.values()] for _ in range(ROUNDS)]
    return [
        (name, f"{min(costs_of_call) * 1000:.2f} ms")
        for name, costs_of_call in zip(calls, zip(*costs, strict=True), strict=True)
    ]


async def cpu_of(call: Callable[[], Awaitable[None]]) -> float:
    """CPU seconds of this process per call."""
    await in_flight(call, 100)
    before = time.process_time()
    await in_flight(call, CLIENT_REQUESTS)
    return (time.process_time() - before) / CLIENT_REQUESTS

"""The embedded server in-process, on a real SQLite file, spoken to over real HTTP."""

import io
import json
import signal
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient

from local_stack.api_server.app import build_app
from local_stack.api_server.config import ServerConfig
from local_stack.api_server.routes.answering import DATABASE

from .servers import PREFIX, Server, StartServer

START = 1_767_225_600  # 2026-01-01T00:00:00Z

Wire = dict[str, Any]

SPEC: Wire = {
    "schemaVersion": "2.1.0",
    "sdkVersion": "kfp-2.17.0",
    "pipelineInfo": {"name": "demo"},
    "root": {"dag": {"tasks": {}}},
}


@dataclass
class Clock:
    """The server's clock, moved by hand."""

    now: int = START

    def __call__(self) -> int:
        return self.now


@dataclass
class Api:
    """Calls the server and checks the status; the answer is the decoded body."""

    client: TestClient[web.Request, web.Application]
    database: Path
    clock: Clock
    headers: dict[str, str] = field(default_factory=dict)

    async def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        status: int = 200,
        params: Mapping[str, str] | list[tuple[str, str]] | None = None,
        raw: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        data = raw if raw is not None else None if body is None else json.dumps(body).encode()
        async with self.client.request(
            method,
            path if path.startswith("/apis") else PREFIX + path,
            data=None if data is None else io.BytesIO(data),
            params=params,
            headers={**self.headers, **(headers or {})},
        ) as response:
            text = await response.text()
            assert response.status == status, f"{method} {path}: {response.status} {text}"
            assert response.content_type == "application/json"
            return json.loads(text)

    async def get(self, path: str, *, status: int = 200, **params: str) -> Any:
        return await self.call("GET", path, status=status, params=params)

    async def post(self, path: str, body: object = None, *, status: int = 200) -> Any:
        return await self.call("POST", path, body, status=status)

    async def patch(self, path: str, body: object, *, status: int = 200) -> Any:
        return await self.call("PATCH", path, body, status=status)

    async def run(self, **fields: Any) -> str:
        created = await self.post("/runs", {"display_name": "demo", "pipeline_spec": SPEC, **fields})
        return str(created["run_id"])

    async def task(self, run_id: str, name: str = "train", **fields: Any) -> str:
        body = {"name": name, "type": "RUNTIME", "state": "RUNNING", "scope_path": f"root.{name}", **fields}
        return str((await self.post(f"/runs/{run_id}/tasks", body))["task_id"])

    async def artifact(self, run_id: str, task_id: str, key: str = "model", **fields: Any) -> str:
        body = artifact_request(run_id, task_id, key)
        body["artifact"] |= fields
        return str((await self.post("/artifacts", body))["artifact_id"])

    async def report(self, run_id: str, phase: str, **status: Any) -> None:
        await self.post("/workflows", workflow(run_id, phase, **status))


def artifact_request(run_id: str, task_id: str, key: str = "model", **fields: Any) -> Wire:
    artifact = {"name": key, "type": "Model", "uri": f"s3://bucket/{key}", "namespace": "kubeflow"}
    return {"run_id": run_id, "task_id": task_id, "producer_key": key, "artifact": artifact, **fields}


def workflow(run_id: str, phase: str, **status: Any) -> str:
    return json.dumps(
        {
            "metadata": {"name": "wf", "labels": {"pipeline/runid": run_id}},
            "spec": {},
            "status": {"phase": phase, **status},
        }
    )


def external_message(error: Wire) -> str:
    """The text for the caller; both levels of the error must be there and agree."""
    [detail] = error["details"]
    assert detail["@type"] == "type.googleapis.com/google.rpc.Status"
    assert detail["code"] == error["code"]
    assert error["message"].startswith("Failed to ")
    assert error["message"].endswith(detail["message"])
    return str(detail["message"])


MakeApi = Callable[..., Awaitable[Api]]


@pytest.fixture(scope="session")
def new_database(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A database as the server creates it; creating one per test would mostly wait for the disk."""
    path = tmp_path_factory.mktemp("template") / "kfp.db"
    build_app(ServerConfig(database=path, clock=Clock()))[DATABASE].close()
    return path.read_bytes()


@pytest.fixture
def make_api(aiohttp_client: Any, tmp_path: Path, new_database: bytes) -> MakeApi:
    async def make(**settings: Any) -> Api:
        clock = Clock()
        database = tmp_path / "kfp.db"
        database.write_bytes(new_database)
        config = ServerConfig(database=database, clock=clock, **settings)
        return Api(await aiohttp_client(build_app(config)), database, clock)

    return make


@pytest.fixture
async def api(make_api: MakeApi) -> Api:
    return await make_api()


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[StartServer]:
    servers: list[Server] = []

    def start(*arguments: str) -> Server:
        servers.append(Server(tmp_path, *arguments))
        return servers[-1]

    yield start
    for server in servers:
        if server.process.poll() is None:
            server.stop(signal.SIGKILL)

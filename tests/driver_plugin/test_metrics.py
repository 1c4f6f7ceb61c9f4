"""What an operator reads at /metrics: real drivers on an embedded KFP API, read through the health port.

Oracle: the requests that were made, and Prometheus's text format as its own client library parses it.
"""

import asyncio
import json
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from aiohttp.typedefs import Handler
from prometheus_client.parser import text_string_to_metric_families

from driver_plugin.app import Service, open_service
from driver_plugin.argo.requests import ExecuteTemplateRequest
from driver_plugin.http.health import HealthServer
from driver_plugin.listening import listen, url_of
from driver_plugin.settings import Settings
from kfp_api.client import KfpApiClient
from kfp_api.messages import Run
from local_stack.api_server.app import build_app
from local_stack.api_server.config import ServerConfig
from tests.driver_plugin.calls import body, container_args, root_args
from tests.driver_plugin.drivers.pipelines import Json, leaf, pipeline, task

SPEC = pipeline(
    {
        "looked-up": task("comp", cache=True),
        "uncached": task("comp"),
        "skipped": task("comp", condition="1 == 2"),
    },
    {"comp": leaf("exec", outputs={"Output": "STRING"})},
)


@dataclass
class Operator:
    """Calls the service and reads its metrics."""

    service: Service
    run_id: str
    url: str
    answers: list[int] = field(default_factory=list)
    """Statuses of the next cache lookups; none: the server works."""

    async def call(self, args: Json) -> dict[str, str]:
        request = ExecuteTemplateRequest.parse(json.dumps(body({**args, "run_id": self.run_id})).encode())
        reply = await self.service.invocations.execute(request)
        return {one["name"]: one["value"] for one in reply["node"]["outputs"]["parameters"]}

    async def samples(self) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        def read() -> str:
            with urllib.request.urlopen(f"{self.url}/metrics", timeout=10) as answer:
                text: str = answer.read().decode()
                return text

        families = text_string_to_metric_families(await asyncio.to_thread(read))
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in families
            for sample in family.samples
        }

    async def value(self, name: str, **labels: str) -> float:
        return (await self.samples()).get((f"kfp_driver_{name}", tuple(sorted(labels.items()))), 0.0)


@asynccontextmanager
async def operated(directory: Path, **environ: str) -> AsyncIterator[Operator]:
    app = build_app(ServerConfig(database=directory / "kfp.sqlite"))
    answers: list[int] = []

    @web.middleware
    async def refuse(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path.endswith("tasks:findCached") and answers:
            return web.json_response({}, status=answers.pop(0))
        return await handler(request)

    app.middlewares.append(refuse)
    async with TestServer(app) as server:
        url = str(server.make_url("")).rstrip("/")
        async with KfpApiClient(url) as client:
            run = await client.create_run(Run(display_name="r", pipeline_spec=SPEC))
        settings = Settings.from_environ(
            {
                "KFP_API_URL": url,
                "KFP_TOKEN_MODE": "none",
                "KFP_DRIVER_LOG_ROOT": str(directory / "logs"),
                **environ,
            }
        )
        async with open_service(settings) as service:
            listener = listen("127.0.0.1", 0)
            health = HealthServer(listener, ready=service.not_ready_because, metrics=service.metrics)
            health.start()
            try:
                yield Operator(service, run.run_id, url_of(listener), answers)
                await service.uploader.flush(5)
            finally:
                await asyncio.to_thread(health.close)


async def test_calls_requests_and_uploads_are_counted(tmp_path: Path) -> None:
    async with operated(tmp_path) as operator:
        root = await operator.call(root_args())
        await operator.call(container_args(task_name="uncached", parent_task_id=root["task-id"]))
        await operator.call(container_args(task_name="nobody", parent_task_id=root["task-id"]))
        value = operator.value
        assert await value("calls_total", type="ROOT_DAG", outcome="succeeded") == 1
        assert await value("calls_total", type="CONTAINER", outcome="succeeded") == 1
        assert await value("calls_total", type="CONTAINER", outcome="failed") == 1
        assert await value("call_seconds_count", type="CONTAINER") == 2
        assert await value("calls_in_flight") == 0
        created = {"operation": "CreateTask", "method": "POST", "status": "200"}
        assert await value("api_requests_total", **created) == 2
        assert await value("api_request_seconds_count", operation="CreateTask") == 2
        assert await value("log_uploads_total") == 3


async def test_cache_decisions_are_counted_by_reason(tmp_path: Path) -> None:
    async with operated(tmp_path, KFP_DRIVER_CACHE_LOOKUP_OPTIONAL="true") as operator:
        root = (await operator.call(root_args()))["task-id"]

        async def decided(decision: str, *, statuses: tuple[int, ...] = (), **args: Any) -> None:
            before = await operator.value("cache_decisions_total", decision=decision)
            operator.answers[:] = statuses
            await operator.call(container_args(parent_task_id=root, **args))
            assert await operator.value("cache_decisions_total", decision=decision) == before + 1, decision

        await decided("miss", task_name="looked-up")
        await decided("not enabled for the task", task_name="uncached")
        await decided("disabled for the pipeline", task_name="looked-up", cache_disabled=True)
        await decided("lookup refused", task_name="looked-up", statuses=(403,))
        await decided("lookup failed", task_name="looked-up", statuses=(500, 500))
        before = await operator.samples()
        await operator.call(container_args(parent_task_id=root, task_name="skipped"))
        after = await operator.samples()
        decisions = [key for key in after if key[0] == "kfp_driver_cache_decisions_total"]
        assert [after[key] for key in decisions] == [before[key] for key in decisions]


async def test_repeats_of_a_request_are_counted(tmp_path: Path) -> None:
    async with operated(tmp_path) as operator:
        root = (await operator.call(root_args()))["task-id"]
        operator.answers[:] = [500]
        await operator.call(container_args(task_name="looked-up", parent_task_id=root))
        lookup = {"operation": "FindCachedTask", "method": "POST"}
        assert await operator.value("api_requests_total", **lookup, status="500") == 1
        assert await operator.value("api_requests_total", **lookup, status="200") == 1
        assert await operator.value("api_retries_total", operation="FindCachedTask") == 1


@pytest.mark.parametrize("kind", ["ROOT_DAG", "DAG", "CONTAINER"])
async def test_what_did_not_happen_yet_is_a_zero_and_not_missing(tmp_path: Path, kind: str) -> None:
    async with operated(tmp_path) as operator:
        samples = await operator.samples()
    for name in ("requeues_total", "joined_calls_total", "outage_retries_total"):
        assert samples[f"kfp_driver_{name}", (("type", kind),)] == 0
    for outcome in ("succeeded", "failed", "running"):
        assert samples["kfp_driver_calls_total", (("outcome", outcome), ("type", kind))] == 0
    assert samples["kfp_driver_log_upload_failures_total", ()] == 0

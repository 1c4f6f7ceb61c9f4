"""What an operator reads at /metrics: real drivers on an embedded KFP API, called and read over HTTP.

Oracle: the calls and requests that were made, and Prometheus's text format as its own client library parses
it. Each value is provoked; none is set by a test.
"""

import asyncio
import io
import re
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from aiohttp.typedefs import Handler
from prometheus_client.parser import text_string_to_metric_families

from driver_plugin.app import Service, create_application, open_service
from driver_plugin.argo.driver_type import DriverType
from driver_plugin.argo.replies import REQUEUE
from driver_plugin.http.execute import PATH
from driver_plugin.http.health import HealthServer
from driver_plugin.invocation import Timing
from driver_plugin.listening import listen, url_of
from driver_plugin.metrics import CacheOutcome
from driver_plugin.settings import Settings
from kfp_api.client import KfpApiClient
from kfp_api.messages import PipelineTask, Run, TaskState
from kfp_api.transport import Backoff
from local_stack.api_server.app import build_app
from local_stack.api_server.config import ServerConfig
from tests.driver_plugin.calls import body, container_args, dag_args, root_args
from tests.driver_plugin.drivers.pipelines import Json, dag, leaf, pipeline, task
from tests.driver_plugin.service import TOKEN, outputs, until

SPEC = pipeline(
    {
        "looked-up": task("comp", cache=True),
        "uncached": task("comp"),
        "skipped": task("comp", condition="1 == 2"),
        "group": task("comp-group"),
    },
    {"comp": leaf("exec", outputs={"Output": "STRING"}), "comp-group": dag({"inner": task("comp")})},
)

FAST = partial(KfpApiClient, backoff=Backoff(initial_seconds=0.001, maximum_seconds=0.001))


class Trouble:
    """What the API does with the next requests whose path ends so: the statuses it answers, then it works."""

    def __init__(self) -> None:
        self.answers: dict[str, list[int]] = {}
        self.gate = asyncio.Event()
        self.gate.set()

    @web.middleware
    async def __call__(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        await self.gate.wait()
        for end, statuses in self.answers.items():
            if request.path.endswith(end) and statuses:
                status = statuses.pop(0)
                if status:
                    return web.json_response({}, status=status)
                assert request.transport is not None
                request.transport.abort()
        return await handler(request)


@dataclass
class Operator:
    """Calls the service as Argo's agent does, and reads its metrics."""

    service: Service
    client: KfpApiClient
    argo: TestClient[web.Request, web.Application]
    run_id: str
    url: str
    trouble: Trouble = field(default_factory=Trouble)

    async def reply(self, args: object) -> Json:
        response = await self.post(args)
        assert response.status == 200
        document: Json = await response.json()
        return document

    async def post(self, args: object, *, token: str = TOKEN) -> Any:
        given = {**args, "run_id": self.run_id} if isinstance(args, dict) else args
        headers = {"Authorization": f"Bearer {token}"}
        return await self.argo.post(PATH, json=body(given), headers=headers)

    async def call(self, args: Json) -> dict[str, str]:
        return outputs(await self.reply(args))

    async def root(self) -> str:
        return (await self.call(root_args()))["task-id"]

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

    async def reaches(self, expected: float, name: str, **labels: str) -> None:
        """Wait until a value is what is expected; fails after ten seconds."""
        await until(lambda: self.service.metrics.value(f"kfp_driver_{name}", **labels) == expected)
        assert await self.value(name, **labels) == expected


@asynccontextmanager
async def operated(
    directory: Path, monkeypatch: pytest.MonkeyPatch, *, timing: Timing | None = None, **environ: str
) -> AsyncIterator[Operator]:
    trouble = Trouble()
    app = build_app(ServerConfig(database=directory / "kfp.sqlite"))
    app.middlewares.append(trouble.__call__)
    monkeypatch.setattr("driver_plugin.drivers.opening.KfpApiClient", FAST)
    (directory / "token").write_text(TOKEN)
    async with TestServer(app) as server, KfpApiClient(str(server.make_url("")).rstrip("/")) as client:
        run = await client.create_run(Run(display_name="r", pipeline_spec=SPEC))
        settings = Settings.from_environ(
            {
                "KFP_API_URL": str(server.make_url("")).rstrip("/"),
                "KFP_TOKEN_MODE": "none",
                "KFP_DRIVER_LOG_ROOT": str(directory / "logs"),
                "KFP_DRIVER_AGENT_TOKEN_FILE": str(directory / "token"),
                **environ,
            }
        )
        async with (
            open_service(settings, timing=timing) as service,
            TestClient(TestServer(create_application(service))) as argo,
        ):
            listener = listen("127.0.0.1", 0)
            health = HealthServer(listener, ready=service.not_ready_because, metrics=service.metrics)
            health.start()
            try:
                yield Operator(service, client, argo, run.run_id, url_of(listener), trouble)
                trouble.gate.set()
                await service.invocations.drain(5)
                await service.uploader.flush(5)
            finally:
                await asyncio.to_thread(health.close)


async def test_calls_are_counted_by_type_and_outcome_with_their_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with operated(tmp_path, monkeypatch) as operator:
        root = await operator.root()
        await operator.call(dag_args(task_name="group", parent_task_id=root))
        await operator.call(dag_args(task_name="nobody", parent_task_id=root))
        await operator.call(container_args(task_name="uncached", parent_task_id=root))
        await operator.call(container_args(task_name="nobody", parent_task_id=root))
        await operator.call(root_args(runtime_config=""))
        value = operator.value
        for kind in DriverType:
            for outcome in ("succeeded", "failed"):
                assert await value("calls_total", type=kind, outcome=outcome) == 1, (kind, outcome)
            assert await value("call_seconds_count", type=kind) == 2
            assert 0 < await value("call_seconds_sum", type=kind) < 60
        await operator.call(container_args(type="SIDEWAYS"))
        assert await value("calls_total", type="unknown", outcome="failed") == 1
        assert await value("calls_in_flight") == 0


async def test_requests_to_the_api_are_counted_by_operation_method_and_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with operated(tmp_path, monkeypatch) as operator:
        root = await operator.root()
        created = {"operation": "CreateTask", "method": "POST"}
        assert await operator.value("api_requests_total", **created, status="200") == 1
        full = {"operation": "GetRun", "method": "GET", "status": "200"}
        assert await operator.value("api_requests_total", **full) == 1
        assert await operator.value("api_request_seconds_count", operation="CreateTask") == 1
        unknown = "00000000-0000-0000-0000-000000000000"
        await operator.call(container_args(task_name="uncached", parent_task_id=unknown))
        missing = {"operation": "GetTask", "method": "GET", "status": "404"}
        assert await operator.value("api_requests_total", **missing) == 1
        operator.trouble.answers = {"/tasks": [503, 0]}
        await operator.call(container_args(task_name="uncached", parent_task_id=root))
        assert await operator.value("api_requests_total", **created, status="503") == 1
        assert await operator.value("api_requests_total", **created, status="none") == 1
        assert await operator.value("api_requests_total", **created, status="200") == 2
        assert await operator.value("api_retries_total", operation="CreateTask") == 2
        assert await operator.value("api_request_seconds_count", operation="CreateTask") == 4


async def test_cache_decisions_are_counted_by_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    provoked: set[str] = set()
    async with operated(tmp_path, monkeypatch, KFP_DRIVER_CACHE_LOOKUP_OPTIONAL="true") as operator:
        root = await operator.root()

        async def decided(decision: CacheOutcome, *, statuses: tuple[int, ...] = (), **args: Any) -> str:
            before = await operator.value("cache_decisions_total", decision=decision)
            operator.trouble.answers = {"tasks:findCached": [*statuses]}
            made = await operator.call(container_args(parent_task_id=root, **args))
            assert await operator.value("cache_decisions_total", decision=decision) == before + 1, decision
            provoked.add(decision)
            return made["task-id"]

        first = await decided(CacheOutcome.MISS, task_name="looked-up")
        await decided(CacheOutcome.NOT_ENABLED, task_name="uncached")
        await decided(CacheOutcome.DISABLED, task_name="looked-up", cache_disabled=True)
        await decided(CacheOutcome.REFUSED, task_name="looked-up", statuses=(403,))
        await decided(CacheOutcome.LOOKUP_FAILED, task_name="looked-up", statuses=(500, 500))
        done = PipelineTask(state=TaskState.SUCCEEDED)
        await operator.client.update_task(operator.run_id, first, done)
        await decided(CacheOutcome.HIT, task_name="looked-up")
        assert provoked == set(CacheOutcome)
        before = await operator.samples()
        await operator.call(container_args(parent_task_id=root, task_name="skipped"))
        after = await operator.samples()
        decisions = [key for key in after if key[0] == "kfp_driver_cache_decisions_total"]
        assert [after[key] for key in decisions] == [before[key] for key in decisions]


async def test_calls_at_work_joined_calls_and_requeues_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with operated(tmp_path, monkeypatch, timing=Timing(call_seconds=0.2)) as operator:
        operator.trouble.gate.clear()
        deliveries = [asyncio.create_task(operator.reply(root_args())) for _ in range(3)]
        await operator.reaches(1, "calls_in_flight")
        await operator.reaches(2, "joined_calls_total", type="ROOT_DAG")
        assert await asyncio.gather(*deliveries) == [REQUEUE] * 3
        await operator.reaches(3, "requeues_total", type="ROOT_DAG")
        assert await operator.value("joined_calls_total", type="CONTAINER") == 0
        operator.trouble.gate.set()
        await operator.reaches(0, "calls_in_flight")
        assert await operator.value("calls_total", type="ROOT_DAG", outcome="succeeded") == 1


async def test_calls_that_a_stop_ends_are_counted_as_running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with operated(tmp_path, monkeypatch) as operator:
        operator.trouble.gate.clear()
        delivery = asyncio.create_task(operator.reply(root_args()))
        await operator.reaches(1, "calls_in_flight")
        await operator.service.invocations.drain(0)
        assert await delivery == REQUEUE
        assert await operator.value("calls_total", type="ROOT_DAG", outcome="running") == 1


async def test_calls_tried_again_in_an_outage_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timing = Timing(first_outage_pause=0.0, longest_outage_pause=0.0)
    impatient = partial(
        KfpApiClient,
        retry_deadline_seconds=1,
        backoff=Backoff(initial_seconds=3600, maximum_seconds=3600),
    )
    async with operated(tmp_path, monkeypatch, timing=timing) as operator:
        monkeypatch.setattr("driver_plugin.drivers.opening.KfpApiClient", impatient)
        root = await operator.root()
        operator.trouble.answers = {f"/tasks/{root}": [503, 503]}
        reply = await operator.reply(dag_args(task_name="group", parent_task_id=root))
        assert reply["node"]["phase"] == "Succeeded"
        assert await operator.value("outage_retries_total", type="DAG") == 2
        assert await operator.value("outage_retries_total", type="ROOT_DAG") == 0
        assert await operator.value("calls_total", type="DAG", outcome="succeeded") == 1


async def test_refused_requests_are_counted_by_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with operated(tmp_path, monkeypatch, KFP_DRIVER_MAX_CONCURRENCY="1") as operator:
        operator.trouble.gate.clear()
        delivery = asyncio.create_task(operator.reply(root_args()))
        await operator.reaches(1, "calls_in_flight")
        authorized, too_large = {"Authorization": f"Bearer {TOKEN}"}, io.BytesIO(b" " * ((16 << 20) + 1))
        statuses = [
            (await operator.argo.get(PATH, headers=authorized)).status,
            (await operator.post(root_args(), token="wrong")).status,
            (await operator.post(root_args(namespace="team-b"))).status,
            (await operator.argo.post(PATH, data=b"{", headers=authorized)).status,
            (await operator.argo.post(PATH, data=too_large, headers=authorized)).status,
            (await operator.post(dag_args())).status,
        ]
        operator.trouble.gate.set()
        await delivery
        assert statuses == [405, 403, 403, 400, 413, 503]
        for status in set(statuses):
            expected = statuses.count(status)
            assert await operator.value("refused_requests_total", status=str(status)) == expected


@pytest.mark.parametrize("broken", [False, True])
async def test_uploads_of_logs_are_counted_and_so_are_those_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: bool
) -> None:
    if broken:
        (tmp_path / "logs").write_text("a file in the way")
    async with operated(tmp_path, monkeypatch, KFP_DRIVER_LOG_UPLOAD_WAIT="0s") as operator:
        await operator.root()
        await operator.call(container_args(iteration_index="x"))
        await operator.service.uploader.flush(5)
        assert await operator.value("log_uploads_total") == (0 if broken else 2)
        assert await operator.value("log_upload_failures_total") == (2 if broken else 0)


async def test_what_did_not_happen_yet_is_a_zero_and_not_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with operated(tmp_path, monkeypatch) as operator:
        samples = await operator.samples()
    for kind in DriverType:
        for name in ("requeues_total", "joined_calls_total", "outage_retries_total"):
            assert samples[f"kfp_driver_{name}", (("type", kind),)] == 0
        for outcome in ("succeeded", "failed", "running"):
            assert samples["kfp_driver_calls_total", (("outcome", outcome), ("type", kind))] == 0
    for decision in CacheOutcome:
        assert samples["kfp_driver_cache_decisions_total", (("decision", decision),)] == 0
    assert samples["kfp_driver_calls_in_flight", ()] == 0
    assert samples["kfp_driver_log_uploads_total", ()] == 0
    assert samples["kfp_driver_log_upload_failures_total", ()] == 0


async def test_no_label_carries_what_a_run_brings_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with operated(tmp_path, monkeypatch) as operator:
        root = await operator.root()
        await operator.call(container_args(task_name="uncached", parent_task_id=root))
        labels = {value for _, pairs in await operator.samples() for _, value in pairs}
    assert not {operator.run_id, root, "demo", "uncached", "team-a"} & labels
    assert not [value for value in labels if re.search(r"[0-9a-f]{8}-", value)]

"""The webhook over HTTP.

Oracle: the status codes of spec COMPILER 13.2; Prometheus's text format.
"""

import io
import json
from collections.abc import Awaitable, Callable
from http import HTTPStatus

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient
from prometheus_client.parser import text_string_to_metric_families

from compiler.rewriter.rewrite import RewriteOptions, rewrite
from compiler.webhook.app import MAX_BODY_BYTES, Webhook, admission_application, health_application
from compiler.webhook.metrics import WebhookMetrics
from compiler.webhook.review import Policy
from tests.compiler.rewriter.workflows import driver_pods, submitted
from tests.compiler.webhook.reviews import OPTIONS, admission, admitted, response

Client = TestClient[web.Request, web.Application]
MakeClient = Callable[[web.Application], Awaitable[Client]]


@pytest.fixture
def metrics() -> WebhookMetrics:
    return WebhookMetrics()


@pytest.fixture
async def client(aiohttp_client: MakeClient, metrics: WebhookMetrics) -> Client:
    webhook = Webhook(lambda: OPTIONS, policy=Policy.DENY, metrics=metrics)
    return await aiohttp_client(admission_application(webhook))


async def samples(aiohttp_client: MakeClient, metrics: WebhookMetrics) -> dict[str, float]:
    probes = await aiohttp_client(health_application(metrics, ready=lambda: True))
    answer = await probes.get("/metrics")
    return {
        f"{one.name}{one.labels.get('outcome', '')}": one.value
        for family in text_string_to_metric_families(await answer.text())
        for one in family.samples
    }


async def test_review_is_answered_and_counted(
    client: Client, aiohttp_client: MakeClient, metrics: WebhookMetrics
) -> None:
    workflow = submitted(driver_pods())
    answer = await client.post("/mutate-workflow?timeout=5s", json=admission(workflow))
    assert answer.status == HTTPStatus.OK
    assert answer.content_type == "application/json"
    assert admitted(workflow, response(await answer.read())) == rewrite(workflow, OPTIONS).obj
    await client.post("/mutate-workflow", json=admission({"kind": "Pod"}))
    found = await samples(aiohttp_client, metrics)
    assert found["kfp_driver_rewriter_requests_totalchanged"] == 1
    assert found["kfp_driver_rewriter_requests_totalunchanged"] == 1
    assert found["kfp_driver_rewriter_request_seconds_count"] == 2


@pytest.mark.parametrize(
    ("body", "content_type", "status", "text"),
    [
        (b"{}", "application/json", 400, "the body is not an AdmissionReview of admission.k8s.io/v1\n"),
        (b"{}", "application/yaml", 400, "expected Content-Type: application/json\n"),
        (b"{", "application/json; charset=utf-8", 400, "the body is not JSON"),
        (b" " * (MAX_BODY_BYTES + 1), "application/json", 413, "the body is larger than 8 MiB\n"),
    ],
    ids=["no review", "content type", "no JSON", "too large"],
)  # fmt: skip
async def test_request_that_is_no_review_is_refused_in_plain_text(
    client: Client, body: bytes, content_type: str, status: int, text: str
) -> None:
    answer = await client.post(
        "/mutate-workflow", data=io.BytesIO(body), headers={"Content-Type": content_type}
    )
    assert (answer.status, answer.content_type) == (status, "text/plain")
    assert (await answer.text()).startswith(text)


async def test_refused_requests_are_counted(client: Client, metrics: WebhookMetrics) -> None:
    await client.post("/mutate-workflow", json={})
    assert b'kfp_driver_rewriter_requests_total{outcome="invalid"} 1.0' in metrics.exposition()


async def test_largest_body_is_read(client: Client) -> None:
    body = json.dumps(admission(submitted(driver_pods()))).encode()
    padded = body + b" " * (MAX_BODY_BYTES - len(body))
    answer = await client.post(
        "/mutate-workflow", data=io.BytesIO(padded), headers={"Content-Type": "application/json"}
    )
    assert answer.status == HTTPStatus.OK


async def test_bug_is_500_in_plain_text_and_its_trace_only_in_the_log(
    aiohttp_client: MakeClient, metrics: WebhookMetrics, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> RewriteOptions:
        raise ZeroDivisionError("a secret of the bug")

    client = await aiohttp_client(admission_application(Webhook(broken, policy=Policy.DENY, metrics=metrics)))
    answer = await client.post("/mutate-workflow", json=admission(driver_pods()))
    assert (answer.status, answer.content_type) == (500, "text/plain")
    assert "secret" not in await answer.text()
    assert "a secret of the bug" in caplog.text
    assert b"kfp_driver_rewriter_failures_total 1.0" in metrics.exposition()


async def test_other_paths_and_methods_are_told_apart(client: Client) -> None:
    assert (await client.get("/mutate-workflow")).status == HTTPStatus.METHOD_NOT_ALLOWED
    assert (await client.get("/healthz")).status == HTTPStatus.OK
    assert (await client.get("/metrics")).status == HTTPStatus.NOT_FOUND


@pytest.mark.parametrize(("ready", "status"), [(True, 200), (False, 503)])
async def test_probes_say_whether_the_webhook_serves(
    aiohttp_client: MakeClient, metrics: WebhookMetrics, *, ready: bool, status: int
) -> None:
    probes = await aiohttp_client(health_application(metrics, ready=lambda: ready))
    assert (await probes.get("/readyz")).status == status
    assert (await probes.get("/healthz")).status == HTTPStatus.OK

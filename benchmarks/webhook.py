"""The admission webhook: a Workflow of 5 MiB through its door, and what other Workflows cost."""

import asyncio
import io
import json
import time
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer
from measure import PROJECT, Rows, ms

from compiler.delivery import Delivery, PluginDelivery
from compiler.finalize import finalize_workflow
from compiler.loading import load_pipeline
from compiler.options import CompilerOptions, Mode
from compiler.rewriter.rewrite import RewriteOptions
from compiler.webhook.app import PATH, Webhook, admission_application
from compiler.webhook.metrics import WebhookMetrics
from compiler.webhook.review import Policy
from compiler.workflow import compile_workflow

TIMES = 20
MEBIBYTE = 2**20


def measure(_directory: Path) -> Rows:
    """Requests over HTTP on loopback, one after the other, without TLS."""
    return asyncio.run(_measured())


async def _measured() -> Rows:
    small = _workflow()
    large = _grown(_workflow(), 5 * MEBIBYTE)
    rows: Rows = []
    async with TestServer(_application()) as server, aiohttp.ClientSession() as session:
        for name, workflow in (("example", small), ("5 MiB", large)):
            body = json.dumps(_admission(workflow)).encode()
            seconds = [await _request(session, str(server.make_url(PATH)), body) for _ in range(TIMES)]
            rows += [
                (f"webhook: {name}, median of {TIMES} ({len(body) / MEBIBYTE:.2f} MiB)", f"{ms(seconds)} ms"),
                (f"webhook: {name}, slowest", f"{ms([max(seconds)])} ms"),
            ]
    return rows


async def _request(session: aiohttp.ClientSession, url: str, body: bytes) -> float:
    started = time.perf_counter()
    headers = {"Content-Type": "application/json"}
    async with session.post(url, data=io.BytesIO(body), headers=headers) as answer:
        response = (await answer.json())["response"]
    if not response["allowed"] or "patch" not in response:
        raise SystemExit(f"the webhook did not rewrite: {response}")
    return time.perf_counter() - started


def _application() -> web.Application:
    options = RewriteOptions(plugin=PluginDelivery(delivery=Delivery.INLINE))
    return admission_application(Webhook(lambda: options, policy=Policy.DENY, metrics=WebhookMetrics()))


def _workflow() -> dict[str, Any]:
    """The example pipeline as KFP's API server submits it."""
    compiled = compile_workflow(
        load_pipeline(PROJECT / "examples/tune_classifier.yaml"),
        parameters={},
        options=CompilerOptions(mode=Mode.CONTAINER),
    )
    return finalize_workflow(compiled, run_id="run-1", namespace="team-a", display_name="benchmark")


def _grown(workflow: dict[str, Any], size: int) -> dict[str, Any]:
    """Copies of its executor template until it has the size: many templates, each of an ordinary kind."""
    templates = workflow["spec"]["templates"]
    executor = next(one for one in templates if one["name"] == "system-container-impl")
    count = size // len(json.dumps(executor))
    templates += [{**executor, "name": f"executor-{number}"} for number in range(count)]
    return workflow


def _admission(workflow: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {"uid": "u", "operation": "CREATE", "namespace": "team-a", "object": workflow},
    }

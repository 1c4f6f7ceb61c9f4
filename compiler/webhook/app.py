"""The webhook's HTTP side: who is answered what, within which bounds (spec COMPILER 13.2).

The API server waits five seconds, and bodies are large; so few requests are read at a time, each must arrive
in time, and the answer follows without another wait.
"""

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import Final

from aiohttp import web

from compiler.rewriter.rewrite import RewriteOptions
from compiler.webhook.metrics import CONTENT_TYPE, WebhookMetrics
from compiler.webhook.review import Answer, InvalidReviewError, Outcome, Policy, review

PATH: Final = "/mutate-workflow"
MAX_BODY_BYTES: Final = 8 << 20
_AT_A_TIME: Final = 8
"""Requests that are read at once: their bodies are the memory that strangers can make the process use."""
_READ_SECONDS: Final = 4.0


class Webhook:
    """Answers admission requests.

    Args:
        options: how to rewrite, asked for at each request because the profile may change.
        policy: what becomes of Workflows that are refused.
        metrics: what is counted.
    """

    def __init__(
        self, options: Callable[[], RewriteOptions], *, policy: Policy, metrics: WebhookMetrics
    ) -> None:
        self._options = options
        self._policy = policy
        self._metrics = metrics
        self._slots = asyncio.Semaphore(_AT_A_TIME)

    async def mutate(self, request: web.Request) -> web.Response:
        """``POST /mutate-workflow``."""
        if request.content_type != "application/json":
            return self._invalid(HTTPStatus.BAD_REQUEST, "expected Content-Type: application/json")
        async with self._slots:
            try:
                async with asyncio.timeout(_READ_SECONDS):
                    body = await request.read()
            except TimeoutError:
                return self._invalid(HTTPStatus.REQUEST_TIMEOUT, "the body did not arrive in time")
            except web.HTTPRequestEntityTooLarge:
                text = f"the body is larger than {MAX_BODY_BYTES >> 20} MiB"
                return self._invalid(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, text)
            try:
                answer = self._answer(body)
            except InvalidReviewError as error:
                return self._invalid(HTTPStatus.BAD_REQUEST, str(error))
        self._metrics.requests.labels(answer.outcome).inc()
        return web.Response(body=answer.body, content_type="application/json")

    def _answer(self, body: bytes) -> Answer:
        """The review, timed. What else it raises is a bug: aiohttp logs the trace and answers 500."""
        with self._metrics.seconds.time(), self._metrics.failures.count_exceptions():
            return review(body, self._options(), policy=self._policy)

    def _invalid(self, status: HTTPStatus, text: str) -> web.Response:
        self._metrics.requests.labels(Outcome.INVALID).inc()
        return web.Response(status=status, text=f"{text}\n")


def admission_application(webhook: Webhook) -> web.Application:
    """What the API server talks to, over TLS."""
    application = web.Application(client_max_size=MAX_BODY_BYTES)
    application.router.add_post(PATH, webhook.mutate)
    application.router.add_get("/healthz", _healthy)
    return application


def health_application(metrics: WebhookMetrics, *, ready: Callable[[], bool]) -> web.Application:
    """What kubelet and Prometheus talk to."""

    async def readiness(_request: web.Request) -> web.Response:
        if ready():
            return web.Response(text="ok\n")
        return web.Response(status=HTTPStatus.SERVICE_UNAVAILABLE, text="stopping\n")

    async def exposition(_request: web.Request) -> web.Response:
        return web.Response(body=metrics.exposition(), headers={"Content-Type": CONTENT_TYPE})

    application = web.Application()
    application.router.add_get("/healthz", _healthy)
    application.router.add_get("/readyz", readiness)
    application.router.add_get("/metrics", exposition)
    return application


async def _healthy(_request: web.Request) -> web.Response:
    return web.Response(text="ok\n")

"""Counts and durations of requests, for Prometheus (``GET /metrics``, always open).

Labels are the route's pattern, its method and the HTTP status: no id, and nothing a caller can invent.
"""

import time
from typing import Final

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from local_stack.api_server.routes.answering import Handler

_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class RequestMetrics:
    """The metrics of one server, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "kfp_api_server_requests",
            "Requests answered",
            ["method", "route", "status"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            "kfp_api_server_request_seconds",
            "Duration from the request's headers to the answer",
            ["method", "route"],
            buckets=_SECONDS,
            registry=self.registry,
        )


METRICS: Final = web.AppKey("metrics", RequestMetrics)


@web.middleware
async def count_requests(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Observe every request, whatever its answer."""
    started = time.perf_counter()
    status = 500
    try:
        response = await handler(request)
        status = response.status
        return response
    finally:
        metrics = request.app[METRICS]
        matched = request.match_info.route
        # What matches no route may carry any path and method.
        method, route = (
            ("other", "none") if matched.resource is None else (matched.method, matched.resource.canonical)
        )
        metrics.requests.labels(method, route, str(status)).inc()
        metrics.seconds.labels(method, route).observe(time.perf_counter() - started)


async def show_metrics(request: web.Request) -> web.Response:
    """``GET /metrics``."""
    text = generate_latest(request.app[METRICS].registry)
    return web.Response(body=text, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

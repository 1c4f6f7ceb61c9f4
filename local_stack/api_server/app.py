"""Builds the aiohttp application of the embedded server: wiring only."""

import os
from collections.abc import AsyncIterator, Iterable
from importlib.metadata import version

from aiohttp import web
from sqlalchemy import Connection

from local_stack.api_server.config import ServerConfig
from local_stack.api_server.routes import artifacts, experiments, pipelines, runs, tasks
from local_stack.api_server.routes.answering import (
    API_PREFIX,
    CONFIG,
    DATABASE,
    errors_as_status,
    json_response,
    require_token,
)
from local_stack.api_server.routes.metrics import METRICS, RequestMetrics, count_requests, show_metrics
from local_stack.api_server.routes.openapi import show_openapi
from local_stack.api_server.services.experiments import default_experiment_id
from local_stack.api_server.storage.database import Database
from local_stack.api_server.storage.transaction import Transaction


def build_app(config: ServerConfig, *, database: Database | None = None) -> web.Application:
    """The application on ``config.database``.

    ``database`` is that file where the caller has opened it already; the application closes it.

    Raises:
        DatabaseError: the database cannot be used.
    """
    opened = Database(config.database) if database is None else database
    app = web.Application(
        middlewares=[count_requests, errors_as_status, require_token], client_max_size=config.max_body_bytes
    )
    app[CONFIG] = config
    app[DATABASE] = opened
    app[METRICS] = RequestMetrics()

    def ensure_default_experiment(connection: Connection) -> None:
        default_experiment_id(Transaction(connection, config, config.clock()))

    if config.multi_user is None:
        opened.write_now(ensure_default_experiment)
    app.cleanup_ctx.append(_close_database)
    app.add_routes(
        _prefixed(
            [
                *runs.ROUTES,
                *tasks.ROUTES,
                *artifacts.ROUTES,
                *experiments.ROUTES,
                *pipelines.ROUTES,
            ],
            API_PREFIX,
        )
    )
    app.router.add_route("GET", "/metrics", show_metrics)
    app.router.add_route("GET", f"{API_PREFIX}/openapi.json", show_openapi)
    app.router.add_route("*", f"{API_PREFIX}/healthz", _healthz)
    app.router.add_route("*", "/apis/v1beta1/healthz", _healthz_v1)
    return app


def _prefixed(routes: Iterable[web.RouteDef], prefix: str) -> list[web.RouteDef]:
    return [web.route(route.method, prefix + route.path, route.handler) for route in routes]


async def _close_database(app: web.Application) -> AsyncIterator[None]:
    yield
    app[DATABASE].close()


async def _healthz(request: web.Request) -> web.Response:
    return json_response({**_identity(request.app[CONFIG]), "pipeline_store": "database"})


async def _healthz_v1(request: web.Request) -> web.Response:
    return json_response(_identity(request.app[CONFIG]))


def _identity(config: ServerConfig) -> dict[str, object]:
    return {
        "commit_sha": os.environ.get("COMMIT_SHA", "unknown"),
        "tag_name": version("kfp-central-driver"),
        "multi_user": config.multi_user is not None,
    }

"""Routes of experiments."""

from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from kfp_api.messages import Experiment, StorageState
from local_stack.api_server.routes.answering import answer_read, answer_write
from local_stack.api_server.routes.decoding import Query, read_message
from local_stack.api_server.services import experiments
from local_stack.api_server.storage.transaction import Transaction


async def create_experiment(request: web.Request) -> web.Response:
    """``POST /experiments``."""
    body = await read_message(request, Experiment)
    return await answer_write(
        request, "create experiment", lambda tx: experiments.create_experiment(tx, body)
    )


async def get_experiment(request: web.Request) -> web.Response:
    """``GET /experiments/{experiment_id}``."""
    experiment_id = request.match_info["experiment_id"]
    return await answer_read(
        request, "get experiment", lambda tx: experiments.get_experiment(tx, experiment_id)
    )


async def list_experiments(request: web.Request) -> web.Response:
    """``GET /experiments``."""
    query = Query(request)
    namespace, page = query.text("namespace"), query.page()
    return await answer_read(
        request, "list experiments", lambda tx: experiments.list_experiments(tx, namespace, page)
    )


def _on_experiment(
    operation: str, service: Callable[[Transaction, str], dict[str, Any]]
) -> Callable[[web.Request], Awaitable[web.Response]]:
    """A handler that applies ``service`` to the experiment of the path and ignores the body."""

    async def handler(request: web.Request) -> web.Response:
        experiment_id = request.match_info["experiment_id"]
        return await answer_write(request, operation, lambda tx: service(tx, experiment_id))

    return handler


def _archive(tx: Transaction, experiment_id: str) -> dict[str, Any]:
    return experiments.set_experiment_storage_state(tx, experiment_id, StorageState.ARCHIVED)


def _unarchive(tx: Transaction, experiment_id: str) -> dict[str, Any]:
    return experiments.set_experiment_storage_state(tx, experiment_id, StorageState.AVAILABLE)


ROUTES = [
    web.route("POST", "/experiments", create_experiment),
    web.route("GET", "/experiments", list_experiments),
    web.route("GET", "/experiments/{experiment_id:[^/:]+}", get_experiment),
    web.route(
        "DELETE",
        "/experiments/{experiment_id:[^/:]+}",
        _on_experiment("delete experiment", experiments.delete_experiment),
    ),
    web.route(
        "POST",
        "/experiments/{experiment_id:[^/:]+}:archive",
        _on_experiment("archive experiment", _archive),
    ),
    web.route(
        "POST",
        "/experiments/{experiment_id:[^/:]+}:unarchive",
        _on_experiment("unarchive experiment", _unarchive),
    ),
]

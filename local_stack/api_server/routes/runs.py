"""Routes of runs, and the report of a run's workflow."""

from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from kfp_api.messages import Run, ViewMode
from local_stack.api_server.routes.answering import answer_read, answer_write
from local_stack.api_server.routes.decoding import Query, decode_json, read_message
from local_stack.api_server.services import run_retry, run_states, runs
from local_stack.api_server.storage.transaction import Transaction


async def create_run(request: web.Request) -> web.Response:
    """``POST /runs``."""
    run = await read_message(request, Run)
    return await answer_write(request, "create run", lambda tx: runs.create_run(tx, run))


async def get_run(request: web.Request) -> web.Response:
    """``GET /runs/{run_id}``."""
    run_id, view = request.match_info["run_id"], Query(request).enum("view", ViewMode, ViewMode.DEFAULT)
    return await answer_read(request, "get run", lambda tx: runs.get_run(tx, run_id, view))


async def list_runs(request: web.Request) -> web.Response:
    """``GET /runs``."""
    query = Query(request)
    view, page = query.enum("view", ViewMode, ViewMode.DEFAULT), query.page()
    experiment_id = query.text("experiment_id")
    return await answer_read(
        request,
        "list runs",
        lambda tx: runs.list_runs(
            tx, namespace=query.text("namespace"), experiment_id=experiment_id, view=view, request=page
        ),
    )


async def report_workflow(request: web.Request) -> web.Response:
    """``POST /workflows``: the body is a JSON string that holds the workflow's JSON."""
    text = decode_json(await request.read())
    return await answer_write(request, "report workflow", lambda tx: run_states.report_workflow(tx, text))


def _on_run(
    operation: str, service: Callable[[Transaction, str], dict[str, Any]]
) -> Callable[[web.Request], Awaitable[web.Response]]:
    """A handler that applies ``service`` to the run of the path and ignores the body."""

    async def handler(request: web.Request) -> web.Response:
        run_id = request.match_info["run_id"]
        return await answer_write(request, operation, lambda tx: service(tx, run_id))

    return handler


ROUTES = [
    web.route("POST", "/runs", create_run),
    web.route("GET", "/runs", list_runs),
    web.route("GET", "/runs/{run_id:[^/:]+}", get_run),
    web.route("DELETE", "/runs/{run_id:[^/:]+}", _on_run("delete run", runs.delete_run)),
    web.route("POST", "/runs/{run_id:[^/:]+}:archive", _on_run("archive run", runs.archive_run)),
    web.route("POST", "/runs/{run_id:[^/:]+}:unarchive", _on_run("unarchive run", runs.unarchive_run)),
    web.route("POST", "/runs/{run_id:[^/:]+}:terminate", _on_run("terminate run", run_states.terminate_run)),
    web.route("POST", "/runs/{run_id:[^/:]+}:retry", _on_run("retry run", run_retry.retry_run)),
    web.route("POST", "/workflows", report_workflow),
]

"""Routes of tasks."""

from aiohttp import web

from kfp_api.messages import PipelineTask
from local_stack.api_server.requests import FindCachedTaskRequest, UpdateTasksBulkRequest
from local_stack.api_server.routes.answering import answer_read, answer_write
from local_stack.api_server.routes.decoding import Query, read_message
from local_stack.api_server.routes.preferences import MINIMAL, applied, child_view, prefers_minimal
from local_stack.api_server.services import task_updates, tasks

BOUND_RUN_HEADER = "x-kfp-bound-run-id"


async def create_task(request: web.Request) -> web.Response:
    """``POST /runs/{run_id}/tasks``."""
    given = (await request.read()).strip()
    task = await read_message(request, PipelineTask) if given else None
    run_id = request.match_info["run_id"]
    return await answer_write(request, "create task", lambda tx: tasks.create_task(tx, run_id, task))


async def update_task(request: web.Request) -> web.Response:
    """``PATCH /runs/{run_id}/tasks/{task_id}``."""
    patch = await read_message(request, PipelineTask)
    run_id, task_id = request.match_info["run_id"], request.match_info["task_id"]
    minimal = prefers_minimal(request)
    answer = await answer_write(
        request,
        "update task",
        lambda tx: task_updates.update_task(tx, run_id, task_id, patch, minimal=minimal),
    )
    return applied(answer, MINIMAL) if minimal else answer


async def update_tasks_bulk(request: web.Request) -> web.Response:
    """``POST /runs/{run_id}/tasks:batchUpdate``."""
    body = await read_message(request, UpdateTasksBulkRequest)
    run_id = request.match_info["run_id"]
    minimal = prefers_minimal(request)
    answer = await answer_write(
        request,
        "update tasks",
        lambda tx: task_updates.update_tasks_bulk(tx, run_id, body.tasks, minimal=minimal),
    )
    return applied(answer, MINIMAL) if minimal else answer


async def get_task(request: web.Request) -> web.Response:
    """``GET /runs/{run_id}/tasks/{task_id}``."""
    run_id, task_id = request.match_info["run_id"], request.match_info["task_id"]
    view = child_view(request)
    answer = await answer_read(request, "get task", lambda tx: tasks.get_task(tx, run_id, task_id, view=view))
    return applied(answer, "view=child") if view is not None else answer


async def list_tasks(request: web.Request) -> web.Response:
    """``GET /runs/{run_id}/tasks``."""
    query = Query(request)
    parent_id, page = query.text("parent_id"), query.page("order_by")
    run_id = request.match_info["run_id"]
    minimal = prefers_minimal(request)
    answer = await answer_read(
        request, "list tasks", lambda tx: tasks.list_tasks(tx, run_id, parent_id, page, minimal=minimal)
    )
    return applied(answer, MINIMAL) if minimal else answer


async def find_cached_task(request: web.Request) -> web.Response:
    """``POST /tasks:findCached``."""
    body = await read_message(request, FindCachedTaskRequest)
    bound_run_id = request.headers.get(BOUND_RUN_HEADER, "")
    return await answer_read(
        request,
        "find cached task",
        lambda tx: tasks.find_cached_task(
            tx,
            namespace=body.namespace,
            cache_fingerprint=body.cache_fingerprint,
            bound_run_id=bound_run_id,
        ),
    )


ROUTES = [
    web.route("POST", "/runs/{run_id:[^/:]+}/tasks", create_task),
    web.route("GET", "/runs/{run_id:[^/:]+}/tasks", list_tasks),
    web.route("POST", "/runs/{run_id:[^/:]+}/tasks:batchUpdate", update_tasks_bulk),
    web.route("GET", "/runs/{run_id:[^/:]+}/tasks/{task_id:[^/:]+}", get_task),
    web.route("PATCH", "/runs/{run_id:[^/:]+}/tasks/{task_id:[^/:]+}", update_task),
    web.route("POST", "/tasks:findCached", find_cached_task),
]

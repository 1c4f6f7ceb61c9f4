"""Routes of artifacts and artifact links."""

from aiohttp import web

from kfp_api.messages import CreateArtifactRequest, IOType
from local_stack.api_server.requests import (
    CreateArtifactsBulkRequest,
    CreateArtifactTaskRequest,
    CreateArtifactTasksBulkRequest,
)
from local_stack.api_server.routes.answering import answer_read, answer_write
from local_stack.api_server.routes.decoding import Query, read_message
from local_stack.api_server.services import artifact_links, artifacts
from local_stack.api_server.services.artifact_links import LinkScope


async def create_artifact(request: web.Request) -> web.Response:
    """``POST /artifacts``."""
    body = await read_message(request, CreateArtifactRequest)
    return await answer_write(request, "create artifact", lambda tx: artifacts.create_artifact(tx, body))


async def create_artifacts_bulk(request: web.Request) -> web.Response:
    """``POST /artifacts:batchCreate``."""
    body = await read_message(request, CreateArtifactsBulkRequest)
    return await answer_write(
        request, "create artifacts", lambda tx: artifacts.create_artifacts_bulk(tx, body.artifacts)
    )


async def get_artifact(request: web.Request) -> web.Response:
    """``GET /artifacts/{artifact_id}``."""
    artifact_id = request.match_info["artifact_id"]
    return await answer_read(request, "get artifact", lambda tx: artifacts.get_artifact(tx, artifact_id))


async def list_artifacts(request: web.Request) -> web.Response:
    """``GET /artifacts``."""
    query = Query(request)
    namespace, page = query.text("namespace"), query.page()
    return await answer_read(
        request, "list artifacts", lambda tx: artifacts.list_artifacts(tx, namespace, page)
    )


async def create_artifact_task(request: web.Request) -> web.Response:
    """``POST /artifact_tasks``."""
    body = await read_message(request, CreateArtifactTaskRequest)
    return await answer_write(
        request,
        "create artifact task",
        lambda tx: artifact_links.create_artifact_task(tx, body.artifact_task),
    )


async def create_artifact_tasks_bulk(request: web.Request) -> web.Response:
    """``POST /artifact_tasks:batchCreate``."""
    body = await read_message(request, CreateArtifactTasksBulkRequest)
    return await answer_write(
        request,
        "create artifact tasks",
        lambda tx: artifact_links.create_artifact_tasks_bulk(tx, body.artifact_tasks),
    )


async def list_artifact_tasks(request: web.Request) -> web.Response:
    """``GET /artifact_tasks``."""
    query = Query(request)
    scope = LinkScope(
        task_ids=query.texts("task_ids"),
        run_ids=query.texts("run_ids"),
        artifact_ids=query.texts("artifact_ids"),
        type=query.enum("type", IOType, IOType.UNSPECIFIED),
    )
    page = query.page()
    return await answer_read(
        request, "list artifact tasks", lambda tx: artifact_links.list_artifact_tasks(tx, scope, page)
    )


ROUTES = [
    web.route("POST", "/artifacts", create_artifact),
    web.route("GET", "/artifacts", list_artifacts),
    web.route("POST", "/artifacts:batchCreate", create_artifacts_bulk),
    web.route("GET", "/artifacts/{artifact_id:[^/:]+}", get_artifact),
    web.route("POST", "/artifact_tasks", create_artifact_task),
    web.route("GET", "/artifact_tasks", list_artifact_tasks),
    web.route("POST", "/artifact_tasks:batchCreate", create_artifact_tasks_bulk),
]

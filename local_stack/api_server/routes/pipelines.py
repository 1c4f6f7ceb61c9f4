"""Routes of pipelines and their versions. Uploads answer errors in KFP's other shape (spec KFP_API 7.2)."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import orjson
from aiohttp import BodyPartReader, web
from aiohttp.http_exceptions import HttpProcessingError

from compiler.errors import PipelineFileError
from compiler.loading import MAX_BYTES, load_pipeline
from local_stack.api_server.errors import ApiError, InvalidInputError, TooLargeError
from local_stack.api_server.routes.answering import Handler, answer_read, answer_write, json_response
from local_stack.api_server.routes.decoding import Query
from local_stack.api_server.services import pipelines
from local_stack.api_server.services.pipelines import Upload
from local_stack.api_server.storage.transaction import Transaction

_FILE_FIELD: Final = "uploadfile"
_SIGNATURES: Final = {b"PK": ".zip", b"\x1f\x8b": ".tar.gz"}
_TEXT_SUFFIXES: Final = (".yaml", ".yml", ".json")


def _upload_errors(handler: Handler) -> Handler:
    """Refusals as the upload server words them: ``error_message`` and ``error_details``."""

    async def answer(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except ApiError as error:
            text = str(error)
            return json_response({"error_message": text, "error_details": text}, status=error.http_status)

    return answer


@_upload_errors
async def upload_pipeline(request: web.Request) -> web.StreamResponse:
    """``POST /pipelines/upload``."""
    query = Query(request)
    namespace = query.text("namespace")
    upload = await _read_upload(request, query)
    return await answer_write(
        request, "upload pipeline", lambda tx: pipelines.create_pipeline(tx, upload, namespace)
    )


@_upload_errors
async def upload_pipeline_version(request: web.Request) -> web.StreamResponse:
    """``POST /pipelines/upload_version``."""
    query = Query(request)
    pipeline_id = query.text("pipelineid")
    if not pipeline_id:
        raise InvalidInputError("Failed to create a pipeline version: pipelineid is required")
    upload = await _read_upload(request, query)
    return await answer_write(
        request, "upload pipeline version", lambda tx: pipelines.create_version(tx, pipeline_id, upload)
    )


async def list_pipelines(request: web.Request) -> web.Response:
    """``GET /pipelines``."""
    query = Query(request)
    namespace, page = query.text("namespace"), query.page()
    return await answer_read(
        request, "list pipelines", lambda tx: pipelines.list_pipelines(tx, namespace, page)
    )


async def get_pipeline_by_name(request: web.Request) -> web.Response:
    """``GET /pipelines/names/{name}``."""
    name, namespace = request.match_info["name"], Query(request).text("namespace")
    return await answer_read(
        request, "get pipeline", lambda tx: pipelines.get_pipeline_by_name(tx, name, namespace)
    )


async def delete_pipeline(request: web.Request) -> web.Response:
    """``DELETE /pipelines/{pipeline_id}``."""
    pipeline_id, cascade = request.match_info["pipeline_id"], Query(request).boolean("cascade")
    return await answer_write(
        request,
        "delete pipeline",
        lambda tx: pipelines.delete_pipeline(tx, pipeline_id, cascade=cascade),
    )


async def list_versions(request: web.Request) -> web.Response:
    """``GET /pipelines/{pipeline_id}/versions``."""
    pipeline_id, page = request.match_info["pipeline_id"], Query(request).page()
    return await answer_read(
        request, "list pipeline versions", lambda tx: pipelines.list_versions(tx, pipeline_id, page)
    )


async def get_pipeline(request: web.Request) -> web.Response:
    """``GET /pipelines/{pipeline_id}``."""
    pipeline_id = request.match_info["pipeline_id"]
    return await answer_read(request, "get pipeline", lambda tx: pipelines.get_pipeline(tx, pipeline_id))


def _on_version(
    answer: Callable[..., Awaitable[web.Response]],
    operation: str,
    service: Callable[[Transaction, str, str], dict[str, Any]],
) -> Callable[[web.Request], Awaitable[web.Response]]:
    """A handler that applies ``service`` to the version of the path."""

    async def handler(request: web.Request) -> web.Response:
        pipeline_id, version_id = request.match_info["pipeline_id"], request.match_info["version_id"]
        return await answer(request, operation, lambda tx: service(tx, pipeline_id, version_id))

    return handler


async def _read_upload(request: web.Request, query: Query) -> Upload:
    """The file of a multipart body, and what the query says of it.

    Raises:
        ApiError: no file, a file that is no pipeline or too large, or tags that are no JSON object.
    """
    try:
        filename, content = await _file(request)
    except (ValueError, HttpProcessingError) as error:
        raise InvalidInputError(f"Failed to read pipeline from file: {error}") from error
    document = await asyncio.to_thread(_document, filename, content)
    name = query.text("name") or query.text("display_name") or filename
    if not name:
        raise InvalidInputError("Failed to read pipeline from file: it has no name")
    return Upload(
        document=document,
        name=name,
        display_name=query.text("display_name") or name,
        description=query.text("description"),
        tags=_tags(query.text("tags")),
    )


async def _file(request: web.Request) -> tuple[str, bytes]:
    """Name and contents of the uploaded file."""
    if request.content_type == "multipart/form-data":
        async for part in await request.multipart():
            if isinstance(part, BodyPartReader) and part.name == _FILE_FIELD:
                return Path(part.filename or "").name, await _bounded(part)
    raise InvalidInputError(f"Failed to read pipeline from file: no multipart field {_FILE_FIELD}")


async def _bounded(part: BodyPartReader) -> bytes:
    content = bytearray()
    while chunk := await part.read_chunk():
        content += chunk
        if len(content) > MAX_BYTES:
            raise TooLargeError(f"File size too large. Maximum supported size: {MAX_BYTES} bytes")
    return bytes(content)


def _document(filename: str, content: bytes) -> dict[str, Any]:
    """The pipeline in an uploaded file, in the form in which runs carry it."""
    suffix = _SIGNATURES.get(content[:2]) or next(
        (suffix for suffix in _TEXT_SUFFIXES if filename.lower().endswith(suffix)), None
    )
    if suffix is None:
        raise InvalidInputError("Unexpected pipeline file format. Support .zip, .tar.gz, .json or YAML")
    with TemporaryDirectory(prefix="kfp-upload-") as directory:
        path = Path(directory, f"pipeline{suffix}")
        path.write_bytes(content)
        try:
            return load_pipeline(path).submission
        except PipelineFileError as error:
            fault = str(error).removeprefix(f"{path}: ")
            raise InvalidInputError(f"Failed to read a pipeline spec file: {fault}") from error


def _tags(text: str) -> dict[str, str]:
    if not text:
        return {}
    try:
        tags = orjson.loads(text)
    except orjson.JSONDecodeError:
        tags = None
    if not isinstance(tags, dict) or not all(isinstance(value, str) for value in tags.values()):
        raise InvalidInputError(
            "Failed to parse tags query parameter. Expected JSON object with string keys and values"
        )
    return tags


_VERSION: Final = "/pipelines/{pipeline_id:[^/:]+}/versions/{version_id:[^/:]+}"

ROUTES = [
    web.route("POST", "/pipelines/upload", upload_pipeline),
    web.route("POST", "/pipelines/upload_version", upload_pipeline_version),
    web.route("GET", "/pipelines", list_pipelines),
    web.route("GET", "/pipelines/names/{name:[^/]+}", get_pipeline_by_name),
    web.route("GET", "/pipelines/{pipeline_id:[^/:]+}", get_pipeline),
    web.route("DELETE", "/pipelines/{pipeline_id:[^/:]+}", delete_pipeline),
    web.route("GET", "/pipelines/{pipeline_id:[^/:]+}/versions", list_versions),
    web.route("GET", _VERSION, _on_version(answer_read, "get pipeline version", pipelines.get_version)),
    web.route(
        "DELETE", _VERSION, _on_version(answer_write, "delete pipeline version", pipelines.delete_version)
    ),
]

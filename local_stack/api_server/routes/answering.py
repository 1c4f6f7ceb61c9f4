"""Runs services in transactions and turns results and refusals into answers.

The answer's JSON is built on the database thread that did the work, after nothing else can fail; a write
is answered after its commit.
"""

import hmac
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final
from uuid import uuid4

import orjson
import structlog
from aiohttp import web
from sqlalchemy import Connection

from local_stack.api_server.authorization import Caller
from local_stack.api_server.config import ServerConfig
from local_stack.api_server.errors import ApiError, UnauthenticatedError
from local_stack.api_server.storage.database import Database
from local_stack.api_server.storage.transaction import Transaction

DATABASE: Final = web.AppKey("database", Database)
CONFIG: Final = web.AppKey("config", ServerConfig)
OPERATION: Final = web.RequestKey("operation", str)

API_PREFIX: Final = "/apis/v2beta1"
OPEN_PATHS: Final = frozenset(
    {f"{API_PREFIX}/healthz", "/apis/v1beta1/healthz", f"{API_PREFIX}/openapi.json", "/metrics"}
)
"""What needs no identity, ever."""

_NO_PAGES: Final = (
    "this is the KFP API, without KFP's web pages; kfp-driver local status lists the runs, "
    "kfp-driver explain RUN tells about one"
)
"""For people who follow the links to run pages that the KFP SDK prints."""

Service = Callable[[Transaction], dict[str, Any]]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_log = structlog.get_logger(__name__)


def json_response(body: object, *, status: int = 200) -> web.Response:
    """A JSON answer."""
    return web.Response(body=orjson.dumps(body), status=status, content_type="application/json")


async def answer_read(request: web.Request, operation: str, service: Service) -> web.Response:
    """Answer with what ``service`` returns from a read-only transaction."""
    request[OPERATION] = operation
    return await _answer(request, service, request.app[DATABASE].read)


async def answer_write(request: web.Request, operation: str, service: Service) -> web.Response:
    """Answer with what ``service`` returns, after its writes are committed."""
    request[OPERATION] = operation
    return await _answer(request, service, request.app[DATABASE].write)


async def _answer(
    request: web.Request,
    service: Service,
    run: Callable[[Callable[[Connection], bytes]], Awaitable[bytes]],
) -> web.Response:
    config = request.app[CONFIG]
    caller = Caller(config.multi_user, request.headers)
    body = await run(partial(_work, config, caller, service))
    return web.Response(body=body, content_type="application/json")


def _work(config: ServerConfig, caller: Caller, service: Service, connection: Connection) -> bytes:
    return orjson.dumps(service(Transaction(connection, config, config.clock(), caller)))


@web.middleware
async def errors_as_status(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every refusal as ``google.rpc.Status``; a bug as 500 with a request id, its trace in the log."""
    try:
        return await handler(request)
    except ApiError as error:
        response = json_response(
            error.body(request.get(OPERATION, "serve request")), status=error.http_status
        )
        if isinstance(error, UnauthenticatedError):
            response.headers["WWW-Authenticate"] = f'Bearer error_description="{error}"'
        return response
    except web.HTTPNotFound:
        message = _NO_PAGES if request.path == "/" else "Not Found"
        return json_response({"code": 5, "message": message}, status=404)
    except web.HTTPMethodNotAllowed:
        return json_response({"code": 12, "message": "Method Not Allowed"}, status=501)
    except web.RequestPayloadError:
        return json_response({"code": 3, "message": "the body cannot be read: bad encoding"}, status=400)
    except web.HTTPRequestEntityTooLarge:
        limit = request.app[CONFIG].max_body_bytes
        return json_response({"code": 3, "message": f"the body is larger than {limit} bytes"}, status=413)
    except web.HTTPException as error:
        return json_response({"code": 3, "message": error.reason}, status=error.status)
    except Exception:  # noqa: BLE001 (the last resort: logged with its trace, answered without it)
        request_id = uuid4().hex
        _log.exception("request failed", request_id=request_id, method=request.method, path=request.path)
        operation = request.get(OPERATION, "serve request")
        return json_response(
            {
                "code": 13,
                "message": f"Failed to {operation}: InternalServerError: request {request_id}",
                "details": [
                    {
                        "@type": "type.googleapis.com/google.rpc.Status",
                        "code": 13,
                        "message": "Internal Server Error",
                    }
                ],
            },
            status=500,
        )


@web.middleware
async def require_token(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Ask for the static bearer token, where one is configured."""
    token = request.app[CONFIG].token
    if token is not None and request.path not in OPEN_PATHS:
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), token.encode()):
            raise UnauthenticatedError("Request header error: there is no valid bearer token")
    return await handler(request)

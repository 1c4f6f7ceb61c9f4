"""``POST /api/v1/template.execute``: the door that Argo's agent knocks on (spec DRIVER 1.3, LAUNCHER D4).

Status codes mean something to the agent: 404 disables the method for its lifetime, so this path never
answers it; 503 is tried again; any other status than 200 fails the node with the body as its text. So a
mistake in our own template is a 200 with a failed node, and 4xx is for envelope and identity. Texts never
quote what came in.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

import orjson
from aiohttp import web

from driver_plugin.argo.replies import NOT_OURS
from driver_plugin.argo.requests import ExecuteTemplateRequest, RequestError
from driver_plugin.errors import ForbiddenError, OverloadedError
from driver_plugin.http.authentication import AgentToken
from driver_plugin.invocation import Invocations
from driver_plugin.metrics import Metrics

PATH: Final = "/api/v1/template.execute"
MAX_BODY_BYTES: Final = 16 << 20


class ExecuteTemplate:
    """The handler of :data:`PATH`, for every method."""

    def __init__(self, *, invocations: Invocations, token: AgentToken, metrics: Metrics) -> None:
        self._invocations = invocations
        self._token = token
        self._metrics = metrics

    async def handle(self, request: web.Request) -> web.Response:
        """Check the caller, read the call, answer it."""
        if request.method != "POST":
            return self._refuse(
                HTTPStatus.METHOD_NOT_ALLOWED, "only POST is served here", headers={"Allow": "POST"}
            )
        if not self._token.accepts(request.headers.get("Authorization")):
            return self._refuse(HTTPStatus.FORBIDDEN, "the caller's token is missing or wrong")
        try:
            call = ExecuteTemplateRequest.parse(await _body(request))
            reply = await self._invocations.execute(call) if call.ours else NOT_OURS
        except web.HTTPRequestEntityTooLarge:
            return self._refuse(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body is larger than {MAX_BODY_BYTES} bytes"
            )
        except RequestError as error:
            return self._refuse(HTTPStatus.BAD_REQUEST, str(error))
        except ForbiddenError as error:
            return self._refuse(HTTPStatus.FORBIDDEN, str(error))
        except OverloadedError as error:
            return self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, str(error))
        return json_response(HTTPStatus.OK, reply)

    def _refuse(
        self, status: HTTPStatus, text: str, *, headers: Mapping[str, str] | None = None
    ) -> web.Response:
        self._metrics.refused.labels(str(status.value)).inc()
        return json_response(status, {"error": text}, headers=headers)


def json_response(
    status: HTTPStatus, document: Mapping[str, Any], *, headers: Mapping[str, str] | None = None
) -> web.Response:
    """A JSON answer."""
    return web.Response(
        status=status, body=orjson.dumps(document), content_type="application/json", headers=headers
    )


async def _body(request: web.Request) -> bytes:
    length = request.content_length
    if length is not None and length > MAX_BODY_BYTES:
        raise web.HTTPRequestEntityTooLarge(MAX_BODY_BYTES, length)
    return await request.read()

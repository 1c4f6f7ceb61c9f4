"""``http`` templates, executed as Argo's agent executes them (spec LAUNCHER E4).

One request, sent once: only the template's own ``retryStrategy`` repeats it, and without ``timeoutSeconds``
only the template's own deadline ends it. The node's result is the answer's body, of a refused answer too.
A request that could not be sent or answered is Failed, never Error, as everything is in the agent.

``successCondition`` is read by the runner's small expression language, which is a part of Argo's: what it
cannot read is refused when the workflow is loaded, unless tags hide it until then.
"""

import asyncio
import os
import re
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, Final

import aiohttp

from local_stack.runner.errors import ExpressionSyntaxError, NodeError
from local_stack.runner.expressions import Operand, evaluate
from local_stack.runner.nodes import NodeResult, Phase

SecretLookup = Callable[[str, str], str | None]
"""From a Secret's name and key to its value."""

# Those of Go's HTTP client.
_USER_AGENT: Final = "Go-http-client/1.1"
_CONNECT_TIMEOUT: Final = 30.0
_MAX_REDIRECTS: Final = 10
_PASSWORD: Final = re.compile(r"(?<=//)([^/:@]*):[^/@]*@")


async def execute_http(http: Mapping[str, Any], *, secret: SecretLookup) -> NodeResult:
    """Send the request of a substituted template and judge the answer.

    Args:
        http: the template's member ``http``.
        secret: finds what headers take from Secrets.
    """
    try:
        headers = [(header["name"], _header_value(header, secret)) for header in http.get("headers") or ()]
    except NodeError as error:
        return NodeResult(phase=Phase.FAILED, message=str(error))
    try:
        async with asyncio.timeout(http.get("timeoutSeconds")):
            status, body = await _send(http, headers)
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        return NodeResult(phase=Phase.FAILED, message=f"{_request_name(http)}: {_reason(error)}")
    condition = str(http.get("successCondition") or "")
    try:
        message = _judge(condition, http, status=status, body=body)
    except ExpressionSyntaxError as error:
        return NodeResult(phase=Phase.FAILED, message=f"successCondition '{condition}': {error}")
    return NodeResult(phase=Phase.FAILED if message else Phase.SUCCEEDED, message=message, result=body)


def check_success_condition(condition: str) -> None:
    """Refuse a condition that cannot be evaluated; one with tags cannot be read yet.

    Raises:
        ExpressionSyntaxError: says why.
    """
    if condition and "{{" not in condition:
        _judge(condition, {}, status=HTTPStatus.OK, body="")


def _judge(condition: str, http: Mapping[str, Any], *, status: int, body: str) -> str:
    """Why the answer is not a success; empty when it is."""
    if not condition:
        success = HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES
        return "" if success else f"received non-2xx response code: {status}"
    values: Mapping[str, Operand] = {
        "request.method": str(http.get("method") or ""),
        "request.url": str(http.get("url") or ""),
        "request.body": str(http.get("body") or ""),
        "response.statusCode": float(status),
        "response.body": body,
    }

    def word(name: str) -> Operand:
        if name not in values:
            raise ExpressionSyntaxError(f"the local runner does not know {name!r}, only {', '.join(values)}")
        return values[name]

    return "" if evaluate(condition, word=word) else f"successCondition '{condition}' evaluated false"


async def _send(http: Mapping[str, Any], headers: list[tuple[str, str]]) -> tuple[int, str]:
    async with (
        aiohttp.ClientSession(
            # Go unpacks an answer only when it was Go that asked for a packed one.
            auto_decompress=all(name.lower() != "accept-encoding" for name, _ in headers),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": _USER_AGENT, "Accept-Encoding": "gzip"},
            skip_auto_headers=("Accept", "Content-Type"),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_TIMEOUT),
            trust_env=False,
        ) as session,
        session.request(
            http.get("method") or "GET",
            str(http.get("url")),
            data=str(http.get("body") or "").encode() or None,
            headers=headers,
            max_redirects=_MAX_REDIRECTS,
            ssl=not http.get("insecureSkipVerify"),
        ) as response,
    ):
        return response.status, (await response.read()).decode(errors="replace")


def _header_value(header: Mapping[str, Any], secret: SecretLookup) -> str:
    reference = (header.get("valueFrom") or {}).get("secretKeyRef")
    if not reference:
        return str(header.get("value") or "")
    name, key = reference.get("name") or "", reference.get("key") or ""
    value = secret(name, key)
    if value is None:
        raise NodeError(
            f'header {header["name"]}: Secret "{name}" has no key "{key}"; '
            f"put its value into the file secrets/{name}/{key} of the data directory"
        )
    return value


def _request_name(http: Mapping[str, Any]) -> str:
    """The request as Go's client names it in its errors, without a password."""
    url = _PASSWORD.sub(r"\1:***@", str(http.get("url")))
    return f'{str(http.get("method") or "GET").capitalize()} "{url}"'


def _reason(error: Exception) -> str:
    """The failure in the words of Go, by which the retry policy OnTransientError knows it."""
    if isinstance(error, aiohttp.ServerTimeoutError):
        return "dial tcp: i/o timeout"
    if isinstance(error, TimeoutError):
        return "context deadline exceeded"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "dial tcp: no such host"
    if isinstance(error, aiohttp.ClientSSLError):
        return f"tls: {error}"
    if isinstance(error, aiohttp.ClientOSError) and error.errno:
        return os.strerror(error.errno).lower()
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "EOF"
    if isinstance(error, aiohttp.ClientPayloadError):
        return "unexpected EOF"
    if isinstance(error, aiohttp.TooManyRedirects):
        return f"stopped after {_MAX_REDIRECTS} redirects"
    return str(error)

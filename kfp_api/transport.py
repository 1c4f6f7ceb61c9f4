"""One HTTP exchange with the KFP API, repeated where that helps: retries, deadlines, credentials.

Promises: every await is bounded (each attempt by its own time-out, all attempts and pauses together by
the retry deadline); redirects are never followed; a credential goes only to an allowed host; every
failure leaves as a :class:`~kfp_api.errors.KfpApiError`. Rules: spec KFP_API 11 rules 6 and 8, DEPLOY 6.4.
"""

import asyncio
import math
import ssl
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote, urlencode
from urllib.request import getproxies, proxy_bypass

import aiohttp
import orjson
from tenacity import AsyncRetrying, RetryCallState, stop_before_delay, wait_random_exponential
from yarl import URL

from kfp_api.bodies import encode_body
from kfp_api.credentials import Credentials, NoCredentials
from kfp_api.errors import (
    ApiCredentialError,
    ApiServerError,
    ApiUnavailableError,
    KfpApiError,
    error_from_answer,
)
from kfp_api.operations import API_PREFIX, Operation

_CONNECT_SECONDS: Final = 5.0
_KEEP_ALIVE_SECONDS: Final = 30.0
_CONNECTIONS: Final = 100
_LOOPBACK_HOSTS: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_NOT_BODY: Final = object()
_UNWANTED_BYTES: Final = 64 * 1024
"""How much of an answer is read that does not matter: what a connection costs that is kept."""
_TIMEOUT: Final = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS)
"""The time-out of the whole attempt is :meth:`ApiTransport._exchange`'s own."""


@dataclass(frozen=True, kw_only=True)
class ApiCall:
    """One attempt, for metrics and logs.

    ``operation`` is the RPC name (``path`` holds ids), ``status`` is ``None`` where no answer arrived,
    ``bytes`` the size of the answer's body.
    """

    operation: str
    method: str
    path: str
    status: int | None
    seconds: float
    attempt: int
    bytes: int


@dataclass(frozen=True, kw_only=True)
class Backoff:
    """Pauses between attempts: random below an exponentially growing bound, in seconds."""

    initial_seconds: float = 0.2
    maximum_seconds: float = 2.0

    def seconds(self, state: RetryCallState) -> float:
        """The pause before the next attempt, longer if the server asked for it (``Retry-After``)."""
        drawn = wait_random_exponential(multiplier=self.initial_seconds, max=self.maximum_seconds)(state)
        error = state.outcome.exception() if state.outcome else None
        asked = error.retry_after_seconds if isinstance(error, ApiUnavailableError) else None
        return max(drawn, asked or 0.0)


@dataclass(frozen=True, kw_only=True)
class Request:
    """What one call sends.

    Attributes:
        body: JSON data.
        run_id: the run that the call names, if any.
        timeout_seconds: bound of one attempt, where the client's own is too short.
        wants_answer: whether the answer matters. A server may shorten one that does not (``Prefer:
            return=minimal``, RFC 7240); of a longer one no more than 64 KiB is read.
    """

    operation: Operation
    parts: Mapping[str, str]
    query: Sequence[tuple[str, str]] = ()
    body: Any = _NOT_BODY
    run_id: str | None = None
    headers: Mapping[str, str] | None = None
    timeout_seconds: float | None = None
    wants_answer: bool = True


@dataclass(frozen=True, kw_only=True)
class _Answer:
    status: int
    headers: Mapping[str, str]
    content: bytes
    complete: bool

    @property
    def is_success(self) -> bool:
        return HTTPStatus(200) <= self.status < HTTPStatus(300)


class ApiTransport:
    """The connection pool of one process to one KFP API server."""

    def __init__(
        self,
        base_url: str,
        *,
        credentials: Credentials | None = None,
        allowed_hosts: Collection[str] | None = None,
        verify: ssl.SSLContext | bool = True,
        timeout_seconds: float = 30.0,
        retry_deadline_seconds: float = 20.0,
        observer: Callable[[ApiCall], None] | None = None,
        backoff: Backoff | None = None,
    ) -> None:
        try:
            url = URL(base_url)
        except ValueError as error:
            raise ValueError(f"KFP API URL {base_url!r}: {error}") from error
        if url.scheme not in {"http", "https"} or not url.host:
            raise ValueError(f"KFP API URL {base_url!r} is not an http or https URL with a host")
        self._url = url
        self._base = str(url.with_query(None).with_fragment(None)).rstrip("/").removesuffix(API_PREFIX)
        hosts = {host.lower() for host in allowed_hosts} if allowed_hosts is not None else {url.host}
        trusted = bool({url.host, url.host_port_subcomponent} & hosts)
        self._credentials: Credentials = credentials if credentials and trusted else NoCredentials()
        self._verify = verify
        self._timeout_seconds = timeout_seconds
        self.retry_deadline_seconds = retry_deadline_seconds
        self._observer = observer
        self.backoff = backoff or Backoff()
        self._session: aiohttp.ClientSession | None = None

    async def aclose(self) -> None:
        """Close all connections; a later call would open new ones."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def call(self, request: Request) -> Any:
        """Send ``request``, again where it helps, and answer the decoded JSON of the reply.

        ``None`` stands for the long answer of a request that does not want it.

        Raises:
            KfpApiError: see :mod:`kfp_api.errors`; the last failure when the deadline ends the attempts.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + max(self.retry_deadline_seconds, request.timeout_seconds or 0.0)
        retry = _RetryRule(request.operation)
        try:
            return await self._authenticated(request, deadline, retry)
        except KfpApiError as error:
            # Most calls succeed at once, and are spared the bookkeeping of repetitions.
            first: KfpApiError | None = error

        async def attempt() -> Any:
            nonlocal first
            if first is not None:
                failed, first = first, None
                raise failed
            return await self._authenticated(request, deadline, retry)

        attempts = AsyncRetrying(
            stop=stop_before_delay(deadline - loop.time()),
            wait=self.backoff.seconds,
            retry=retry.wants_another,
            reraise=True,
        )
        return await attempts(attempt)

    async def _authenticated(self, request: Request, deadline: float, retry: "_RetryRule") -> Any:
        """One attempt, with one more after a 401 if the credential could be renewed."""
        sent = await self._credential(request)
        try:
            return await self._exchange(request, sent, deadline, retry.next_attempt())
        except ApiCredentialError as error:
            if error.status != HTTPStatus.UNAUTHORIZED:
                raise
            changed = await self._credentials.refresh()
            renewed = await self._credential(request)
            # Another call may have refreshed meanwhile: then only the comparison shows the change.
            if not changed and renewed == sent:
                raise
        return await self._exchange(request, renewed, deadline, retry.next_attempt())

    async def _credential(self, request: Request) -> Mapping[str, str]:
        return await self._credentials.headers(
            run_id=request.run_id, base_audience=request.operation.base_audience
        )

    async def _exchange(
        self, request: Request, credential: Mapping[str, str], deadline: float, attempt: int
    ) -> Any:
        operation = request.operation
        path = operation.path(request.parts)
        query = f"?{urlencode(request.query, quote_via=quote)}" if request.query else ""
        content = None if request.body is _NOT_BODY else encode_body(request.body, operation.name)
        headers = {"Accept": "application/json", **(request.headers or {}), **credential}
        if content is not None:
            headers["Content-Type"] = "application/json"
        if not request.wants_answer:
            headers["Prefer"] = "return=minimal"
        remaining = deadline - asyncio.get_running_loop().time()
        seconds = max(0.001, min(request.timeout_seconds or self._timeout_seconds, remaining))
        started = time.perf_counter()
        answer: _Answer | None = None
        try:
            async with asyncio.timeout(seconds):
                answer = await self._send(
                    operation.method,
                    # The text is final: another round of quoting would change escaped characters.
                    URL(f"{self._base}{path}{query}", encoded=True),
                    content=content,
                    headers=headers,
                    whole=request.wants_answer,
                )
        except aiohttp.ClientError as error:  # some are time-outs as well
            sent = not isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError)
            reason = _redacted(str(error) or type(error).__name__, credential)
            raise _unreachable(operation, path, reason, sent=sent) from error
        except TimeoutError as error:
            raise _unreachable(operation, path, f"no answer within {seconds:.3g} s") from error
        finally:
            self._observe(operation, path, answer, time.perf_counter() - started, attempt)
        return _read(operation, path, answer, request, credential)

    def _observe(
        self, operation: Operation, path: str, answer: _Answer | None, seconds: float, attempt: int
    ) -> None:
        if self._observer is not None:
            self._observer(
                ApiCall(
                    operation=operation.name,
                    method=operation.method,
                    path=path,
                    status=answer.status if answer is not None else None,
                    seconds=seconds,
                    attempt=attempt,
                    bytes=len(answer.content) if answer is not None else 0,
                )
            )

    async def _send(
        self, method: str, url: URL, *, content: bytes | None, headers: Mapping[str, str], whole: bool
    ) -> _Answer:
        """The answer; its connection is given back also when reading it fails or takes too long."""
        request = self._opened().request(
            method, url, data=content, headers=headers, allow_redirects=False, timeout=_TIMEOUT
        )
        async with request as response:
            whole = whole or not response.ok
            text = await response.read() if whole else await _beginning(response)
            return _Answer(
                status=response.status,
                headers=response.headers,
                content=text or b"",
                complete=text is not None,
            )

    def _opened(self) -> aiohttp.ClientSession:
        """The shared session, opened in the event loop of the first call.

        It keeps no cookie of one tenant's answer for another tenant's call.
        """
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=_CONNECTIONS, keepalive_timeout=_KEEP_ALIVE_SECONDS, ssl=self._trust()
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                proxy=_environment_proxy(self._url),
            )
        return self._session

    def _trust(self) -> ssl.SSLContext:
        """Trust anchors: the system's unless others were given; none are loaded for plain HTTP."""
        if isinstance(self._verify, ssl.SSLContext):
            return self._verify
        if self._url.scheme == "http":
            return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context = ssl.create_default_context()
        if not self._verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


async def _beginning(response: aiohttp.ClientResponse) -> bytes | None:
    """The body if it is short; else ``None``, and the connection is closed instead of emptied."""
    parts: list[bytes] = []
    size = 0
    async for part in response.content.iter_any():
        parts.append(part)
        size += len(part)
        if size > _UNWANTED_BYTES:
            response.close()
            return None
    return b"".join(parts)


class _RetryRule:
    """Decides after each failed attempt of one call whether to send it again."""

    def __init__(self, operation: Operation) -> None:
        self._repeatable = operation.repeatable
        self._server_errors = 0
        self._attempts = 0

    def next_attempt(self) -> int:
        """Number of the attempt that starts now, from 1."""
        self._attempts += 1
        return self._attempts

    def wants_another(self, state: RetryCallState) -> bool:
        """Tenacity's ``retry`` callable."""
        error = state.outcome.exception() if state.outcome else None
        if not isinstance(error, KfpApiError):
            return False
        if error.may_have_been_processed and not self._repeatable:
            return False
        if isinstance(error, ApiServerError):
            self._server_errors += 1
            return self._server_errors == 1
        return error.retryable


def _read(
    operation: Operation, path: str, answer: _Answer, request: Request, credential: Mapping[str, str]
) -> Any:
    if answer.is_success and not answer.complete:
        return None
    document: Any = None
    is_json = True
    try:
        document = orjson.loads(answer.content) if answer.content else {}
    except orjson.JSONDecodeError:
        is_json = False
    if answer.is_success and is_json:
        return document
    if answer.is_success:
        raise ApiServerError(
            f"KFP API {operation.name} failed: the answer is not JSON (HTTP {answer.status})",
            status=answer.status,
            method=operation.method,
            path=path,
            may_have_been_processed=True,
        )
    error = error_from_answer(
        operation=operation.name,
        method=operation.method,
        path=path,
        status=answer.status,
        document=_redacted_document(document, credential),
        text=_explanation(operation, answer.status, request),
    )
    if isinstance(error, ApiUnavailableError):
        error.retry_after_seconds = _retry_after(answer.headers.get("Retry-After", ""))
    raise error


def _explanation(operation: Operation, status: int, request: Request) -> str:
    run = f" for run {request.run_id}" if request.run_id else ""
    if status == HTTPStatus.UNAUTHORIZED:
        return f"KFP API refused the driver credential{run}"
    if status == HTTPStatus.FORBIDDEN:
        return f"the credential lacks the right to {operation.right}{run}"
    if HTTPStatus(300) <= status < HTTPStatus(400):
        return "the server answered with a redirect, which is never followed"
    return ""


def _unreachable(operation: Operation, path: str, reason: str, *, sent: bool = True) -> ApiUnavailableError:
    return ApiUnavailableError(
        f"KFP API {operation.name} failed: {reason}",
        method=operation.method,
        path=path,
        may_have_been_processed=sent,
    )


def _retry_after(text: str) -> float | None:
    """Seconds of a ``Retry-After`` header in either form; ``None`` where there is none."""
    try:
        seconds = float(text)
    except ValueError:
        pass
    else:
        return max(0.0, seconds) if math.isfinite(seconds) else None
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return None


def _redacted(text: str, credential: Mapping[str, str]) -> str:
    """``text`` without any value of the credential: servers and proxies have echoed headers before."""
    for value in credential.values():
        for secret in (value, value.removeprefix("Bearer ")):
            text = text.replace(secret, "[redacted]") if secret else text
    return text


def _redacted_document(document: object, credential: Mapping[str, str]) -> object:
    if isinstance(document, str):
        return _redacted(document, credential)
    if isinstance(document, dict):
        return {key: _redacted_document(value, credential) for key, value in document.items()}
    if isinstance(document, list):
        return [_redacted_document(item, credential) for item in document]
    return document


def _environment_proxy(url: URL) -> str | None:
    """The proxy that the process's environment names for the server; none for loopback."""
    if url.host is None or url.host in _LOOPBACK_HOSTS or proxy_bypass(url.host):
        return None
    proxies = getproxies()
    address = proxies.get(url.scheme) or proxies.get("all")
    if not address:
        return None
    return address if "://" in address else f"http://{address}"

"""Argo's agent: has a node done by the executor plugin, or sends its HTTP request (spec LAUNCHER D2 to D4).

Requests and retries are those of Argo's own agent, so that what passes here passes in a cluster: 30
seconds per try, five tries with doubling pauses, 503 and transport errors repeated, a 404 that switches
the method off, everything else fatal. ``requeue`` is slept here and the call made again. At most 16
calls are in flight.
"""

import asyncio
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import aiohttp

from local_stack.runner.agent_errors import is_transient
from local_stack.runner.agent_faults import DifferentRepliesError, Faults, FaultyDelivery, LostReplyError
from local_stack.runner.durations import parse_duration
from local_stack.runner.errors import RunnerError
from local_stack.runner.http_template import SecretLookup, execute_http
from local_stack.runner.nodes import NodeResult, Phase
from local_stack.runner.task_set import Reconciliation, TaskSet

EXECUTE_PATH: Final = "/api/v1/template.execute"
NOT_MINE: Final = "no plugin executed the template"
_TRY_TIMEOUT: Final = 30.0
_PAUSES: Final = (1.0, 2.0, 4.0, 8.0)
_JITTER: Final = 0.2
_CONCURRENT_CALLS: Final = 16
_IDLE_CONNECTION: Final = 90.0


class PluginCallError(RunnerError):
    """A call failed for good; the text is what Argo would write on the node."""


class _TransientError(Exception):
    """One try failed in a way that Argo repeats."""


@dataclass(frozen=True)
class _Reply:
    result: NodeResult | None
    requeue: float | None


class PluginAgent:
    """Calls one plugin for one workflow. Use as an async context manager."""

    def __init__(
        self,
        url: str,
        *,
        workflow_metadata: Mapping[str, str],
        token_file: Path | None = None,
        try_timeout: float = _TRY_TIMEOUT,
        pauses: Sequence[float] = _PAUSES,
        secret: SecretLookup = lambda _name, _key: None,
        faults: Faults | None = None,
        reconciliation: Reconciliation | None = None,
    ) -> None:
        """Prepare calls.

        Args:
            url: base URL of the plugin, such as ``http://127.0.0.1:10790``.
            workflow_metadata: ``name``, ``namespace`` and ``uid`` sent with every call.
            token_file: file that holds the agent token.
            try_timeout: seconds that one try may take.
            pauses: seconds between tries, before jitter; there is one try more than pauses.
            secret: finds the Secrets that ``http`` templates name.
            faults: what goes wrong with calls, for tests; without, nothing does.
            reconciliation: when and how results reach the controller; at once and as they are by default.
        """
        self._url = url.rstrip("/") + EXECUTE_PATH
        self._workflow = {"metadata": dict(workflow_metadata)}
        self._token_file = token_file
        self._try_timeout = try_timeout
        self._pauses = tuple(pauses)
        self._secret = secret
        self._calls = asyncio.Semaphore(_CONCURRENT_CALLS)
        self._switched_off = False
        self._faulty = FaultyDelivery(faults) if faults is not None else None
        self._task_set = TaskSet(reconciliation)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        headers = {"User-Agent": "Go-http-client/1.1", "Accept-Encoding": "gzip"}
        if self._token_file is not None:
            headers["Authorization"] = f"Bearer {self._token_file.read_text().strip()}"
        self._session = aiohttp.ClientSession(
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=self._try_timeout),
            connector=aiohttp.TCPConnector(keepalive_timeout=_IDLE_CONNECTION, limit=_CONCURRENT_CALLS),
            trust_env=False,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def execute(self, template: Mapping[str, Any]) -> NodeResult:
        """Execute a substituted ``http`` template, or have the plugin execute another one.

        Raises:
            PluginCallError: no plugin took the template, or the call failed for good.
        """
        call = object()
        try:
            result = await self._execute(call, template)
        except PluginCallError as error:
            await self._task_set.reported(call, NodeResult(phase=Phase.FAILED, message=str(error)))
            raise
        return await self._task_set.reported(call, result)

    async def _execute(self, call: object, template: Mapping[str, Any]) -> NodeResult:
        if template.get("http") is not None:
            async with self._calls:
                return await execute_http(template["http"], secret=self._secret)
        body = json.dumps({"workflow": self._workflow, "template": template}).encode()
        while True:
            async with self._calls:
                reply = await self._call(body)
            if reply.result is not None and (reply.result.phase is Phase.SUCCEEDED or reply.requeue is None):
                return _final(reply.result)
            if reply.requeue is None:
                raise PluginCallError(NOT_MINE)
            if reply.result is not None:
                self._task_set.note(call, reply.result)
            await asyncio.sleep(reply.requeue)

    async def _call(self, body: bytes) -> _Reply:
        for pause in (*self._pauses, None):
            if self._switched_off:
                raise PluginCallError(NOT_MINE)
            try:
                return _parse_reply(await self._deliver(body))
            except (_TransientError, LostReplyError) as error:
                if pause is None:
                    raise PluginCallError(str(error)) from error
                await asyncio.sleep(pause * (1 + _JITTER * random.random()))  # noqa: S311 (spreads retries)
        raise AssertionError("the last try returns or raises")

    async def _deliver(self, body: bytes) -> bytes:
        if self._faulty is None:
            return await self._try_once(body)
        try:
            return await self._faulty.deliver(body, self._try_once)
        except DifferentRepliesError as error:
            raise PluginCallError(str(error)) from error

    async def _try_once(self, body: bytes) -> bytes:
        assert self._session is not None, "use the agent as a context manager"
        try:
            async with self._session.post(
                self._url, data=body, headers={"Content-Type": "application/json"}
            ) as response:
                answer = await response.read()
                status = response.status
        except TimeoutError:
            raise _TransientError(f'Post "{self._url}": context deadline exceeded (Client.Timeout)') from None
        except aiohttp.ClientConnectorError as error:
            raise _TransientError(f'Post "{self._url}": connection refused ({error.strerror})') from error
        except aiohttp.ClientError as error:
            raise _TransientError(f'Post "{self._url}": EOF ({error})') from error
        if status == HTTPStatus.OK:
            return answer
        text = answer.decode(errors="replace")
        if status == HTTPStatus.NOT_FOUND:
            self._switched_off = True
            raise PluginCallError(NOT_MINE)
        if status == HTTPStatus.SERVICE_UNAVAILABLE:
            raise _TransientError(text or "503 Service Unavailable")
        message = f"{status} {_reason(status)}: {text}"
        if is_transient(message):
            raise _TransientError(message)
        raise PluginCallError(message)


def _reason(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


def _final(result: NodeResult) -> NodeResult:
    if result.phase in (Phase.PENDING, Phase.RUNNING):
        raise PluginCallError(
            f"the plugin answered phase {result.phase} without requeue: Argo would never call it again"
        )
    return result


def _parse_reply(body: bytes) -> _Reply:
    if not body.strip():
        raise PluginCallError("EOF")
    try:
        document = json.loads(body)
    except json.JSONDecodeError as error:
        if error.pos >= len(error.doc.rstrip()) or error.msg.startswith("Unterminated"):
            raise _TransientError("unexpected EOF") from error
        raise PluginCallError(f"the plugin's reply is not JSON: {error}") from error
    except UnicodeDecodeError as error:
        raise PluginCallError(f"the plugin's reply is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise PluginCallError("the plugin's reply is not a JSON object")
    requeue = None
    if document.get("requeue"):
        try:
            requeue = parse_duration(str(document["requeue"]), bare_seconds=False)
        except ValueError as error:
            raise PluginCallError(f"the plugin's reply has an {error} in requeue") from error
    node = document.get("node")
    if not isinstance(node, dict) or not node.get("phase"):
        return _Reply(None, requeue)
    return _Reply(_parse_node(node), requeue)


def _parse_node(node: Mapping[str, Any]) -> NodeResult:
    try:
        phase = Phase(node["phase"])
    except ValueError:
        raise PluginCallError(f"the plugin answered unknown phase {node['phase']!r}") from None
    outputs = node.get("outputs") or {}
    result = outputs.get("result")
    return NodeResult(
        phase=phase,
        message=str(node.get("message") or ""),
        outputs={
            parameter["name"]: _output_text(parameter["value"])
            for parameter in outputs.get("parameters") or ()
            if parameter.get("name") and parameter.get("value") is not None
        },
        result=None if result is None else _output_text(result),
    )


def _output_text(value: object) -> str:
    """Argo's text of an output value: a list or an object silently becomes empty."""
    if isinstance(value, str):
        return value
    if isinstance(value, (bool, int, float)):
        return json.dumps(value)
    return ""

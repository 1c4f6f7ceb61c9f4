"""Oracle: the requests, replies and retries of Argo's agent (spec LAUNCHER D2 to D4)."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from local_stack.runner.agent import EXECUTE_PATH, NOT_MINE, PluginAgent, PluginCallError
from local_stack.runner.nodes import Phase

_METADATA = {"name": "w", "namespace": "ns", "uid": "R"}
_TEMPLATE = {"name": "t", "plugin": {"driver-plugin": {"args": {}}}}
_DONE = {"node": {"phase": "Succeeded", "message": "m"}}

Reply = Callable[[], web.Response]


class _Plugin:
    """Replies in order, the last one for ever; keeps what it was asked."""

    def __init__(self, *replies: Reply) -> None:
        self.replies = list(replies)
        self.requests: list[tuple[dict[str, str], Any]] = []

    async def handle(self, request: web.Request) -> web.Response:
        self.requests.append((dict(request.headers), await request.json()))
        return (self.replies.pop(0) if len(self.replies) > 1 else self.replies[0])()


@asynccontextmanager
async def _agent(plugin: _Plugin, **settings: Any) -> AsyncIterator[PluginAgent]:
    app = web.Application()
    app.router.add_post(EXECUTE_PATH, plugin.handle)
    async with (
        TestServer(app) as server,
        PluginAgent(
            str(server.make_url("/")), workflow_metadata=_METADATA, pauses=(0, 0, 0, 0), **settings
        ) as agent,
    ):
        yield agent


def _json(document: object) -> Reply:
    return lambda: web.json_response(document)


def _status(status: int, text: str = "") -> Reply:
    return lambda: web.Response(status=status, text=text)


async def test_a_call_has_argos_headers_and_body(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("secret\n")
    plugin = _Plugin(_json(_DONE))
    async with _agent(plugin, token_file=token) as agent:
        result = await agent.execute(_TEMPLATE)
    headers, body = plugin.requests[0]
    assert (result.phase, result.message) == (Phase.SUCCEEDED, "m")
    assert headers["Authorization"] == "Bearer secret"
    assert headers["Content-Type"] == "application/json"
    assert headers["User-Agent"] == "Go-http-client/1.1"
    assert headers["Accept-Encoding"] == "gzip"
    assert body == {"workflow": {"metadata": _METADATA}, "template": _TEMPLATE}


async def test_output_values_become_text_as_argo_makes_it() -> None:
    values: list[object] = ["x", 3, True, ["l"], {"o": 1}, None]
    parameters = [{"name": str(index), "value": value} for index, value in enumerate(values)]
    node = {"phase": "Succeeded", "outputs": {"parameters": parameters, "result": "r"}}
    async with _agent(_Plugin(_json({"node": node}))) as agent:
        result = await agent.execute(_TEMPLATE)
    assert result.outputs == {"0": "x", "1": "3", "2": "true", "3": "", "4": ""}
    assert result.result == "r"


async def test_requeue_without_a_node_calls_again() -> None:
    plugin = _Plugin(
        _json({"node": {}, "requeue": "1ms"}), _json({"node": {}, "requeue": "1ms"}), _json(_DONE)
    )
    async with _agent(plugin) as agent:
        assert (await agent.execute(_TEMPLATE)).phase is Phase.SUCCEEDED
    assert len(plugin.requests) == 3


async def test_requeue_with_a_failed_node_calls_again_but_not_with_a_succeeded_one() -> None:
    failed = {"node": {"phase": "Failed"}, "requeue": "1ms"}
    plugin = _Plugin(_json(failed), _json(_DONE | {"requeue": "1h"}))
    async with _agent(plugin) as agent:
        assert (await agent.execute(_TEMPLATE)).phase is Phase.SUCCEEDED
    assert len(plugin.requests) == 2


async def test_a_failed_node_without_requeue_is_final() -> None:
    plugin = _Plugin(_json({"node": {"phase": "Failed", "message": "no"}}))
    async with _agent(plugin) as agent:
        result = await agent.execute(_TEMPLATE)
    assert (result.phase, result.message) == (Phase.FAILED, "no")


@pytest.mark.parametrize(
    ("reply", "tries", "message"),
    [
        (_json({}), 1, NOT_MINE),
        (_status(200), 1, "EOF"),
        (_status(200, '{"node": '), 5, "unexpected EOF"),
        (_status(200, "nope"), 1, "not JSON"),
        (_json([]), 1, "not a JSON object"),
        (_json({"node": {"phase": "Done"}}), 1, "unknown phase"),
        (_json({"node": {"phase": "Running"}}), 1, "without requeue"),
        (_json({"node": {}, "requeue": "soon"}), 1, "invalid duration"),
        (_status(404), 1, NOT_MINE),
        (_status(503, "busy"), 5, "busy"),
        (_status(403, "token"), 1, "403 Forbidden: token"),
        (_status(500, "oops"), 1, "500 Internal Server Error: oops"),
        (_status(500, "dial: connection refused"), 5, "connection refused"),
    ],
)
async def test_failures_are_repeated_or_final_as_in_argo(reply: Reply, tries: int, message: str) -> None:
    plugin = _Plugin(reply)
    async with _agent(plugin) as agent:
        with pytest.raises(PluginCallError, match=message):
            await agent.execute(_TEMPLATE)
    assert len(plugin.requests) == tries


async def test_a_404_switches_the_plugin_off_for_good() -> None:
    plugin = _Plugin(_status(404), _json(_DONE))
    async with _agent(plugin) as agent:
        for _ in range(2):
            with pytest.raises(PluginCallError, match=NOT_MINE):
                await agent.execute(_TEMPLATE)
    assert len(plugin.requests) == 1


async def test_a_503_that_passes_is_forgotten() -> None:
    plugin = _Plugin(_status(503), _status(503), _json(_DONE))
    async with _agent(plugin) as agent:
        assert (await agent.execute(_TEMPLATE)).phase is Phase.SUCCEEDED


async def test_nobody_listening_is_tried_five_times_and_told() -> None:
    async with PluginAgent("http://127.0.0.1:1", workflow_metadata=_METADATA, pauses=(0, 0, 0, 0)) as agent:
        with pytest.raises(PluginCallError, match="connection refused"):
            await agent.execute(_TEMPLATE)

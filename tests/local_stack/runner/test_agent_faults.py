"""The agent's faults, against a plugin that counts what reaches it.

Oracle: the causes of repeated delivery in Argo (spec LAUNCHER D8).
"""

import asyncio
import itertools
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from local_stack.runner.agent import EXECUTE_PATH, PluginAgent, PluginCallError
from local_stack.runner.agent_faults import Faults
from local_stack.runner.nodes import NodeResult

_TEMPLATE = {"name": "t", "plugin": {"driver-plugin": {"args": {}}}}


async def _execute(faults: Faults, *, answers: int = 1, seconds: float = 0.0) -> tuple[NodeResult, int]:
    """One call to a plugin that has that many different answers; what it got, how often it was called."""
    numbers, calls = itertools.cycle(range(answers)), 0

    async def handle(_request: web.Request) -> web.Response:
        nonlocal calls
        calls += 1
        await asyncio.sleep(seconds)
        outputs: dict[str, Any] = {"parameters": [{"name": "n", "value": str(next(numbers))}]}
        return web.json_response({"node": {"phase": "Succeeded", "message": "m", "outputs": outputs}})

    app = web.Application()
    app.router.add_post(EXECUTE_PATH, handle)
    async with (
        TestServer(app) as server,
        PluginAgent(
            str(server.make_url("/")), workflow_metadata={}, pauses=(0, 0, 0, 0), faults=faults
        ) as agent,
    ):
        return await agent.execute(_TEMPLATE), calls


@pytest.mark.parametrize(
    ("faults", "calls"), [("", 1), ("duplicate", 2), ("drop", 2), ("restart", 2), ("drop,restart", 3)]
)
async def test_a_fault_delivers_a_call_again(faults: str, calls: int) -> None:
    result, counted = await _execute(Faults.parse(faults))
    assert result.outputs == {"n": "0"}
    assert counted == calls


async def test_an_aborted_call_is_made_again() -> None:
    result, counted = await _execute(Faults(abort=1.0), seconds=0.2)
    assert (result.outputs, counted) == ({"n": "0"}, 2)


@pytest.mark.parametrize("fault", ["duplicate", "restart"])
async def test_two_different_replies_to_one_call_fail_it(fault: str) -> None:
    with pytest.raises(PluginCallError, match="one call, two replies"):
        await _execute(Faults.parse(fault), answers=2)


@pytest.mark.parametrize("text", ["lightning", "drop=2", "drop=x", "drop=nan"])
def test_what_is_not_a_fault_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not"):
        Faults.parse(text)

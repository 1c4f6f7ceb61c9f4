"""Ticks, merge patches and their surprises, through the agent and through the engine.

Oracle: what Argo's agent writes and its controller reads (spec LAUNCHER D5, D6). The plugin is a script
behind real HTTP.
"""

import asyncio
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from local_stack.runner.agent import EXECUTE_PATH, PluginAgent, PluginCallError
from local_stack.runner.nodes import NodeResult, Phase
from local_stack.runner.task_set import MAX_PATCH_BYTES, Reconciliation
from tests.local_stack.runner.plain import made, plain, task
from tests.local_stack.runner.scripted import parameters, run_workflow

LENIENT, STRICT = Reconciliation(), Reconciliation(strict=True)
OUTPUT = [{"name": "a", "value": "1"}]


async def answers(
    settings: Reconciliation, *scripts: list[dict[str, Any]]
) -> tuple[list[NodeResult | BaseException], list[float]]:
    """What the engine gets for calls that run side by side, each answered by its script, and when."""
    waiting = {str(number): list(script) for number, script in enumerate(scripts)}

    async def handle(request: web.Request) -> web.Response:
        name = (await request.json())["template"]["name"]
        return web.json_response(waiting[name].pop(0))

    app = web.Application()
    app.router.add_post(EXECUTE_PATH, handle)
    metadata = {"name": "w", "namespace": "ns", "uid": "R"}
    moments: list[float] = []
    async with (
        TestServer(app) as server,
        PluginAgent(str(server.make_url("/")), workflow_metadata=metadata, reconciliation=settings) as agent,
        asyncio.timeout(20),
    ):

        async def one(name: str) -> NodeResult:
            try:
                return await agent.execute({"name": name, "plugin": {"driver-plugin": {"args": {}}}})
            finally:
                moments.append(asyncio.get_running_loop().time())

        found = await asyncio.gather(*(one(name) for name in waiting), return_exceptions=True)
    return list(found), moments


def node(phase: str = "Succeeded", **members: Any) -> dict[str, Any]:
    return {"node": {"phase": phase} | members}


@pytest.mark.parametrize(("settings", "message", "outputs"), [(LENIENT, "", {}), (STRICT, "old", {"a": "1"})])
async def test_a_member_that_the_last_result_leaves_out_keeps_its_value_in_strict_mode(
    settings: Reconciliation, message: str, outputs: dict[str, str]
) -> None:
    earlier = node("Pending", message="old", outputs={"parameters": OUTPUT}) | {"requeue": "1ms"}
    (found,), _ = await answers(settings, [earlier, node()])
    assert isinstance(found, NodeResult)
    assert (found.phase, found.message, found.outputs) == (Phase.SUCCEEDED, message, outputs)


async def test_a_list_of_outputs_is_replaced_as_a_whole() -> None:
    earlier = node("Running", outputs={"parameters": OUTPUT, "result": "r"}) | {"requeue": "1ms"}
    later = node(message="new", outputs={"parameters": [{"name": "b", "value": "2"}]})
    (found,), _ = await answers(STRICT, [earlier, later])
    assert found == NodeResult(phase=Phase.SUCCEEDED, message="new", outputs={"b": "2"}, result="r")


async def test_results_of_one_tick_are_reported_together_and_not_before() -> None:
    rate = 0.4
    failed = node("Failed", message="no")
    later = {"node": {}, "requeue": "100ms"}
    begin = asyncio.get_running_loop().time()
    found, moments = await answers(Reconciliation(patch_rate=rate), [node()], [later, failed], [{}])
    phases = [one.phase if isinstance(one, NodeResult) else type(one) for one in found]
    assert phases == [Phase.SUCCEEDED, Phase.FAILED, PluginCallError]
    assert min(moments) - begin >= rate
    assert max(moments) - min(moments) < rate / 2


async def test_an_earlier_result_of_the_same_tick_was_never_written() -> None:
    earlier = node("Running", message="old") | {"requeue": "1ms"}
    (found,), _ = await answers(Reconciliation(patch_rate=0.3, strict=True), [earlier, node()])
    assert found == NodeResult(phase=Phase.SUCCEEDED)


@pytest.mark.parametrize(
    ("settings", "phase"),
    [
        (Reconciliation(patch_rate=0.3, strict=True), Phase.ERROR),
        (Reconciliation(patch_rate=0.3), Phase.SUCCEEDED),
    ],
)
async def test_a_tick_that_is_too_large_loses_all_of_its_results(
    settings: Reconciliation, phase: Phase
) -> None:
    large = [{"name": "large", "value": "x" * MAX_PATCH_BYTES}]
    found, _ = await answers(settings, [node(outputs={"parameters": large})], [node(message="small")])
    for one in found:
        assert isinstance(one, NodeResult)
        assert one.phase is phase
        if phase is Phase.ERROR:
            assert "an error occurred when patching its result" in one.message


@pytest.mark.parametrize("settings", [LENIENT, STRICT])
async def test_an_output_that_a_plugin_forgot_is_reported_where_argo_would_wait_for_ever(
    settings: Reconciliation,
) -> None:
    reader = task(
        "r", "echo", depends="a", arguments=parameters(x="{{tasks.a.outputs.parameters.forgotten}}")
    )
    document = plain(task("a", "forgetful"), reader, templates=[made("forgetful", forgotten="default")])
    outcome = await run_workflow(document, reconciliation=settings)
    assert outcome.nodes["w.a"].phase is Phase.SUCCEEDED
    assert outcome.nodes["w.r"].phase is Phase.ERROR
    message = outcome.nodes["w.r"].message
    assert "{{tasks.a.outputs.parameters.forgotten}} which was not produced" in message
    assert "for ever" in message


async def test_a_whole_workflow_runs_in_strict_ticks() -> None:
    begin = asyncio.get_running_loop().time()
    outcome = await run_workflow(
        plain(task("a", "made"), task("b", "made", depends="a")),
        reconciliation=Reconciliation(patch_rate=0.2, strict=True),
    )
    assert outcome.root.phase is Phase.SUCCEEDED
    assert asyncio.get_running_loop().time() - begin >= 0.4

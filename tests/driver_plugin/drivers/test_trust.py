"""What a workflow's template may not do: every row of the table in spec DRIVER 15, on real drivers.

Oracle: that table. Whoever may create workflows writes the arguments; they choose what to compute, never
where the service connects to, which file it reads or for whom it works. Listeners stand where an attacker
would. Who may call at all is the subject of ``test_http.py``.
"""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from driver_plugin.argo.arguments import DriverCall, parse_driver_call
from driver_plugin.argo.driver_type import DriverType
from driver_plugin.errors import ForbiddenError
from driver_plugin.settings import Settings
from tests.driver_plugin.calls import WORKFLOW
from tests.driver_plugin.drivers.crash_scenarios import due, nested, started, use
from tests.driver_plugin.drivers.pipelines import Json, claims, leaf, pipeline, task
from tests.driver_plugin.drivers.processes import World, world


@pytest.fixture
async def servers(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as running:
        yield running


class Attacker:
    """Listens, and counts who comes."""

    def __init__(self) -> None:
        self.visitors = 0
        self.port = 0

    @asynccontextmanager
    async def listening(self) -> AsyncIterator["Attacker"]:
        async def visited(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.visitors += 1
            writer.close()

        server = await asyncio.start_server(visited, "127.0.0.1", 0)
        async with server:
            self.port = server.sockets[0].getsockname()[1]
            yield self


async def delivered(servers: World, args: Json) -> Json:
    async with servers.process() as process:
        reply = await process.deliver(args)
    return dict(reply)


def message(reply: Json) -> str:
    text: str = reply["node"]["message"]
    return text


def patch(reply: Json) -> str:
    values = {one["name"]: one["value"] for one in reply["node"]["outputs"]["parameters"]}
    text: str = values["pod-spec-patch"]
    return text


async def make_due(servers: World, **changes: Any) -> Json:
    """Arguments of a container call that would succeed, changed."""
    run, inner = await started(servers.setup, nested())
    return due(run, DriverType.CONTAINER, "make", inner, **changes).args


@pytest.mark.parametrize(
    "changes",
    [{"namespace": "team-b"}, {"run_name": "another-workflow"}],
    ids=["namespace of another team", "name of another workflow"],
)
async def test_a_call_for_somebody_else_is_forbidden_before_any_request(
    servers: World, changes: Json
) -> None:
    args = await make_due(servers, **changes)
    async with servers.process() as process:
        with pytest.raises(ForbiddenError, match="mismatch"):
            await process.deliver(args)
        assert process.api_calls == []


async def test_a_run_that_the_service_is_not_bound_to_is_forbidden(servers: World) -> None:
    args = await make_due(servers)
    async with servers.process(environ={"KFP_RUN_ID": "0b6c2222-0000-0000-0000-000000000000"}) as process:
        with pytest.raises(ForbiddenError, match="bound to another run"):
            await process.deliver(args)


async def test_a_parent_of_another_run_is_refused_and_nothing_is_written(servers: World) -> None:
    other, foreign = await started(servers.setup, nested())
    run, _ = await started(servers.setup, nested())
    reply = await delivered(servers, due(run, DriverType.CONTAINER, "make", foreign).args)
    assert f"does not belong to run {run.run_id}" in message(reply)
    assert [row.name for row in await other.rows("make") + await run.rows("make")] == []


@pytest.mark.parametrize("name", ["../make", "a/b", "..", "make\n", "make\x1b[31m"])
async def test_a_task_name_is_a_key_of_the_parents_dag_and_nothing_else(servers: World, name: str) -> None:
    reply = await delivered(servers, await make_due(servers, task_name=name))
    assert "task_name" in message(reply)
    assert not set("\n\x1b") & set(message(reply))


async def test_the_pipeline_name_of_object_keys_and_cache_keys_is_the_specs(servers: World) -> None:
    reply = await delivered(servers, await make_due(servers, pipeline_name="somebody-elses"))
    assert "somebody-elses" not in patch(reply)
    reply = await delivered(servers, await make_due(servers, pipeline_name="a/../b"))
    assert "pipeline_name" in message(reply)


async def test_addresses_and_proxies_of_a_call_are_never_connected_to(servers: World) -> None:
    before = dict(os.environ)
    async with Attacker().listening() as attacker:
        own = f"http://127.0.0.1:{attacker.port}"
        args = await make_due(
            servers,
            ml_pipeline_server_address="127.0.0.1",
            ml_pipeline_server_port=str(attacker.port),
            ml_pipeline_tls_enabled=True,
            http_proxy=own,
            https_proxy=own,
            ca_cert_path="/etc/hostname",
        )
        reply = await delivered(servers, args)
    command = json.loads(patch(reply))["containers"][0]["command"]
    assert attacker.visitors == 0
    assert str(attacker.port) not in " ".join(command)
    assert "/etc/hostname" not in " ".join(command)
    assert dict(os.environ) == before


@pytest.mark.parametrize("name", ["component", "task", "container", "ca_cert_path", "runtime_args"])
async def test_no_argument_names_a_file_that_is_read(servers: World, tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_text("canary-4711")
    reply = await delivered(servers, await make_due(servers, **{name: f"@{tmp_path}/secret"}))
    assert "canary-4711" not in json.dumps(reply)


async def test_a_store_that_the_run_names_is_never_connected_to(servers: World) -> None:
    async with Attacker().listening() as attacker:
        run, inner = await started(servers.setup, nested(last=use()))
        made_row = await run.container("make", inner)
        await run.finish(
            made_row.task_id, {"Output": "x"}, artifacts={"data": f"http://127.0.0.1:{attacker.port}/x"}
        )
        reply = await delivered(servers, due(run, DriverType.CONTAINER, "use", inner).args)
    assert str(attacker.port) in patch(reply), "the launcher's business"
    assert attacker.visitors == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("kubernetes_config", json.dumps({"x": "y" * (1 << 20)})),
        ("kubernetes_config", "[" * 65 + "]" * 65),
        ("runtime_args", json.dumps({"x": "y" * (1 << 20)})),
    ],
    ids=["a mebibyte", "depth 65", "a mebibyte of plugin configuration"],
)
async def test_configurations_are_bounded_in_size_and_depth(servers: World, name: str, value: str) -> None:
    async with servers.process() as process:
        reply = await process.deliver(await make_due(servers, **{name: value}))
        assert name in message(dict(reply))
        assert process.api_calls == []


async def test_expressions_are_bounded(servers: World) -> None:
    expression = " || ".join(["1 == 2"] * 12_000)
    spec = nested(make=task("comp-make", condition=expression))
    run, inner = await started(servers.setup, spec)
    reply = await delivered(servers, due(run, DriverType.CONTAINER, "make", inner).args)
    assert reply["node"]["phase"] == "Failed"
    assert len(message(reply)) < 1024


async def test_the_number_of_iterations_is_bounded(servers: World) -> None:
    spec = pipeline(
        {"loop": task("comp-loop", items=json.dumps(list(range(10_001))))},
        {"comp-loop": {"dag": {"tasks": {"make": task("comp-make")}}}, "comp-make": leaf("exec-make")},
    )
    run = await servers.setup.start(spec)
    reply = await delivered(servers, due(run, DriverType.DAG, "loop").args)
    assert "the limit is 10000" in message(reply)


async def test_secrets_and_config_maps_of_a_pod_are_named_and_not_read(servers: World) -> None:
    config = {
        "secretAsEnv": [{"secretName": "s", "keyToEnv": [{"secretKey": "k", "envVar": "E"}]}],
        "configMapAsVolume": [{"configMapName": "c", "mountPath": "/c"}],
        "pvcMount": [{"constant": "claim", "mountPath": "/p"}],
    }
    reply = await delivered(servers, await make_due(servers, kubernetes_config=json.dumps(config)))
    assert reply["node"]["phase"] == "Succeeded"
    assert servers.cluster.requests == []


async def test_claims_are_made_and_deleted_in_the_callers_namespace_only(servers: World) -> None:
    """The stand-in of the Kubernetes API knows no other namespace: any other path would be a 404."""
    run = await servers.setup.start(claims(pvc_name="shared"))
    reply = await delivered(servers, due(run, DriverType.CONTAINER, "createpvc").args)
    assert reply["node"]["phase"] == "Succeeded"
    assert list(servers.cluster.claims) == ["shared"]


async def test_the_argument_set_of_newer_templates_is_served_unchanged(servers: World) -> None:
    """The further arguments of KFP's newest plugin templates, in the forms in which its compiler writes them.

    Oracle: the request schema of KFP's driver service. Replies suit templates of either dialect.
    """
    args = await make_due(servers)
    newer = {
        **args,
        "kfp_token_audience": Settings().run_audience(args["run_id"]),
        "ml_pipeline_grpc_backoff_base_delay": "2s",
        "ml_pipeline_grpc_backoff_multiplier": "1.8",
        "ml_pipeline_grpc_backoff_jitter": "0.4",
        "ml_pipeline_grpc_backoff_max_delay": "45s",
        "ml_pipeline_grpc_min_connect_timeout": "25s",
        "default_run_as_user": 1000,
        "default_run_as_group": 100,
        "default_run_as_non_root": "false",
        "default_host_users": "false",
        "runtime_args": '{"SOME_PLUGIN": "{}"}',
        "parent_task_id_path": "{{outputs.parameters.parent-dag-task-id-path.path}}",
        "cached_decision_path": "{{outputs.parameters.cached-decision.path}}",
    }
    reply = await delivered(servers, newer)
    values = {one["name"]: one["value"] for one in reply["node"]["outputs"]["parameters"]}
    assert reply["node"]["phase"] == "Succeeded"
    assert values["parent-dag-task-id-path"] == values["task-id"] != ""
    assert parsed(newer).warnings == ()
    assert parsed({**newer, "shoe_size": "46", "component": "{}"}).warnings == (
        "arguments of the metadata store era; ignored: component",
        "unknown arguments; ignored: shoe_size",
    )


def parsed(args: Json) -> DriverCall:
    return parse_driver_call(args, workflow=WORKFLOW, settings=Settings())

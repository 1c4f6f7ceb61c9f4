"""What each typed call puts on the wire and what it makes of the answer.

Oracle: paths, bodies and worked examples of spec KFP_API 2 to 5, 8 and 17; client rules of section 11.
"""

import math
from urllib.parse import unquote

import orjson
import pytest

from kfp_api.client import KfpApiClient
from kfp_api.errors import ApiRequestError
from kfp_api.filters import Filter, Predicate, PredicateOperation
from kfp_api.messages import (
    Artifact,
    ArtifactType,
    CreateArtifactRequest,
    InputOutputs,
    IOParameter,
    IOProducer,
    IOType,
    PipelineTask,
    Run,
    RuntimeConfig,
    TaskPod,
    TaskPodType,
    TaskState,
    TaskType,
    TypeAttributes,
    ViewMode,
)
from kfp_api.queries import filter_text
from tests.kfp_api.scripted_server import Reply, ScriptedServer

BASE = "/apis/v2beta1"
MODEL = CreateArtifactRequest(
    run_id="R",
    task_id="T",
    producer_key="model",
    artifact=Artifact(
        name="model",
        type=ArtifactType.Model,
        uri="s3://mlpipeline/root/train/model",
        namespace="kubeflow",
        metadata={"framework": "xgb"},
    ),
)


def equals(key: str, **operand: object) -> Predicate:
    return Predicate.from_wire({"key": key, "operation": "EQUALS", **operand})


async def test_root_task_is_sent_and_read_as_in_the_worked_example(
    server: ScriptedServer, client: KfpApiClient
) -> None:
    task_id = "5d2d6c1e-8f4e-4d0c-9a55-1c2d3e4f5a6b"
    parameter = {
        "parameter_key": "lr",
        "value": 0.1,
        "type": "RUNTIME_VALUE_INPUT",
        "producer": {"task_name": "ROOT"},
    }
    pod = {"name": "wf-root-driver", "uid": "u1", "type": "DRIVER"}
    sent = {
        "name": "ROOT",
        "run_id": "R",
        "type": "ROOT",
        "state": "RUNNING",
        "scope_path": "root",
        "create_time": "2026-01-01T00:00:05Z",
        "inputs": {"parameters": [parameter]},
        "pods": [pod],
    }
    server.play(Reply(200, {**sent, "task_id": task_id, "run_id": "R", "outputs": {}}))
    stored = await client.create_task(
        PipelineTask(
            name="ROOT",
            run_id="R",
            type=TaskType.ROOT,
            state=TaskState.RUNNING,
            scope_path="root",
            create_time="2026-01-01T00:00:05Z",  # type: ignore[arg-type]
            inputs=InputOutputs(
                parameters=[
                    IOParameter(
                        parameter_key="lr",
                        value=0.1,
                        type=IOType.RUNTIME_VALUE_INPUT,
                        producer=IOProducer(task_name="ROOT"),
                    )
                ]
            ),
            pods=[TaskPod(name="wf-root-driver", uid="u1", type=TaskPodType.DRIVER)],
        )
    )
    assert (server.asked[0].method, server.asked[0].path) == ("POST", f"{BASE}/runs/R/tasks")
    assert server.asked[0].body == sent
    assert stored.task_id == task_id
    assert stored.outputs == InputOutputs()


async def test_empty_parent_is_left_out_of_a_creation(server: ScriptedServer, client: KfpApiClient) -> None:
    server.play(Reply(200, {}))
    await client.create_task(PipelineTask(run_id="R", name="a", parent_task_id=""))
    assert "parent_task_id" not in server.asked[0].body


async def test_update_is_a_sparse_patch(server: ScriptedServer, client: KfpApiClient) -> None:
    server.play(Reply(200, {}))
    patch = PipelineTask(
        state=TaskState.SKIPPED,
        type_attributes=TypeAttributes(iteration_index=0),
    )
    await client.update_task("R", "T", patch)
    assert (server.asked[0].method, server.asked[0].path) == ("PATCH", f"{BASE}/runs/R/tasks/T")
    assert server.asked[0].body == {"state": "SKIPPED", "type_attributes": {"iteration_index": "0"}}


async def test_bulk_update_is_keyed_by_task_id(server: ScriptedServer, client: KfpApiClient) -> None:
    server.play(Reply(200, {}))
    await client.write_tasks("R", {"T": PipelineTask(state=TaskState.FAILED)})
    assert server.asked[0].path == f"{BASE}/runs/R/tasks:batchUpdate"
    assert server.asked[0].body == {"tasks": {"T": {"state": "FAILED"}}}


async def test_a_write_of_a_large_row_asks_for_a_short_answer(
    server: ScriptedServer, client: KfpApiClient
) -> None:
    server.play(*[Reply(200, {"task_id": "T", "state": "FAILED"})] * 2, Reply(200, {}))
    patch = PipelineTask(state=TaskState.FAILED)
    written = await client.write_task("R", "T", patch)
    await client.update_task("R", "T", patch)
    await client.write_tasks("R", {"T": patch})
    assert written is not None
    assert (written.task_id, written.state) == ("T", TaskState.FAILED)
    assert [asked.headers.get("Prefer") for asked in server.asked] == [
        "return=minimal",
        None,
        "return=minimal",
    ]


async def test_a_parent_is_asked_for_what_one_child_needs(
    server: ScriptedServer, client: KfpApiClient
) -> None:
    server.play(*[Reply(200, {"task_id": "T"})] * 2)
    await client.get_parent("R", "T", iteration_index=7, inputs={"x", 'a "b", c'})
    await client.get_parent("R", "T", iteration_index=None, inputs=())
    assert [asked.headers["Prefer"] for asked in server.asked] == [
        'view=child; iteration=7; inputs="a%20%22b%22%2C%20c x"',
        'view=child; inputs=""',
    ]


async def test_a_count_asks_for_one_row_of_a_leaf_without_its_data(
    server: ScriptedServer, client: KfpApiClient
) -> None:
    server.play(Reply(200, {"tasks": [{"task_id": "T"}], "total_size": 12}))
    assert await client.count_tasks("R", parent_id="P") == 12
    (asked,) = server.asked
    assert asked.headers["Prefer"] == "return=minimal"
    assert asked.query == [("parent_id", "P"), ("page_size", "1"), ("order_by", "type")]


async def test_nothing_is_sent_when_there_is_nothing_to_do(
    server: ScriptedServer, client: KfpApiClient
) -> None:
    await client.write_tasks("R", {})
    assert await client.create_artifacts([]) == []
    assert await client.create_artifact_tasks([]) == []
    assert not server.asked


async def test_artifact_creation_is_as_in_the_worked_example(
    server: ScriptedServer, client: KfpApiClient
) -> None:
    server.play(Reply(200, {"artifact_id": "A", "name": "model", "type": "Model"}))
    stored = await client.create_artifact(MODEL)
    assert (stored.artifact_id, stored.type) == ("A", ArtifactType.Model)
    assert server.asked[0].path == f"{BASE}/artifacts"
    assert server.asked[0].body == {
        "run_id": "R",
        "task_id": "T",
        "producer_key": "model",
        "artifact": {
            "name": "model",
            "type": "Model",
            "uri": "s3://mlpipeline/root/train/model",
            "namespace": "kubeflow",
            "metadata": {"framework": "xgb"},
        },
    }


async def test_cache_lookup_names_the_asking_run_in_a_header(
    server: ScriptedServer, client: KfpApiClient
) -> None:
    server.play(Reply(200, {}), Reply(200, {"task": {"task_id": "T", "state": "SUCCEEDED"}}))
    found = [
        await client.find_cached_task(namespace="ns", cache_fingerprint="f", run_id="R") for _ in range(2)
    ]
    assert [task.task_id if task else None for task in found] == [None, "T"]
    assert server.asked[0].path == f"{BASE}/tasks:findCached"
    assert server.asked[0].body == {"namespace": "ns", "cache_fingerprint": "f"}
    assert server.asked[0].headers["x-kfp-bound-run-id"] == "R"


async def test_full_view_is_asked_for_by_name(server: ScriptedServer, client: KfpApiClient) -> None:
    server.play(Reply(200, {"run_id": "R"}), Reply(200, {"run_id": "R", "task_count": 2}))
    await client.get_run("R")
    assert (await client.get_run("R", view=ViewMode.FULL)).task_count == 2
    assert [asked.query for asked in server.asked] == [[], [("view", "FULL")]]


async def test_run_actions_have_their_paths(server: ScriptedServer, client: KfpApiClient) -> None:
    server.play(*[Reply(200, {})] * 7)
    await client.create_run(
        Run(display_name="demo", runtime_config=RuntimeConfig(parameters={"x": None}, pipeline_root="s3://b"))
    )
    await client.terminate_run("R")
    await client.retry_run("R")
    await client.archive_run("R")
    await client.delete_run("R")
    await client.report_workflow({"status": {"phase": "Succeeded"}})
    await client.healthz()
    assert [(asked.method, asked.path) for asked in server.asked] == [
        ("POST", f"{BASE}/runs"),
        ("POST", f"{BASE}/runs/R:terminate"),
        ("POST", f"{BASE}/runs/R:retry"),
        ("POST", f"{BASE}/runs/R:archive"),
        ("DELETE", f"{BASE}/runs/R"),
        ("POST", f"{BASE}/workflows"),
        ("GET", f"{BASE}/healthz"),
    ]
    assert server.asked[0].body["runtime_config"] == {"parameters": {"x": None}, "pipeline_root": "s3://b"}
    assert orjson.loads(server.asked[5].body) == {"status": {"phase": "Succeeded"}}


async def test_listing_follows_tokens_and_sends_the_filter_on_the_first_page_only(
    server: ScriptedServer, client: KfpApiClient
) -> None:
    server.play(
        Reply(200, {"tasks": [{"task_id": "a"}], "next_page_token": "to+ken/=="}),
        Reply(200, {"tasks": [{"task_id": "b"}]}),
    )
    wanted = Filter(predicates=[equals("status", int_value=3)])
    found = [task.task_id async for task in client.iterate_tasks("R", parent_id="P", filter=wanted)]
    assert found == ["a", "b"]
    first, second = (dict(asked.query) for asked in server.asked)
    assert orjson.loads(first.pop("filter")) == {
        "predicates": [{"key": "status", "operation": "EQUALS", "int_value": 3}]
    }
    assert first == {"parent_id": "P", "page_size": "200"}
    assert second == {"parent_id": "P", "page_size": "200", "page_token": "to+ken/=="}


async def test_server_that_cannot_filter_iterations_is_asked_once_and_paged_afterwards(
    server: ScriptedServer, client: KfpApiClient
) -> None:
    refusal = {"code": 3, "message": 'no support for filtering on unrecognized field "iteration_index"'}
    rows = [{"task_id": f"t{i}", "type_attributes": {"iteration_index": str(i)}} for i in range(3)]
    server.play(Reply(400, refusal), Reply(200, {"tasks": rows}), Reply(200, {"tasks": rows}))
    wanted = Filter(predicates=[equals("name", string_value="a"), equals("iteration_index", int_value=1)])
    for _ in range(2):
        found = [task.task_id async for task in client.iterate_tasks("R", filter=wanted)]
        assert found == ["t1"]
    keys = [[p["key"] for p in orjson.loads(dict(a.query)["filter"])["predicates"]] for a in server.asked]
    assert keys == [["name", "iteration_index"], ["name"], ["name"]]


async def test_other_refusals_of_a_filter_are_not_swallowed(
    server: ScriptedServer, client: KfpApiClient
) -> None:
    server.play(Reply(400, {"code": 3, "message": "Invalid page token"}))
    wanted = Filter(predicates=[equals("iteration_index", int_value=1)])
    with pytest.raises(ApiRequestError, match="Invalid page token"):
        _ = [task async for task in client.iterate_tasks("R", filter=wanted)]


@pytest.mark.parametrize("value", ["plain", "a+b", "100%", "ü & = ; \" '", "%2B"])
def test_filter_survives_the_servers_second_decoding(value: str) -> None:
    text = filter_text(Filter(predicates=[equals("name", string_value=value)]))
    decoded = unquote(text.replace("+", " "))  # what upstream does after normal query decoding
    assert orjson.loads(decoded)["predicates"][0]["string_value"] == value


async def test_long_id_lists_are_split_and_every_page_is_read(
    server: ScriptedServer, client: KfpApiClient
) -> None:
    server.play(
        Reply(200, {"artifact_tasks": [{"id": "1"}], "next_page_token": "n"}),
        Reply(200, {"artifact_tasks": [{"id": "2"}]}),
        Reply(200, {"artifact_tasks": [{"id": "3"}]}),
    )
    links = await client.list_artifact_tasks(task_ids=[f"t{i}" for i in range(60)], run_ids=["R"])
    assert [link.id for link in links] == ["1", "2", "3"]
    sizes = [sum(name == "task_ids" for name, _ in asked.query) for asked in server.asked]
    assert sizes == [50, 50, 10]
    assert all(("run_ids", "R") in asked.query for asked in server.asked)


async def test_label_that_is_too_long_is_shortened_and_a_name_is_refused(
    server: ScriptedServer, client: KfpApiClient
) -> None:
    server.play(Reply(200, {}))
    await client.create_task(PipelineTask(run_id="R", name="a", display_name="x" * 200))
    assert len(server.asked[0].body["display_name"]) == 128
    with pytest.raises(ApiRequestError, match="task name has 129 characters, the KFP API keeps at most 128"):
        await client.create_task(PipelineTask(run_id="R", name="x" * 129))
    with pytest.raises(ApiRequestError, match="cache fingerprint has 256"):
        await client.update_task("R", "T", PipelineTask(cache_fingerprint="f" * 256))
    assert len(server.asked) == 1


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
async def test_number_that_json_cannot_hold_is_refused_before_sending(
    server: ScriptedServer, client: KfpApiClient, number: float
) -> None:
    metric = Artifact(name="loss", type=ArtifactType.Metric, number_value=number, namespace="ns")
    with pytest.raises(ApiRequestError, match="loss"):
        await client.create_artifact(CreateArtifactRequest(run_id="R", task_id="T", artifact=metric))
    value = IOParameter(parameter_key="x", value=[{"deep": number}], type=IOType.OUTPUT)
    with pytest.raises(ApiRequestError, match="cannot be sent as JSON"):
        await client.update_task("R", "T", PipelineTask(outputs=InputOutputs(parameters=[value])))
    assert not server.asked


async def test_integer_beyond_64_bits_is_sent(server: ScriptedServer, client: KfpApiClient) -> None:
    server.play(Reply(200, {}))
    value = IOParameter(parameter_key="x", value=2**70)
    await client.update_task("R", "T", PipelineTask(outputs=InputOutputs(parameters=[value])))
    assert server.asked[0].body["outputs"]["parameters"][0]["value"] == pytest.approx(2**70)


async def test_operations_without_number_four_keep_their_names() -> None:
    assert Predicate(operation=PredicateOperation.IN, key="status").to_wire()["operation"] == "IN"

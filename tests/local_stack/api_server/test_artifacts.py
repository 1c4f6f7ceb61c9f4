"""Artifacts and links. Oracle: spec KFP_API 3.4 and section 5."""

import asyncio
import json
from typing import Any

import pytest

from .conftest import Api, Wire, artifact_request, external_message

LONG_KEY = "artifact_task.key must not be longer than 191 characters, got 192"
VALID = {"name": "m", "type": "Model", "namespace": "kubeflow"}


async def task_of(api: Api, **fields: Any) -> tuple[str, str]:
    run = await api.run()
    return run, await api.task(run, **fields)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"artifact": None}, "Artifact is required"),
        (
            {"artifact": {**VALID, "artifact_id": "x", "namespace": ""}},
            "Artifact ID should not be set on create",
        ),
        ({"artifact": {"type": "Model", "name": "m"}}, "Artifact namespace is required"),
        ({"artifact": {"namespace": "n"}}, "Artifact type is required"),
        ({"artifact": {**VALID, "name": ""}, "run_id": ""}, "Artifact name is required"),
        ({"run_id": "", "task_id": ""}, "Run ID is required"),
        ({"task_id": "", "producer_key": ""}, "Task ID is required"),
        ({"producer_key": ""}, "Producer key is required"),
        ({"artifact": {**VALID, "type": "Metric"}}, "number_value is required for a Metric artifact"),
        (
            {"artifact": {**VALID, "type": "ClassificationMetric", "metadata": {}}},
            "No metric or metadata was found for ClassificationMetric artifact",
        ),
        (
            {"artifact": {**VALID, "type": "SlicedClassificationMetric"}},
            "No metric or metadata was found for SlicedClassificationMetric artifact",
        ),
        ({"artifact": {**VALID, "name": "n" * 129}}, "name must not be longer than 128 characters, got 129"),
        ({"artifact": {**VALID, "uri": "u" * 2049}}, "uri must not be longer than 2048 characters, got 2049"),
        ({"artifact": {**VALID, "number_value": "NaN"}}, "number_value must be finite"),
    ],
)
async def test_create_validates_in_order(api: Api, change: Wire, message: str) -> None:
    run, task = await task_of(api)
    body = {**artifact_request(run, task), **change}
    assert external_message(await api.post("/artifacts", body, status=400)) == message
    bulk = await api.post("/artifacts:batchCreate", {"artifacts": [body]}, status=400)
    assert external_message(bulk) == f"artifacts[0]: {message}"
    assert await api.get("/artifacts") == {}


async def test_create_checks_task_and_run(api: Api) -> None:
    run, task = await task_of(api)
    other = await api.run()
    unknown = await api.post("/artifacts", artifact_request(run, "nobody"), status=404)
    assert external_message(unknown) == "task nobody not found"
    foreign = await api.post("/artifacts", artifact_request(other, task), status=400)
    assert external_message(foreign) == "Task ID does not belong to this Run ID"


async def test_an_artifact_comes_with_its_output_link(api: Api) -> None:
    run, task = await task_of(api, name="train", display_name="Train!")
    artifact = await api.artifact(run, task, metadata={"framework": "xgb", "nothing": None})
    stored = await api.get(f"/artifacts/{artifact}")
    assert stored == {
        "artifact_id": artifact,
        "name": "model",
        "type": "Model",
        "uri": "s3://bucket/model",
        "metadata": {"framework": "xgb", "nothing": None},
        "created_at": "2026-01-01T00:00:00Z",
    }
    row = await api.get(f"/runs/{run}/tasks/{task}")
    assert row["outputs"]["artifacts"] == [
        {
            "artifacts": [stored],
            "type": "OUTPUT",
            "artifact_key": "model",
            "producer": {"task_name": "train"},
        }
    ]


async def test_an_iteration_makes_an_iterator_output(api: Api) -> None:
    run, task = await task_of(api)
    await api.post("/artifacts", artifact_request(run, task, iteration_index="0"))
    [group] = (await api.get(f"/runs/{run}/tasks/{task}"))["outputs"]["artifacts"]
    assert group["type"] == "ITERATOR_OUTPUT"
    assert group["producer"] == {"task_name": "train", "iteration": "0"}


async def test_a_metric_without_uri_has_none(api: Api) -> None:
    run, task = await task_of(api)
    metric = {"name": "acc", "type": "Metric", "number_value": 0.5, "namespace": "n"}
    created = await api.post("/artifacts", {**artifact_request(run, task), "artifact": metric})
    assert created["number_value"] == 0.5
    assert "uri" not in created


async def test_repeating_create_makes_a_second_artifact(api: Api) -> None:
    run, task = await task_of(api)
    assert await api.artifact(run, task) != await api.artifact(run, task)


async def test_reuse_finds_the_same_identity(api: Api) -> None:
    run, task = await task_of(api)
    second = await api.task(run, "other")
    answers = [
        await api.post("/artifacts", artifact_request(run, producer, reuse_if_exists=True))
        for producer in (task, task, second)
    ]
    assert len({answer["artifact_id"] for answer in answers}) == 1
    assert (await api.get("/artifact_tasks", run_ids=run))["total_size"] == 2


@pytest.mark.parametrize(
    "difference",
    [
        {"uri": "s3://bucket/other"},
        {"name": "other"},
        {"description": "d"},
        {"type": "Dataset"},
        {"metadata": {"a": 1}},
        {"number_value": 1},
    ],
)
async def test_reuse_needs_every_field_to_be_equal(api: Api, difference: Wire) -> None:
    run, task = await task_of(api)
    first = await api.post("/artifacts", artifact_request(run, task, reuse_if_exists=True))
    changed = artifact_request(run, task, reuse_if_exists=True)
    changed["artifact"] |= difference
    assert (await api.post("/artifacts", changed))["artifact_id"] != first["artifact_id"]


async def test_reuse_finds_the_oldest_artifact_made_without_the_flag(api: Api) -> None:
    run, task = await task_of(api)
    oldest = await api.artifact(run, task, metadata={"b": 1, "a": 2.0})
    api.clock.now += 1
    await api.artifact(run, task, metadata={"b": 1, "a": 2.0})
    body = artifact_request(run, task, reuse_if_exists=True)
    body["artifact"]["metadata"] = {"a": 2, "b": 1}
    assert (await api.post("/artifacts", body))["artifact_id"] == oldest


async def test_concurrent_reuse_makes_one_artifact(api: Api) -> None:
    run, task = await task_of(api)
    body = artifact_request(run, task, reuse_if_exists=True)
    answers = await asyncio.gather(*(api.post("/artifacts", body) for _ in range(8)))
    assert len({answer["artifact_id"] for answer in answers}) == 1


async def test_bulk_create_keeps_the_order_and_is_atomic(api: Api) -> None:
    run, task = await task_of(api)
    requests = [artifact_request(run, task, f"k{i}") for i in range(5)]
    answer = await api.post("/artifacts:batchCreate", {"artifacts": requests})
    assert [artifact["name"] for artifact in answer["artifacts"]] == [f"k{i}" for i in range(5)]
    broken = [*requests, artifact_request(run, "nobody")]
    await api.post("/artifacts:batchCreate", {"artifacts": broken}, status=404)
    assert (await api.get("/artifacts"))["total_size"] == 5


async def test_bulk_create_refuses_mixtures(api: Api) -> None:
    run, task = await task_of(api)
    first, second = artifact_request(run, task), artifact_request(run, task)
    second["artifact"]["namespace"] = "b"
    for artifacts, message in (
        ([], "CreateArtifactsBulkRequest must contain at least one artifact"),
        ([first, second], "CreateArtifactsBulkRequest must use a single namespace: expected kubeflow, got b"),
        (
            [{**first, "reuse_if_exists": True}],
            "CreateArtifactsBulk does not support reuse_if_exists; use CreateArtifact for find-or-create",
        ),
    ):
        error = await api.post("/artifacts:batchCreate", {"artifacts": artifacts}, status=400)
        assert external_message(error) == message


async def test_an_exact_uri_filter_answers_everything_at_once(api: Api) -> None:
    run, task = await task_of(api)
    uri = "s3://bucket/a+b%20c"
    for _ in range(3):
        await api.artifact(run, task, uri=uri)
    await api.artifact(run, task)
    predicate = {"key": "uri", "operation": "EQUALS", "string_value": uri}
    answer = await api.get(
        "/artifacts", filter=json.dumps({"predicates": [predicate]}), page_size="1", sort_by="nope"
    )
    assert len(answer["artifacts"]) == answer["total_size"] == 3
    assert "next_page_token" not in answer


async def test_artifacts_are_listed_and_sorted_whatever_the_namespace(api: Api) -> None:
    run, task = await task_of(api)
    for name in "bca":
        await api.artifact(run, task, name=name)
    answer = await api.get("/artifacts", namespace="elsewhere", sort_by="name desc")
    assert [artifact["name"] for artifact in answer["artifacts"]] == ["c", "b", "a"]


async def test_pages_over_a_nullable_column_cover_everything_once(api: Api) -> None:
    run, task = await task_of(api)
    values = [None, 2.5, None, 1.0, None, 3.0]
    for value in values:
        fields: Wire = {} if value is None else {"number_value": value}
        await api.artifact(run, task, **fields)
    for sort_by in ("number_value", "number_value desc"):
        seen, token = [], ""
        for _ in range(3):
            answer = await api.get("/artifacts", sort_by=sort_by, page_size="2", page_token=token)
            seen += answer["artifacts"]
            token = answer.get("next_page_token", "")
        assert len({artifact["artifact_id"] for artifact in seen}) == 6
        numbers = [artifact.get("number_value") for artifact in seen]
        ordered = [None, None, None, 1.0, 2.5, 3.0]
        assert numbers == (ordered[::-1] if "desc" in sort_by else ordered)


async def test_an_unknown_artifact_is_404(api: Api) -> None:
    assert external_message(await api.get("/artifacts/x", status=404)) == "artifact x not found"


def link(artifact: str, run: str, task: str, **fields: Any) -> Wire:
    body = {
        "artifact_id": artifact,
        "run_id": run,
        "task_id": task,
        "type": "OUTPUT",
        "producer": {},
        "key": "k",
    }
    return {**body, **fields}


@pytest.mark.parametrize("missing", ["artifact_id", "task_id", "run_id", "type", "producer", "key"])
async def test_a_link_needs_every_field(api: Api, missing: str) -> None:
    body = link("a", "r", "t")
    del body[missing]
    for path, request in (
        ("/artifact_tasks", {"artifact_task": body}),
        ("/artifact_tasks:batchCreate", {"artifact_tasks": [body]}),
    ):
        assert (
            external_message(await api.post(path, request, status=400))
            == f"artifact_task.{missing} is required"
        )


async def test_links_check_what_they_name(api: Api) -> None:
    run, task = await task_of(api)
    other, foreign = await task_of(api)
    artifact = await api.artifact(run, task)
    for body, status, message in (
        (link(artifact, run, "nobody"), 404, "task nobody not found"),
        (link(artifact, other, task), 400, "artifact_task.run_id must match the task's run_id"),
        (link("nobody", run, task), 404, "artifact nobody not found"),
        (link(artifact, run, task, key="k" * 192), 400, LONG_KEY),
    ):
        error = await api.post("/artifact_tasks", {"artifact_task": body}, status=status)
        assert external_message(error) == message
    mixed = {"artifact_tasks": [link(artifact, run, task), link(artifact, other, foreign)]}
    error = await api.post("/artifact_tasks:batchCreate", mixed, status=400)
    assert external_message(error) == "CreateArtifactTasksBulkRequest must use a single run_id"
    await api.post("/artifact_tasks:batchCreate", {}, status=400)
    await api.post("/artifact_tasks", {}, status=400)


async def test_link_types_beyond_the_enum_are_refused(api: Api) -> None:
    run, task = await task_of(api)
    artifact = await api.artifact(run, task)
    await api.post("/artifact_tasks", {"artifact_task": link(artifact, run, task, type=99)}, status=400)


async def test_links_idempotent(api: Api) -> None:
    """D27: upstream's server fails on a link that is there."""
    run, task = await task_of(api)
    artifact = await api.artifact(run, task)
    body = link(artifact, run, task, producer={"task_name": "train"})
    first = await api.post("/artifact_tasks", {"artifact_task": body})
    assert first == {**body, "id": first["id"]}
    renamed = {**body, "producer": {"task_name": "other"}}
    assert await api.post("/artifact_tasks", {"artifact_task": renamed}) == first
    new = link(artifact, run, task, key="new")
    bulk = await api.post("/artifact_tasks:batchCreate", {"artifact_tasks": [body, new, new, body]})
    ids = [stored["id"] for stored in bulk["artifact_tasks"]]
    assert ids[0] == ids[3] == first["id"]
    assert ids[1] == ids[2] != first["id"]


@pytest.mark.parametrize(
    "difference", [{"key": "other"}, {"type": "ONE_OF_OUTPUT"}, {"producer": {"iteration": "0"}}]
)
async def test_another_key_type_or_iteration_is_another_link(api: Api, difference: Wire) -> None:
    run, task = await task_of(api)
    artifact = await api.artifact(run, task)
    first, second = [
        await api.post("/artifact_tasks", {"artifact_task": link(artifact, run, task, **fields)})
        for fields in ({}, difference)
    ]
    assert first["id"] != second["id"]


async def test_bulk_links_are_atomic(api: Api) -> None:
    run, task = await task_of(api)
    artifact = await api.artifact(run, task)
    batch = [link(artifact, run, task), link("nobody", run, task)]
    await api.post("/artifact_tasks:batchCreate", {"artifact_tasks": batch}, status=404)
    assert (await api.get("/artifact_tasks", task_ids=task))["total_size"] == 1


async def list_links(api: Api, params: list[tuple[str, str]], status: int = 200) -> Any:
    return await api.call("GET", "/artifact_tasks", params=params, status=status)


async def test_link_lists_combine_with_or_inside_and_and_between(api: Api) -> None:
    run, first = await task_of(api)
    second = await api.task(run, "second")
    other, foreign = await task_of(api)
    artifacts = {
        task: await api.artifact(owner, task)
        for owner, task in ((run, first), (run, second), (other, foreign))
    }

    async def tasks(*params: tuple[str, str]) -> set[str]:
        return {row["task_id"] for row in (await list_links(api, list(params))).get("artifact_tasks", [])}

    assert await tasks(("task_ids", first), ("taskIds", second)) == {first, second}
    assert await tasks(("run_ids", run)) == {first, second}
    assert await tasks(("run_ids", run), ("run_ids", other)) == {first, second, foreign}
    assert await tasks(("run_ids", run), ("task_ids", foreign)) == set()
    assert await tasks(("artifact_ids", artifacts[second])) == {second}
    assert await tasks(("run_ids", run), ("type", "OUTPUT")) == {first, second}
    assert await tasks(("run_ids", run), ("type", "2")) == set()
    assert await tasks(("run_ids", "nobody")) == set()


@pytest.mark.parametrize(
    ("params", "status", "message"),
    [
        ([], 400, "At least one filter (task_ids, run_ids, or artifact_ids) is required"),
        ([("run_ids", "")], 400, "run_ids must not contain empty values"),
        ([("task_ids", "nobody")], 404, "task nobody not found"),
        ([("artifact_ids", "nobody")], 404, "artifact nobody not found"),
    ],
)
async def test_a_bad_link_list_is_refused(
    api: Api, params: list[tuple[str, str]], status: int, message: str
) -> None:
    assert external_message(await list_links(api, params, status)) == message


async def test_hydration_groups_links(api: Api) -> None:
    run, task = await task_of(api)
    artifacts = sorted([await api.artifact(run, task, f"a{i}") for i in range(3)])
    consumer = await api.task(run, "consumer")
    wanted = [
        ("z", "OUTPUT", {"task_name": "p"}, artifacts[0]),
        ("z", "OUTPUT", {"task_name": "p"}, artifacts[1]),
        ("z", "OUTPUT", {"task_name": "other"}, artifacts[2]),
        ("i", "ITERATOR_OUTPUT", {"task_name": "p", "iteration": "10"}, artifacts[0]),
        ("i", "ITERATOR_OUTPUT", {"task_name": "p", "iteration": "2"}, artifacts[1]),
        ("i", "ITERATOR_OUTPUT", {"task_name": "p"}, artifacts[2]),
        ("in", "TASK_OUTPUT_INPUT", {"task_name": "p", "iteration": "1"}, artifacts[0]),
        ("in", "TASK_OUTPUT_INPUT", {"task_name": "p", "iteration": "0"}, artifacts[1]),
    ]
    links = [
        link(a, run, consumer, key=key, type=kind, producer=producer) for key, kind, producer, a in wanted
    ]
    await api.post("/artifact_tasks:batchCreate", {"artifact_tasks": links})
    row = await api.get(f"/runs/{run}/tasks/{consumer}")

    def shape(direction: str) -> list[tuple[str, str, Wire, list[str]]]:
        return [
            (
                group["artifact_key"],
                group["type"],
                group["producer"],
                [a["artifact_id"] for a in group["artifacts"]],
            )
            for group in row[direction]["artifacts"]
        ]

    assert shape("outputs") == [
        ("i", "ITERATOR_OUTPUT", {"task_name": "p"}, [artifacts[2]]),
        ("i", "ITERATOR_OUTPUT", {"task_name": "p", "iteration": "2"}, [artifacts[1]]),
        ("i", "ITERATOR_OUTPUT", {"task_name": "p", "iteration": "10"}, [artifacts[0]]),
        ("z", "OUTPUT", {"task_name": "other"}, [artifacts[2]]),
        ("z", "OUTPUT", {"task_name": "p"}, artifacts[:2]),
    ]
    # Plain links that differ only in iteration are one group; its producer is that of the first.
    assert shape("inputs") == [
        ("in", "TASK_OUTPUT_INPUT", {"task_name": "p", "iteration": "0"}, [artifacts[1], artifacts[0]])
    ]

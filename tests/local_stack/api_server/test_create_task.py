"""CreateTask. Oracle: spec KFP_API 4.1 and section 18 (find-or-create by logical key, checks, limits)."""

import asyncio
from typing import Any

import pytest

from .conftest import Api, Wire, artifact_request, external_message

TRAIN = {"name": "train", "type": "RUNTIME", "state": "RUNNING", "scope_path": "root.train"}


async def test_a_second_create_answers_the_first_row_unchanged(api: Api) -> None:
    run = await api.run()
    first = await api.post(f"/runs/{run}/tasks", {**TRAIN, "cache_fingerprint": "a"})
    second = await api.post(f"/runs/{run}/tasks", {**TRAIN, "state": "FAILED", "cache_fingerprint": "b"})
    assert second == first


@pytest.mark.parametrize(
    "difference",
    [
        {"type_attributes": {"iteration_index": "0"}},
        {"type": "DAG"},
        {"name": "other"},
        {"scope_path": "root.inner.train"},
    ],
)
async def test_another_identity_is_another_row(api: Api, difference: Wire) -> None:
    run = await api.run()
    first, second = [await api.post(f"/runs/{run}/tasks", body) for body in (TRAIN, {**TRAIN, **difference})]
    assert first["task_id"] != second["task_id"]


async def test_another_parent_is_another_row(api: Api) -> None:
    run = await api.run()
    parents = [await api.task(run, name, type="DAG") for name in ("a", "b")]
    rows = [await api.task(run, parent_task_id=parent) for parent in (*parents, "")]
    assert len(set(rows)) == 3


@pytest.mark.parametrize("missing", ["scope_path", "type"])
async def test_without_an_identity_every_create_inserts(api: Api, missing: str) -> None:
    run = await api.run()
    body = {name: value for name, value in TRAIN.items() if name != missing}
    assert len({(await api.post(f"/runs/{run}/tasks", body))["task_id"] for _ in range(2)}) == 2


async def test_sixteen_concurrent_creates_make_one_row(api: Api) -> None:
    run = await api.run()
    answers = await asyncio.gather(*(api.post(f"/runs/{run}/tasks", TRAIN) for _ in range(16)))
    assert len({answer["task_id"] for answer in answers}) == 1
    assert (await api.get(f"/runs/{run}/tasks"))["total_size"] == 1


async def test_history_starts_with_the_initial_state(api: Api) -> None:
    run = await api.run()
    created = await api.post(f"/runs/{run}/tasks", TRAIN)
    assert created["state_history"] == [{"update_time": "2026-01-01T00:00:00Z", "state": "RUNNING"}]


async def test_history_is_empty_when_no_state_is_given(api: Api) -> None:
    run = await api.run()
    created = await api.post(f"/runs/{run}/tasks", {"name": "x"})
    assert "state_history" not in created
    assert "state" not in created


async def test_a_sent_history_is_kept_and_continued(api: Api) -> None:
    run = await api.run()
    history = [{"update_time": "2025-01-01T00:00:00Z", "state": "RUNNING"}]
    same = await api.post(f"/runs/{run}/tasks", {**TRAIN, "state_history": history})
    other = await api.post(
        f"/runs/{run}/tasks", {**TRAIN, "name": "b", "state": "SKIPPED", "state_history": history}
    )
    assert same["state_history"] == history
    assert [entry["state"] for entry in other["state_history"]] == ["RUNNING", "SKIPPED"]


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"run_id": "other"}, 400, "Task run_id in request body does not match run_id in path parameter"),
        ({"parent_task_id": "nobody"}, 404, "task nobody not found"),
        ({"name": "n" * 129}, 400, "name must not be longer than 128 characters, got 129"),
        ({"display_name": "n" * 129}, 400, "display_name must not be longer than 128 characters, got 129"),
        (
            {"cache_fingerprint": "f" * 256},
            400,
            "cache_fingerprint must not be longer than 255 characters, got 256",
        ),
    ],
)
async def test_create_is_refused(api: Api, body: Wire, status: int, message: str) -> None:
    run = await api.run()
    error = await api.post(f"/runs/{run}/tasks", {**TRAIN, **body}, status=status)
    assert external_message(error) == message
    assert error["code"] == {400: 3, 404: 5}[status]
    assert await api.get(f"/runs/{run}/tasks") == {}


async def test_create_is_refused_when_the_run_is_unknown(api: Api) -> None:
    error = await api.post("/runs/nobody/tasks", TRAIN, status=404)
    assert external_message(error) == "Run nobody not found"


async def test_a_parent_of_another_run_is_refused(api: Api) -> None:
    run, other = await api.run(), await api.run()
    foreign = await api.task(other)
    error = await api.post(f"/runs/{run}/tasks", {**TRAIN, "parent_task_id": foreign}, status=400)
    assert external_message(error) == "parent_task_id must belong to the same run as the task"


@pytest.mark.parametrize("body", [b"", b"  \n"])
async def test_an_empty_body_is_refused(api: Api, body: bytes) -> None:
    run = await api.run()
    error = await api.call("POST", f"/runs/{run}/tasks", raw=body, status=400)
    assert external_message(error) == "Task is required"


@pytest.mark.parametrize(
    "fields",
    [
        {"state": 99},
        {"type": 99},
        {"state": "PENDING"},
        {"pods": [{"type": 7}]},
        {"outputs": {"parameters": [{"type": 99}]}},
    ],
)
async def test_unknown_enum_values_are_refused(api: Api, fields: Wire) -> None:
    run = await api.run()
    error = await api.post(f"/runs/{run}/tasks", {**TRAIN, **fields}, status=400)
    assert error["code"] == 3
    assert "details" not in error


async def test_an_empty_parent_means_none(api: Api) -> None:
    run = await api.run()
    created = await api.post(f"/runs/{run}/tasks", {**TRAIN, "parent_task_id": ""})
    assert "parent_task_id" not in created


async def test_an_existing_row_is_answered_with_artifacts_and_children(api: Api) -> None:
    run = await api.run()
    body: dict[str, Any] = {"name": "inner", "type": "DAG", "scope_path": "root.inner"}
    dag = (await api.post(f"/runs/{run}/tasks", body))["task_id"]
    child = await api.task(run, parent_task_id=dag)
    await api.post("/artifacts", artifact_request(run, dag))
    again = await api.post(f"/runs/{run}/tasks", body)
    assert again["child_tasks"] == [{"task_id": child, "name": "train"}]
    assert [group["artifact_key"] for group in again["outputs"]["artifacts"]] == ["model"]


async def test_create_time_is_honoured_and_never_changed(api: Api) -> None:
    run = await api.run()
    created = await api.post(f"/runs/{run}/tasks", {**TRAIN, "create_time": "2025-05-05T05:05:05Z"})
    updated = await api.patch(
        f"/runs/{run}/tasks/{created['task_id']}", {"create_time": "2020-01-01T00:00:00Z"}
    )
    assert created["create_time"] == updated["create_time"] == "2025-05-05T05:05:05Z"

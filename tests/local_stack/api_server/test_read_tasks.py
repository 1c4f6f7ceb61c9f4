"""GetTask, ListTasks, pages, filters and FindCachedTask. Oracle: spec KFP_API 4.4, 4.5 and section 8."""

import base64
import json
import sqlite3
from typing import Any
from urllib.parse import quote

import pytest

from .conftest import Api, Wire, artifact_request, external_message

MISMATCH = "page token does not match the supplied sort by and/or filtering criteria"


def one(key: str, operation: str | int, **value: object) -> str:
    return json.dumps({"predicates": [{"key": key, "operation": operation, **value}]})


async def names(api: Api, run: str, **params: Any) -> list[str]:
    answer = await api.get(f"/runs/{run}/tasks", **params)
    tasks = answer.get("tasks", [])
    assert answer.get("total_size", 0) >= len(tasks)
    return [task["name"] for task in tasks]


async def test_get_checks_task_and_run(api: Api) -> None:
    run, other = await api.run(), await api.run()
    task = await api.task(run)
    assert external_message(await api.get(f"/runs/{run}/tasks/nobody", status=404)) == "task nobody not found"
    error = await api.get(f"/runs/{other}/tasks/{task}", status=400)
    assert external_message(error) == f"Task {task} does not belong to run {other}"


async def test_parent_filter_lists_direct_children_only(api: Api) -> None:
    run, other = await api.run(), await api.run()
    top = await api.task(run, "top")
    middle = await api.task(run, "middle", parent_task_id=top)
    await api.task(run, "leaf", parent_task_id=middle)
    assert await names(api, run, parent_id=top) == ["middle"]
    assert sorted(await names(api, run)) == ["leaf", "middle", "top"]
    unknown = await api.get(f"/runs/{run}/tasks", parent_id="nobody", status=404)
    assert external_message(unknown) == "task nobody not found"
    foreign = await api.get(f"/runs/{other}/tasks", parent_id=top, status=400)
    assert external_message(foreign) == "parent_task_id must belong to the same run as run_id"


async def test_an_unknown_run_has_no_tasks(api: Api) -> None:
    assert await api.get("/runs/nobody/tasks") == {}


async def test_pages_cover_everything_once(api: Api) -> None:
    run = await api.run()
    for i in range(5):
        await api.task(run, f"t{i}")
    seen: list[str] = []
    token = ""
    sizes = []
    while True:
        answer = await api.get(f"/runs/{run}/tasks", page_size="2", page_token=token)
        assert answer["total_size"] == 5
        sizes.append(len(answer["tasks"]))
        seen += [task["task_id"] for task in answer["tasks"]]
        token = answer.get("next_page_token", "")
        if not token:
            break
    assert sizes == [2, 2, 1]
    assert len(set(seen)) == 5
    assert seen == sorted(seen)  # one creation second: by id


@pytest.mark.parametrize(("size", "expected"), [(None, 20), ("0", 20), ("7", 7), ("200", 200), ("5000", 200)])
async def test_page_size_is_20_by_default_and_200_at_most(api: Api, size: str | None, expected: int) -> None:
    run = await api.run()
    # 205 rows are inserted behind the server's back, which takes a tenth of the time.
    with sqlite3.connect(api.database) as connection:
        connection.executemany(
            "INSERT INTO tasks (UUID, RunUUID, Namespace, Pods, Fingerprint, State, Type, TypeAttrs,"
            " StateHistory, InputParameters, OutputParameters)"
            " VALUES (?, ?, '', '[]', '', 1, 2, 'null', '[]', '[]', '[]')",
            [(f"id-{i:03}", run) for i in range(205)],
        )
    connection.close()
    params: dict[str, Any] = {} if size is None else {"page_size": size}
    answer = await api.get(f"/runs/{run}/tasks", **params)
    assert len(answer["tasks"]) == expected
    assert answer["total_size"] == 205


async def test_a_negative_page_size_is_refused(api: Api) -> None:
    await api.get("/runs/r/tasks", page_size="-1", status=400)


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("name", ["a", "b", "c"]),
        ("name desc", ["c", "b", "a"]),
        ("NAME DESC", ["c", "b", "a"]),
        ("status asc", ["c", "a", "b"]),
    ],
)
async def test_order(api: Api, order: str, expected: list[str]) -> None:
    run = await api.run()
    parent = await api.task(run, "b", state="FAILED")
    await api.task(run, "c", state="RUNNING", parent_task_id=parent)
    await api.task(run, "a", state="SUCCEEDED", parent_task_id=parent)
    found = await names(api, run, order_by=order)
    paged = []
    token = ""
    for _ in range(3):
        answer = await api.get(f"/runs/{run}/tasks", order_by=order, page_size="1", page_token=token)
        paged += [task["name"] for task in answer["tasks"]]
        token = answer.get("next_page_token", "")
    assert paged == found
    assert found == expected


@pytest.mark.parametrize("order", ["nope", "name up", "name asc x", "iteration_index"])
async def test_a_bad_order_is_refused(api: Api, order: str) -> None:
    await api.get("/runs/r/tasks", order_by=order, status=400)


async def test_a_page_token_keeps_its_order_and_filter(api: Api) -> None:
    run = await api.run()
    for name in "abcd":
        await api.task(run, name)
    filter_text = one("status", "IN", int_values={"values": [1, 2]})
    first = await api.get(f"/runs/{run}/tasks", order_by="name desc", filter=filter_text, page_size="2")
    token = first["next_page_token"]
    alone = await names(api, run, page_token=token)
    repeated = await names(api, run, page_token=token, order_by="name desc", filter=filter_text)
    assert alone == repeated == ["b", "a"]
    for difference in ({"order_by": "name"}, {"filter": one("status", 1, int_value=1)}):
        error = await api.get(f"/runs/{run}/tasks", page_token=token, **difference, status=400)
        assert external_message(error).startswith(MISMATCH)


def _token(document: object) -> str:
    return base64.b64encode(json.dumps(document).encode()).decode()


@pytest.mark.parametrize(
    "token",
    [
        "%%%",
        "bm8=",
        _token([]),
        _token({"list": "runs"}),
        _token({"list": "tasks", "sort": "nope", "desc": False, "filter": {}, "value": 1, "id": "x"}),
        _token({"list": "tasks", "sort": "name", "desc": 1, "filter": {}, "value": 1, "id": "x"}),
        _token({"list": "tasks", "sort": "name", "desc": False, "filter": {}, "value": {}, "id": "x"}),
        _token({"list": "tasks", "sort": "name", "desc": False, "filter": {"x": 1}, "value": 1, "id": "x"}),
    ],
)
async def test_a_garbage_token_is_refused(api: Api, token: str) -> None:
    error = await api.get("/runs/r/tasks", page_token=token, status=400)
    assert external_message(error) == "Invalid page token"


async def test_a_token_of_another_list_is_refused(api: Api) -> None:
    run = await api.run()
    await api.run()
    token = (await api.get("/runs", page_size="1"))["next_page_token"]
    await api.get(f"/runs/{run}/tasks", page_token=token, status=400)


FILTERS = [
    (one("status", "EQUALS", int_value=2), ["b"]),
    (one("status", 1, intValue=2), ["b"]),
    (one("state", "EQUALS", string_value="SUCCEEDED"), ["b"]),
    (one("status", "NOT_EQUALS", long_value="2"), ["a", "c"]),
    (one("status", "IN", int_values={"values": [1, 4]}), ["a", "c"]),
    (one("state", "IN", string_values={"values": ["FAILED"]}), ["c"]),
    (one("type", "EQUALS", string_value="IMPORTER"), ["c"]),
    (one("type", "EQUALS", int_value=7), ["c"]),
    (one("name", "GREATER_THAN", string_value="a"), ["b", "c"]),
    (one("name", "LESS_THAN_EQUALS", string_value="b"), ["a", "b"]),
    (one("display_name", "IS_SUBSTRING", string_value="0%"), ["a"]),
    (one("display_name", "IS_SUBSTRING", string_value="_"), []),
    (one("display_name", "EQUALS", string_value="1+1"), ["b"]),
    (one("create_time", "GREATER_THAN_EQUALS", timestamp_value="2026-01-01T00:00:02Z"), ["c"]),
    (one("iteration_index", "EQUALS", int_value=0), ["a"]),
    (one("iteration_index", "EQUALS", long_value="1"), ["b"]),
    (one("iteration_index", "NOT_EQUALS", long_value="1"), ["a"]),
    (
        json.dumps(
            {
                "predicates": [
                    {"key": "status", "operation": "LESS_THAN", "int_value": 4},
                    {"key": "name", "operation": "GREATER_THAN", "string_value": "a"},
                ]
            }
        ),
        ["b"],
    ),
    ('{"predicates":[]}', ["a", "b", "c"]),
    # Percent-encoded by the caller once more than HTTP needs.
    (quote(one("name", "EQUALS", string_value="b")), ["b"]),
]


@pytest.mark.parametrize(("text", "expected"), FILTERS)
async def test_filter(api: Api, text: str, expected: list[str]) -> None:
    run = await api.run()
    await api.task(run, "a", display_name="100%", type_attributes={"iteration_index": 0}, state="RUNNING")
    api.clock.now += 1
    await api.task(run, "b", display_name="1+1", type_attributes={"iteration_index": 1}, state="SUCCEEDED")
    api.clock.now += 1
    await api.task(run, "c", display_name="x", type="IMPORTER", state="FAILED")
    assert await names(api, run, filter=text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (one("nope", 1, int_value=1), 'no support for filtering on unrecognized field "nope"'),
        (one("", 1, int_value=1), "a filter predicate needs a key"),
        (one("status", 1), 'the filter predicate on "status" needs exactly one value'),
        (one("status", 0, int_value=1), 'the filter predicate on "status" needs an operation'),
        (one("status", "IN", int_value=1), "cannot use IN operator with scalar value (int_value)"),
        (
            one("status", 1, int_values={"values": [1]}),
            "cannot use EQUALS operator with array value (int_values)",
        ),
        (
            one("name", "IS_SUBSTRING", int_value=1),
            "cannot use IS_SUBSTRING operator with int_value: it needs a string",
        ),
        (one("state", 1, string_value="PENDING"), 'unknown value "PENDING" for field "state"'),
    ],
)
async def test_a_bad_filter_is_refused(api: Api, text: str, message: str) -> None:
    assert external_message(await api.get("/runs/r/tasks", filter=text, status=400)) == message


@pytest.mark.parametrize(
    "text", ["{", "[]", "%zz", '{"x":1}', one("status", 4, int_value=1), one("status", "NOPE", int_value=1)]
)
async def test_an_undecodable_filter_is_refused(api: Api, text: str) -> None:
    error = await api.get("/runs/r/tasks", filter=text, status=400)
    assert external_message(error).startswith("failed to parse valid filter: ")


async def test_children_are_listed_by_creation_time_then_id(api: Api) -> None:
    run = await api.run()
    top = await api.task(run, "top")
    late = await api.task(run, "late", parent_task_id=top, create_time="2027-01-01T00:00:00Z")
    early = await api.task(run, "early", parent_task_id=top, create_time="2025-01-01T00:00:00Z")
    children = (await api.get(f"/runs/{run}/tasks/{top}"))["child_tasks"]
    assert children == [{"task_id": early, "name": "early"}, {"task_id": late, "name": "late"}]


async def find(api: Api, fingerprint: str = "f", **headers: str) -> Wire:
    answer: Wire = await api.call(
        "POST",
        "/tasks:findCached",
        {"namespace": "kubeflow", "cache_fingerprint": fingerprint},
        headers=headers,
    )
    return answer


@pytest.mark.parametrize("state", ["RUNNING", "SKIPPED", "FAILED", "CACHED", "RUNTIME_STATE_UNSPECIFIED"])
async def test_only_succeeded_tasks_are_cache_hits(api: Api, state: str) -> None:
    run = await api.run()
    await api.task(run, state=state, cache_fingerprint="f")
    assert await find(api) == {}


async def test_the_newest_succeeded_task_is_the_hit_and_is_hydrated(api: Api) -> None:
    run = await api.run()
    for offset, name in ((2, "new"), (1, "old")):
        task = await api.task(
            run,
            name,
            state="SUCCEEDED",
            cache_fingerprint="f",
            create_time=f"2026-01-01T00:00:0{offset}Z",
            outputs={"parameters": [{"parameter_key": "p", "value": name}]},
        )
        await api.post("/artifacts", artifact_request(run, task))
        await api.task(run, "child", parent_task_id=task)
    hit = (await find(api))["task"]
    assert hit["name"] == "new"
    assert hit["outputs"]["parameters"] == [{"value": "new", "parameter_key": "p"}]
    assert hit["outputs"]["artifacts"][0]["artifacts"][0]["uri"] == "s3://bucket/model"
    assert "child_tasks" not in hit
    assert await find(api, "other") == {}


async def test_a_fingerprint_is_required(api: Api) -> None:
    error = await api.post("/tasks:findCached", {"namespace": "kubeflow"}, status=400)
    assert external_message(error) == "cache_fingerprint is required"


async def test_archived_runs_stay_cache_sources_and_deleted_ones_do_not(api: Api) -> None:
    run = await api.run()
    await api.task(run, state="SUCCEEDED", cache_fingerprint="f")
    await api.post(f"/runs/{run}:archive")
    assert "task" in await find(api)
    await api.call("DELETE", f"/runs/{run}")
    assert await find(api) == {}

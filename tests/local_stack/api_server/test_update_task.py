"""UpdateTask and UpdateTasksBulk. Oracle: the merge table of spec KFP_API 4.2, and 4.3."""

import asyncio
from typing import Any

import pytest
import structlog.testing

from .conftest import Api, Wire, artifact_request, external_message

BEFORE: Wire = {
    "name": "train",
    "display_name": "Train",
    "type": "RUNTIME",
    "type_attributes": {"iteration_index": "0"},
    "scope_path": "root.train",
    "state": "RUNNING",
    "end_time": "2026-01-01T00:00:09Z",
    "cache_fingerprint": "f1",
    "pods": [{"name": "p", "uid": "u", "type": "DRIVER"}],
    "status_metadata": {"message": "m", "custom_properties": {"a": 1, "b": None}},
}

OTHER_ID = "Task ID in map key does not match task ID in task detail for task "
OTHER_RUN = "Task run_id in request body does not match run_id in path parameter"
OWN_PARENT = "parent_task_id of task {} must not be the task itself or one of its descendants"

UNCHANGED: list[Wire] = [
    {},
    {"name": "", "display_name": "", "cache_fingerprint": ""},
    {"state": "RUNTIME_STATE_UNSPECIFIED", "type": "TASK_TYPE_UNSPECIFIED"},
    {"end_time": "1970-01-01T00:00:00Z"},
    {"pods": []},
    {"status_metadata": None, "type_attributes": None, "parent_task_id": None, "state": None},
    {"inputs": {"parameters": []}, "outputs": {}},
    {"create_time": "2020-01-01T00:00:00Z", "scope_path": "root.other"},
    {"state_history": [{"state": "FAILED"}], "child_tasks": [{"task_id": "x"}]},
    {"state": "RUNNING"},
]


LOOPED = "ITERATOR_OUTPUT"


async def created(api: Api, **fields: Any) -> tuple[str, Wire]:
    run = await api.run()
    parent = await api.task(run, "outer", type="DAG", scope_path="root.outer")
    task = await api.post(f"/runs/{run}/tasks", {**BEFORE, "parent_task_id": parent, **fields})
    return f"/runs/{run}/tasks/{task['task_id']}", task


@pytest.mark.parametrize("patch", UNCHANGED)
async def test_absent_and_zero_fields_leave_the_row_alone(api: Api, patch: Wire) -> None:
    path, before = await created(api)
    api.clock.now += 5
    assert await api.patch(path, patch) == before
    assert await api.get(path) == before


@pytest.mark.parametrize(
    ("patch", "field", "after"),
    [
        ({"name": "t2"}, "name", "t2"),
        ({"displayName": "T2"}, "display_name", "T2"),
        ({"cache_fingerprint": "f2"}, "cache_fingerprint", "f2"),
        ({"type": "IMPORTER"}, "type", "IMPORTER"),
        ({"end_time": "2026-02-01T00:00:00Z"}, "end_time", "2026-02-01T00:00:00Z"),
        ({"pods": [{"name": "q"}]}, "pods", [{"name": "q"}]),
        ({"status_metadata": {"message": "n"}}, "status_metadata", {"message": "n"}),
        ({"status_metadata": {}}, "status_metadata", {}),
        ({"type_attributes": {"iteration_count": 3}}, "type_attributes", {"iteration_count": "3"}),
        ({"type_attributes": {}}, "type_attributes", {}),
        ({"parent_task_id": ""}, "parent_task_id", None),
        ({"state": "FAILED"}, "state", "FAILED"),
    ],
)
async def test_present_fields_replace(api: Api, patch: Wire, field: str, after: object) -> None:
    path, before = await created(api)
    answer = await api.patch(path, patch)
    assert answer.get(field) == after
    touched = {field, "state_history"} if field == "state" else {field}
    assert {k: v for k, v in answer.items() if k not in touched} == {
        k: v for k, v in before.items() if k not in touched
    }
    assert await api.get(path) == answer


async def test_an_empty_body_changes_nothing(api: Api) -> None:
    path, before = await created(api)
    assert await api.call("PATCH", path, raw=b"") == before


async def test_history_grows_only_when_the_state_changes(api: Api) -> None:
    path, _ = await created(api)
    for state in ("RUNNING", "SUCCEEDED", "SUCCEEDED"):
        api.clock.now += 1
        answer = await api.patch(path, {"state": state})
    assert answer["state_history"] == [
        {"update_time": "2026-01-01T00:00:00Z", "state": "RUNNING"},
        {"update_time": "2026-01-01T00:00:02Z", "state": "SUCCEEDED"},
    ]


async def test_end_time_goes_when_a_task_runs_again(api: Api) -> None:
    path, _ = await created(api)
    await api.patch(path, {"state": "FAILED", "end_time": "2026-01-01T00:00:10Z"})
    assert "end_time" not in await api.patch(path, {"state": "RUNNING"})
    await api.patch(path, {"state": "FAILED", "end_time": "2026-01-01T00:00:10Z"})
    both = await api.patch(path, {"state": "RUNNING", "end_time": "2026-01-01T00:00:11Z"})
    assert both["end_time"] == "2026-01-01T00:00:11Z"


def _output(key: str, value: object, io_type: str = "OUTPUT", **producer: Any) -> Wire:
    entry = {"value": value, "type": io_type, "parameter_key": key}
    return {**entry, "producer": producer} if producer else entry


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        # The later value of an ordinary output wins, in place.
        ([_output("a", 1), _output("b", 1), _output("a", 2)], [_output("a", 2), _output("b", 1)]),
        # The producer belongs to the identity.
        (
            [_output("a", 1), _output("a", 2, task_name="t")],
            [_output("a", 1), _output("a", 2, task_name="t")],
        ),
        # Without an iteration, values of iterator types accumulate.
        (
            [_output("a", 1, LOOPED), _output("a", 2, LOOPED), _output("a", 1, LOOPED)],
            [_output("a", 1, LOOPED), _output("a", 2, LOOPED)],
        ),
        # With an iteration they are replaced per iteration.
        (
            [_output("a", i, LOOPED, task_name="t", iteration=str(i % 2)) for i in range(4)],
            [_output("a", i, LOOPED, task_name="t", iteration=str(i % 2)) for i in (2, 3)],
        ),
        # Dashes in names do not make two entries one.
        (
            [_output("b-c", 1, task_name="a"), _output("b", 1, task_name="c-a"), _output("b-c-a", 1)],
            [_output("b-c", 1, task_name="a"), _output("b", 1, task_name="c-a"), _output("b-c-a", 1)],
        ),
    ],
)
@pytest.mark.parametrize("direction", ["inputs", "outputs"])
async def test_parameters_merge_by_identity(
    api: Api, direction: str, sent: list[Wire], kept: list[Wire]
) -> None:
    path, _ = await created(api)
    for entry in sent:
        answer = await api.patch(path, {direction: {"parameters": [entry]}})
    assert answer[direction]["parameters"] == kept


async def test_sent_artifacts_are_ignored(api: Api) -> None:
    path, before = await created(api)
    group = {"artifact_key": "model", "type": "OUTPUT", "artifacts": [{"name": "x"}]}
    assert await api.patch(path, {"outputs": {"artifacts": [group]}}) == before


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"task_id": "x"}, "Task ID in path parameter does not match task ID in request body"),
        ({"run_id": "x"}, "Task run_id in request body does not match run_id in path parameter"),
        ({"name": "n" * 129}, "name must not be longer than 128 characters, got 129"),
    ],
)
async def test_update_is_refused(api: Api, body: Wire, message: str) -> None:
    path, before = await created(api)
    assert external_message(await api.patch(path, body, status=400)) == message
    assert await api.get(path) == before


async def test_update_is_refused_when_the_task_is_unknown_or_foreign(api: Api) -> None:
    run, other = await api.run(), await api.run()
    task = await api.task(run)
    unknown = await api.patch(f"/runs/{run}/tasks/nobody", {}, status=404)
    assert external_message(unknown) == "task nobody not found"
    foreign = await api.patch(f"/runs/{other}/tasks/{task}", {}, status=400)
    assert (
        external_message(foreign) == "Task run_id in path parameter does not match the existing task run_id"
    )


async def test_a_task_cannot_become_its_own_ancestor(api: Api) -> None:
    run = await api.run()
    top = await api.task(run, "top", type="DAG")
    middle = await api.task(run, "middle", type="DAG", parent_task_id=top)
    leaf = await api.task(run, "leaf", parent_task_id=middle)
    for parent in (top, middle, leaf):
        error = await api.patch(f"/runs/{run}/tasks/{top}", {"parent_task_id": parent}, status=400)
        assert "must not be the task itself or one of its descendants" in external_message(error)


async def test_a_changed_identity_is_found_by_the_next_create(api: Api) -> None:
    run = await api.run()
    task = await api.task(run, "a", scope_path="root.x")
    await api.patch(f"/runs/{run}/tasks/{task}", {"name": "b"})
    assert await api.task(run, "b", scope_path="root.x") == task
    assert await api.task(run, "a", scope_path="root.x") != task


async def test_a_taken_identity_is_refused(api: Api) -> None:
    run = await api.run()
    first = await api.task(run, "a", scope_path="root.x")
    await api.task(run, "b", scope_path="root.x")
    error = await api.patch(f"/runs/{run}/tasks/{first}", {"name": "b"}, status=409)
    assert error["code"] == 6


async def test_fifty_concurrent_updates_lose_no_parameter(api: Api) -> None:
    path, _ = await created(api)
    patches = [{"outputs": {"parameters": [_output(f"p{i}", i)]}} for i in range(50)]
    await asyncio.gather(*(api.patch(path, patch) for patch in patches))
    stored = (await api.get(path))["outputs"]["parameters"]
    assert {entry["parameter_key"]: entry["value"] for entry in stored} == {f"p{i}": i for i in range(50)}


async def test_the_answer_has_children_and_artifacts(api: Api) -> None:
    run = await api.run()
    dag = await api.task(run, "dag", type="DAG")
    child = await api.task(run, "leaf", parent_task_id=dag)
    await api.post("/artifacts", artifact_request(run, dag))
    answer = await api.patch(f"/runs/{run}/tasks/{dag}", {"state": "SUCCEEDED"})
    assert answer["child_tasks"] == [{"task_id": child, "name": "leaf"}]
    assert answer["outputs"]["artifacts"][0]["artifact_key"] == "model"


async def test_bulk_update_answers_every_task_hydrated(api: Api) -> None:
    run = await api.run()
    dag = await api.task(run, "dag", type="DAG")
    leaf = await api.task(run, "leaf", parent_task_id=dag)
    answer = await api.post(
        f"/runs/{run}/tasks:batchUpdate",
        {"tasks": {leaf: {"state": "SUCCEEDED"}, dag: {"outputs": {"parameters": [_output("a", 1)]}}}},
    )
    assert answer["tasks"][leaf]["state"] == "SUCCEEDED"
    assert answer["tasks"][dag]["child_tasks"] == [{"task_id": leaf, "name": "leaf"}]
    assert answer["tasks"][dag]["outputs"]["parameters"] == [_output("a", 1)]


async def test_bulk_update_with_one_bad_entry_among_ten_writes_nothing(api: Api) -> None:
    run, other = await api.run(), await api.run()
    ids = [await api.task(run, f"t{i}") for i in range(10)]
    good: dict[str, Wire] = {task: {"state": "SUCCEEDED"} for task in ids}
    foreign = await api.task(other)
    for bad, status, message in (
        ({"nobody": {}}, 404, "task nobody not found"),
        ({foreign: {}}, 400, f"Task {foreign} does not belong to run {run}"),
        ({ids[9]: {"task_id": "x"}}, 400, OTHER_ID + ids[9]),
        ({ids[9]: {"run_id": "x"}}, 400, OTHER_RUN),
        ({ids[9]: {"parent_task_id": ids[9]}}, 400, OWN_PARENT.format(ids[9])),
        ({ids[9]: {"name": "n" * 200}}, 400, "name must not be longer than 128 characters, got 200"),
        ({"": {}}, 400, "Task ID is required"),
    ):
        error = await api.post(f"/runs/{run}/tasks:batchUpdate", {"tasks": {**good, **bad}}, status=status)
        assert external_message(error) == message
    states = {task["state"] for task in (await api.get(f"/runs/{run}/tasks"))["tasks"]}
    assert states == {"RUNNING"}


async def test_an_empty_bulk_update_is_refused(api: Api) -> None:
    run = await api.run()
    error = await api.post(f"/runs/{run}/tasks:batchUpdate", {}, status=400)
    assert external_message(error) == "UpdateTasksBulkRequest must contain at least one task"


async def test_any_transition_is_accepted_but_work_that_is_undone_is_logged(api: Api) -> None:
    run = await api.run()
    task = await api.task(run, state="SUCCEEDED")
    with structlog.testing.capture_logs() as logs:
        row = await api.patch(f"/runs/{run}/tasks/{task}", {"state": "RUNNING"})
        await api.patch(f"/runs/{run}/tasks/{task}", {"state": "FAILED"})
        await api.patch(f"/runs/{run}/tasks/{task}", {"state": "RUNNING"})
    assert row["state"] == "RUNNING"
    assert [(entry["event"], entry["task_id"]) for entry in logs] == [
        ("a task whose work was done runs again", task)
    ]


GROWING = {"pods", "state_history", "child_tasks", "inputs", "outputs", "cache_fingerprint"}


@pytest.mark.parametrize("preference", ["return=minimal", "wait=5, return=minimal"])
async def test_who_prefers_a_minimal_answer_gets_the_row_without_what_grows(
    api: Api, preference: str
) -> None:
    """Oracle: RFC 7240, which leaves to the server what a minimal answer is."""
    run = await api.run()
    loop = await api.task(run, "loop", type="LOOP", type_attributes={"iteration_count": "3"})
    await api.task(run, "step", parent_task_id=loop)
    path = f"/runs/{run}/tasks/{loop}"
    patch = {"state": "FAILED", "outputs": {"parameters": [_output("a", 1)]}}
    headers = {"Prefer": preference}
    answer = await api.call("PATCH", path, patch, headers=headers)
    whole = await api.get(path)
    assert answer == {name: value for name, value in whole.items() if name not in GROWING}
    assert whole["outputs"]["parameters"] == [_output("a", 1)]
    patches = {"tasks": {loop: {"outputs": {"parameters": [_output("b", 2)]}}}}
    assert await api.call("POST", f"/runs/{run}/tasks:batchUpdate", patches, headers=headers) == {}
    assert len((await api.get(path))["outputs"]["parameters"]) == 2


@pytest.mark.parametrize("preference", ["return=representation", "minimal", "respond-async"])
async def test_any_other_preference_changes_nothing(api: Api, preference: str) -> None:
    path, before = await created(api)
    assert await api.call("PATCH", path, {}, headers={"Prefer": preference}) == before

"""Runs and experiments. Oracle: spec KFP_API 6.1 to 6.4 and 7.1."""

import sqlite3
from typing import Any

import pytest

from .conftest import SPEC, Api, MakeApi, Wire, external_message


def spec_with(**parameters: Wire) -> Wire:
    return {**SPEC, "root": {"dag": {"tasks": {}}, "inputDefinitions": {"parameters": parameters}}}


async def test_create_answers_the_pending_run(api: Api) -> None:
    body = {
        "display_name": "demo",
        "pipeline_spec": SPEC,
        "runtime_config": {"parameters": {}, "pipeline_root": "s3://mlpipeline/root"},
    }
    answer = await api.post("/runs", body)
    now = "2026-01-01T00:00:00Z"
    assert answer == {
        "experiment_id": answer["experiment_id"],
        "run_id": answer["run_id"],
        "display_name": "demo",
        "storage_state": "AVAILABLE",
        "pipeline_spec": SPEC,
        "runtime_config": {"pipeline_root": "s3://mlpipeline/root"},
        "service_account": "pipeline-runner",
        "created_at": now,
        "scheduled_at": now,
        "finished_at": "1970-01-01T00:00:00Z",
        "state": "PENDING",
        "state_history": [{"update_time": now, "state": "PENDING"}],
    }
    assert await api.get(f"/runs/{answer['run_id']}") == answer


async def test_a_chosen_run_id_is_honoured_once(api: Api) -> None:
    assert await api.run(run_id="mine") == "mine"
    body = {"display_name": "demo", "pipeline_spec": SPEC, "run_id": "mine"}
    assert (await api.post("/runs", body, status=409))["code"] == 6


async def test_both_documents_of_a_pipeline_are_kept(api: Api) -> None:
    document = {"pipeline_spec": SPEC, "platform_spec": {"platforms": {"kubernetes": {}}}}
    run = await api.run(pipeline_spec=document)
    assert (await api.get(f"/runs/{run}"))["pipeline_spec"] == document


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"display_name": ""}, 400, 3),
        ({"pipeline_spec": None}, 400, 3),
        ({"pipeline_spec": {}}, 400, 3),
        ({"pipeline_spec": {**SPEC, "schemaVersion": "2.0.0"}}, 400, 3),
        ({"pipeline_spec": {**SPEC, "pipelineInfo": {}}}, 400, 3),
        ({"pipeline_spec": {**SPEC, "root": None}}, 400, 3),
        ({"pipeline_spec": {**SPEC, "root": 5}}, 400, 3),
        ({"pipeline_spec": None, "pipeline_version_reference": {"pipeline_id": "p"}}, 400, 3),
        ({"experiment_id": "nobody"}, 404, 5),
        ({"plugins_output": {"a": {}}}, 409, 10),
        ({"plugins_input": {f"p{i}": {} for i in range(17)}}, 400, 3),
        ({"plugins_input": {"p": {"x": "y" * 70_000}}}, 400, 3),
        ({"plugins_input": {f"p{i}": {"x": "y" * 60_000} for i in range(5)}}, 400, 3),
        ({"display_name": "x" * 256}, 400, 3),
        ({"run_id": "a/b"}, 400, 3),
    ],
)
async def test_create_is_refused(api: Api, change: Wire, status: int, code: int) -> None:
    body = {"display_name": "demo", "pipeline_spec": SPEC, **change}
    assert (await api.post("/runs", body, status=status))["code"] == code
    assert await api.get("/runs") == {}


def _nested(levels: int) -> Wire:
    value: Wire = {}
    for _ in range(levels - 1):
        value = {"x": value}
    return value


async def test_plugin_inputs_nest_ten_levels_at_most(api: Api) -> None:
    run = await api.run(plugins_input={"p": _nested(10)})
    assert (await api.get(f"/runs/{run}"))["plugins_input"] == {"p": _nested(10)}
    body = {"display_name": "demo", "pipeline_spec": SPEC, "plugins_input": {"p": _nested(11)}}
    await api.post("/runs", body, status=400)


KINDS: dict[str, Any] = {
    "NUMBER_DOUBLE": 0.5,
    "NUMBER_INTEGER": 3,
    "STRING": "x",
    "BOOLEAN": True,
    "LIST": [1],
    "STRUCT": {"a": 1},
}


@pytest.mark.parametrize("declared", KINDS)
async def test_parameters_must_have_the_declared_kind(api: Api, declared: str) -> None:
    for given, value in KINDS.items():
        fits = declared == given or {declared, given} == {"NUMBER_DOUBLE", "NUMBER_INTEGER"}
        body = {
            "display_name": "demo",
            "pipeline_spec": spec_with(p={"parameterType": declared}),
            "runtime_config": {"parameters": {"p": value}},
        }
        answer = await api.post("/runs", body, status=200 if fits else 400)
        if not fits:
            assert external_message(answer).startswith("input parameter p requires type ")


MISSING_VALUE = "parameter p is not optional, yet has neither default value nor user provided value"
NOT_A_STRING = "input parameter p requires type string, but the parameter value is not of string value type"
FINAL_STATUS = "input parameter p requires type TASK_FINAL_STATUS, which is invalid for root component"
EXTRA = "parameter(s) provided are not required by pipeline: a, q"


@pytest.mark.parametrize(
    ("declared", "given", "message"),
    [
        ({"parameterType": "STRING"}, {}, MISSING_VALUE),
        ({"parameterType": "STRING", "isOptional": True}, {}, None),
        ({"parameterType": "STRING", "defaultValue": ""}, {}, None),
        ({"parameterType": "STRING"}, {"p": None}, NOT_A_STRING),
        ({"parameterType": "TASK_FINAL_STATUS"}, {"p": {}}, FINAL_STATUS),
        ({}, {"p": 1}, "input parameter p has unspecified type"),
        ({"parameterType": "STRING", "literals": ["a", "b"]}, {"p": "b"}, None),
        (
            {"parameterType": "STRING", "literals": ["a", "b"]},
            {"p": "c"},
            'input parameter p must be one of ["a","b"]',
        ),
        ({"parameterType": "STRING"}, {"p": "x", "q": 1, "a": 1}, EXTRA),
    ],
)
async def test_parameters_are_checked(api: Api, declared: Wire, given: Wire, message: str | None) -> None:
    body = {
        "display_name": "demo",
        "pipeline_spec": spec_with(p=declared),
        "runtime_config": {"parameters": given},
    }
    answer = await api.post("/runs", body, status=400 if message else 200)
    if message:
        assert external_message(answer) == message


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("[[RunUUID]]/x", "r1/x"),
        ("[[CurrentTime]]", "20260101000000"),
        ("[[CurrentTime.2006-01-02T15:04:05]]", "2026-01-01T00:00:00"),
        ("[[CurrentTime.Mon Jan 06]]", "Thu Jan 26"),
        ("[[ScheduledTime]]", "[[ScheduledTime]]"),
        ("[[Index]] [[Other]]", "[[Index]] [[Other]]"),
    ],
)
async def test_macros_in_parameters_are_expanded(api: Api, text: str, expanded: str) -> None:
    await api.run(
        run_id="r1",
        pipeline_spec=spec_with(p={"parameterType": "STRING"}),
        runtime_config={"parameters": {"p": text}},
    )
    assert (await api.get("/runs/r1"))["runtime_config"]["parameters"] == {"p": expanded}


async def test_the_scheduled_time_is_expanded_when_given(api: Api) -> None:
    await api.run(
        run_id="r1",
        scheduled_at="2025-12-31T23:59:59Z",
        pipeline_spec=spec_with(p={"parameterType": "STRING"}),
        runtime_config={"parameters": {"p": "[[ScheduledTime]]"}},
    )
    stored = await api.get("/runs/r1")
    assert stored["runtime_config"]["parameters"] == {"p": "20251231235959"}
    assert stored["scheduled_at"] == "2025-12-31T23:59:59Z"


async def test_views_of_get_run(api: Api) -> None:
    run = await api.run()
    task = await api.task(run)
    child = await api.task(run, "child", parent_task_id=task)
    default, full = await api.get(f"/runs/{run}"), await api.get(f"/runs/{run}", view="FULL")
    assert default["task_count"] == full["task_count"] == 2
    assert "tasks" not in default
    assert {row["task_id"] for row in full["tasks"]} == {task, child}
    [parent] = [row for row in full["tasks"] if row["task_id"] == task]
    assert parent["child_tasks"] == [{"task_id": child, "name": "child"}]


async def test_only_get_run_full_prefers_the_spec_over_the_version(api: Api) -> None:
    run = await api.run()
    with sqlite3.connect(api.database) as connection:
        connection.execute("UPDATE run_details SET PipelineId = 'p', PipelineVersionId = 'v'")
    connection.close()
    reference = {"pipeline_id": "p", "pipeline_version_id": "v"}
    for answer in (
        await api.get(f"/runs/{run}"),
        (await api.get("/runs"))["runs"][0],
        (await api.get("/runs", view="FULL"))["runs"][0],
    ):
        assert answer["pipeline_version_reference"] == reference
        assert "pipeline_spec" not in answer
    full = await api.get(f"/runs/{run}", view="FULL")
    assert full["pipeline_spec"] == SPEC
    assert "pipeline_version_reference" not in full


async def test_an_unknown_run_is_404(api: Api) -> None:
    for method, path in (
        ("GET", "/runs/x"),
        ("DELETE", "/runs/x"),
        *(("POST", f"/runs/x:{verb}") for verb in ("archive", "unarchive", "terminate", "retry")),
    ):
        assert external_message(await api.call(method, path, status=404)) == "Run x not found"


@pytest.mark.parametrize(("cap", "size"), [(2, 2), (0, 3), (-5, 3)])
async def test_full_pages_of_runs_are_capped(make_api: MakeApi, cap: int, size: int) -> None:
    api = await make_api(list_runs_full_view_max_page_size=cap)
    for _ in range(3):
        await api.task(await api.run())
    full = await api.get("/runs", view="FULL", page_size="50")
    assert len(full["runs"]) == size
    assert all(len(run["tasks"]) == run["task_count"] == 1 for run in full["runs"])
    assert ("next_page_token" in full) is (size == 2)
    assert len((await api.get("/runs", page_size="50"))["runs"]) == 3


async def test_runs_are_listed_by_experiment_and_filter(api: Api) -> None:
    experiment = (await api.post("/experiments", {"display_name": "mine"}))["experiment_id"]
    mine = await api.run(experiment_id=experiment)
    other = await api.run(display_name="other")
    await api.report(other, "Running")

    async def ids(**params: Any) -> list[str]:
        return [run["run_id"] for run in (await api.get("/runs", **params)).get("runs", [])]

    assert await ids(experiment_id=experiment) == [mine]
    assert sorted(await ids(namespace="any")) == sorted([mine, other])
    for predicate in (
        '{"key":"state","operation":1,"string_value":"RUNNING"}',
        '{"key":"status","operation":1,"int_value":2}',
        '{"key":"display_name","operation":1,"stringValue":"other"}',
    ):
        assert await ids(filter=f'{{"predicates":[{predicate}]}}') == [other]
    assert await ids(sort_by="display_name desc") == [other, mine]
    await api.get("/runs", experiment_id="nobody", status=404)


async def test_archived_runs_stay_readable_writable_and_listed(api: Api) -> None:
    run = await api.run()
    for _ in range(2):
        assert await api.post(f"/runs/{run}:archive") == {}
    assert (await api.get("/runs"))["runs"][0]["storage_state"] == "ARCHIVED"
    await api.task(run)
    await api.post(f"/runs/{run}:unarchive")
    assert (await api.get(f"/runs/{run}"))["storage_state"] == "AVAILABLE"


async def test_a_run_of_an_archived_experiment_stays_archived(api: Api) -> None:
    experiment = (await api.post("/experiments", {"display_name": "mine"}))["experiment_id"]
    run = await api.run(experiment_id=experiment)
    await api.post(f"/experiments/{experiment}:archive")
    assert (await api.get(f"/runs/{run}"))["storage_state"] == "ARCHIVED"
    assert (await api.post(f"/runs/{run}:unarchive", status=400))["code"] == 9
    await api.post(f"/experiments/{experiment}:unarchive")
    await api.post(f"/runs/{run}:unarchive")
    assert (await api.get(f"/runs/{run}"))["storage_state"] == "AVAILABLE"


async def test_delete_removes_tasks_and_links_and_keeps_artifacts(api: Api) -> None:
    run = await api.run()
    task = await api.task(run)
    child = await api.task(run, "child", parent_task_id=task)
    artifact = await api.artifact(run, child)
    assert await api.call("DELETE", f"/runs/{run}") == {}
    assert await api.get(f"/runs/{run}/tasks") == {}
    await api.get(f"/runs/{run}/tasks/{task}", status=404)
    assert await api.get("/artifact_tasks", artifact_ids=artifact) == {}
    assert (await api.get(f"/artifacts/{artifact}"))["name"] == "model"


async def test_experiments(api: Api) -> None:
    created = await api.post("/experiments", {"display_name": "mine", "description": "d"})
    assert created == {
        "experiment_id": created["experiment_id"],
        "display_name": "mine",
        "description": "d",
        "created_at": "2026-01-01T00:00:00Z",
        "storage_state": "AVAILABLE",
        "last_run_created_at": "1970-01-01T00:00:00Z",
    }
    path = f"/experiments/{created['experiment_id']}"
    assert await api.get(path) == created
    assert (await api.post("/experiments", {"display_name": "mine"}, status=409))["code"] == 6
    assert (await api.post("/experiments", {"display_name": ""}, status=400))["code"] == 3
    named = await api.get(
        "/experiments",
        filter='{"predicates":[{"operation":1,"key":"display_name","stringValue":"mine"}]}',
    )
    assert named == {"experiments": [created], "total_size": 1}
    await api.run(experiment_id=created["experiment_id"])
    assert (await api.get(path))["last_run_created_at"] == "2026-01-01T00:00:00Z"
    assert await api.call("DELETE", path) == {}
    await api.get(path, status=404)


async def test_the_default_experiment_is_there_and_comes_back(api: Api) -> None:
    [default] = (await api.get("/experiments"))["experiments"]
    assert default["display_name"] == "Default"
    run = await api.run()
    assert (await api.get(f"/runs/{run}"))["experiment_id"] == default["experiment_id"]
    await api.call("DELETE", f"/experiments/{default['experiment_id']}")
    await api.run()
    [again] = (await api.get("/experiments"))["experiments"]
    assert again["display_name"] == "Default"

"""JSON rules, routing and error bodies. Oracle: spec KFP_API 1.2 to 1.8 (protojson and KFP's gateway)."""

import sqlite3

import pytest
from structlog.testing import capture_logs

from .conftest import SPEC, Api, MakeApi, external_message
from .servers import PREFIX


async def test_zero_values_are_absent(api: Api) -> None:
    assert await api.get("/runs") == {}
    assert await api.get("/artifacts") == {}
    run = await api.run()
    assert "task_count" not in await api.get(f"/runs/{run}")
    assert await api.get(f"/runs/{run}/tasks") == {}


async def test_set_optional_fields_are_present_even_when_zero(api: Api) -> None:
    run = await api.run()
    body = {"name": "a", "type_attributes": {"iteration_index": 0}, "status_metadata": {}}
    task = await api.post(f"/runs/{run}/tasks", body)
    assert task["type_attributes"] == {"iteration_index": "0"}
    assert task["status_metadata"] == {}
    metric = {"name": "m", "type": "Metric", "number_value": 0, "uri": "", "namespace": "n"}
    created = await api.post(
        "/artifacts", {"run_id": run, "task_id": task["task_id"], "producer_key": "m", "artifact": metric}
    )
    assert created["number_value"] == 0
    assert created["uri"] == ""


async def test_task_answers_always_have_inputs_and_outputs(api: Api) -> None:
    run = await api.run()
    task = await api.task(run)
    for answer in (
        await api.get(f"/runs/{run}/tasks/{task}"),
        (await api.get(f"/runs/{run}/tasks"))["tasks"][0],
        (await api.get(f"/runs/{run}", view="FULL"))["tasks"][0],
    ):
        assert answer["inputs"] == {}
        assert answer["outputs"] == {}


async def test_camel_case_and_enum_numbers_are_accepted(api: Api) -> None:
    run = await api.run()
    body = {
        "name": "a",
        "state": 1,
        "type": 5,
        "scopePath": "root.a",
        "typeAttributes": {"iterationCount": "3"},
    }
    task = await api.post(f"/runs/{run}/tasks", body)
    assert task["state"] == "RUNNING"
    assert task["type"] == "LOOP"
    assert task["type_attributes"] == {"iteration_count": "3"}
    assert task["scope_path"] == "root.a"


async def test_an_unknown_field_is_refused_without_details(api: Api) -> None:
    run = await api.run()
    error = await api.post(f"/runs/{run}/tasks", {"name": "a", "start_time": "x"}, status=400)
    assert error == {"code": 3, "message": 'proto: (line 1:15): unknown field "start_time"'}


async def test_a_null_field_is_unset_and_a_null_value_is_a_value(api: Api) -> None:
    run = await api.run()
    parameters = [{"parameter_key": "n", "value": None}, {"parameter_key": "absent"}]
    body = {"name": "a", "state": None, "outputs": {"parameters": parameters}}
    task = await api.post(f"/runs/{run}/tasks", body)
    assert "state" not in task
    assert task["outputs"]["parameters"] == parameters


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        (b"9007199254740992", 9007199254740992),
        (b"9007199254740993", 9007199254740992),
        (b"1.0", 1),
        (b"-0.5", -0.5),
        (b"123456789012345678901234567890", 123456789012345678901234567890.0),
        (b'{"deep":[9007199254740993,true,"x"]}', {"deep": [9007199254740992, True, "x"]}),
    ],
)
async def test_values_are_doubles(api: Api, sent: bytes, stored: object) -> None:
    run = await api.run()
    raw = b'{"name":"a","outputs":{"parameters":[{"parameter_key":"v","value":' + sent + b"}]}}"
    task = await api.call("POST", f"/runs/{run}/tasks", raw=raw)
    assert task["outputs"]["parameters"][0]["value"] == stored


@pytest.mark.parametrize(
    "raw",
    [
        b"{",
        b"[]",
        b'"x"',
        b'{"name":NaN}',
        b'{"name":5}',
        b'{"pods":{}}',
        b'{"state":"NOPE"}',
        b'{"create_time":"2026-01-01"}',
        b'{"create_time":"0001-01-01T00:00:00+10:00"}',
        b'{"type_attributes":{"iteration_index":"x"}}',
        b'{"type_attributes":{"iteration_index":"9223372036854775808"}}',
        b'{"create_time":1767225600}',
        b'{"name":"\xff"}',
    ],
)
async def test_undecodable_bodies_are_refused(api: Api, raw: bytes) -> None:
    run = await api.run()
    error = await api.call("POST", f"/runs/{run}/tasks", raw=raw, status=400)
    assert error["code"] == 3
    assert error["message"].startswith("proto: ")
    assert "details" not in error


async def test_unfinished_run_shows_the_epoch_and_unfinished_task_nothing(api: Api) -> None:
    run = await api.run()
    assert (await api.get(f"/runs/{run}"))["finished_at"] == "1970-01-01T00:00:00Z"
    assert "end_time" not in await api.get(f"/runs/{run}/tasks/{await api.task(run)}")


async def test_times_are_whole_seconds_in_utc(api: Api) -> None:
    run = await api.run()
    body = {"name": "a", "create_time": "2026-01-01T02:00:00.987654321+02:00"}
    assert (await api.post(f"/runs/{run}/tasks", body))["create_time"] == "2026-01-01T00:00:00Z"


@pytest.mark.parametrize("path", ["/nothing", "/runs/", "/runs/a/b/c", "/runs/r/nodes/n/artifacts/a:read"])
async def test_an_unknown_path_is_404(api: Api, path: str) -> None:
    assert await api.get(path, status=404) == {"code": 5, "message": "Not Found"}


@pytest.mark.parametrize(
    ("method", "path"),
    [("PUT", "/runs"), ("DELETE", "/runs/r/tasks/t"), ("GET", "/runs/r:archive"), ("DELETE", "/artifacts/a")],
)
async def test_a_wrong_method_is_501(api: Api, method: str, path: str) -> None:
    assert await api.call(method, path, status=501) == {"code": 12, "message": "Method Not Allowed"}


async def test_handler_errors_have_both_levels(api: Api) -> None:
    error = await api.get("/runs/r/tasks/77", status=404)
    assert error["code"] == 5
    assert external_message(error) == "task 77 not found"


async def test_a_body_above_the_limit_is_413(make_api: MakeApi) -> None:
    api = await make_api(max_body_bytes=1000)
    error = await api.call("POST", "/runs", raw=b'{"description":"' + b"x" * 1000 + b'"}', status=413)
    assert error == {"code": 3, "message": "the body is larger than 1000 bytes"}


async def test_a_body_with_a_broken_content_encoding_is_refused(api: Api) -> None:
    headers = {"Content-Encoding": "gzip"}
    error = await api.call("POST", "/runs", raw=b"no gzip", headers=headers, status=400)
    assert error == {"code": 3, "message": "the body cannot be read: bad encoding"}


async def test_messages_about_deeply_nested_values_stay_short(api: Api) -> None:
    run = await api.run()
    value = b"[" * 900 + b"]" * 900
    body = b'{"inputs":{"parameters":[{"parameter_key":"k","value":%s}]}}' % value
    error = await api.call("POST", f"/runs/{run}/tasks", raw=body, status=400)
    assert len(error["message"]) < 400


async def test_bodies_of_many_megabytes_pass(api: Api) -> None:
    spec = {**SPEC, "components": {"comp-a": {"executorLabel": "x" * (8 * 2**20)}}}
    run = await api.run(pipeline_spec=spec)
    assert (await api.get(f"/runs/{run}"))["pipeline_spec"] == spec


async def test_a_broken_database_is_500_without_sql(api: Api) -> None:
    with sqlite3.connect(api.database) as connection:
        connection.execute("DROP TABLE artifact_tasks")
    connection.close()
    run = await api.run()
    task = await api.task(run)
    with capture_logs() as logs:
        error = await api.get(f"/runs/{run}/tasks/{task}", status=500)
    assert error["code"] == 13
    assert error["details"][0]["message"] == "Internal Server Error"
    assert "artifact_tasks" not in str(error)
    [entry] = logs
    assert entry["request_id"] == error["message"].rpartition(" ")[2]
    assert entry["exc_info"]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ([("page_size", "x")], "parsing field 'page_size': invalid integer 'x'"),
        ([("page_size", "99999999999")], "parsing field 'page_size': invalid integer '99999999999'"),
        ([("view", "NOPE")], "parsing field 'view': 'NOPE' is not a ViewMode"),
        ([("view", "7")], "parsing field 'view': '7' is not a ViewMode"),
        ([("view", "FULL"), ("view", "FULL")], "too many values for field 'view': 2"),
    ],
)
async def test_bad_query_parameters_are_refused(api: Api, query: list[tuple[str, str]], message: str) -> None:
    assert await api.call("GET", "/runs", params=query, status=400) == {"code": 3, "message": message}


async def test_query_parameters_have_both_spellings_and_unknown_ones_are_ignored(api: Api) -> None:
    for _ in range(2):
        await api.run()
    assert len((await api.get("/runs", pageSize="1", view="1", whatever="x"))["runs"]) == 1


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_healthz_answers_every_method_with_all_fields(api: Api, method: str) -> None:
    answer = await api.call(method, "/healthz")
    assert answer.keys() == {"commit_sha", "tag_name", "multi_user", "pipeline_store"}
    assert answer["multi_user"] is False
    assert (await api.call(method, "/apis/v1beta1/healthz")).keys() == answer.keys() - {"pipeline_store"}


async def test_a_token_is_asked_for_everywhere_but_at_healthz(make_api: MakeApi) -> None:
    api = await make_api(token="s3cret")
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic s3cret"}):
        error = await api.call("GET", "/runs", status=401, headers=headers)
        assert error["code"] == 16
    assert await api.call("GET", "/runs", headers={"Authorization": "Bearer s3cret"}) == {}
    await api.call("GET", "/healthz")
    async with api.client.get(f"{PREFIX}/runs") as response:
        assert response.headers["WWW-Authenticate"].startswith("Bearer")


async def test_who_follows_a_link_to_a_run_page_is_told_where_to_look(api: Api) -> None:
    async with api.client.get("/") as response:
        assert response.status == 404
        assert "kfp-driver explain RUN" in (await response.json())["message"]

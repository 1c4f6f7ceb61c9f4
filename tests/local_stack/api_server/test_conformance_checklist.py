"""The conformance checklist of the run, task and artifact API (spec KFP_API section 18), line by line.

Black box: JSON over HTTP and nothing else. Oracle: the contract's tables and messages, which are those of
KFP's own server. Against such a server, run it with ``KFP_CONFORMANCE_URL=http://host:8888``; what only the
embedded server promises, or what needs somebody to play the runner, is skipped there. Details beyond one
test per line stand in the modules beside this one.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode
from uuid import uuid4

import aiohttp
import orjson
import pytest

from tests.embedded_api import embedded_api

from .conftest import SPEC, Wire, external_message, workflow
from .servers import PREFIX

ELSEWHERE = os.environ.get("KFP_CONFORMANCE_URL", "")
embedded = pytest.mark.skipif(bool(ELSEWHERE), reason="only the embedded server promises this")


class Box:
    """A server behind its address."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self.url = url
        self.session = session

    async def raw(self, method: str, path: str, body: bytes | None = None) -> tuple[int, Any]:
        async with self.session.request(
            method, f"{self.url}{PREFIX}{path}", data=body, headers={"Content-Type": "application/json"}
        ) as answer:
            return answer.status, orjson.loads(await answer.read())

    async def call(self, method: str, path: str, body: object = None, *, status: int = 200) -> Any:
        found, answer = await self.raw(method, path, None if body is None else orjson.dumps(body))
        assert found == status, f"{method} {path}: {found} {answer}"
        return answer

    async def get(self, path: str, *, status: int = 200, **query: str | list[str]) -> Any:
        text = f"?{urlencode(query, doseq=True)}" if query else ""
        return await self.call("GET", path + text, status=status)

    async def post(self, path: str, body: object = None, *, status: int = 200) -> Any:
        return await self.call("POST", path, body, status=status)

    async def patch(self, path: str, body: object, *, status: int = 200) -> Any:
        return await self.call("PATCH", path, body, status=status)

    async def run(self, **fields: Any) -> str:
        return str(
            (await self.post("/runs", {"display_name": "c", "pipeline_spec": SPEC, **fields}))["run_id"]
        )

    async def task(self, run: str, name: str = "train", **fields: Any) -> Wire:
        body = {"name": name, "type": "RUNTIME", "state": "RUNNING", "scope_path": f"root.{name}", **fields}
        answer: Wire = await self.post(f"/runs/{run}/tasks", body)
        return answer

    async def pair(self) -> tuple[str, str]:
        """A run, and a task in it."""
        run = await self.run()
        return run, str((await self.task(run))["task_id"])

    async def end(self, run: str, phase: str) -> None:
        await self.post("/workflows", workflow(run, phase))

    async def names(self, run: str, wanted: str = "") -> list[str]:
        page = await self.get(f"/runs/{run}/tasks", filter=wanted)
        return [task["name"] for task in page.get("tasks", [])]


@pytest.fixture
async def box(tmp_path: Path) -> AsyncIterator[Box]:
    async with aiohttp.ClientSession() as session:
        if ELSEWHERE:
            yield Box(ELSEWHERE.rstrip("/"), session)
        else:
            async with embedded_api(tmp_path) as url:
                yield Box(url, session)


def artifact(run: str, task: str, key: str = "model", **fields: Any) -> Wire:
    own = {"name": key, "type": "Model", "uri": f"s3://bucket/{run}/{key}", "namespace": "kubeflow"}
    return {"run_id": run, "task_id": task, "producer_key": key, "artifact": {**own, **fields}}


def parameter(key: str, value: object, kind: str = "OUTPUT", **producer: object) -> Wire:
    entry: Wire = {"parameter_key": key, "value": value, "type": kind}
    return {**entry, "producer": producer} if producer else entry


def predicate(key: str, operation: str = "EQUALS", **value: object) -> str:
    predicates = [{"key": key, "operation": operation, **value}]
    return orjson.dumps({"predicates": predicates}).decode()


class TestEncoding:
    async def test_zero_values_are_absent_and_set_optional_ones_present(self, box: Box) -> None:
        run = await box.run()
        assert await box.get(f"/runs/{run}/tasks") == {}
        assert "task_count" not in await box.get(f"/runs/{run}")
        task = await box.task(run, state=0, type_attributes={"iteration_index": 0})
        assert task["type_attributes"] == {"iteration_index": "0"}
        assert "state" not in task
        metric = artifact(run, task["task_id"], "loss", type="Metric", number_value=0)
        assert (await box.post("/artifacts", metric))["number_value"] == 0

    async def test_task_answers_have_inputs_and_outputs(self, box: Box) -> None:
        run = await box.run()
        task = await box.task(run)
        assert (task["inputs"], task["outputs"]) == ({}, {})

    async def test_both_spellings_are_read_and_unknown_names_refused(self, box: Box) -> None:
        run = await box.run()
        sent = {"name": "a", "displayName": "A", "scopePath": "root.a", "type": "RUNTIME", "end_time": None}
        task = await box.post(f"/runs/{run}/tasks", sent)
        assert (task["display_name"], "end_time" in task) == ("A", False)
        error = await box.patch(f"/runs/{run}/tasks/{task['task_id']}", {"foo": 1}, status=400)
        assert error["code"] == 3
        assert 'unknown field "foo"' in error["message"]
        assert not error.get("details")
        await box.patch(f"/runs/{run}/tasks/{task['task_id']}", {"state": "DONE"}, status=400)

    async def test_null_is_a_value_and_integers_are_doubles(self, box: Box) -> None:
        run = await box.run()
        sent = [parameter("null", None), parameter("big", 2**53 + 1)]
        task = await box.task(run, outputs={"parameters": sent})
        null, big = task["outputs"]["parameters"]
        assert null["value"] is None
        assert big["value"] == 2**53

    async def test_unset_times_are_the_epoch_of_a_run_and_absent_of_a_task(self, box: Box) -> None:
        run = await box.run()
        assert (await box.get(f"/runs/{run}"))["finished_at"] == "1970-01-01T00:00:00Z"
        assert "end_time" not in await box.task(run)

    async def test_times_are_truncated_and_converted_to_utc(self, box: Box) -> None:
        run = await box.run()
        task = await box.task(run, create_time="2026-01-01T02:00:05.9+02:00")
        assert task["create_time"] == "2026-01-01T00:00:05Z"

    async def test_routing_and_handler_errors(self, box: Box) -> None:
        assert await box.raw("GET", "/nowhere") == (404, {"code": 5, "message": "Not Found"})
        assert await box.raw("PATCH", "/runs") == (501, {"code": 12, "message": "Method Not Allowed"})
        run = await box.run()
        error = await box.get(f"/runs/{run}/tasks/77", status=404)
        assert error["code"] == 5
        assert external_message(error) == "task 77 not found"


class TestCreateTask:
    async def test_the_logical_key_decides(self, box: Box) -> None:
        run = await box.run()
        parent = (await box.task(run, "parent", type="DAG"))["task_id"]
        first = await box.task(run)
        again = await box.task(run, state="FAILED", display_name="other", cache_fingerprint="f")
        assert (again["task_id"], again["state"]) == (first["task_id"], "RUNNING")
        assert "cache_fingerprint" not in again
        others = [
            await box.task(run, type_attributes={"iteration_index": 0}),
            await box.task(run, type_attributes={"iteration_index": 1}),
            await box.task(run, parent_task_id=parent),
            await box.task(run, type="IMPORTER"),
        ]
        assert len({task["task_id"] for task in [first, *others]}) == 5

    @pytest.mark.parametrize("missing", [{"scope_path": ""}, {"type": 0}])
    async def test_without_a_key_every_call_inserts(self, box: Box, missing: Wire) -> None:
        run = await box.run()
        ids = {(await box.task(run, **missing))["task_id"] for _ in range(2)}
        assert len(ids) == 2

    @pytest.mark.parametrize("times", [16, 50])
    async def test_concurrent_creates_leave_one_row(self, box: Box, times: int) -> None:
        run = await box.run()
        created = await asyncio.gather(*(box.task(run) for _ in range(times)))
        assert len({task["task_id"] for task in created}) == 1
        assert await box.names(run) == ["train"]

    async def test_ids_are_checked(self, box: Box) -> None:
        run, other = await box.run(), await box.run()
        foreign = (await box.task(other))["task_id"]
        for body, status in (
            ({"run_id": other}, 400),
            ({"parent_task_id": foreign}, 400),
            ({"parent_task_id": "nobody"}, 404),
        ):
            await box.post(f"/runs/{run}/tasks", {"name": "n", **body}, status=status)
        await box.post(f"/runs/{uuid4()}/tasks", {"name": "n"}, status=404)

    async def test_history_starts_with_the_state(self, box: Box) -> None:
        run = await box.run()
        [entry] = (await box.task(run, "a"))["state_history"]
        assert entry["state"] == "RUNNING"
        assert "state_history" not in await box.task(run, "b", state=0)

    @embedded
    async def test_mistakes_are_refused_and_an_existing_row_is_hydrated(self, box: Box) -> None:
        run = await box.run()
        status, error = await box.raw("POST", f"/runs/{run}/tasks", b"")
        assert (status, external_message(error)) == (400, "Task is required")
        assert error["message"].startswith("Failed to create task: ")
        parent = await box.task(run, "dag", type="DAG", parent_task_id="")
        assert "parent_task_id" not in parent
        for fields in ({"name": "n" * 129}, {"state": 77}, {"type": 99}):
            await box.post(f"/runs/{run}/tasks", fields, status=400)
        child = await box.task(run, parent_task_id=parent["task_id"])
        await box.post("/artifacts", artifact(run, parent["task_id"]))
        again = await box.task(run, "dag", type="DAG")
        assert again["child_tasks"] == [{"task_id": child["task_id"], "name": "train"}]
        assert again["outputs"]["artifacts"][0]["artifact_key"] == "model"


class TestUpdateTask:
    async def test_present_fields_replace_and_absent_ones_stay(self, box: Box) -> None:
        run = await box.run()
        parent = (await box.task(run, "dag", type="DAG"))["task_id"]
        row = await box.task(
            run,
            parent_task_id=parent,
            cache_fingerprint="f",
            type_attributes={"iteration_index": 1},
            pods=[{"name": "d", "uid": "u", "type": "DRIVER"}],
            status_metadata={"message": "m"},
            end_time="2026-01-01T00:00:09Z",
        )
        path = f"/runs/{run}/tasks/{row['task_id']}"
        before = await box.get(path)
        empty = {"name": "", "state": 0, "pods": [], "cache_fingerprint": "", "end_time": None}
        assert await box.patch(path, empty) == before
        assert (await box.patch(path, {"status_metadata": {}}))["status_metadata"] == {}
        assert (await box.patch(path, {"type_attributes": {}}))["type_attributes"] == {}
        pods = [{"name": "e", "uid": "v", "type": "EXECUTOR"}]
        assert (await box.patch(path, {"pods": pods}))["pods"] == pods
        assert "parent_task_id" not in await box.patch(path, {"parent_task_id": ""})

    async def test_parameters_merge(self, box: Box) -> None:
        run, task = await box.pair()
        path = f"/runs/{run}/tasks/{task}"
        for value in (1, 2):
            sent = [
                parameter("plain", value, task_name="train"),
                parameter("loop", value, "ITERATOR_OUTPUT", task_name="t"),
                parameter("each", value, "ITERATOR_OUTPUT", task_name="t", iteration="0"),
            ]
            await box.patch(path, {"outputs": {"parameters": sent}})
        stored = (await box.get(path))["outputs"]["parameters"]
        values = sorted((entry["parameter_key"], entry["value"]) for entry in stored)
        assert values == [("each", 2), ("loop", 1), ("loop", 2), ("plain", 2)]

    async def test_artifacts_are_ignored_and_history_grows_by_changes(self, box: Box) -> None:
        run, task = await box.pair()
        path = f"/runs/{run}/tasks/{task}"
        sent = {"artifacts": [{"artifact_key": "a", "type": "OUTPUT", "artifacts": []}]}
        assert (await box.patch(path, {"outputs": sent, "state": "RUNNING"}))["outputs"] == {}
        for _ in range(2):
            row = await box.patch(path, {"state": "SUCCEEDED"})
        assert [entry["state"] for entry in row["state_history"]] == ["RUNNING", "SUCCEEDED"]

    async def test_fifty_concurrent_updates_lose_nothing(self, box: Box) -> None:
        run, task = await box.pair()
        path = f"/runs/{run}/tasks/{task}"
        await asyncio.gather(
            *(box.patch(path, {"outputs": {"parameters": [parameter(f"p{i}", i)]}}) for i in range(50))
        )
        stored = (await box.get(path))["outputs"]["parameters"]
        assert {entry["parameter_key"] for entry in stored} == {f"p{i}" for i in range(50)}

    async def test_bulk_checks(self, box: Box) -> None:
        run, task = await box.pair()
        _, foreign = await box.pair()
        path = f"/runs/{run}/tasks:batchUpdate"
        succeeded = {"state": "SUCCEEDED"}
        await box.post(path, {"tasks": {}}, status=400)
        await box.post(path, {"tasks": {task: {"task_id": "other"}}}, status=400)
        await box.post(path, {"tasks": {task: succeeded, foreign: succeeded}}, status=400)
        await box.post(path, {"tasks": {task: succeeded, str(uuid4()): succeeded}}, status=404)
        assert (await box.get(f"/runs/{run}/tasks/{task}"))["state"] == "RUNNING"
        answer = await box.post(path, {"tasks": {task: succeeded}})
        assert answer["tasks"][task]["state"] == "SUCCEEDED"

    @embedded
    async def test_bulk_is_atomic_and_rows_stay_sane(self, box: Box) -> None:
        run = await box.run()
        ids = [(await box.task(run, f"t{i}"))["task_id"] for i in range(10)]
        patches: dict[str, Wire] = {task: {"state": "SUCCEEDED"} for task in ids}
        patches[ids[9]] = {"name": "n" * 129}
        await box.post(f"/runs/{run}/tasks:batchUpdate", {"tasks": patches}, status=400)
        path = f"/runs/{run}/tasks/{ids[0]}"
        assert (await box.get(path))["state"] == "RUNNING"
        order = [parameter(key, 1) for key in "cab"]
        row = await box.patch(path, {"outputs": {"parameters": order}})
        row = await box.patch(path, {"outputs": {"parameters": [parameter("a", 2)]}})
        assert [entry["parameter_key"] for entry in row["outputs"]["parameters"]] == ["c", "a", "b"]
        await box.patch(path, {"parent_task_id": ids[0]}, status=400)
        await box.patch(path, {"state": "FAILED", "end_time": "2026-01-01T00:00:00Z"})
        assert "end_time" not in await box.patch(path, {"state": "RUNNING"})


class TestReadTasks:
    async def test_pages_cover_everything_once(self, box: Box) -> None:
        run = await box.run()
        parent = (await box.task(run, "dag", type="DAG"))["task_id"]
        for i in range(5):
            await box.task(run, f"t{i}", parent_task_id=parent)
        seen: list[str] = []
        token = ""
        while True:
            page = await box.get(f"/runs/{run}/tasks", parent_id=parent, page_size="2", page_token=token)
            assert page["total_size"] == 5
            seen += [task["name"] for task in page["tasks"]]
            if not (token := page.get("next_page_token", "")):
                break
        assert sorted(seen) == [f"t{i}" for i in range(5)]

    async def test_bad_lists_are_refused(self, box: Box) -> None:
        run = await box.run()
        for i in range(3):
            await box.task(run, f"t{i}")
        path = f"/runs/{run}/tasks"
        token = (await box.get(path, page_size="2"))["next_page_token"]
        for query in (
            {"page_size": "-1"},
            {"page_token": token, "order_by": "name"},
            {"page_token": "garbage"},
            {"filter": predicate("foo", int_value=1)},
            {"filter": predicate("status", "IN", int_value=1)},
        ):
            assert (await box.get(path, **query, status=400))["code"] == 3

    async def test_status_is_filtered_by_number(self, box: Box) -> None:
        run = await box.run()
        await box.task(run, "a", state="SUCCEEDED")
        await box.task(run, "b")
        assert await box.names(run, predicate("status", int_value=2)) == ["a"]

    @embedded
    async def test_state_names_and_iterations_are_filtered(self, box: Box) -> None:
        run = await box.run()
        await box.task(run, "a", state="SUCCEEDED")
        await box.task(run, "b", type_attributes={"iteration_index": 3})
        assert await box.names(run, predicate("state", string_value="SUCCEEDED")) == ["a"]
        assert await box.names(run, predicate("iteration_index", int_value=3)) == ["b"]

    async def test_the_newest_succeeded_task_is_the_cache_hit(self, box: Box) -> None:
        run = await box.run()
        print_ = f"f-{uuid4()}"
        ask = {"namespace": "kubeflow", "cache_fingerprint": print_}
        for i, state in enumerate(("CACHED", "FAILED", "RUNNING")):
            await box.task(run, f"t{i}", state=state, cache_fingerprint=print_)
        assert await box.post("/tasks:findCached", ask) == {}
        for day in (2, 1):
            created = f"2026-01-0{day}T00:00:00Z"
            hit = await box.task(
                run, f"hit{day}", state="SUCCEEDED", cache_fingerprint=print_, create_time=created
            )
            await box.post("/artifacts", artifact(run, hit["task_id"], f"m{day}"))
        found = (await box.post("/tasks:findCached", ask))["task"]
        assert found["name"] == "hit2"
        assert found["outputs"]["artifacts"][0]["artifact_key"] == "m2"
        await box.post("/tasks:findCached", {"namespace": "kubeflow"}, status=400)


class TestArtifacts:
    async def test_validation_in_order(self, box: Box) -> None:
        run, task = await box.pair()
        body: Wire = {}
        for message, fields, own in (
            ("Artifact is required", {}, None),
            ("Artifact ID should not be set on create", {}, {"artifact_id": "x"}),
            ("Artifact namespace is required", {}, {"artifact_id": ""}),
            ("Artifact type is required", {}, {"namespace": "n"}),
            ("Artifact name is required", {}, {"type": "Metric"}),
            ("Run ID is required", {}, {"name": "a"}),
            ("Task ID is required", {"run_id": run}, {}),
            ("Producer key is required", {"task_id": task}, {}),
            ("number_value is required for a Metric artifact", {"producer_key": "k"}, {}),
            (
                "No metric or metadata was found for ClassificationMetric artifact",
                {},
                {"type": "ClassificationMetric", "metadata": {}},
            ),
        ):
            body |= fields
            if own is not None:
                body["artifact"] = body.get("artifact", {}) | own
            error = await box.post("/artifacts", body, status=400)
            assert external_message(error) == message

    async def test_an_artifact_comes_with_its_link(self, box: Box) -> None:
        run, task = await box.pair()
        await box.post("/artifacts", {**artifact(run, task), "iteration_index": 2})
        [group] = (await box.get(f"/runs/{run}/tasks/{task}"))["outputs"]["artifacts"]
        assert group["type"] == "ITERATOR_OUTPUT"
        assert group["producer"] == {"task_name": "train", "iteration": "2"}
        await box.post("/artifacts", artifact(run, "nobody"), status=404)

    async def test_the_namespace_is_demanded_and_blanked(self, box: Box) -> None:
        run, task = await box.pair()
        made = await box.post("/artifacts", artifact(run, task))
        assert "namespace" not in made
        wanted = predicate("uri", string_value=made["uri"])
        assert (await box.get("/artifacts", namespace="other", filter=wanted))["total_size"] == 1

    async def test_reuse(self, box: Box) -> None:
        run, task = await box.pair()
        second = (await box.task(run, "second"))["task_id"]
        key = f"k-{uuid4()}"
        reuse = {"reuse_if_exists": True}
        made = await asyncio.gather(
            *(box.post("/artifacts", {**artifact(run, owner, key), **reuse}) for owner in (task, second) * 4)
        )
        assert len({one["artifact_id"] for one in made}) == 1
        links = await box.get("/artifact_tasks", artifact_ids=made[0]["artifact_id"])
        assert links["total_size"] == 2
        plain = [await box.post("/artifacts", artifact(run, task, "p")) for _ in range(2)]
        assert plain[0]["artifact_id"] != plain[1]["artifact_id"]

    async def test_bulk(self, box: Box) -> None:
        run, task = await box.pair()
        requests = [artifact(run, task, key) for key in "cab"]
        made = (await box.post("/artifacts:batchCreate", {"artifacts": requests}))["artifacts"]
        assert [one["name"] for one in made] == ["c", "a", "b"]
        for bad in (
            artifact(run, task, "d", namespace="other"),
            {**artifact(run, task, "d"), "reuse_if_exists": True},
        ):
            await box.post(
                "/artifacts:batchCreate", {"artifacts": [artifact(run, task, "e"), bad]}, status=400
            )
        unknown = artifact(run, str(uuid4()), "d")
        batch = {"artifacts": [artifact(run, task, "e"), unknown]}
        await box.post("/artifacts:batchCreate", batch, status=404)
        groups = (await box.get(f"/runs/{run}/tasks/{task}"))["outputs"]["artifacts"]
        assert [group["artifact_key"] for group in groups] == ["a", "b", "c"]

    async def test_an_exact_uri_answers_everything_at_once(self, box: Box) -> None:
        run, task = await box.pair()
        uri = f"s3://b/{uuid4()}/a+b%20c"
        for i in range(3):
            await box.post("/artifacts", artifact(run, task, f"k{i}", uri=uri))
        wanted = quote(predicate("uri", string_value=uri), safe="")
        page = await box.call("GET", f"/artifacts?page_size=1&filter={wanted}")
        assert (len(page["artifacts"]), page["total_size"], "next_page_token" in page) == (3, 3, False)

    async def test_links_are_checked_and_listed(self, box: Box) -> None:
        run, task = await box.pair()
        other_run, other_task = await box.pair()
        made = (await box.post("/artifacts", artifact(run, task)))["artifact_id"]
        link = {
            "artifact_id": made,
            "task_id": task,
            "run_id": run,
            "type": "COMPONENT_INPUT",
            "producer": {},
            "key": "in",
        }
        for missing in link:
            body = {key: value for key, value in link.items() if key != missing}
            error = await box.post("/artifact_tasks", {"artifact_task": body}, status=400)
            assert external_message(error) == f"artifact_task.{missing} is required"
        await box.post("/artifact_tasks", {"artifact_task": {**link, "run_id": other_run}}, status=400)
        mixed = [link, {**link, "run_id": other_run, "task_id": other_task}]
        await box.post("/artifact_tasks:batchCreate", {"artifact_tasks": mixed}, status=400)
        await box.post("/artifact_tasks", {"artifact_task": link})
        for query, size in (
            ({"task_ids": [task, other_task]}, 2),
            ({"task_ids": other_task, "artifact_ids": made}, 0),
            ({"run_ids": run, "type": "OUTPUT"}, 1),
        ):
            assert (await box.get("/artifact_tasks", **query)).get("total_size", 0) == size
        await box.get("/artifact_tasks", status=400)
        await box.get("/artifact_tasks", task_ids="", status=400)
        await box.get("/artifact_tasks", task_ids=str(uuid4()), status=404)

    async def test_hydration_groups_links(self, box: Box) -> None:
        run, task = await box.pair()
        for key in ("a", "b"):
            body = artifact(run, task, key)
            await box.post("/artifacts", {**body, "producer_key": "plain"})
        for index in (1, 0):
            await box.post("/artifacts", {**artifact(run, task, "loop"), "iteration_index": index})
        groups = (await box.get(f"/runs/{run}/tasks/{task}"))["outputs"]["artifacts"]
        shape = [
            (group["artifact_key"], group["producer"].get("iteration"), len(group["artifacts"]))
            for group in groups
        ]
        assert shape == [("loop", "0", 1), ("loop", "1", 1), ("plain", None, 2)]

    @embedded
    async def test_a_repeated_link_is_the_stored_one(self, box: Box) -> None:
        run, task = await box.pair()
        made = (await box.post("/artifacts", artifact(run, task)))["artifact_id"]
        link = {"artifact_id": made, "task_id": task, "run_id": run, "type": "OUTPUT", "key": "k"}
        body = {**link, "producer": {}}
        first = await box.post("/artifact_tasks", {"artifact_task": body})
        assert await box.post("/artifact_tasks", {"artifact_task": body}) == first
        answer = await box.post("/artifact_tasks:batchCreate", {"artifact_tasks": [body, body]})
        assert answer["artifact_tasks"] == [first, first]
        await box.post("/artifact_tasks", {"artifact_task": {**body, "type": 99}}, status=400)


class TestRuns:
    async def test_views(self, box: Box) -> None:
        run, task = await box.pair()
        default, full = await box.get(f"/runs/{run}"), await box.get(f"/runs/{run}", view="FULL")
        assert (default["task_count"], "tasks" in default) == (1, False)
        assert (full["task_count"], [row["task_id"] for row in full["tasks"]]) == (1, [task])

    async def test_parameters_are_checked(self, box: Box) -> None:
        declared = {"a": {"parameterType": "NUMBER_INTEGER"}}
        spec = {**SPEC, "root": {**SPEC["root"], "inputDefinitions": {"parameters": declared}}}
        for parameters in ({}, {"a": "text"}, {"a": 1, "b": 2}):
            body = {"display_name": "c", "pipeline_spec": spec, "runtime_config": {"parameters": parameters}}
            await box.post("/runs", body, status=400)

    async def test_archived_runs_are_protected_from_nothing(self, box: Box) -> None:
        experiment = await box.post("/experiments", {"display_name": f"e-{uuid4()}"})
        run = await box.run(experiment_id=experiment["experiment_id"])
        for _ in range(2):
            assert await box.post(f"/runs/{run}:archive") == {}
        assert (await box.get(f"/runs/{run}"))["storage_state"] == "ARCHIVED"
        print_ = f"f-{uuid4()}"
        await box.task(run, state="SUCCEEDED", cache_fingerprint=print_)
        ask = {"namespace": "kubeflow", "cache_fingerprint": print_}
        assert "task" in await box.post("/tasks:findCached", ask)
        await box.post(f"/experiments/{experiment['experiment_id']}:archive")
        assert (await box.post(f"/runs/{run}:unarchive", status=400))["code"] == 9

    async def test_delete_keeps_artifacts(self, box: Box) -> None:
        run, task = await box.pair()
        made = await box.post("/artifacts", artifact(run, task))
        await box.call("DELETE", f"/runs/{run}")
        await box.get(f"/runs/{run}", status=404)
        assert await box.get(f"/runs/{run}/tasks") == {}
        assert await box.get(f"/artifacts/{made['artifact_id']}") == made
        assert (await box.get("/artifact_tasks", artifact_ids=made["artifact_id"])) == {}

    @embedded
    async def test_a_terminated_run_ends_failed(self, box: Box) -> None:
        run = await box.run()
        await box.post(f"/runs/{run}:terminate")
        await box.post(f"/runs/{run}:terminate", status=400)
        await box.end(run, "Failed")
        assert (await box.get(f"/runs/{run}"))["state"] == "FAILED"

    @embedded
    async def test_mistakes_are_400_and_a_taken_id_is_409(self, box: Box) -> None:
        run = await box.run()
        changes: list[Wire] = [{"display_name": ""}, {"pipeline_spec": {}}, {"pipeline_spec": None}]
        for change in changes:
            body = {"display_name": "c", "pipeline_spec": SPEC, **change}
            await box.post("/runs", body, status=400)
        body = {"display_name": "c", "pipeline_spec": SPEC, "run_id": run}
        assert (await box.post("/runs", body, status=409))["code"] == 6

    @embedded
    async def test_an_ended_run_is_settled_immutable_and_reopened_by_retry(self, box: Box) -> None:
        run, task = await box.pair()
        path = f"/runs/{run}/tasks/{task}"
        properties = {"custom_properties": {"kfp_driver_attempt": "m"}}
        await box.patch(path, {"status_metadata": properties})
        done = (await box.task(run, "done", state="SUCCEEDED"))["task_id"]
        before = await box.get(f"/runs/{run}/tasks/{done}")
        await box.end(run, "Failed")
        settled = await box.get(path)
        assert settled["state"] == "FAILED"
        assert settled["status_metadata"] == {
            **properties,
            "message": "run ended while the task was running",
        }
        late = await box.patch(path, {"state": "SUCCEEDED"}, status=400)
        assert late["code"] == 9
        assert "terminal state FAILED" in external_message(late)
        await box.post("/artifacts", artifact(run, task), status=400)
        assert (await box.task(run))["task_id"] == task
        await box.post(f"/runs/{run}:retry")
        assert (await box.get(path))["state"] == "RUNNING"
        assert await box.get(f"/runs/{run}/tasks/{done}") == before
        await box.patch(path, {"state": "SUCCEEDED"})

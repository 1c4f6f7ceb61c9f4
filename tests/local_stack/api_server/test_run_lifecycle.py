"""States of runs and what they do to tasks. Oracle: spec KFP_API 6.5 to 6.7, D12, and DRIVER 4.3, 4.4."""

import json
from typing import Any

import pytest

from local_stack.api_server.routes.answering import DATABASE

from .conftest import SPEC, Api, MakeApi, Wire, artifact_request, external_message, workflow


async def state(api: Api, run: str) -> str:
    return str((await api.get(f"/runs/{run}"))["state"])


async def finish(api: Api, run: str, phase: str = "Failed") -> None:
    await api.report(run, phase, finishedAt="2026-01-01T01:00:00Z")


@pytest.mark.parametrize(
    ("phase", "expected"),
    [
        ("Pending", "PENDING"),
        ("Running", "RUNNING"),
        ("Succeeded", "SUCCEEDED"),
        ("Failed", "FAILED"),
        ("Error", "FAILED"),
        ("", "PENDING"),
    ],
)
async def test_the_phase_of_the_workflow_is_the_state_of_the_run(api: Api, phase: str, expected: str) -> None:
    run = await api.run()
    await finish(api, run, phase)
    stored = await api.get(f"/runs/{run}")
    assert stored["state"] == expected
    ended = expected in {"SUCCEEDED", "FAILED"}
    assert stored["finished_at"] == ("2026-01-01T01:00:00Z" if ended else "1970-01-01T00:00:00Z")
    states = [entry["state"] for entry in stored["state_history"]]
    assert states == (["PENDING"] if expected == "PENDING" else ["PENDING", expected])


async def test_a_run_that_failed_says_why_when_its_workflow_does(api: Api) -> None:
    told, silent, succeeded = [await api.run() for _ in range(3)]
    await api.report(told, "Failed", message="DAG too large")
    await finish(api, silent)
    await api.report(succeeded, "Succeeded", message="all is well")
    histories = [(await api.get(f"/runs/{run}"))["state_history"] for run in (told, silent, succeeded)]
    assert histories[0][-1]["error"] == {"code": 13, "message": "DAG too large"}
    assert all("error" not in entry for history in histories[1:] for entry in history)


async def test_a_full_disk_is_an_outage_that_ends_when_there_is_room(api: Api) -> None:
    await api.run()
    database = api.client.app[DATABASE]

    def limit(pages: int) -> Any:
        return database.write_now(
            lambda connection: connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}").scalar()
        )

    before = limit(1)
    body = {"display_name": "large", "pipeline_spec": {**SPEC, "defaultPipelineRoot": "x" * 200_000}}
    error = await api.post("/runs", body, status=503)
    assert external_message(error) == "the database cannot grow: the disk is full"
    assert (await api.get("/runs"))["total_size"] == 1
    limit(10**6)
    await api.post("/runs", body)
    assert before >= 1


async def test_repeated_and_late_reports_change_nothing(api: Api) -> None:
    run = await api.run()
    await api.report(run, "Running")
    await api.report(run, "Pending")
    assert await state(api, run) == "RUNNING"
    await finish(api, run, "Succeeded")
    ended = await api.get(f"/runs/{run}")
    api.clock.now += 9
    for phase in ("Succeeded", "Running", "Failed"):
        await api.report(run, phase)
        assert await api.get(f"/runs/{run}") == ended


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (None, 400),
        ({"metadata": {}}, 400),
        ("", 400),
        ("{", 400),
        ("[]", 400),
        ("{}", 400),
        (json.dumps({"metadata": {"labels": {"pipeline/runid": ""}}}), 400),
        (workflow("nobody", "Running"), 404),
    ],
)
async def test_a_bad_report_is_refused(api: Api, body: object, status: int) -> None:
    await api.call("POST", "/workflows", raw=json.dumps(body).encode(), status=status)


async def test_a_bad_finish_time_is_refused(api: Api) -> None:
    run = await api.run()
    await api.post("/workflows", workflow(run, "Failed", finishedAt="yesterday"), status=400)
    assert await state(api, run) == "PENDING"


async def test_a_terminated_run_is_canceling_until_it_ends_failed(api: Api) -> None:
    run = await api.run()
    await api.report(run, "Running")
    assert await api.post(f"/runs/{run}:terminate") == {}
    assert await state(api, run) == "CANCELING"
    await api.report(run, "Running")
    assert await state(api, run) == "CANCELING"
    error = await api.post(f"/runs/{run}:terminate", status=400)
    assert external_message(error) == f"Failed to terminate a run {run}. Row not found"
    await finish(api, run)
    assert await state(api, run) == "FAILED"
    history = (await api.get(f"/runs/{run}"))["state_history"]
    assert [entry["state"] for entry in history] == ["PENDING", "RUNNING", "FAILED"]
    await api.post(f"/runs/{run}:terminate", status=400)


async def test_a_deadline_of_zero_means_canceling(api: Api) -> None:
    run = await api.run()
    document = json.loads(workflow(run, "Running")) | {"spec": {"activeDeadlineSeconds": 0}}
    await api.post("/workflows", json.dumps(document))
    assert await state(api, run) == "CANCELING"


async def test_no_task_is_running_when_its_run_has_ended(api: Api) -> None:
    run = await api.run()
    properties = {"custom_properties": {"kfp_driver_attempt": "m"}}
    root = await api.task(run, "root", type="ROOT")
    dag = await api.task(run, "dag", type="DAG", parent_task_id=root)
    cached_dag = await api.task(run, "cached-dag", type="DAG", parent_task_id=root)
    leaf = await api.task(run, "leaf", parent_task_id=dag, status_metadata=properties)
    await api.task(run, "hit", parent_task_id=cached_dag, state="CACHED")
    done = await api.task(run, "done", parent_task_id=dag, state="SUCCEEDED")
    before = await api.get(f"/runs/{run}/tasks/{done}")
    api.clock.now += 60
    await finish(api, run)
    rows = {task: await api.get(f"/runs/{run}/tasks/{task}") for task in (root, dag, cached_dag, leaf, done)}
    assert {task: rows[task]["state"] for task in (root, dag, cached_dag, leaf)} == {
        root: "FAILED",
        dag: "FAILED",
        cached_dag: "CACHED",
        leaf: "FAILED",
    }
    assert rows[leaf]["status_metadata"] == {"message": "run ended while the task was running", **properties}
    assert rows[leaf]["end_time"] == "2026-01-01T00:01:00Z"
    assert [entry["state"] for entry in rows[leaf]["state_history"]] == ["RUNNING", "FAILED"]
    assert rows[done] == before


async def test_tasks_of_other_runs_are_not_settled(api: Api) -> None:
    run, other = await api.run(), await api.run()
    task = await api.task(other)
    await finish(api, run)
    assert (await api.get(f"/runs/{other}/tasks/{task}"))["state"] == "RUNNING"


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
async def test_every_write_on_a_finished_run_is_refused(api: Api, phase: str) -> None:
    run = await api.run()
    task = await api.task(run, state="SUCCEEDED")
    artifact = await api.artifact(run, task)
    await finish(api, run, phase)
    name = {"Succeeded": "SUCCEEDED", "Failed": "FAILED"}[phase]
    link = {
        "artifact_id": artifact,
        "run_id": run,
        "task_id": task,
        "type": "OUTPUT",
        "producer": {},
        "key": "x",
    }
    writes: list[tuple[str, str, Wire, str]] = [
        ("POST", f"/runs/{run}/tasks", {"name": "new"}, "task"),
        ("PATCH", f"/runs/{run}/tasks/{task}", {"state": "FAILED"}, ""),
        ("POST", f"/runs/{run}/tasks:batchUpdate", {"tasks": {task: {"state": "FAILED"}}}, ""),
        ("POST", "/artifacts", artifact_request(run, task), "artifact"),
        ("POST", "/artifacts:batchCreate", {"artifacts": [artifact_request(run, task)]}, "artifact"),
        ("POST", "/artifact_tasks", {"artifact_task": link}, "artifact-task"),
        ("POST", "/artifact_tasks:batchCreate", {"artifact_tasks": [link]}, "artifact-task"),
    ]
    for method, path, body, created in writes:
        error = await api.call(method, path, body, status=400)
        assert error["code"] == 9
        assert external_message(error) == (
            f"Cannot create {created} in run {run}: run is in terminal state {name}"
            if created
            else f"Cannot update task {task}: parent run {run} is in terminal state {name}"
        )


async def test_repeats_that_write_nothing_succeed_on_a_finished_run(api: Api) -> None:
    run = await api.run()
    outputs = {"parameters": [{"parameter_key": "p", "value": 1, "type": "OUTPUT"}]}
    patch = {"state": "SUCCEEDED", "end_time": "2026-01-01T00:00:01Z", "outputs": outputs}
    task = await api.task(run)
    await api.patch(f"/runs/{run}/tasks/{task}", patch)
    reuse = artifact_request(run, task, reuse_if_exists=True)
    artifact = (await api.post("/artifacts", reuse))["artifact_id"]
    link = {
        "artifact_id": artifact,
        "run_id": run,
        "task_id": task,
        "type": "OUTPUT",
        "producer": {},
        "key": "model",
    }
    await finish(api, run)
    assert await api.task(run) == task
    await api.patch(f"/runs/{run}/tasks/{task}", patch)
    await api.post(f"/runs/{run}/tasks:batchUpdate", {"tasks": {task: patch}})
    assert (await api.post("/artifacts", reuse))["artifact_id"] == artifact
    await api.post("/artifact_tasks:batchCreate", {"artifact_tasks": [link]})


async def test_enforcement_can_be_switched_off(make_api: MakeApi) -> None:
    api = await make_api(terminal_run_enforcement=False)
    run = await api.run()
    await finish(api, run)
    await api.task(run)


async def test_late_writes_are_accepted_within_the_grace(make_api: MakeApi) -> None:
    api = await make_api(terminal_run_grace_seconds=30)
    run = await api.run()
    await api.report(run, "Failed", finishedAt="2026-01-01T00:00:00Z")
    api.clock.now += 29
    await api.task(run, "in-time")
    api.clock.now += 1
    await api.post(f"/runs/{run}/tasks", {"name": "late"}, status=400)


@pytest.mark.parametrize("phase", ["", "Running", "Succeeded"])
async def test_only_failed_runs_can_be_retried(api: Api, phase: str) -> None:
    run = await api.run()
    await api.report(run, phase)
    assert (await api.post(f"/runs/{run}:retry", status=409))["code"] == 10


async def test_retry_resets_what_did_not_succeed(api: Api) -> None:
    run = await api.run()
    pods = [{"name": "d", "type": "DRIVER"}, {"name": "e", "type": "EXECUTOR"}]
    parameters = {"parameters": [{"parameter_key": "p", "value": 1, "type": "OUTPUT"}]}
    fields: dict[str, Any] = {
        "pods": pods,
        "cache_fingerprint": "f",
        "inputs": parameters,
        "outputs": parameters,
        "status_metadata": {"message": "m"},
        "end_time": "2026-01-01T00:00:01Z",
    }
    kept = {s: await api.task(run, s, state=s, **fields) for s in ("SUCCEEDED", "CACHED", "SKIPPED")}
    failed = await api.task(run, "failed", state="FAILED", **fields)
    source = await api.artifact(run, kept["SUCCEEDED"])
    await api.artifact(run, failed)
    incoming = {
        "artifact_id": source,
        "run_id": run,
        "task_id": failed,
        "type": "TASK_OUTPUT_INPUT",
        "producer": {"task_name": "SUCCEEDED"},
        "key": "in",
    }
    await api.post("/artifact_tasks", {"artifact_task": incoming})
    before = {task: await api.get(f"/runs/{run}/tasks/{task}") for task in (*kept.values(), failed)}
    await finish(api, run)
    api.clock.now += 100
    assert await api.post(f"/runs/{run}:retry") == {}
    for task in kept.values():
        assert await api.get(f"/runs/{run}/tasks/{task}") == before[task]
    after = await api.get(f"/runs/{run}/tasks/{failed}")
    cleared = {"status_metadata", "end_time"}
    assert after == {
        **{name: value for name, value in before[failed].items() if name not in cleared},
        "state": "RUNNING",
        "pods": [{"name": "d", "type": "DRIVER"}],
        "outputs": {},
        "state_history": [
            *before[failed]["state_history"],
            {"update_time": "2026-01-01T00:01:40Z", "state": "RUNNING"},
        ],
    }
    assert after["inputs"]["artifacts"][0]["artifact_key"] == "in"
    assert await api.task(run, "failed") == failed
    reopened = await api.get(f"/runs/{run}")
    assert reopened["state"] == "RUNNING"
    assert reopened["finished_at"] == "1970-01-01T00:00:00Z"
    assert [entry["state"] for entry in reopened["state_history"]] == ["PENDING", "FAILED", "RUNNING"]
    await api.patch(f"/runs/{run}/tasks/{failed}", {"state": "SUCCEEDED"})


def _selectors(subtask: str, key: str) -> Wire:
    return {
        "outputs": {
            "parameters": {
                "out": {"valueFromParameter": {"producerSubtask": subtask, "outputParameterKey": key}}
            },
            "artifacts": {
                "model": {"artifactSelectors": [{"producerSubtask": subtask, "outputArtifactKey": "model"}]}
            },
        }
    }


DECLARED = {
    "outputDefinitions": {
        "parameters": {"out": {"parameterType": "NUMBER_DOUBLE"}},
        "artifacts": {"model": {"artifactType": {"schemaTitle": "system.Model"}}},
    }
}
NESTED: Wire = {
    **SPEC,
    "root": {
        "dag": {"tasks": {"inner": {"componentRef": {"name": "comp-inner"}}}, **_selectors("inner", "out")},
        **DECLARED,
    },
    "components": {
        "comp-inner": {
            "dag": {
                "tasks": {
                    "train": {"componentRef": {"name": "comp-train"}},
                    "bad": {"componentRef": {"name": "comp-train"}},
                },
                **_selectors("train", "acc"),
            },
            **DECLARED,
        },
        "comp-train": {"executorLabel": "exec-train"},
    },
}


async def test_retry_republishes_outputs_of_kept_children(api: Api) -> None:
    run = await api.run(pipeline_spec=NESTED)
    root = await api.task(run, "ROOT", type="ROOT", scope_path="root")
    inner = await api.task(run, "inner", type="DAG", scope_path="root.inner", parent_task_id=root)
    acc = {"parameter_key": "acc", "value": 0.9, "type": "OUTPUT", "producer": {"task_name": "train"}}
    train = await api.task(
        run,
        "train",
        scope_path="root.inner.train",
        parent_task_id=inner,
        state="SUCCEEDED",
        outputs={"parameters": [acc]},
    )
    model = await api.artifact(run, train)
    await api.task(run, "bad", scope_path="root.inner.bad", parent_task_id=inner, state="FAILED")
    await finish(api, run)
    await api.post(f"/runs/{run}:retry")
    for task, child in ((inner, "train"), (root, "inner")):
        outputs = (await api.get(f"/runs/{run}/tasks/{task}"))["outputs"]
        assert outputs["parameters"] == [
            {"parameter_key": "out", "value": 0.9, "type": "OUTPUT", "producer": {"task_name": child}}
        ]
        [group] = outputs["artifacts"]
        assert group["artifact_key"] == "model"
        assert group["producer"] == {"task_name": child}
        assert [artifact["artifact_id"] for artifact in group["artifacts"]] == [model]


async def test_retry_survives_rows_that_do_not_fit_the_pipeline(api: Api) -> None:
    run = await api.run(pipeline_spec=NESTED)
    odd = await api.task(run, "odd", type="DAG", scope_path="root.nowhere", state="FAILED")
    child = await api.task(run, "leaf", scope_path="root.nowhere.leaf", parent_task_id=odd, state="SUCCEEDED")
    await api.artifact(run, child)
    await finish(api, run)
    await api.post(f"/runs/{run}:retry")
    assert (await api.get(f"/runs/{run}/tasks/{odd}"))["state"] == "RUNNING"

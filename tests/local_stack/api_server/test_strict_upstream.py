"""With ``strict_upstream`` the server does to rows what KFP's own does. Oracle: spec KFP_API 4.2, 4.3, 5.5,
6.6 and 6.7, the sentences about upstream that rules 1, 2, 4, 7 and 13 of section 14 replace.
"""

import pytest

from .conftest import Api, MakeApi, external_message


@pytest.fixture
async def strict(make_api: MakeApi) -> Api:
    return await make_api(strict_upstream=True)


async def test_finished_runs_stay_writable(strict: Api) -> None:
    run = await strict.run()
    task = await strict.task(run)
    await strict.report(run, "Succeeded")
    await strict.patch(f"/runs/{run}/tasks/{task}", {"state": "FAILED"})
    await strict.task(run, "late")
    await strict.artifact(run, task)


async def test_a_bulk_update_stops_half_way(strict: Api) -> None:
    run = await strict.run()
    ids = sorted([await strict.task(run, name) for name in ("a", "b", "c")])
    patches: dict[str, dict[str, str]] = {task: {"state": "SUCCEEDED"} for task in ids}
    patches[ids[1]] = {"parent_task_id": "nobody"}
    error = await strict.post(f"/runs/{run}/tasks:batchUpdate", {"tasks": patches}, status=404)
    assert external_message(error) == "task nobody not found"
    states = [(await strict.get(f"/runs/{run}/tasks/{task}"))["state"] for task in ids]
    assert states == ["SUCCEEDED", "RUNNING", "RUNNING"]


async def test_a_repeated_link_is_an_internal_error_and_aborts_its_batch(strict: Api) -> None:
    run = await strict.run()
    task = await strict.task(run)
    artifact = await strict.artifact(run, task)
    link = {
        "artifact_id": artifact,
        "task_id": task,
        "run_id": run,
        "type": "OUTPUT",
        "producer": {"task_name": "train"},
        "key": "model",
    }
    error = await strict.post("/artifact_tasks", {"artifact_task": link}, status=500)
    assert error["code"] == 13
    batch = {"artifact_tasks": [{**link, "key": "new"}, link]}
    await strict.post("/artifact_tasks:batchCreate", batch, status=500)
    assert (await strict.get("/artifact_tasks", task_ids=task))["total_size"] == 1


async def test_a_retry_forgets_input_links_and_driver_pods(strict: Api) -> None:
    run = await strict.run()
    producer = await strict.task(run, "producer", state="SUCCEEDED")
    artifact = await strict.artifact(run, producer)
    task = await strict.task(
        run, "consumer", state="FAILED", pods=[{"name": "d", "uid": "u", "type": "DRIVER"}]
    )
    link = {"artifact_id": artifact, "task_id": task, "run_id": run, "type": "COMPONENT_INPUT"}
    await strict.post("/artifact_tasks", {"artifact_task": {**link, "producer": {}, "key": "in"}})
    await strict.report(run, "Failed")
    await strict.post(f"/runs/{run}:retry")
    reset = await strict.get(f"/runs/{run}/tasks/{task}")
    assert reset["inputs"] == {}
    assert "pods" not in reset
    assert (await strict.get(f"/runs/{run}/tasks/{producer}"))["outputs"]["artifacts"]


async def test_an_end_time_outlives_a_restart(strict: Api) -> None:
    run = await strict.run()
    task = await strict.task(run, state="FAILED", end_time="2026-01-01T00:00:09Z")
    again = await strict.patch(f"/runs/{run}/tasks/{task}", {"state": "RUNNING"})
    assert again["end_time"] == "2026-01-01T00:00:09Z"


async def test_a_row_is_answered_whole_whatever_the_caller_prefers(strict: Api) -> None:
    run = await strict.run()
    task = await strict.task(run)
    headers = {"Prefer": "return=minimal"}
    path = f"/runs/{run}/tasks/{task}"
    answer = await strict.call("PATCH", path, {"state": "SUCCEEDED"}, headers=headers)
    assert answer == await strict.get(path)

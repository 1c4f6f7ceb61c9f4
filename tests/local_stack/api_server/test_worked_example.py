"""The worked example of spec KFP_API section 17, request by request."""

from typing import Any

from .conftest import SPEC, Api

R = "0b6f4f0e-3d0b-4a9e-9d1c-2a7c5a3b9f10"


async def test_worked_example(api: Api) -> None:
    await api.post("/runs", {"run_id": R, "display_name": "demo", "pipeline_spec": SPEC})
    api.clock.now += 5
    lr = {
        "parameter_key": "lr",
        "value": 0.1,
        "type": "RUNTIME_VALUE_INPUT",
        "producer": {"task_name": "ROOT"},
    }
    root_body: dict[str, Any] = {
        "name": "ROOT",
        "type": "ROOT",
        "state": "RUNNING",
        "scope_path": "root",
        "create_time": "2026-01-01T00:00:05Z",
        "inputs": {"parameters": [lr]},
        "pods": [{"name": "wf-root-driver", "uid": "u1", "type": "DRIVER"}],
    }
    root = await api.post(f"/runs/{R}/tasks", root_body)
    assert root == {
        **root_body,
        "task_id": root["task_id"],
        "run_id": R,
        "state_history": [{"update_time": "2026-01-01T00:00:05Z", "state": "RUNNING"}],
        "outputs": {},
    }
    assert await api.post(f"/runs/{R}/tasks", {**root_body, "state": "FAILED"}) == root

    api.clock.now += 2
    train = await api.task(R, "train", parent_task_id=root["task_id"])

    api.clock.now += 53
    artifact = await api.post(
        "/artifacts",
        {
            "run_id": R,
            "task_id": train,
            "producer_key": "model",
            "artifact": {
                "name": "model",
                "type": "Model",
                "uri": "s3://mlpipeline/root/train/model",
                "namespace": "kubeflow",
                "metadata": {"framework": "xgb"},
            },
        },
    )
    assert artifact == {
        "artifact_id": artifact["artifact_id"],
        "name": "model",
        "type": "Model",
        "uri": "s3://mlpipeline/root/train/model",
        "metadata": {"framework": "xgb"},
        "created_at": "2026-01-01T00:01:00Z",
    }

    api.clock.now += 2
    acc = {"value": 0.9, "type": "OUTPUT", "parameter_key": "acc", "producer": {"task_name": "train"}}
    patch = {"state": "SUCCEEDED", "end_time": "2026-01-01T00:01:02Z", "outputs": {"parameters": [acc]}}
    finished = await api.patch(f"/runs/{R}/tasks/{train}", patch)
    group = {
        "artifacts": [artifact],
        "type": "OUTPUT",
        "artifact_key": "model",
        "producer": {"task_name": "train"},
    }
    assert finished == {
        "name": "train",
        "task_id": train,
        "run_id": R,
        "create_time": "2026-01-01T00:00:07Z",
        "end_time": "2026-01-01T00:01:02Z",
        "state": "SUCCEEDED",
        "state_history": [
            {"update_time": "2026-01-01T00:00:07Z", "state": "RUNNING"},
            {"update_time": "2026-01-01T00:01:02Z", "state": "SUCCEEDED"},
        ],
        "type": "RUNTIME",
        "parent_task_id": root["task_id"],
        "inputs": {},
        "outputs": {"parameters": [acc], "artifacts": [group]},
        "scope_path": "root.train",
    }
    assert await api.patch(f"/runs/{R}/tasks/{train}", patch) == finished

    link = {
        "artifact_id": artifact["artifact_id"],
        "task_id": root["task_id"],
        "run_id": R,
        "type": "OUTPUT",
        "producer": {"task_name": "train"},
        "key": "model",
    }
    first, second = [
        await api.post("/artifact_tasks:batchCreate", {"artifact_tasks": [link]}) for _ in range(2)
    ]
    assert first == second

    full = await api.get(f"/runs/{R}", view="FULL")
    assert full["task_count"] == 2
    assert full["tasks"][0]["name"] == "ROOT"
    assert full["tasks"][0]["child_tasks"] == [{"task_id": train, "name": "train"}]
    default = await api.get(f"/runs/{R}")
    assert default["task_count"] == 2
    assert "tasks" not in default

    error = await api.call(
        "PATCH", f"/runs/{R}/tasks/{train}", raw=b'{"start_time":"2026-01-01T00:00:00Z"}', status=400
    )
    assert error == {"code": 3, "message": 'proto: (line 1:2): unknown field "start_time"'}

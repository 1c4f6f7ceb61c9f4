"""The client that KFP generates from the native API's own definition. Oracle: that client, which serialises
requests and reads answers by KFP's swagger.

No release of it has these calls yet: install ``backend/api/v2beta1/python_http_client`` of
kubeflow/pipelines, commit 6585b5143d, into a folder of its own (it has the import name of the published
package) and name the folder in ``KFP_GENERATED_CLIENT``. Skipped otherwise.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from .servers import Server

FOLDER = os.environ.get("KFP_GENERATED_CLIENT", "")

SCRIPT = """
import json, sys
from datetime import datetime, timezone
import kfp_server_api as k
from kfp_server_api.rest import ApiException

configuration = k.Configuration()
configuration.host = sys.argv[1]
client = k.ApiClient(configuration)
runs, artifacts = k.RunServiceApi(client), k.ArtifactServiceApi(client)
spec = {"schemaVersion": "2.1.0", "pipelineInfo": {"name": "demo"}, "root": {"dag": {"tasks": {}}}}


def refused(call):
    try:
        call()
    except ApiException as error:
        return [error.status, json.loads(error.body)["code"]]
    return None


run = runs.run_service_create_run(k.V2beta1Run(display_name="r", pipeline_spec=spec))
root = runs.create_task(
    run.run_id, k.V2beta1PipelineTask(name="ROOT", type="ROOT", state="RUNNING", scope_path="root")
)


def train(index):
    return k.V2beta1PipelineTask(
        name="train",
        type="RUNTIME",
        state="RUNNING",
        scope_path="root.loop.train",
        parent_task_id=root.task_id,
        type_attributes=k.PipelineTaskTypeAttributes(iteration_index=str(index)),
        create_time=datetime(2026, 1, 1, tzinfo=timezone.utc),
    )


tasks = [runs.create_task(run.run_id, train(index)) for index in range(5)]
assert runs.create_task(run.run_id, train(0)).task_id == tasks[0].task_id
parameter = k.InputOutputsIOParameter(parameter_key="acc", value=0.5, type="OUTPUT")
updated = runs.update_task(
    run.run_id,
    tasks[0].task_id,
    k.V2beta1PipelineTask(
        state="SUCCEEDED",
        cache_fingerprint="f",
        outputs=k.PipelineTaskInputOutputs(parameters=[parameter]),
        status_metadata=k.PipelineTaskStatusMetadata(message="m", custom_properties={"n": {"a": [1, None]}}),
    ),
)
bulk = runs.batch_update_tasks(
    run.run_id,
    k.RunServiceUpdateTasksBulkBody(tasks={tasks[1].task_id: k.V2beta1PipelineTask(state="FAILED")}),
)
listed, token = [], ""
while token is not None:
    page = runs.list_tasks(run.run_id, parent_id=root.task_id, page_size=2, page_token=token)
    listed += page.tasks
    token = page.next_page_token
failed = json.dumps({"predicates": [{"key": "status", "operation": "EQUALS", "int_value": 4}]})


def request(key, **fields):
    own = k.V2beta1Artifact(name=key, type="Model", uri=f"s3://b/{key}", namespace="n", metadata={"a": 1})
    return k.V2beta1CreateArtifactRequest(
        artifact=own, run_id=run.run_id, task_id=tasks[0].task_id, producer_key=key, **fields
    )


model = artifacts.create_artifact(request("model", iteration_index="0"))
batch = k.V2beta1CreateArtifactsBulkRequest(artifacts=[request("b"), request("a")])
more = artifacts.batch_create_artifacts(batch)
link = k.V2beta1ArtifactTask(
    artifact_id=model.artifact_id,
    run_id=run.run_id,
    task_id=root.task_id,
    type="OUTPUT",
    key="model",
    producer=k.V2beta1IOProducer(task_name="train"),
)
first = artifacts.create_artifact_task(k.V2beta1CreateArtifactTaskRequest(artifact_task=link))
repeated = k.V2beta1CreateArtifactTasksBulkRequest(artifact_tasks=[link, link])
again = artifacts.batch_create_artifact_tasks(repeated)
hit = runs.find_cached_task(k.V2beta1FindCachedTaskRequest(namespace="n", cache_fingerprint="f")).task
full = runs.run_service_get_run(run.run_id, view="FULL")
print(
    json.dumps(
        {
            "index": updated.type_attributes.iteration_index,
            "accuracy": [entry.value for entry in updated.outputs.parameters],
            "properties": updated.status_metadata.custom_properties,
            "created": updated.create_time.isoformat(),
            "bulk": [task.state for task in bulk.tasks.values()],
            "listed": len({task.task_id for task in listed}),
            "failed": [task.task_id for task in runs.list_tasks(run.run_id, filter=failed).tasks]
            == [tasks[1].task_id],
            "children": len(runs.get_task(run.run_id, root.task_id).child_tasks),
            "more": [made.name for made in more.artifacts],
            "same link": [found.id == first.id for found in again.artifact_tasks],
            "links": artifacts.list_artifact_tasks(task_ids=[root.task_id]).total_size,
            "artifacts": artifacts.list_artifacts(sort_by="name desc", page_size=1).artifacts[0].name,
            "artifact": artifacts.get_artifact(model.artifact_id).metadata,
            "hit": [group.producer.iteration for group in hit.outputs.artifacts],
            "full": [full.task_count, len(full.tasks), full.pipeline_spec["pipelineInfo"]["name"]],
            "default": runs.run_service_get_run(run.run_id).tasks,
            "refusals": [
                refused(lambda: runs.get_task(run.run_id, "nobody")),
                refused(lambda: runs.list_tasks(run.run_id, page_size=-1)),
                refused(lambda: artifacts.create_artifact(k.V2beta1CreateArtifactRequest())),
            ],
        }
    )
)
"""


@pytest.mark.skipif(not FOLDER, reason="KFP_GENERATED_CLIENT names no folder with the generated client")
def test_the_generated_client_reads_and_writes_everything(tmp_path: Path) -> None:
    server = Server(tmp_path)
    try:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", SCRIPT, server.ready["url"]],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env={**os.environ, "PYTHONPATH": FOLDER},
        )
    finally:
        server.stop(signal.SIGTERM)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "index": "0",
        "accuracy": [0.5],
        "properties": {"n": {"a": [1, None]}},
        "created": "2026-01-01T00:00:00+00:00",
        "bulk": ["FAILED"],
        "listed": 5,
        "failed": True,
        "children": 5,
        "more": ["b", "a"],
        "same link": [True, True],
        "links": 1,
        "artifacts": "model",
        "artifact": {"a": 1},
        "hit": [None, None, "0"],
        "full": [6, 6, "demo"],
        "default": None,
        "refusals": [[404, 5], [400, 3], [400, 3]],
    }

"""The published `kfp.Client` drives the API server: runs, experiments, pipelines and their versions.

Oracle: the KFP SDK itself, which reads every answer into its own generated models.
"""

import json
import signal
import subprocess
import sys
from pathlib import Path

from tests.local_stack.api_server.servers import Server

SCRIPT = """
import json, sys, threading, urllib.request
import kfp
import kfp.compiler
from kfp import dsl


@dsl.component
def add(a: int, b: int) -> int:
    return a + b


@dsl.pipeline(name="sum")
def pipeline(a: int, b: int = 2):
    add(a=a, b=b)


host = sys.argv[1]
client = kfp.Client(host=host)
experiment = client.create_experiment("mine")
assert client.create_experiment("mine").experiment_id == experiment.experiment_id
result = client.create_run_from_pipeline_func(
    pipeline, arguments={"a": 1}, experiment_name="mine", enable_caching=True, run_name="first"
)
assert client.get_run(result.run_id).state == "PENDING"


def report(phase):
    workflow = {
        "metadata": {"name": "wf", "labels": {"pipeline/runid": result.run_id}},
        "status": {"phase": phase, "finishedAt": "2026-01-01T00:00:00Z"},
    }
    body = json.dumps(json.dumps(workflow)).encode()
    urllib.request.urlopen(urllib.request.Request(host + "/apis/v2beta1/workflows", body)).close()


threading.Thread(target=report, args=("Succeeded",)).start()
waited = client.wait_for_run_completion(result.run_id, timeout=30, sleep_duration=0.05)
listed = client.list_runs(experiment_id=experiment.experiment_id, sort_by="created_at desc")
client.archive_run(result.run_id)
second = client.create_run_from_pipeline_func(pipeline, arguments={"a": 1}, experiment_name="mine")
client.terminate_run(second.run_id)
print(
    json.dumps(
        {
            "state": waited.state,
            "listed": [run.display_name for run in listed.runs],
            "total": listed.total_size,
            "parameters": waited.runtime_config.parameters,
            "pipeline": waited.pipeline_spec["pipelineInfo"]["name"],
            "archived": client.get_run(result.run_id).storage_state,
            "terminated": client.get_run(second.run_id).state,
        }
    )
)
try:
    client.create_run_from_pipeline_func(pipeline, arguments={"a": "text"}, experiment_name="mine")
except Exception as error:
    print(json.dumps(json.loads(error.body)["details"][0]["message"]))
client.delete_run(result.run_id)
kfp.compiler.Compiler().compile(pipeline, "sum.yaml")
uploaded = client.upload_pipeline("sum.yaml", pipeline_name="stored", description="adds")
client.upload_pipeline_version("sum.yaml", pipeline_version_name="second", pipeline_name="stored")
versions = client.list_pipeline_versions(uploaded.pipeline_id, sort_by="display_name desc").pipeline_versions
by_version = client.run_pipeline(
    experiment.experiment_id,
    "by version",
    params={"a": 4},
    pipeline_id=uploaded.pipeline_id,
    version_id=versions[0].pipeline_version_id,
)
print(
    json.dumps(
        {
            "id": client.get_pipeline_id("stored") == uploaded.pipeline_id,
            "pipeline": client.get_pipeline(uploaded.pipeline_id).description,
            "listed": [found.display_name for found in client.list_pipelines().pipelines],
            "versions": [version.display_name for version in versions],
            "spec": client.get_pipeline_version(
                uploaded.pipeline_id, versions[0].pipeline_version_id
            ).pipeline_spec["pipelineInfo"]["name"],
            "run of version": by_version.pipeline_version_reference.pipeline_version_id
            == versions[0].pipeline_version_id,
        }
    )
)
for version in versions:
    client.delete_pipeline_version(uploaded.pipeline_id, version.pipeline_version_id)
client.delete_pipeline(uploaded.pipeline_id)
assert client.get_pipeline_id("stored") is None
"""


WRONG_KIND = (
    "input parameter a requires type double or integer, but the parameter value is not of number value type"
)


def test_kfp_client_drives_the_server(tmp_path: Path) -> None:
    # A file, because the SDK reads the source of components.
    script = tmp_path / "client.py"
    script.write_text(SCRIPT)
    server = Server(tmp_path)
    try:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", script, server.ready["url"]],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            cwd=tmp_path,
        )
    finally:
        server.stop(signal.SIGTERM)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith(("{", '"'))]
    assert lines == [
        {
            "state": "SUCCEEDED",
            "listed": ["first"],
            "total": 1,
            "parameters": {"a": 1},
            "pipeline": "sum",
            "archived": "ARCHIVED",
            "terminated": "CANCELING",
        },
        WRONG_KIND,
        {
            "id": True,
            "pipeline": "adds",
            "listed": ["stored"],
            "versions": ["stored", "second"],
            "spec": "sum",
            "run of version": True,
        },
    ]

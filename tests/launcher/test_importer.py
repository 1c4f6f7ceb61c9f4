"""The importer: no driver, the launcher is the whole task.

Oracle: the steps, texts and defects of spec LAUNCHER B and F12, on a real embedded KFP API.
"""

import asyncio
import json
from copy import deepcopy
from typing import Any

import pytest

from kfp_api.client import KfpApiClient
from kfp_api.messages import (
    InputOutputs,
    IOParameter,
    IOProducer,
    IOType,
    PipelineTask,
    TaskState,
    TaskType,
    TypeAttributes,
)
from launcher.flags import parse
from launcher.task import run_task
from launcher.termination import Termination
from tests.counting_proxy import counting_proxy
from tests.launcher.conftest import Bench
from tests.launcher.s3_server import KEYS, S3Server
from tests.launcher.test_stored_artifacts import s3_by_query

DATASET = {"artifactType": {"schemaTitle": "system.Dataset"}}
IMPORTER = {
    "executorLabel": "exec-import",
    "inputDefinitions": {"parameters": {"uri": {"parameterType": "STRING"}}},
    "outputDefinitions": {"artifacts": {"artifact": DATASET}},
}
FROM_FIND = {"uri": {"taskOutputParameter": {"producerTask": "find", "outputParameterKey": "Output"}}}
PIPELINE: dict[str, Any] = {
    "schemaVersion": "2.1.0",
    "pipelineInfo": {"name": "demo"},
    "root": {
        "dag": {
            "tasks": {
                "find": {"taskInfo": {"name": "find"}, "componentRef": {"name": "comp-find"}},
                "import": {
                    "taskInfo": {"name": "Import it"},
                    "componentRef": {"name": "comp-import"},
                    "inputs": {"parameters": FROM_FIND},
                },
                "loop": {
                    "taskInfo": {"name": "loop"},
                    "componentRef": {"name": "comp-loop"},
                    "parameterIterator": {"items": {"raw": '["a", "b"]'}, "itemInput": "item"},
                },
            },
            "outputs": {
                "artifacts": {
                    "data": {
                        "artifactSelectors": [{"producerSubtask": "import", "outputArtifactKey": "artifact"}]
                    }
                }
            },
        },
        "outputDefinitions": {"artifacts": {"data": DATASET}},
    },
    "components": {
        "comp-find": {
            "executorLabel": "exec-find",
            "outputDefinitions": {"parameters": {"Output": {"parameterType": "STRING"}}},
        },
        "comp-import": IMPORTER,
        "comp-loop": {
            "dag": {
                "tasks": {
                    "import": {
                        "taskInfo": {"name": "import"},
                        "componentRef": {"name": "comp-import"},
                        "inputs": {"parameters": {"uri": {"componentInputParameter": "item"}}},
                    }
                }
            },
            "inputDefinitions": {"parameters": {"item": {"parameterType": "STRING"}}},
        },
    },
    "deploymentSpec": {"executors": {"exec-import": {}, "exec-find": {"container": {"image": "alpine"}}}},
}


def importer(source: dict[str, Any], *, title: str = "system.Dataset", **more: Any) -> dict[str, str]:
    """Flags of an importer of ``source``."""
    spec = {"artifactUri": source, "typeSchema": {"schemaTitle": title}, **more}
    return {"executor_type": "importer", "importer_spec": json.dumps(spec), "task_name": "import"} | {
        "iteration_index": "-1"
    }


async def imported(bench: Bench, parent: PipelineTask | None = None) -> PipelineTask:
    """The row of the importer."""
    rows = await bench.client.list_tasks(bench.run_id, parent_id=(parent or bench.root).task_id)
    (row,) = [row for row in rows.tasks if row.name == "import"]
    return row


async def run(bench: Bench, flags: dict[str, str], environment: dict[str, str] | None = None) -> int:
    """Run the importer in this process; its exit status."""
    line = parse(bench.flags(PipelineTask(), flags))
    return await run_task(line, bench.client, environment or {}, "", Termination())


async def ready(bench: Bench, uri: str = "") -> Bench:
    """A run whose task ``find`` put out ``uri``."""
    bench = await bench.with_pipeline(PIPELINE)
    row = await bench.client.create_task(
        PipelineTask(
            name="find",
            run_id=bench.run_id,
            type=TaskType.RUNTIME,
            state=TaskState.SUCCEEDED,
            scope_path="root.find",
            parent_task_id=bench.root.task_id,
            outputs=InputOutputs(
                parameters=[
                    IOParameter(
                        parameter_key="Output",
                        value=uri,
                        type=IOType.OUTPUT,
                        producer=IOProducer(task_name="find"),
                    )
                ]
            ),
        )
    )
    assert row.task_id
    return bench


async def test_uri_of_another_tasks_output_is_imported_with_resolved_metadata(bench: Bench) -> None:
    bench = await ready(bench, "s3://public/data.csv")
    metadata = {
        "{{$.inputs.parameters['uri']}}": "a key",
        "exact": {"list": ["{{$.inputs.parameters['uri']}}"]},
        "text": "from {{$.inputs.parameters['uri']}}!",
        "number": 3,
    }
    flags = importer({"runtimeParameter": "uri"}, metadata=metadata)
    for attempt in ("uid-1", "uid-2"):
        status, output = await bench.run(PipelineTask(), "true", flags={**flags, "pod_uid": attempt})
        assert status == 0, output
    row = await imported(bench)
    assert (row.type, row.state, row.display_name) == (TaskType.IMPORTER, TaskState.SUCCEEDED, "Import it")
    assert [pod.uid for pod in row.pods] == ["uid-1", "uid-2"]
    ((artifact,),) = [one.artifacts for one in row.output_artifacts]
    assert (artifact.name, artifact.uri) == ("data.csv", "s3://public/data.csv")
    assert artifact.metadata == {
        "s3://public/data.csv": "a key",
        "exact": {"list": ["s3://public/data.csv"]},
        "text": "from s3://public/data.csv!",
        "number": 3,
    }
    (above,) = (await bench.row(bench.root.task_id)).output_artifacts
    assert (above.artifact_key, above.artifacts[0].artifact_id) == ("data", artifact.artifact_id)


async def test_model_in_an_image_is_registered(bench: Bench) -> None:
    bench = await ready(bench)
    assert await run(bench, importer({"constant": "oci://r.io/team/model:1"}, title="system.Model")) == 0
    ((artifact,),) = [one.artifacts for one in (await imported(bench)).output_artifacts]
    assert (artifact.name, artifact.type.value, artifact.uri) == (
        "model:1",
        "Model",
        "oci://r.io/team/model:1",
    )


async def test_importer_without_one_output_says_so(bench: Bench) -> None:
    pipeline = deepcopy(PIPELINE)
    pipeline["components"]["comp-import"]["outputDefinitions"] = {}
    del pipeline["root"]["dag"]["tasks"]["import"]["inputs"]
    del pipeline["components"]["comp-import"]["inputDefinitions"]
    bench = await bench.with_pipeline(pipeline)
    assert await run(bench, importer({"constant": "s3://public/data.csv"})) == 1
    row = await imported(bench)
    assert row.status_metadata is not None
    assert "failed to extract output artifact name from componentOutputSpec" in row.status_metadata.message


async def test_run_is_called_in_inputs_as_the_driver_calls_it(bench: Bench) -> None:
    """By the name of its workflow and by the one that people see, as for tasks that have a driver."""
    pipeline = deepcopy(PIPELINE)
    text = "s3://public/{{$.pipeline_job_resource_name}}/{{$.pipeline_job_name}}"
    given = {"parameters": {"uri": {"runtimeValue": {"constant": text}}}}
    pipeline["root"]["dag"]["tasks"]["import"]["inputs"] = given
    bench = await bench.with_pipeline(pipeline)
    flags = importer({"runtimeParameter": "uri"})
    assert await run(bench, flags, {"ARGO_WORKFLOW_NAME": "demo-x7k2p"}) == 0
    ((artifact,),) = [one.artifacts for one in (await imported(bench)).output_artifacts]
    assert artifact.uri == "s3://public/demo-x7k2p/demo"


@pytest.mark.parametrize("reimport", [False, True])
async def test_equal_object_is_reused_unless_it_shall_be_imported_again(reimport: bool, bench: Bench) -> None:
    flags = importer({"constant": "s3://public/data.csv"}, reimport=reimport)
    ids = []
    for _ in range(2):
        bench = await ready(bench)
        # A repeated attempt of the same pod never adds a second output.
        for _ in range(2):
            assert await run(bench, flags) == 0
        ((artifact,),) = [one.artifacts for one in (await imported(bench)).output_artifacts]
        ids.append(artifact.artifact_id)
    assert (ids[0] != ids[1]) is reimport


async def test_iteration_imports_its_own_item(bench: Bench) -> None:
    bench = await ready(bench)
    items = [
        IOParameter(
            parameter_key="item",
            value=f"s3://public/{index}",
            type=IOType.ITERATOR_INPUT,
            producer=IOProducer(task_name="loop", iteration=index),
        )
        for index in range(2)
    ]
    loop = await bench.client.create_task(
        PipelineTask(
            name="loop",
            run_id=bench.run_id,
            type=TaskType.LOOP,
            state=TaskState.RUNNING,
            scope_path="root.loop",
            parent_task_id=bench.root.task_id,
            type_attributes=TypeAttributes(iteration_count=2),
            inputs=InputOutputs(parameters=items),
        )
    )
    flags = importer({"runtimeParameter": "uri"})
    assert await run(bench, {**flags, "iteration_index": "1", "parent_task_id": loop.task_id}) == 0
    row = await imported(bench, loop)
    assert row.iteration_index == 1
    (entry,) = row.output_artifacts
    assert (entry.type, entry.artifacts[0].uri) == (IOType.ITERATOR_OUTPUT, "s3://public/1")


@pytest.mark.parametrize("kind", ["file", "directory", "s3"])
async def test_object_is_downloaded_into_the_workspace(
    kind: str, bench: Bench, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    bench = await ready(bench)
    workspace, bucket = bench.directory / "workspace", s3.new_bucket()
    source, environment = bench.directory / "shared", s3_by_query(bench, s3, bucket)
    if kind == "file":
        source.write_text("1", encoding="utf-8")
    else:
        (source / "deep").mkdir(parents=True)
        (source / "deep" / "f").write_text("1", encoding="utf-8")
    s3.put(bucket, "root/shared/deep/f", b"1")
    uri = f"s3://{bucket}/root/shared" if kind == "s3" else str(source)
    place = f"s3/{bucket}/root/shared" if kind == "s3" else str(source).lstrip("/")
    environment["KFP_WORKSPACE_PATH"] = str(workspace)
    assert await run(bench, importer({"constant": uri}, downloadToWorkspace=True), environment) == 0
    found = workspace / ".artifacts" / place
    assert (found if kind == "file" else found / "deep" / "f").read_text(encoding="utf-8") == "1"
    row = await imported(bench)
    assert row.type_attributes is not None
    assert row.type_attributes.download_to_workspace
    assert row.output_artifacts[0].artifacts[0].uri == uri


async def test_signal_while_the_row_is_created_leaves_no_running_row(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    termination, create_task = Termination(), KfpApiClient.create_task

    async def create(client: KfpApiClient, task: PipelineTask) -> PipelineTask:
        row = await create_task(client, task)
        termination.receive("SIGTERM")
        await asyncio.sleep(0)
        return row

    bench = await ready(bench)
    monkeypatch.setattr(KfpApiClient, "create_task", create)
    line = parse(bench.flags(PipelineTask(), importer({"constant": "s3://public/data.csv"})))
    assert await run_task(line, bench.client, {}, "", termination) == 143
    row = await imported(bench)
    assert row.status_metadata is not None
    assert (row.state, row.status_metadata.message) == (TaskState.FAILED, "terminated by signal SIGTERM")
    assert row.output_artifacts == []


async def test_second_attempt_that_cannot_be_shown_leaves_no_running_row(bench: Bench) -> None:
    bench = await ready(bench)
    flags = importer({"constant": "/nowhere/x"}, downloadToWorkspace=True)
    assert await run(bench, flags) == 1
    async with counting_proxy(bench.url) as proxy:
        proxy.broken = lambda request: request.method == "PATCH" and "RUNNING" in request.text
        environment = {"KFP_API_URL": proxy.url}
        status, _ = await bench.run(
            PipelineTask(), "true", flags={**flags, "pod_uid": "uid-2"}, environment=environment
        )
    row = await imported(bench)
    assert row.status_metadata is not None
    assert (status, row.state) == (1, TaskState.FAILED)
    assert "broken by the test" in row.status_metadata.message


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        ({**importer({}), "importer_spec": "{"}, "failed to unmarshal importer spec: "),
        (importer({"constant": "oci://r.io/a:1"}), "the type of an OCI artifact must be system.Model"),
        (
            importer({"constant": "oci://r.io/a:1"}, title="system.Model", downloadToWorkspace=True),
            "is an OCI artifact and cannot be downloaded",
        ),
        (importer({"runtimeParameter": "uri"}), "the importer's artifact URI is empty or not a string"),
        (importer({"constant": "/nowhere/x"}, downloadToWorkspace=True), "nothing is stored there"),
        (
            importer({"constant": "s3://elsewhere/x"}, downloadToWorkspace=True),
            "outside the configured pipeline root",
        ),
    ],
)
async def test_import_that_fails_says_why_and_tells_the_ancestors(
    flags: dict[str, str], text: str, bench: Bench
) -> None:
    bench = await ready(bench)
    status = await run(bench, flags)
    row = await imported(bench)
    assert (status, row.state) == (1, TaskState.FAILED)
    assert row.status_metadata is not None
    assert text in row.status_metadata.message
    assert (await bench.row(bench.root.task_id)).state is TaskState.FAILED

"""The order of writes and the merging of queued ones.

Oracle: spec LAUNCHER A12. The rows live on the embedded API.
"""

import pytest

from kfp_api.errors import KfpApiError
from kfp_api.messages import (
    Artifact,
    ArtifactTask,
    ArtifactType,
    CreateArtifactRequest,
    IOProducer,
    IOType,
    PipelineTask,
    TaskState,
)
from propagation.batch import WriteBatch
from tests.embedded_api import operations
from tests.propagation.conftest import StartRun
from tests.propagation.specs import dag, leaf, pipeline, task

SPEC = pipeline(dag({"a": task("comp")}), {"comp": leaf()})


def outputs(**values: object) -> PipelineTask:
    entries = [{"parameter_key": key, "value": value, "type": "OUTPUT"} for key, value in values.items()]
    return PipelineTask.from_wire({"outputs": {"parameters": entries}})


async def test_links_go_first_then_tasks(start_run: StartRun) -> None:
    rows = await start_run(SPEC)
    root = await rows.add("root")
    row = await rows.add("root.a", parent=root)
    artifact = Artifact(name="m", type=ArtifactType.Model, uri="s3://b/m", namespace="ns")
    created = await rows.client.create_artifact(
        CreateArtifactRequest(artifact=artifact, run_id=rows.run_id, task_id=row.task_id, producer_key="out")
    )
    batch = WriteBatch(rows.run_id)
    batch.update(row.task_id, PipelineTask(state=TaskState.SUCCEEDED))
    batch.link(
        ArtifactTask(
            artifact_id=created.artifact_id,
            run_id=rows.run_id,
            task_id=root.task_id,
            type=IOType.OUTPUT,
            key="m",
            producer=IOProducer(task_name="a"),
        )
    )
    rows.calls.clear()
    await batch.flush(rows.client)
    assert operations(rows.calls) == ["CreateArtifactTasksBulk", "UpdateTasksBulk"]
    linked = (await rows.read(root)).output_artifacts[0].artifacts[0]
    assert linked.artifact_id == created.artifact_id
    rows.calls.clear()
    await batch.flush(rows.client)
    assert rows.calls == []


async def test_failed_flush_keeps_what_was_not_stored(start_run: StartRun) -> None:
    rows = await start_run(SPEC)
    root = await rows.add("root")
    batch = WriteBatch(rows.run_id)
    batch.link(link("no-such-artifact", task_id=root.task_id, run_id=rows.run_id))
    batch.update(root.task_id, PipelineTask(state=TaskState.SUCCEEDED))
    with pytest.raises(KfpApiError):
        await batch.flush(rows.client)
    assert ([one.artifact_id for one in batch.links], set(batch.patches)) == (
        ["no-such-artifact"],
        {root.task_id},
    )
    assert (await rows.read(root)).state is TaskState.RUNNING


def test_patches_of_one_task_merge_and_the_later_wins() -> None:
    batch = WriteBatch("r")
    batch.update("t", PipelineTask.from_wire({"state": "RUNNING", "cache_fingerprint": "f"}))
    batch.update("t", outputs(x=1, y=2))
    batch.update("t", PipelineTask.from_wire({"state": "FAILED", **outputs(y=3, z=4).to_wire()}))
    patch = batch.patches["t"].to_wire()
    assert (patch["state"], patch["cache_fingerprint"]) == ("FAILED", "f")
    assert [(one["parameter_key"], one["value"]) for one in patch["outputs"]["parameters"]] == [
        ("x", 1),
        ("y", 3),
        ("z", 4),
    ]


def link(
    artifact_id: str = "x", *, key: str = "m", iteration: int | None = None, **more: str
) -> ArtifactTask:
    row = {"run_id": "r", "task_id": "t", **more}
    producer = IOProducer(task_name="a", iteration=iteration)
    return ArtifactTask(artifact_id=artifact_id, type=IOType.OUTPUT, key=key, producer=producer, **row)


def test_equal_links_are_queued_once() -> None:
    batch = WriteBatch("r")
    same = link().model_copy(update={"producer": IOProducer(task_name="b")})
    for one in (link(), same, link(key="n"), link(iteration=0), link(iteration=1)):
        batch.link(one)
    assert batch.links == [link(), link(key="n"), link(iteration=0), link(iteration=1)]

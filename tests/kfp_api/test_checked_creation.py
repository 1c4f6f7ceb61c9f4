"""Creations whose answer is lost, or that hit what is there: looked for, never sent again unseen.

Oracle: spec KFP_API 11 rules 4 to 6 and 5.5 (upstream answers a duplicate link with 500 and drops the whole
batch).
"""

from typing import Any

import pytest

from kfp_api.checked_creation import stored_artifacts
from kfp_api.client import KfpApiClient
from kfp_api.errors import ApiRequestError, ApiServerError
from kfp_api.messages import (
    Artifact,
    ArtifactTask,
    ArtifactType,
    CreateArtifactRequest,
    IOProducer,
    IOType,
    PipelineTask,
)
from tests.kfp_api.scripted_server import Reply, Reset, ScriptedServer, Step


def link(artifact: str, *, task: str = "T", run: str = "R", iteration: int | None = None) -> ArtifactTask:
    return ArtifactTask(
        artifact_id=artifact,
        task_id=task,
        run_id=run,
        type=IOType.OUTPUT,
        key="model",
        producer=IOProducer(task_name="train", iteration=iteration),
    )


def stored(*links: ArtifactTask) -> list[dict[str, Any]]:
    return [{**one.to_wire(), "id": f"id-{one.artifact_id}"} for one in links]


def sent_artifacts(server: ScriptedServer, index: int) -> list[str]:
    return [one["artifact_id"] for one in server.asked[index].body["artifact_tasks"]]


@pytest.mark.parametrize("failure", [Reset(), Reply(503), Reply(504), Reply(500), Reply(409)])
async def test_links_that_are_there_after_a_failure_are_success(
    server: ScriptedServer, client: KfpApiClient, failure: Step
) -> None:
    """D27: upstream's driver fails when its links are there already."""
    server.play(failure, Reply(200, {"artifact_tasks": stored(link("a"), link("b"))}))
    created = await client.create_artifact_tasks([link("a"), link("b")])
    assert [one.id for one in created] == ["id-a", "id-b"]
    assert [asked.method for asked in server.asked] == ["POST", "GET"]
    assert ("task_ids", "T") in server.asked[1].query


async def test_only_missing_links_are_sent_again(server: ScriptedServer, client: KfpApiClient) -> None:
    there = Reply(200, {"artifact_tasks": stored(link("a"))})
    server.play(Reply(500), there, there, Reply(200, {"artifact_tasks": stored(link("b"))}))
    created = await client.create_artifact_tasks([link("a"), link("b")])
    assert [one.id for one in created] == ["id-a", "id-b"]
    assert sent_artifacts(server, 3) == ["b"]


async def test_links_that_cannot_be_created_fail_after_one_more_attempt(
    server: ScriptedServer, client: KfpApiClient
) -> None:
    nothing = Reply(200, {})
    server.play(Reply(500), nothing, nothing, Reply(500), nothing)
    with pytest.raises(ApiServerError):
        await client.create_artifact_tasks([link("a")])
    assert [asked.method for asked in server.asked] == ["POST", "GET", "GET", "POST", "GET"]


async def test_look_that_fails_is_repeated_before_anything_is_sent_again(
    server: ScriptedServer, client: KfpApiClient
) -> None:
    server.play(Reset(), Reply(404), Reply(200, {"artifact_tasks": stored(link("a"))}))
    with pytest.raises(Exception, match="ListArtifactTasks"):
        await client.create_artifact_tasks([link("a")])
    assert [asked.method for asked in server.asked] == ["POST", "GET"]


async def test_equal_links_are_sent_once_and_answered_for_each(
    server: ScriptedServer, client: KfpApiClient
) -> None:
    server.play(Reply(200, {"artifact_tasks": stored(link("a"), link("a", iteration=0))}))
    created = await client.create_artifact_tasks([link("a"), link("a"), link("a", iteration=0)])
    assert len(created) == 3
    assert len(server.asked[0].body["artifact_tasks"]) == 2


async def test_links_are_sent_per_run_in_batches_of_500(server: ScriptedServer, client: KfpApiClient) -> None:
    links = [link(f"a{i}") for i in range(501)] + [link("b", run="R2")]
    server.play(*[Reply(200, {})] * 3)
    await client.create_artifact_tasks(links)
    assert [len(asked.body["artifact_tasks"]) for asked in server.asked] == [500, 1, 1]
    assert [asked.body["artifact_tasks"][0]["run_id"] for asked in server.asked] == ["R", "R", "R2"]


async def test_link_without_artifact_is_refused(server: ScriptedServer, client: KfpApiClient) -> None:
    with pytest.raises(ApiRequestError, match="artifact id is required"):
        await client.create_artifact_tasks([link("")])
    assert not server.asked


def request(
    name: str, *, uri: str | None = None, number: float | None = None, index: int | None = None
) -> CreateArtifactRequest:
    kind = ArtifactType.Metric if number is not None else ArtifactType.Model
    artifact = Artifact(name=name, type=kind, uri=uri, number_value=number, namespace="ns")
    return CreateArtifactRequest(
        run_id="R", task_id="T", producer_key="out", artifact=artifact, iteration_index=index
    )


def row(*artifacts: dict[str, Any], iteration: int | None = None) -> dict[str, Any]:
    kind, producer = ("OUTPUT", {"task_name": "train"})
    if iteration is not None:
        kind, producer = ("ITERATOR_OUTPUT", {"task_name": "train", "iteration": str(iteration)})
    output = {"artifact_key": "out", "type": kind, "producer": producer, "artifacts": list(artifacts)}
    return {"task_id": "T", "run_id": "R", "outputs": {"artifacts": [output]}}


MODEL_ROW = {"artifact_id": "A", "name": "m", "type": "Model", "uri": "s3://b/m"}


async def test_artifact_whose_answer_was_lost_is_found_on_its_task(
    server: ScriptedServer, client: KfpApiClient
) -> None:
    server.play(Reset(), Reply(200, row(MODEL_ROW)))
    assert (await client.create_artifact(request("m", uri="s3://b/m"))).artifact_id == "A"
    assert [asked.method for asked in server.asked] == ["POST", "GET"]


async def test_artifact_that_never_arrived_is_sent_again(
    server: ScriptedServer, client: KfpApiClient
) -> None:
    server.play(Reply(502), Reply(200, row()), Reply(200, row()), Reply(200, MODEL_ROW))
    assert (await client.create_artifact(request("m", uri="s3://b/m"))).artifact_id == "A"
    assert [asked.method for asked in server.asked] == ["POST", "GET", "GET", "POST"]


async def test_reusable_artifact_is_simply_sent_again(server: ScriptedServer, client: KfpApiClient) -> None:
    server.play(Reset(), Reply(200, MODEL_ROW))
    reusable = request("m", uri="s3://b/m").model_copy(update={"reuse_if_exists": True})
    await client.create_artifact(reusable)
    assert [asked.method for asked in server.asked] == ["POST", "POST"]


async def test_equal_metrics_of_one_batch_are_matched_one_to_one(
    server: ScriptedServer, client: KfpApiClient
) -> None:
    metrics = [{"artifact_id": i, "name": "acc", "type": "Metric", "number_value": 0.5} for i in "AB"]
    server.play(Reply(504), Reply(200, row(*metrics)))
    created = await client.create_artifacts([request("acc", number=0.5), request("acc", number=0.5)])
    assert [artifact.artifact_id for artifact in created] == ["A", "B"]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (request("m", uri="s3://b/m", index=1), True),
        (request("m", uri="s3://b/m"), False),
        (request("m", uri="s3://b/m", index=0), False),
        (request("m", uri="s3://b/other", index=1), False),
    ],
)
def test_stored_artifact_is_the_same_by_key_iteration_and_uri(
    wanted: CreateArtifactRequest, found: bool
) -> None:
    outputs = PipelineTask.from_wire(row(MODEL_ROW, iteration=1)).output_artifacts
    assert bool(stored_artifacts(outputs, wanted)) is found

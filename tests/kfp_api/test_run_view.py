"""What a call asks of its run, how often, and what it finds.

Oracle: the replacements of spec DRIVER 14 (which reads, how many), decision order for the pipeline source of
KFP_API 6.2. Rows live on the embedded API; servers that answer differently are scripted.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kfp_api.client import KfpApiClient
from kfp_api.errors import ApiNotFoundError, ApiRequestError
from kfp_api.ir.load import InvalidPipelineError
from kfp_api.messages import PipelineTask, StatusMetadata, TaskState, TaskType, TypeAttributes
from kfp_api.run_cache import BoundedCache
from kfp_api.run_view import RunCache, RunView
from kfp_api.transport import ApiCall
from tests.embedded_api import Rows, embedded_api, operations
from tests.kfp_api.scripted_server import Reply, ScriptedServer, Step
from tests.propagation.specs import dag, leaf, loop, pipeline, task

SPEC = pipeline(
    dag({"loop": loop("comp-loop"), "a": task("comp")}),
    {"comp-loop": dag({"train": task("comp")}), "comp": leaf()},
)
REFERENCE = {"pipeline_version_reference": {"pipeline_id": "p", "pipeline_version_id": "v"}}


@pytest.fixture
async def rows(tmp_path: Path) -> AsyncIterator[Rows]:
    calls: list[ApiCall] = []
    async with embedded_api(tmp_path) as url, KfpApiClient(url, observer=calls.append) as client:
        yield await Rows.of(client, SPEC, calls)


async def test_pipeline_is_read_once_per_process(rows: Rows) -> None:
    rows.calls.clear()
    first = await rows.view().pipeline()
    assert await rows.view().pipeline() is first
    assert (await rows.view().facts()).display_name == "test"
    assert operations(rows.calls) == ["GetRun"]
    assert first.spec.pipeline_info.name == "test"


async def test_run_that_the_pipeline_came_from_is_not_read_again(rows: Rows) -> None:
    view = rows.view()
    await view.pipeline()
    rows.calls.clear()
    assert (await view.run()).run_id == rows.run_id
    assert rows.calls == []


async def test_concurrent_identical_reads_share_one_request(rows: Rows) -> None:
    root = await rows.add("root")
    view = rows.view()
    rows.calls.clear()
    await asyncio.gather(
        *(view.task(root.task_id) for _ in range(5)),
        *(view.pipeline() for _ in range(5)),
        *(view.children(root.task_id, "a") for _ in range(5)),
        *(view.has_children(root.task_id) for _ in range(5)),
    )
    assert sorted(operations(rows.calls)) == ["GetRun", "GetTask", "ListTasks", "ListTasks"]


async def test_caller_that_gives_up_does_not_stop_the_others(rows: Rows) -> None:
    root = await rows.add("root")
    view = rows.view()
    impatient = asyncio.ensure_future(view.task(root.task_id))
    patient = asyncio.ensure_future(view.task(root.task_id))
    await asyncio.sleep(0)
    impatient.cancel()
    assert (await patient).task_id == root.task_id


async def test_row_is_read_once_per_call_unless_a_fresh_one_is_wanted(rows: Rows) -> None:
    root = await rows.add("root")
    view = rows.view()
    await view.task(root.task_id)
    await rows.end(root, TaskState.FAILED)
    assert (await view.task(root.task_id)).state is TaskState.RUNNING
    assert (await view.task(root.task_id, fresh=True)).state is TaskState.FAILED
    assert (await view.task(root.task_id)).state is TaskState.FAILED


async def test_row_of_another_run_is_refused(rows: Rows) -> None:
    other = await Rows.of(rows.client, SPEC, rows.calls)
    foreign = await other.add("root")
    with pytest.raises(ApiRequestError):
        await rows.view().task(foreign.task_id)


async def test_row_that_a_careless_server_gives_for_another_run_is_refused(
    server: ScriptedServer, client: KfpApiClient
) -> None:
    server.play(Reply(200, {"task_id": "t", "run_id": "other"}))
    with pytest.raises(ApiRequestError, match="does not belong to run r1"):
        await RunView(client, "r1", cache=RunCache()).task("t")


async def test_children_are_found_by_name_and_iteration(rows: Rows) -> None:
    root = await rows.add("root")
    head = await rows.add("root.loop", parent=root, kind=TaskType.LOOP, count=3)
    for index in range(3):
        await rows.add("root.loop.train", parent=head, index=index)
    await rows.add("root.a", parent=root)
    view = rows.view()
    assert [row.iteration_index for row in await view.children(head.task_id, "train", 1)] == [1]
    assert len(await view.children(head.task_id, "train")) == 3
    assert await view.children(head.task_id, "train", 7) == []
    assert await view.children(root.task_id, "train") == []
    assert await view.has_children(root.task_id)
    assert not await view.has_children((await view.children(root.task_id, "a"))[0].task_id)


async def test_iteration_is_taken_from_all_rows_when_they_are_known(rows: Rows) -> None:
    root = await rows.add("root")
    head = await rows.add("root.loop", parent=root, kind=TaskType.LOOP, count=2)
    for index in range(2):
        await rows.add("root.loop.train", parent=head, index=index)
    view = rows.view()
    await view.children(head.task_id, "train")
    rows.calls.clear()
    assert [row.iteration_index for row in await view.children(head.task_id, "train", 1)] == [1]
    assert rows.calls == []


async def test_counts_are_by_state_and_carry_one_row_at_most(rows: Rows) -> None:
    root = await rows.add("root")
    head = await rows.add("root.loop", parent=root, kind=TaskType.LOOP, count=4)
    states = [TaskState.RUNNING, TaskState.FAILED, TaskState.FAILED, TaskState.CACHED]
    for index, state in enumerate(states):
        await rows.add("root.loop.train", parent=head, index=index, state=state)
    view = rows.view()
    assert await view.count_children(head.task_id) == 4
    assert await view.count_children(head.task_id, state=TaskState.FAILED) == 2
    assert await view.count_children(head.task_id, state=TaskState.SKIPPED) == 0
    wanted = [TaskState.RUNNING, TaskState.FAILED]
    assert await view.count_children(head.task_id, states=wanted) == 3
    failed = await view.children_in_state(head.task_id, TaskState.FAILED)
    assert {row.iteration_index for row in failed} == {1, 2}
    assert await view.is_in_state(root.task_id, TaskState.RUNNING)
    assert not await view.is_in_state(root.task_id, TaskState.FAILED)


async def test_importers_are_those_that_download_into_the_workspace(rows: Rows) -> None:
    root = await rows.add("root")
    for name, download in (("a", True), ("b", None)):
        await rows.client.create_task(
            PipelineTask(
                run_id=rows.run_id,
                name=name,
                type=TaskType.IMPORTER,
                scope_path=f"root.{name}",
                parent_task_id=root.task_id,
                type_attributes=TypeAttributes(download_to_workspace=download),
            )
        )
    assert [row.name for row in await rows.view().workspace_importers()] == ["a"]


async def test_rows_that_this_call_wrote_are_seen_by_its_later_reads(rows: Rows) -> None:
    root = await rows.add("root")
    view = rows.view()
    assert await view.children(root.task_id, "a") == []
    assert not await view.has_children(root.task_id)
    view.remember(await rows.add("root.a", parent=root))
    assert len(await view.children(root.task_id, "a")) == 1
    assert await view.has_children(root.task_id)


async def test_forgotten_children_are_asked_for_again(rows: Rows) -> None:
    root = await rows.add("root")
    view = rows.view()
    await view.children(root.task_id, "a")
    await rows.add("root.a", parent=root)
    assert await view.children(root.task_id, "a") == []
    view.forget_children()
    assert len(await view.children(root.task_id, "a")) == 1


async def test_identity_of_a_row_is_remembered_beyond_the_call(rows: Rows) -> None:
    root = await rows.add("root")
    head = await rows.add("root.loop", parent=root, kind=TaskType.LOOP, count=3)
    await rows.view().task_identity(head.task_id)
    rows.calls.clear()
    known = await rows.view().task_identity(head.task_id)
    assert rows.calls == []
    assert (known.iteration_count, known.parent_task_id) == (3, root.task_id)
    assert known.state is TaskState.RUNTIME_STATE_UNSPECIFIED


@pytest.mark.parametrize("kind", [TaskType.LOOP, TaskType.DAG])
async def test_a_parent_is_read_once_per_process_until_its_driver_runs_again(
    rows: Rows, kind: TaskType
) -> None:
    root = await rows.add("root")
    head = await rows.add("root.group", parent=root, kind=kind, count=3)
    first = await rows.view().parent(head.task_id)
    rows.calls.clear()
    again = await rows.view().parent(head.task_id)
    assert rows.calls == []
    assert (again.inputs, again.iteration_count, again.scope_path) == (first.inputs, 3, "root.group")
    rows.view().remember(first)
    await rows.view().parent(head.task_id)
    assert rows.calls == [], "a status that a child's end writes changes no input"
    rows.view().forget_parent(head.task_id)
    await rows.view().parent(head.task_id)
    assert len(rows.calls) == 1


def test_a_remembered_parent_has_its_plugin_properties_and_no_state() -> None:
    cache = RunCache()
    metadata = StatusMetadata(
        message="old",
        custom_properties={
            "plugins.mlflow.run_id": "9a",
            "kfp_driver_attempt": "m",
            "driver_logs_uri": "s3://x",
        },
    )
    cache.remember_parent(
        PipelineTask(task_id="t", run_id="r", state=TaskState.FAILED, status_metadata=metadata)
    )
    remembered = cache.parent("r", "t")
    assert remembered is not None
    known = remembered.seen_from(None)
    assert known.custom_properties == {"plugins.mlflow.run_id": "9a"}
    assert known.state is TaskState.RUNTIME_STATE_UNSPECIFIED
    assert cache.parent("other", "t") is None


@pytest.mark.parametrize(
    ("answers", "asked"),
    [
        ([Reply(200, {"run_id": "r1", "pipeline_spec": SPEC})], ["/runs/r1"]),
        (
            [
                Reply(
                    200, {"run_id": "r1", "pipeline_spec": {"pipeline_spec": SPEC, "platform_spec": {"x": 1}}}
                )
            ],
            ["/runs/r1"],
        ),
        (
            [Reply(200, {"run_id": "r1", **REFERENCE}), Reply(200, {"pipeline_spec": SPEC})],
            ["/runs/r1", "/pipelines/p/versions/v"],
        ),
        *[
            (
                [
                    Reply(200, {"run_id": "r1", **REFERENCE}),
                    Reply(refusal, {}),
                    Reply(200, {"run_id": "r1", "pipeline_spec": SPEC}),
                ],
                ["/runs/r1", "/pipelines/p/versions/v", "/runs/r1"],
            )
            for refusal in (401, 403, 404)
        ],
    ],
)
async def test_pipeline_is_found_wherever_the_server_keeps_it(
    server: ScriptedServer, client: KfpApiClient, answers: list[Step], asked: list[str]
) -> None:
    server.play(*answers)
    found = await RunView(client, "r1", cache=RunCache()).pipeline()
    assert found.spec.pipeline_info.name == "test"
    assert [one.path.removeprefix("/apis/v2beta1") for one in server.asked] == asked
    if len(asked) == 3:
        assert server.asked[2].query == [("view", "FULL")]


async def test_full_view_is_asked_for_where_the_caller_wants_it(
    server: ScriptedServer, client: KfpApiClient
) -> None:
    server.play(Reply(200, {"run_id": "r1", "pipeline_spec": SPEC}))
    await RunView(client, "r1", cache=RunCache()).pipeline(full_view=True)
    assert server.asked[0].query == [("view", "FULL")]


async def test_run_without_pipeline_is_an_error(server: ScriptedServer, client: KfpApiClient) -> None:
    server.play(Reply(200, {"run_id": "r1"}), Reply(404, {"code": 5, "message": "Run r1 not found"}))
    view = RunView(client, "r1", cache=RunCache())
    with pytest.raises(InvalidPipelineError, match="pipeline spec is not set"):
        await view.pipeline()
    with pytest.raises(ApiNotFoundError):
        await view.pipeline()


def test_cache_is_bounded_in_entries_and_bytes() -> None:
    cache: BoundedCache[str] = BoundedCache(max_entries=3, max_bytes=10)
    for key in "abc":
        cache.put(key, value=key, size=3)
    assert cache.get("a") == "a"
    cache.put("d", value="d", size=3)
    assert [cache.get(key) for key in "abcd"] == ["a", None, "c", "d"]
    cache.put("big", value="big", size=11)
    assert cache.get("big") is None
    cache.put("e", value="e", size=10)
    assert (len(cache), cache.bytes) == (1, 10)
    cache.drop("e")
    assert (len(cache), cache.bytes) == (0, 0)


def test_loop_of_unknown_size_is_not_remembered() -> None:
    cache = RunCache()
    head = PipelineTask(task_id="l", run_id="r", type=TaskType.LOOP)
    cache.remember_task(head)
    assert cache.task("r", "l") is None
    cache.remember_task(head.model_copy(update={"type_attributes": TypeAttributes(iteration_count=0)}))
    known = cache.task("r", "l")
    assert known is not None
    assert known.iteration_count == 0
    assert cache.task("other", "l") is None

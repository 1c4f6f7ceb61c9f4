"""Everything that a run view asks of lists is what KFP's own server accepts, with the rows that were meant.

Oracle: the fields by which KFP's server sorts and filters tasks, and its rules on operations and operands
(spec KFP_API 8.2, 8.3), as ``tests.upstream_server`` holds the embedded server to them.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp.test_utils import TestServer

from kfp_api.client import KfpApiClient
from kfp_api.messages import PipelineTask, TaskState, TaskType, TypeAttributes
from kfp_api.transport import ApiCall
from tests.embedded_api import Rows
from tests.propagation.specs import dag, leaf, loop, pipeline, task
from tests.upstream_server import list_refusal, upstream_app

SPEC = pipeline(
    dag({"loop": loop("comp-loop"), "a": task("comp")}),
    {"comp-loop": dag({"train": task("comp")}), "comp": leaf()},
)


@pytest.fixture
async def rows(tmp_path: Path) -> AsyncIterator[Rows]:
    calls: list[ApiCall] = []
    async with (
        TestServer(upstream_app(tmp_path / "upstream.sqlite")) as server,
        KfpApiClient(str(server.make_url("")).rstrip("/"), observer=calls.append) as client,
    ):
        yield await Rows.of(client, SPEC, calls)


async def test_each_question_of_a_view_is_answered(rows: Rows) -> None:
    root = await rows.add("root")
    head = await rows.add("root.loop", parent=root, kind=TaskType.LOOP, count=3)
    for index, state in enumerate((TaskState.SUCCEEDED, TaskState.FAILED, TaskState.SKIPPED)):
        await rows.add("root.loop.train", parent=head, index=index, state=state)
    importer = await rows.client.create_task(
        PipelineTask(
            run_id=rows.run_id,
            name="a",
            type=TaskType.IMPORTER,
            state=TaskState.SUCCEEDED,
            scope_path="root.a",
            parent_task_id=root.task_id,
            type_attributes=TypeAttributes(download_to_workspace=True),
        )
    )
    view = rows.view()
    assert [row.task_id for row in await view.children(root.task_id, "a")] == [importer.task_id]
    assert [row.iteration_index for row in await view.children(head.task_id, "train", 2)] == [2]
    assert len(await view.children(head.task_id, "train")) == 3
    assert await view.has_children(head.task_id)
    assert [row.task_id for row in await view.workspace_importers()] == [importer.task_id]
    assert len(await view.all_children(head.task_id)) == 3
    assert len(await view.children_in_state(head.task_id, TaskState.SKIPPED)) == 1
    assert await view.count_children(head.task_id) == 3
    assert await view.count_children(head.task_id, state=TaskState.FAILED) == 1
    unsettled = (TaskState.RUNNING, TaskState.FAILED)
    assert await view.count_children(head.task_id, states=unsettled) == 1
    assert await view.is_in_state(head.task_id, TaskState.RUNNING)


async def test_the_iteration_is_asked_for_once_and_then_looked_for_page_by_page(rows: Rows) -> None:
    root = await rows.add("root")
    head = await rows.add("root.loop", parent=root, kind=TaskType.LOOP, count=202)
    for iteration in range(202):
        await rows.add("root.loop.train", parent=head, index=iteration)
    pages = await rows.client.list_tasks(rows.run_id, parent_id=head.task_id)
    later = await rows.client.list_tasks(
        rows.run_id, parent_id=head.task_id, page_token=pages.next_page_token
    )
    requests = []
    for index in (pages.tasks[0].iteration_index, later.tasks[-1].iteration_index):
        rows.calls.clear()
        (found,) = await rows.view().children(head.task_id, "train", index)
        assert found.iteration_index == index
        requests.append([call.status for call in rows.calls])
    assert requests == [[400, 200], [200, 200]]


@pytest.mark.parametrize(
    ("query", "refused"),
    [
        ({}, False),
        ({"order_by": "type"}, False),
        ({"order_by": "create_time desc"}, False),
        ({"order_by": "state"}, True),
        ({"order_by": "iteration_index"}, True),
        ({"filter": '{"predicates":[{"operation":"EQUALS","key":"status","int_value":4}]}'}, False),
        ({"filter": '{"predicates":[{"operation":"EQUALS","key":"state","int_value":4}]}'}, True),
        ({"filter": '{"predicates":[{"operation":"EQUALS","key":"status","string_value":"FAILED"}]}'}, True),
        ({"filter": '{"predicates":[{"operation":"IN","key":"status","int_values":{"values":[1]}}]}'}, False),
        ({"filter": '{"predicates":[{"operation":"IN","key":"status","int_value":1}]}'}, True),
        ({"filter": '{"predicates":[{"operation":"EQUALS","key":"iteration_index","int_value":1}]}'}, True),
        ({"page_token": "x", "order_by": "type"}, True),
    ],
)
def test_the_stand_in_refuses_what_kfps_server_refuses(query: dict[str, str], refused: bool) -> None:
    assert bool(list_refusal(query)) is refused

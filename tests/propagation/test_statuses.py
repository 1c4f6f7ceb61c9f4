"""When ancestors change state because a task ended.

Oracle: the table and the project rules of spec DRIVER 4.3, the counting reads of section 14. The rows live
on the embedded API.
"""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from kfp_api.client import KfpApiClient
from kfp_api.ir.pipeline import PipelineSpec
from kfp_api.messages import (
    ChildTask,
    PipelineTask,
    StatusMetadata,
    TaskState,
    TaskType,
    TypeAttributes,
)
from kfp_api.transport import ApiCall
from propagation.errors import PropagationError
from propagation.loop_size import LOOP_SIZE_PROPERTY
from propagation.state_rules import aggregate_state, omitted_children, omitted_tasks
from propagation.statuses import propagate_statuses
from tests.embedded_api import Rows, embedded_api, operations
from tests.propagation.conftest import StartRun
from tests.propagation.specs import condition, dag, hook, leaf, loop, pipeline, task

RUNNING, SUCCEEDED, SKIPPED, FAILED, CACHED = (
    TaskState.RUNNING,
    TaskState.SUCCEEDED,
    TaskState.SKIPPED,
    TaskState.FAILED,
    TaskState.CACHED,
)
TWO = {"a": task("comp"), "b": task("comp")}
COMPONENTS = {"comp": leaf()}


@pytest.mark.parametrize(
    ("children", "state"),
    [
        ([], None),
        ([SUCCEEDED], SUCCEEDED),
        ([CACHED, CACHED], CACHED),
        ([SKIPPED, SKIPPED], SKIPPED),
        ([SUCCEEDED, CACHED], SUCCEEDED),
        ([SUCCEEDED, SKIPPED], SUCCEEDED),
        ([CACHED, SKIPPED], SUCCEEDED),
        ([FAILED, SUCCEEDED, CACHED], FAILED),
        ([FAILED, RUNNING], FAILED),
    ],
)
def test_state_of_a_dag_from_its_children(children: list[TaskState], state: TaskState | None) -> None:
    assert aggregate_state(children) is state


@pytest.mark.parametrize(
    ("first", "last", "parent"),
    [
        (None, FAILED, FAILED),
        (RUNNING, FAILED, FAILED),
        (FAILED, RUNNING, FAILED),
        (FAILED, SUCCEEDED, FAILED),
        (SUCCEEDED, SUCCEEDED, SUCCEEDED),
        (CACHED, CACHED, CACHED),
        (SKIPPED, SKIPPED, SKIPPED),
        (SUCCEEDED, CACHED, SUCCEEDED),
        (SUCCEEDED, SKIPPED, SUCCEEDED),
        (CACHED, SKIPPED, SUCCEEDED),
        (RUNNING, SUCCEEDED, RUNNING),
        (None, SUCCEEDED, RUNNING),
    ],
)
async def test_parent_of_two_tasks_when_one_of_them_ends(
    start_run: StartRun, first: TaskState | None, last: TaskState, parent: TaskState
) -> None:
    rows = await start_run(pipeline(dag(TWO), COMPONENTS))
    root = await rows.add("root")
    if first is not None:
        await rows.add("root.a", parent=root, state=first)
    ended = await rows.add("root.b", parent=root, state=last)
    rows.calls.clear()
    await propagate_statuses(rows.view(), ended)
    after = await rows.read(root)
    assert after.state is parent
    assert (after.end_time is not None) is (parent is not RUNNING)
    assert operations(rows.calls).count("UpdateTask") == (parent is not RUNNING)


async def test_failure_reaches_every_ancestor_at_once(start_run: StartRun) -> None:
    spec = pipeline(
        dag({"outer": task("comp-outer"), "late": task("comp", after=("outer",))}),
        {"comp-outer": dag({"inner": task("comp-inner")}), "comp-inner": dag(TWO), **COMPONENTS},
    )
    rows = await start_run(spec)
    root = await rows.add("root")
    outer = await rows.add("root.outer", parent=root, kind=TaskType.DAG)
    inner = await rows.add("root.outer.inner", parent=outer, kind=TaskType.DAG)
    await rows.add("root.outer.inner.a", parent=inner)
    failed = await rows.add("root.outer.inner.b", parent=inner, state=FAILED)
    await propagate_statuses(rows.view(), failed)
    assert [await rows.state(row) for row in (inner, outer, root)] == [FAILED] * 3


async def test_success_reaches_the_root_when_everything_is_done(start_run: StartRun) -> None:
    spec = pipeline(dag({"outer": task("comp-outer")}), {"comp-outer": dag(TWO), **COMPONENTS})
    rows = await start_run(spec)
    root = await rows.add("root")
    outer = await rows.add("root.outer", parent=root, kind=TaskType.DAG)
    await rows.add("root.outer.a", parent=outer, state=CACHED)
    ended = await rows.add("root.outer.b", parent=outer, state=CACHED)
    await propagate_statuses(rows.view(), ended)
    assert [await rows.state(row) for row in (outer, root)] == [CACHED, CACHED]


async def test_loop_waits_for_every_task_of_every_iteration(start_run: StartRun) -> None:
    spec = pipeline(dag({"loop": loop("comp-loop")}), {"comp-loop": dag(TWO), **COMPONENTS})
    rows = await start_run(spec)
    root = await rows.add("root")
    head = await rows.add("root.loop", parent=root, kind=TaskType.LOOP, count=2)
    seen = []
    for key, index in (("a", 0), ("b", 0), ("a", 1), ("b", 1)):
        ended = await rows.add(f"root.loop.{key}", parent=head, index=index, state=SUCCEEDED)
        await propagate_statuses(rows.view(), ended)
        seen.append(await rows.state(head))
    assert seen == [RUNNING, RUNNING, RUNNING, SUCCEEDED]
    assert await rows.state(root) is SUCCEEDED


async def test_loop_head_is_not_read_while_its_size_is_noted_on_the_row(start_run: StartRun) -> None:
    spec = pipeline(dag({"loop": loop("comp-loop")}), {"comp-loop": dag(TWO), **COMPONENTS})
    rows = await start_run(spec)
    root = await rows.add("root")
    head = await rows.add("root.loop", parent=root, kind=TaskType.LOOP, count=2)
    seen = []
    for key, index in (("a", 0), ("b", 0), ("a", 1), ("b", 1)):
        ended = await rows.add(f"root.loop.{key}", parent=head, index=index, state=SUCCEEDED)
        noted = StatusMetadata(custom_properties={LOOP_SIZE_PROPERTY: 2})
        rows.calls.clear()
        await propagate_statuses(rows.view(), ended.model_copy(update={"status_metadata": noted}))
        seen.append("GetTask" in operations(rows.calls))
    assert seen == [False] * 4
    assert [await rows.state(row) for row in (head, root)] == [SUCCEEDED, SUCCEEDED]


async def test_skipped_rows_are_listed_only_where_they_can_make_up_for_missing_ones(
    start_run: StartRun,
) -> None:
    body = {"branch": condition("comp-branch"), "after": task("comp", after=("branch",))}
    spec = pipeline(
        dag({"loop": loop("comp-loop")}),
        {"comp-loop": dag(body), "comp-branch": dag({"x": task("comp")}), **COMPONENTS},
    )
    rows = await start_run(spec)
    root = await rows.add("root")
    head = await rows.add("root.loop", parent=root, kind=TaskType.LOOP, count=5)
    listed = []
    for index in range(5):
        kind = TaskType.CONDITION_BRANCH
        ended = await rows.add("root.loop.branch", parent=head, index=index, state=SKIPPED, kind=kind)
        rows.calls.clear()
        await propagate_statuses(rows.view(), ended)
        # Counted: unsettled children, all, skipped ones, whether the head had failed. A list comes on top.
        listed.append(operations(rows.calls).count("ListTasks") > 4)
    assert listed == [False, False, False, False, True]
    assert await rows.state(head) is SKIPPED


async def test_nested_loop_counts_its_own_iterations(start_run: StartRun) -> None:
    spec = pipeline(
        dag({"outer": loop("comp-outer")}),
        {
            "comp-outer": dag({"inner": loop("comp-inner")}),
            "comp-inner": dag({"a": task("comp")}),
            **COMPONENTS,
        },
    )
    rows = await start_run(spec)
    root = await rows.add("root")
    outer = await rows.add("root.outer", parent=root, kind=TaskType.LOOP, count=2)
    heads = [
        await rows.add("root.outer.inner", parent=outer, kind=TaskType.LOOP, index=index, count=2)
        for index in range(2)
    ]
    seen = []
    for head in heads:
        for index in range(2):
            ended = await rows.add("root.outer.inner.a", parent=head, index=index, state=SUCCEEDED)
            await propagate_statuses(rows.view(), ended)
            seen.append((await rows.state(head), await rows.state(outer)))
    assert seen == [(RUNNING, RUNNING), (SUCCEEDED, RUNNING), (RUNNING, RUNNING), (SUCCEEDED, SUCCEEDED)]


async def test_empty_loop_ends_the_root_in_one_patch(start_run: StartRun) -> None:
    spec = pipeline(dag({"loop": loop("comp-loop")}), {"comp-loop": dag(TWO), **COMPONENTS})
    rows = await start_run(spec)
    root = await rows.add("root")
    head = await rows.add("root.loop", parent=root, kind=TaskType.LOOP, count=0, state=SKIPPED)
    rows.calls.clear()
    await propagate_statuses(rows.view(), head)
    assert operations(rows.calls).count("UpdateTask") == 1
    assert await rows.state(root) is SKIPPED


async def test_loop_without_a_size_is_an_error(start_run: StartRun) -> None:
    spec = pipeline(dag({"loop": loop("comp-loop")}), {"comp-loop": dag(TWO), **COMPONENTS})
    rows = await start_run(spec)
    root = await rows.add("root")
    head = await rows.add("root.loop", parent=root, kind=TaskType.LOOP)
    ended = await rows.add("root.loop.a", parent=head, index=0, state=SUCCEEDED)
    with pytest.raises(PropagationError, match=f"loop task {head.task_id} is missing iteration_count"):
        await propagate_statuses(rows.view(), ended)


async def test_root_row_is_evaluated_itself(start_run: StartRun) -> None:
    rows = await start_run(pipeline(dag(TWO), COMPONENTS))
    root = await rows.add("root")
    await propagate_statuses(rows.view(), root)
    assert await rows.state(root) is RUNNING
    for key in TWO:
        await rows.add(f"root.{key}", parent=root, state=CACHED)
    await propagate_statuses(rows.view(), root)
    assert await rows.state(root) is CACHED


async def test_tasks_that_argo_omits_are_not_waited_for(start_run: StartRun) -> None:
    tasks = {
        "gate": task("comp"),
        "branch": condition("comp-branch", after=("gate",)),
        "after": task("comp", after=("branch",)),
        "last": task("comp", uses={"after": "x"}),
    }
    spec = pipeline(dag(tasks), {"comp-branch": dag({"x": task("comp")}), **COMPONENTS})
    rows = await start_run(spec)
    root = await rows.add("root")
    await rows.add("root.gate", parent=root, state=SUCCEEDED)
    skipped = await rows.add("root.branch", parent=root, kind=TaskType.CONDITION_BRANCH, state=SKIPPED)
    await propagate_statuses(rows.view(), skipped)
    assert await rows.state(root) is SUCCEEDED


async def test_omitted_tasks_are_counted_per_iteration(start_run: StartRun) -> None:
    body = {"branch": condition("comp-branch"), "after": task("comp", after=("branch",))}
    spec = pipeline(
        dag({"loop": loop("comp-loop")}),
        {"comp-loop": dag(body), "comp-branch": dag({"x": task("comp")}), **COMPONENTS},
    )
    rows = await start_run(spec)
    root = await rows.add("root")
    head = await rows.add("root.loop", parent=root, kind=TaskType.LOOP, count=2)
    branch = TaskType.CONDITION_BRANCH
    skipped = await rows.add("root.loop.branch", parent=head, kind=branch, index=0, state=SKIPPED)
    await rows.add("root.loop.branch", parent=head, kind=branch, index=1, state=SUCCEEDED)
    await propagate_statuses(rows.view(), skipped)
    assert await rows.state(head) is RUNNING
    ended = await rows.add("root.loop.after", parent=head, index=1, state=SUCCEEDED)
    await propagate_statuses(rows.view(), ended)
    assert await rows.state(head) is SUCCEEDED


async def test_recovered_ancestors_go_back_to_running(start_run: StartRun) -> None:
    spec = pipeline(dag({"outer": task("comp-outer")}), {"comp-outer": dag(TWO), **COMPONENTS})
    rows = await start_run(spec)
    root = await rows.add("root")
    outer = await rows.add("root.outer", parent=root, kind=TaskType.DAG)
    attempt = await rows.add("root.outer.a", parent=outer, state=FAILED)
    await propagate_statuses(rows.view(), attempt)
    assert [await rows.state(row) for row in (outer, root)] == [FAILED, FAILED]

    await propagate_statuses(rows.view(), await rows.end(attempt, RUNNING))
    assert [await rows.state(row) for row in (outer, root)] == [RUNNING, RUNNING]

    await propagate_statuses(rows.view(), await rows.end(attempt, SUCCEEDED))
    last = await rows.add("root.outer.b", parent=outer, state=SUCCEEDED)
    await propagate_statuses(rows.view(), last)
    assert [await rows.state(row) for row in (outer, root)] == [SUCCEEDED, SUCCEEDED]


async def test_ancestor_with_another_failed_child_stays_failed(start_run: StartRun) -> None:
    rows = await start_run(pipeline(dag(TWO), COMPONENTS))
    root = await rows.add("root")
    attempt = await rows.add("root.a", parent=root, state=FAILED)
    await rows.add("root.b", parent=root, state=FAILED)
    await propagate_statuses(rows.view(), attempt)
    await propagate_statuses(rows.view(), await rows.end(attempt, RUNNING))
    assert await rows.state(root) is FAILED


async def test_patches_carry_state_and_end_time_only(start_run: StartRun) -> None:
    rows = await start_run(pipeline(dag({"a": task("comp")}), COMPONENTS))
    root = await rows.add("root")
    stale = await rows.read(root)
    message = PipelineTask.from_wire({"status_metadata": {"message": "m", "custom_properties": {"k": 1}}})
    await rows.client.update_task(rows.run_id, root.task_id, message)
    ended = await rows.add("root.a", parent=root, state=SUCCEEDED)
    view = rows.view()
    view.remember(stale)
    await propagate_statuses(view, ended)
    assert (await rows.read(root)).status_metadata == message.status_metadata


async def test_requests_do_not_grow_with_the_number_of_siblings(start_run: StartRun) -> None:
    seen: Counter[tuple[int, int]] = Counter()
    for size in (3, 30):
        tasks: dict[str, Any] = {f"t{i}": task("comp") for i in range(size)}
        rows = await start_run(pipeline(dag(tasks), COMPONENTS))
        root = await rows.add("root")
        ended = [await rows.add(f"root.{key}", parent=root, state=SUCCEEDED) for key in tasks]
        rows.calls.clear()
        await propagate_statuses(rows.view(), ended[-1])
        assert await rows.state(root) is SUCCEEDED
        assert sum(call.operation == "GetRun" for call in rows.calls) == 1
        assert not any("view=FULL" in call.path for call in rows.calls)
        seen[size, len(rows.calls)] += 1
    assert len({calls for _, calls in seen}) == 1


async def test_failed_task_needs_no_count_at_all(start_run: StartRun) -> None:
    rows = await start_run(pipeline(dag(TWO), COMPONENTS))
    root = await rows.add("root")
    failed = await rows.add("root.a", parent=root, state=FAILED)
    view = rows.view()
    await view.pipeline()
    await view.task_identity(root.task_id)
    rows.calls.clear()
    await propagate_statuses(view, failed)
    assert operations(rows.calls) == ["UpdateTask"]


DEPENDENT = {
    "a": task("comp"),
    "b": task("comp", after=("a",)),
    "c": task("comp", uses={"b": "x"}),
    "exit": hook("comp", after=("a",)),
    "status": hook("comp", inputs={"parameters": {"s": {"taskFinalStatus": {"producerTask": "b"}}}}),
    "free": task("comp"),
}


@pytest.mark.parametrize(
    ("skipped", "failed", "omitted"),
    [
        ([], [], set()),
        (["a"], [], {"b", "c", "exit", "status"}),
        ([], ["a"], {"b", "c", "status"}),
        ([], ["b"], {"c"}),
        (["b"], [], {"c", "status"}),
        (["c"], [], set()),
    ],
)
def test_omitted_tasks_follow_from_skipped_and_failed_nodes(
    skipped: list[str], failed: list[str], omitted: set[str]
) -> None:
    root = PipelineSpec.parse(pipeline(dag(DEPENDENT), COMPONENTS)).root
    assert root is not None
    assert root.dag is not None
    assert omitted_tasks(root.dag, skipped=skipped, failed=failed) == omitted


@pytest.mark.parametrize(
    ("producer", "children", "omitted"),
    [
        (condition("comp"), 0, 1),
        (condition("comp-dag"), 0, 1),
        (condition("comp-dag"), 2, 0),
        (loop("comp-dag"), 0, 0),
        (task("comp-pvc"), 0, 0),
    ],
    ids=["container", "DAG by its own condition", "DAG of skipped children", "loop", "platform operation"],
)
def test_skipped_row_omits_consumers_only_when_its_node_was_skipped(
    producer: dict[str, Any], children: int, omitted: int
) -> None:
    components = {"comp": leaf(), "comp-dag": dag(TWO), "comp-pvc": leaf(image="argostub/createpvc")}
    tasks = {"producer": producer, "consumer": task("comp", after=("producer",))}
    spec = PipelineSpec.parse(pipeline(dag(tasks), components))
    assert spec.root is not None
    assert spec.root.dag is not None
    row = PipelineTask(
        name="producer", state=SKIPPED, child_tasks=[ChildTask(task_id=str(i)) for i in range(children)]
    )
    assert omitted_children(spec, spec.root.dag, [row], is_loop=False) == omitted


def row(name: str, state: TaskState, index: int | None = None) -> PipelineTask:
    attributes = TypeAttributes(iteration_index=index) if index is not None else None
    return PipelineTask(name=name, state=state, type_attributes=attributes)


async def test_two_tasks_that_end_together_do_not_miss_each_other(start_run: StartRun) -> None:
    rows = await start_run(pipeline(dag({f"t{i}": task("comp") for i in range(8)}), COMPONENTS))
    root = await rows.add("root")
    children = [await rows.add(f"root.t{i}", parent=root) for i in range(8)]

    async def finish(child: PipelineTask) -> None:
        await propagate_statuses(rows.view(), await rows.end(child))

    await asyncio.gather(*(finish(child) for child in children))
    assert await rows.state(root) is SUCCEEDED


@pytest.mark.parametrize("upstream", [False, True], ids=["embedded server", "KFP's own server"])
async def test_the_walk_goes_on_above_a_row_too_long_to_be_read(tmp_path: Path, upstream: bool) -> None:
    """KFP's own server answers a write with the whole row, however little of it anybody needs."""
    calls: list[ApiCall] = []
    spec = pipeline(dag({"outer": task("outer")}), {**COMPONENTS, "outer": dag(TWO)})
    async with (
        embedded_api(tmp_path, strict_upstream=upstream) as url,
        KfpApiClient(url, observer=calls.append) as client,
    ):
        rows = await Rows.of(client, spec, calls)
        root = await rows.add("root")
        outer = await rows.add("root.outer", parent=root, kind=TaskType.DAG)
        await rows.output(outer, "long", "x" * 200_000)
        failed = await rows.add("root.outer.a", parent=outer, state=FAILED)
        calls.clear()
        await propagate_statuses(rows.view(), failed)
        asked = operations(calls)
        assert [await rows.state(row) for row in (outer, root)] == [FAILED, FAILED]
    assert asked == ["GetRun", "UpdateTask", *(["GetTask"] if upstream else []), "UpdateTask"]

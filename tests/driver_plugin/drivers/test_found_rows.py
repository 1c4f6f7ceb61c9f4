"""What each driver does and answers when the row of its call is there already, by the row's state.

Oracle: the table of spec DRIVER 4.1, for every driver type; the requests that are made, and the rows that the
embedded KFP API holds before and after.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import pytest

from driver_plugin.argo.driver_type import DriverType
from driver_plugin.argo.replies import DriverResult
from driver_plugin.drivers.rows import ATTEMPT_PROPERTY
from kfp_api.messages import (
    PipelineTask,
    StatusMetadata,
    TaskPod,
    TaskPodType,
    TaskState,
    TaskType,
    TypeAttributes,
)
from tests.driver_plugin.drivers.cluster import Cluster
from tests.driver_plugin.drivers.crash_scenarios import MAKE
from tests.driver_plugin.drivers.pipelines import Json, claims, dag, leaf, pipeline, task
from tests.driver_plugin.drivers.stack import DrivenRun, Stack

EXECUTOR: Final = [TaskPod(name="e", uid="1", type=TaskPodType.EXECUTOR)]


@dataclass(frozen=True, kw_only=True)
class Found:
    """A row that is there before the call."""

    state: TaskState
    marker: bool = True
    pods: list[TaskPod] = field(default_factory=list)
    child: bool = False


RUNNING: Final = Found(state=TaskState.RUNNING)
DONE: Final = {state: Found(state=state) for state in (TaskState.SUCCEEDED, TaskState.CACHED)}
SKIPPED: Final = Found(state=TaskState.SKIPPED)
FAILED: Final = Found(state=TaskState.FAILED)
FAILED_IN_EXECUTOR: Final = Found(state=TaskState.FAILED, pods=EXECUTOR)
FAILED_IN_CHILD: Final = Found(state=TaskState.FAILED, child=True)
RESET: Final = Found(state=TaskState.RUNNING, marker=False)

GROUP: Final = dag({"make": task("comp-make")})
SPEC: Final = pipeline(
    {
        "make": task("comp-make"),
        "group": task("comp-group", condition="1 == 1"),
        "loop": task("comp-group", items="[1, 2, 3]"),
    },
    {"comp-make": MAKE, "comp-group": GROUP},
)


@dataclass(frozen=True, kw_only=True)
class Task:
    """A task of which the row is there."""

    kind: DriverType
    name: str
    type: TaskType
    spec: Callable[[], Json] = lambda: SPEC

    async def place(self, run: DrivenRun, found: Found) -> PipelineTask:
        """Write the row as ``found``."""
        properties = {ATTEMPT_PROPERTY: "earlier"} if found.marker else {}
        row = await run.stack.client.create_task(
            PipelineTask(
                name=self.name or "ROOT",
                run_id=run.run_id,
                type=self.type,
                state=found.state,
                scope_path=f"root.{self.name}" if self.name else "root",
                parent_task_id=run.root or None,
                pods=found.pods,
                type_attributes=TypeAttributes(iteration_count=3 if self.type is TaskType.LOOP else None),
                status_metadata=StatusMetadata(message="old", custom_properties={**properties}),
            )
        )
        if found.child:
            await run.stack.client.create_task(
                PipelineTask(
                    name="make",
                    run_id=run.run_id,
                    type=TaskType.RUNTIME,
                    state=TaskState.FAILED,
                    scope_path=f"{row.scope_path}.make",
                    parent_task_id=row.task_id,
                )
            )
        return await run.row(row.task_id)


ROOT: Final = Task(kind=DriverType.ROOT_DAG, name="", type=TaskType.ROOT)
DAG: Final = Task(kind=DriverType.DAG, name="group", type=TaskType.CONDITION_BRANCH)
LOOP: Final = Task(kind=DriverType.DAG, name="loop", type=TaskType.LOOP)
CONTAINER: Final = Task(kind=DriverType.CONTAINER, name="make", type=TaskType.RUNTIME)
CLAIM: Final = Task(
    kind=DriverType.CONTAINER,
    name="createpvc",
    type=TaskType.RUNTIME,
    spec=lambda: claims(pvc_name="shared"),
)


async def driven(
    stack: Stack, case: Task, found: Found
) -> tuple[DriverResult, PipelineTask, PipelineTask, int]:
    """The result of a call, its row before and after, and the number of updates of the row."""
    run = await stack.submit(case.spec())
    if case is not ROOT:
        run.root = (await run.drive_root()).task_id
    before = await case.place(run, found)
    stack.requests.clear()
    result = await run.drive(run.call(case.kind, case.name, run.root))
    updates = [
        call for call in stack.requests if call.method == "PATCH" and call.path.endswith(before.task_id)
    ]
    assert result.task_id == before.task_id
    return result, before, await run.row(before.task_id), len(updates)


@pytest.mark.parametrize(
    ("case", "found"),
    [
        *((case, RUNNING) for case in (ROOT, DAG, LOOP, CONTAINER)),
        *(
            (case, found)
            for case in (ROOT, DAG, LOOP, CONTAINER, CLAIM)
            for found in (*DONE.values(), SKIPPED)
        ),
        *((case, FAILED_IN_CHILD) for case in (ROOT, DAG, LOOP)),
        (CONTAINER, FAILED_IN_EXECUTOR),
    ],
)
async def test_a_repetition_leaves_its_row_as_it_is(
    stack: Stack, cluster: Cluster, case: Task, found: Found
) -> None:
    _, before, after, updates = await driven(stack, case, found)
    assert updates == 0
    assert after == before
    assert cluster.requests == []


@pytest.mark.parametrize("found", [FAILED, RESET])
@pytest.mark.parametrize("case", [ROOT, DAG, LOOP, CONTAINER])
async def test_a_new_attempt_writes_its_row_once_with_a_marker_of_its_own(
    stack: Stack, case: Task, found: Found
) -> None:
    _, _, after, updates = await driven(stack, case, found)
    assert updates == 1
    assert after.state is TaskState.RUNNING
    assert after.custom_properties[ATTEMPT_PROPERTY] not in ("", "earlier")
    assert after.status_metadata is not None
    assert after.status_metadata.message == ""


@pytest.mark.parametrize(("found", "updates"), [(RUNNING, 1), (FAILED, 2), (RESET, 2)])
async def test_a_platform_operation_that_was_not_done_is_done(
    stack: Stack, cluster: Cluster, found: Found, updates: int
) -> None:
    result, _, after, made = await driven(stack, CLAIM, found)
    assert (after.state, made) == (TaskState.SUCCEEDED, updates)
    assert cluster.requests == ["POST shared"]
    assert not result.cached


@pytest.mark.parametrize(
    ("case", "found", "expected"),
    [
        (CONTAINER, DONE[TaskState.SUCCEEDED], DriverResult(cached=True)),
        (CONTAINER, DONE[TaskState.CACHED], DriverResult(cached=True)),
        (CONTAINER, SKIPPED, DriverResult(condition=False)),
        (CLAIM, DONE[TaskState.SUCCEEDED], DriverResult(cached=False)),
        (CLAIM, DONE[TaskState.CACHED], DriverResult(cached=True)),
        (CLAIM, SKIPPED, DriverResult(condition=False)),
        (DAG, DONE[TaskState.SUCCEEDED], DriverResult(condition=True)),
        (DAG, FAILED_IN_CHILD, DriverResult(condition=True)),
        (LOOP, DONE[TaskState.SUCCEEDED], DriverResult(iteration_count=3)),
        (LOOP, FAILED_IN_CHILD, DriverResult(iteration_count=3)),
        (LOOP, RUNNING, DriverResult(iteration_count=3)),
        (ROOT, DONE[TaskState.SUCCEEDED], DriverResult()),
    ],
)
async def test_a_repetition_is_answered_from_its_row(
    stack: Stack, cluster: Cluster, case: Task, found: Found, expected: DriverResult
) -> None:
    result, *_ = await driven(stack, case, found)
    assert (result.cached, result.condition, result.iteration_count, result.pod_spec_patch) == (
        expected.cached,
        expected.condition,
        expected.iteration_count,
        "",
    )
    assert cluster.requests == []


@pytest.mark.parametrize(
    "found", [RUNNING, FAILED_IN_EXECUTOR, Found(state=TaskState.RUNNING, pods=EXECUTOR)]
)
async def test_the_executor_of_a_repetition_gets_the_patch_of_the_rows_own_marker(
    stack: Stack, found: Found
) -> None:
    result, *_ = await driven(stack, CONTAINER, found)
    assert "/make/earlier/" in result.pod_spec_patch


def broken() -> Json:
    """Every task of it fails in its driver."""
    return pipeline(
        {
            "make": task("comp-make", condition="1 + 1"),
            "group": task("comp-group", condition="1 + 1"),
            "loop": task("comp-group", items="[1]", condition="1 + 1"),
        },
        {"comp-make": leaf("exec-make"), "comp-group": GROUP},
    )


@pytest.mark.parametrize(
    ("case", "found"),
    [
        *((case, found) for case in (DAG, LOOP, CONTAINER) for found in (*DONE.values(), SKIPPED)),
        *((case, FAILED_IN_CHILD) for case in (DAG, LOOP)),
        *((case, Found(state=TaskState.RUNNING, child=True)) for case in (DAG, LOOP)),
        (CONTAINER, FAILED_IN_EXECUTOR),
        (CONTAINER, Found(state=TaskState.RUNNING, pods=EXECUTOR)),
    ],
)
async def test_a_failing_repetition_leaves_the_row_of_work_alone_that_went_on(
    stack: Stack, case: Task, found: Found
) -> None:
    run = await stack.start(broken())
    before = await case.place(run, found)
    root = await run.row(run.root)
    failure = await run.failing(case.kind, case.name)
    assert "not bool" in str(failure)
    assert failure.partial.task_id == before.task_id
    assert await run.row(before.task_id) == before
    assert (await run.row(run.root)).state is root.state


@pytest.mark.parametrize(
    ("case", "found"),
    [
        *((case, found) for case in (DAG, LOOP, CONTAINER) for found in (RUNNING, FAILED, RESET)),
        *((case, Found(state=TaskState.RUNNING, marker=False, child=True)) for case in (DAG, LOOP)),
    ],
)
async def test_a_failing_call_fails_the_row_that_nobody_went_on_with(
    stack: Stack, case: Task, found: Found
) -> None:
    run = await stack.start(broken())
    before = await case.place(run, found)
    failure = await run.failing(case.kind, case.name)
    after = await run.row(before.task_id)
    assert (after.state, after.end_time is not None) == (TaskState.FAILED, True)
    assert after.status_metadata is not None
    assert after.status_metadata.message == str(failure)
    assert (await run.row(run.root)).state is TaskState.FAILED

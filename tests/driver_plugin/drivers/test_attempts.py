"""What a row that CreateTask answers says about the call.

Oracle: the table of spec DRIVER 4.1.
"""

from typing import Any

import pytest

from driver_plugin.drivers.rows import ATTEMPT_PROPERTY, Attempt, decide_attempt
from kfp_api.messages import ChildTask, PipelineTask, StatusMetadata, TaskPod, TaskPodType, TaskState

EXECUTOR = [TaskPod(name="e", uid="1", type=TaskPodType.EXECUTOR)]
DRIVER = [TaskPod(name="d", uid="2", type=TaskPodType.DRIVER)]
CHILDREN = [ChildTask(task_id="c", name="child")]


def row(state: TaskState, marker: str = "", **fields: Any) -> PipelineTask:
    properties: dict[str, Any] = {ATTEMPT_PROPERTY: marker} if marker else {}
    return PipelineTask(state=state, status_metadata=StatusMetadata(custom_properties=properties), **fields)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (row(TaskState.RUNNING, "own"), Attempt.FIRST),
        (row(TaskState.CACHED, "own"), Attempt.FIRST),
        (row(TaskState.FAILED, "own"), Attempt.FIRST),
        (row(TaskState.RUNNING, "other"), Attempt.REDELIVERED),
        (row(TaskState.RUNNING, "other", pods=EXECUTOR), Attempt.REDELIVERED),
        (row(TaskState.SUCCEEDED, "other"), Attempt.FINISHED),
        (row(TaskState.SUCCEEDED), Attempt.FINISHED),
        (row(TaskState.CACHED, "other"), Attempt.FINISHED),
        (row(TaskState.SKIPPED, "other"), Attempt.FINISHED),
        (row(TaskState.FAILED, "other", pods=EXECUTOR), Attempt.HANDED_OVER),
        (row(TaskState.FAILED, pods=EXECUTOR), Attempt.HANDED_OVER),
        (row(TaskState.FAILED, "other", child_tasks=CHILDREN), Attempt.HANDED_OVER),
        (row(TaskState.FAILED, "other"), Attempt.NEW),
        (row(TaskState.FAILED, "other", pods=DRIVER), Attempt.NEW),
        (row(TaskState.RUNNING), Attempt.NEW),
        (PipelineTask(state=TaskState.RUNNING), Attempt.NEW),
    ],
)
def test_the_answered_row_decides_what_the_call_is(found: PipelineTask, expected: Attempt) -> None:
    assert decide_attempt(found, "own") is expected


def test_only_a_first_or_new_attempt_writes_the_row() -> None:
    assert [attempt for attempt in Attempt if attempt.writes] == [Attempt.FIRST, Attempt.NEW]

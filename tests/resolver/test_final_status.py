"""Final status of a task. Oracle: the struct and texts of spec RESOLVER 5.4."""

from typing import Any

import pytest

from kfp_api.ir.pipeline import TaskSpec
from resolver.errors import ResolutionError
from resolver.executor_input import input_artifact_links
from resolver.final_status import NO_FINAL_STATE, final_status_producers
from resolver.inputs import resolve_inputs
from tests.resolver.builders import context_of, entry_of, leaf, resolve_task, row, shown, spec_of, task_of

SOURCE = {"taskFinalStatus": {"producerTask": "exit-handler-1"}}
EXIT_TASK = task_of("c", {"status": SOURCE}, dependentTasks=["exit-handler-1"])
SIBLINGS = {"exit-handler-1": task_of("d")}
DAG: dict[str, Any] = {"d": {"dag": {"tasks": {}}}}


async def resolve(declared: str = "TASK_FINAL_STATUS", **fields: Any) -> Any:
    handler = row("h", "exit-handler-1", **fields)
    return await resolve_task(
        EXIT_TASK, leaf({"status": declared}), siblings=SIBLINGS, components=DAG, rows=[handler]
    )


@pytest.mark.parametrize("declared", ["TASK_FINAL_STATUS", "STRUCT"])
async def test_final_status_failed_and_ok(declared: str) -> None:
    """D16: its type is called an output; it is an input as any other, and makes no artifact link."""
    resolved = await resolve(declared, state="FAILED", status_metadata={"message": "boom"})
    entry = entry_of(resolved, "status")
    assert entry["value"] == {
        "state": "FAILED",
        "pipelineTaskName": "exit-handler-1",
        "pipelineJobResourceName": "wf-x7k2p",
        "error": {"code": 2, "message": "boom"},
    }
    assert entry["type"] == "TASK_FINAL_STATUS_OUTPUT"
    assert input_artifact_links(resolved, run_id="run-1", task_id="new") == []


@pytest.mark.parametrize(
    ("state", "message", "reported", "error"),
    [
        ("SUCCEEDED", "", "SUCCEEDED", {}),
        ("CACHED", "", "SUCCEEDED", {}),
        ("SKIPPED", "why", "SKIPPED", {"message": "why"}),
        ("FAILED", "", "FAILED", {"code": 2}),
        ("RUNNING", "", "FAILED", {"code": 2, "message": NO_FINAL_STATE}),
        ("RUNTIME_STATE_UNSPECIFIED", "", "FAILED", {"code": 2, "message": NO_FINAL_STATE}),
    ],
)
async def test_final_status_cached(state: str, message: str, reported: str, error: dict[str, Any]) -> None:
    """D13: upstream passes CACHED through, which no user code expects."""
    value = shown(await resolve(state=state, status_metadata={"message": message}))["status"]
    assert value["state"] == reported
    assert value["error"] == error


async def test_a_string_input_gets_the_json_text() -> None:
    assert shown(await resolve("STRING"))["status"] == (
        '{"error":{},"pipelineJobResourceName":"wf-x7k2p","pipelineTaskName":"exit-handler-1","state":"SUCCEEDED"}'
    )


async def test_final_status_in_iteration() -> None:
    body = {"dag": {"tasks": {"t": EXIT_TASK, **SIBLINGS}}}
    loop = task_of("loop", parameterIterator={"items": {"raw": "[1,2]"}, "itemInput": "i"})
    spec = spec_of({"c": leaf({"status": "STRUCT"}), "loop": body, **DAG}, {"for-loop-1": loop})
    rows = [
        row("h0", "exit-handler-1", "L", iteration=0, state="FAILED"),
        row("h1", "exit-handler-1", "L", iteration=1),
    ]
    head = row("L", "for-loop-1", count=2)

    states = [
        shown(await resolve_inputs(context_of(spec, "for-loop-1.t", rows=rows, parent=head, iteration=index)))
        for index in (0, 1)
    ]
    assert [state["status"]["state"] for state in states] == ["FAILED", "SUCCEEDED"]


@pytest.mark.parametrize(
    ("task", "text"),
    [
        (task_of("c", {"status": SOURCE}), "task shown-c has no dependent tasks"),
        (EXIT_TASK, "producer task, exit-handler-1, not in tasks"),
        (
            task_of("c", {"status": {"taskFinalStatus": {}}}, dependentTasks=["x"]),
            "producerTask task cannot be empty",
        ),
    ],
)
async def test_final_status_no_dependents(task: dict[str, Any], text: str) -> None:
    """D22: upstream prints an empty name for the missing producer."""
    with pytest.raises(ResolutionError, match=text):
        await resolve_task(task, leaf({"status": "STRUCT"}), siblings=SIBLINGS, components=DAG)


def test_the_producers_to_re_read_are_named() -> None:
    assert final_status_producers(TaskSpec.parse(EXIT_TASK)) == ["exit-handler-1"]
    assert final_status_producers(TaskSpec.parse(task_of("c"))) == []

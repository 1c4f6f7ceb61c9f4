"""The final status of a task as an input of its exit task (spec RESOLVER 5.4).

The driver re-reads producers that still run before it resolves (spec DRIVER 12.2);
:func:`final_status_producers` names them. What is still unsettled here is reported as failed: ``RUNNING``
is never a final status, and neither is ``CACHED``.
"""

from typing import Final

from pydantic import JsonValue

from kfp_api.ir.pipeline import TaskFinalStatus, TaskSpec
from kfp_api.messages import IOType, PipelineTask, TaskState
from resolver.context import ResolveContext, ResolvedValue
from resolver.errors import ResolutionError

NO_FINAL_STATE: Final = "task did not report a final state"

_UNSETTLED: Final = frozenset({TaskState.RUNNING, TaskState.RUNTIME_STATE_UNSPECIFIED})
_FAILED_CODE: Final = 2


def final_status_producers(task: TaskSpec) -> list[str]:
    """Keys of the sibling tasks whose final status this task takes as input, sorted."""
    sources = (spec.task_final_status for spec in task.inputs.parameters.values())
    return sorted({source.producer_task for source in sources if source and source.producer_task})


async def resolve_final_status(source: TaskFinalStatus, context: ResolveContext) -> ResolvedValue:
    """The final status of a sibling as a struct.

    Raises:
        ResolutionError: no producer is named, the task depends on nothing, or the producer has no row.
    """
    if not source.producer_task:
        raise ResolutionError("producerTask task cannot be empty")
    if not context.task_spec.dependent_tasks:
        raise ResolutionError(f"task {context.task_spec.task_info.name} has no dependent tasks")
    row = await context.sibling(source.producer_task)
    if row is None:
        raise ResolutionError(f"producer task, {source.producer_task}, not in tasks")
    return ResolvedValue(
        final_status(row, run_name=context.run_name),
        IOType.TASK_FINAL_STATUS_OUTPUT,
        context.producer(context.parent.name),
    )


def final_status(row: PipelineTask, *, run_name: str) -> JsonValue:
    """The struct that user code gets for a settled row."""
    state = TaskState.SUCCEEDED if row.state is TaskState.CACHED else row.state
    message = row.status_metadata.message if row.status_metadata else ""
    if state in _UNSETTLED:
        state, message = TaskState.FAILED, NO_FINAL_STATE
    error: dict[str, JsonValue] = {}
    if state is TaskState.FAILED:
        error["code"] = _FAILED_CODE
    if message:
        error["message"] = message
    return {
        "state": state.value,
        "pipelineTaskName": row.name,
        "pipelineJobResourceName": run_name,
        "error": error,
    }

"""The row of a call before anything is resolved: all of its identity, and what is known anyway.

Type, place and iteration index are the row's logical key (spec DRIVER 2.1). They follow from the call and the
pipeline alone, so that a call that fails early and its retry mean the same row.
"""

from typing import Final

from driver_plugin.argo.arguments import DriverCall
from driver_plugin.argo.driver_type import DriverType
from driver_plugin.drivers.bootstrap import Place
from driver_plugin.settings import Settings
from kfp_api.ir.pipeline import TaskSpec
from kfp_api.messages import PipelineTask, StatusMetadata, TaskPod, TaskPodType, TaskType, TypeAttributes
from propagation.loop_size import LOOP_SIZE_PROPERTY

ROOT_NAME: Final = "ROOT"
"""Name of the root row, and producer of the run's parameters."""


def infer_type(task_key: str, task: TaskSpec) -> TaskType:
    """Type of a DAG row, the table of spec DRIVER 6.2; part of the row's identity."""
    if task.has_iterator:
        return TaskType.LOOP
    if task.trigger_policy.condition:
        return TaskType.CONDITION_BRANCH
    if task_key.startswith("condition") and not task_key.startswith("condition-branch"):
        return TaskType.CONDITION
    if task_key.startswith("exit-handler-"):
        return TaskType.EXIT_HANDLER
    return TaskType.DAG


_DISPLAY_NAMES: Final = {
    TaskType.LOOP: "Loop",
    TaskType.CONDITION_BRANCH: "Condition Branch",
    TaskType.CONDITION: "Condition",
    TaskType.EXIT_HANDLER: "Exit Handler",
}


def skeleton_row(call: DriverCall, place: Place, settings: Settings) -> PipelineTask:
    """The row that a call means; its state and inputs are not said yet."""
    pods = _own_pods(settings)
    if place.task is None or place.parent is None:
        return PipelineTask(
            name=ROOT_NAME,
            run_id=call.run_id,
            type=TaskType.ROOT,
            scope_path=place.scope.dot,
            type_attributes=TypeAttributes(),
            pods=pods,
        )
    kind = TaskType.RUNTIME if call.type is DriverType.CONTAINER else infer_type(call.task_name, place.task)
    return PipelineTask(
        name=call.task_name,
        display_name=_DISPLAY_NAMES.get(kind, place.task.task_info.name or call.task_name),
        run_id=call.run_id,
        type=kind,
        scope_path=place.scope.dot,
        parent_task_id=place.parent.task_id,
        type_attributes=TypeAttributes(iteration_index=call.iteration_index),
        status_metadata=_noted(place.parent),
        pods=pods,
    )


def _noted(parent: PipelineTask) -> StatusMetadata | None:
    """What the row tells its launcher about the parent, so that no launcher reads a loop head."""
    if parent.iteration_count is None:
        return None
    return StatusMetadata(custom_properties={LOOP_SIZE_PROPERTY: parent.iteration_count})


def _own_pods(settings: Settings) -> list[TaskPod]:
    """The service's own pod, where the operator names it (spec DRIVER 4.1)."""
    if not (settings.pod_name and settings.pod_uid):
        return []
    return [TaskPod(name=settings.pod_name, uid=settings.pod_uid, type=TaskPodType.DRIVER)]

"""When the drivers speak to a run's plugins, and what they tell them (spec DRIVER 12.4)."""

import uuid
from collections.abc import Iterable
from typing import Final

from driver_plugin.argo.driver_type import DriverType
from driver_plugin.drivers.bootstrap import Invocation
from driver_plugin.drivers.inputs import TaskInputs
from driver_plugin.drivers.rows import Attempt, now
from driver_plugin.hooks.plugin import TaskEnd, TaskStart
from driver_plugin.hooks.task_plugins import plugin_properties
from kfp_api.messages import ArtifactType, IOArtifact, PipelineTask, TaskState
from kfp_api.wire import UNSET

_TASKS: Final = uuid.UUID("5f4c8a52-9a0b-5b0e-a3f6-1d0f3f1c7b1e")


async def write_row(work: Invocation, fields: PipelineTask) -> Attempt:
    """Tell the plugins that the task begins, then write its row with ``fields`` and their properties.

    Another delivery of the same call may have made the row: plugins go on with what stands there, so that
    both deliveries get the same answer.
    """
    await _start_plugins(work)
    attempt = await work.writer.write(fields)
    row = work.writer.row
    work.log.info("row decided", attempt=attempt.value, task_id=row.task_id, state=row.state.value)
    await work.plugins.resume(row.custom_properties)
    return attempt


async def _start_plugins(work: Invocation) -> None:
    """Tell the plugins of a task before its row is written; the row gets their properties.

    A DAG inside an iteration has no start of its own, it takes over the properties of its parent.
    """
    call, place = work.call, work.place
    if place.task is None or place.parent is None:
        return
    inherited = place.parent.custom_properties
    if call.type is DriverType.DAG and call.iteration_index is not None:
        work.writer.add_properties(plugin_properties(inherited))
        return
    work.plugins.inherit(inherited)
    identity = "/".join((call.run_id, call.parent_task_id, call.task_name, str(call.iteration_index)))
    start = TaskStart(name=place.task.task_info.name or call.task_name, key=str(uuid.uuid5(_TASKS, identity)))
    work.writer.add_properties(await work.plugins.start(start))


async def end_plugins(
    work: Invocation,
    state: TaskState,
    *,
    inputs: TaskInputs | None = None,
    outputs: Iterable[IOArtifact] = (),
) -> None:
    """Tell the plugins of a task that ended in the driver."""
    values = inputs.executor_inputs.parameter_values if inputs else {}
    await work.plugins.end(
        TaskEnd(
            state=state,
            end_ms=round(now().timestamp() * 1000),
            parameters={key: value for key, value in values.items() if value is not UNSET},
            metrics=scalar_metrics(outputs),
        )
    )


def scalar_metrics(outputs: Iterable[IOArtifact]) -> dict[str, float]:
    """Numbers of metric artifacts: each one's own under its name, and the numeric ones of its metadata."""
    metrics: dict[str, float] = {}
    for artifact in (one for entry in outputs for one in entry.artifacts):
        if artifact.type is not ArtifactType.Metric:
            continue
        if artifact.number_value is not None:
            metrics[artifact.name] = artifact.number_value
        for key, value in artifact.metadata.items():
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                metrics[key] = float(value)
    return metrics

"""The DAG driver: conditions, loops, exit handlers and nested pipelines (spec DRIVER 6)."""

from driver_plugin.argo.replies import DriverResult
from driver_plugin.drivers.bootstrap import Invocation
from driver_plugin.drivers.completion import walk_statuses
from driver_plugin.drivers.inputs import TaskInputs, link_inputs, resolve_task_inputs
from driver_plugin.drivers.plugin_steps import end_plugins, write_row
from driver_plugin.drivers.republish import republish
from driver_plugin.drivers.rows import Attempt, now
from driver_plugin.errors import DriverError
from kfp_api.known_parent import WORKSPACE_PROPERTY
from kfp_api.messages import PRESERVED_STATES, PipelineTask, TaskState, TypeAttributes
from resolver.executor_input import workspace_artifacts


async def drive_dag(work: Invocation) -> DriverResult:
    """Create the row of a DAG; one that will have no children ends here."""
    task = work.place.task
    if task is not None and task.artifact_iterator is not None:
        raise DriverError("ArtifactIterator is not implemented")
    inputs = await resolve_task_inputs(work)
    count = _iteration_count(work, inputs)
    work.learn(iteration_count=count)
    state = _initial_state(work, inputs, count)
    ends_here = state in PRESERVED_STATES
    in_workspace = await workspace_artifacts(inputs.context, inputs.resolved)
    if in_workspace is not None:
        work.writer.add_properties({WORKSPACE_PROPERTY: [*sorted(in_workspace)]})
    attempt = await write_row(
        work,
        PipelineTask(
            state=state,
            end_time=now() if ends_here else None,
            inputs=inputs.recorded,
            type_attributes=TypeAttributes(iteration_index=work.call.iteration_index, iteration_count=count),
        ),
    )
    row = work.writer.row
    if attempt is not Attempt.HANDED_OVER:
        await link_inputs(work, inputs)
        if row.state in PRESERVED_STATES:
            await walk_statuses(work.run, row, work.log)
        elif attempt is not Attempt.FIRST:
            await republish(work)
    await end_plugins(work, TaskState.SUCCEEDED, inputs=inputs)
    stored = count if row.iteration_count is None else row.iteration_count
    return DriverResult(task_id=row.task_id, iteration_count=stored or 0, condition=inputs.condition)


def _iteration_count(work: Invocation, inputs: TaskInputs) -> int | None:
    """Number of items of a loop, also when its condition is false; ``None`` for other DAGs."""
    count, limit = inputs.resolved.iteration_count, work.services.settings.max_iterations
    if count is not None and count > limit:
        raise DriverError(
            f"the loop has {count} iterations, the limit is {limit} (KFP_DRIVER_MAX_ITERATIONS)"
        )
    return count


def _initial_state(work: Invocation, inputs: TaskInputs, count: int | None) -> TaskState:
    if not inputs.triggered or count == 0:
        return TaskState.SKIPPED
    dag = work.place.component.dag
    return TaskState.RUNNING if dag is not None and dag.tasks else TaskState.SUCCEEDED

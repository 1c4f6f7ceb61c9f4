"""A call's resolved inputs: the resolver asked with this run's rows, and the links that record them."""

from dataclasses import dataclass

from driver_plugin.drivers.bootstrap import Invocation
from driver_plugin.drivers.conditions import evaluate_condition
from driver_plugin.drivers.facts import shown_values, sources
from driver_plugin.drivers.final_status import settle_final_statuses
from driver_plugin.drivers.job_times import job_times
from driver_plugin.errors import DriverError
from kfp_api.ir.executor_input import ExecutorInputs
from kfp_api.messages import InputOutputs
from resolver.context import ResolveContext
from resolver.errors import ExpressionError
from resolver.executor_input import build_executor_inputs, input_artifact_links
from resolver.inputs import ResolvedInputs, resolve_inputs


@dataclass(frozen=True, kw_only=True)
class TaskInputs:
    """What a task works with: inputs as rows record them, as its executor sees them, and the condition."""

    context: ResolveContext
    resolved: ResolvedInputs
    executor_inputs: ExecutorInputs
    condition: bool | None

    @property
    def triggered(self) -> bool:
        """Whether the task runs."""
        return self.condition is not False

    @property
    def recorded(self) -> InputOutputs:
        """The input parameters of the row; artifacts are linked apart from it."""
        return InputOutputs(parameters=list(self.resolved.parameters))


async def resolve_task_inputs(work: Invocation) -> TaskInputs:
    """Resolve the inputs of a task and evaluate its condition; nothing is written.

    Raises:
        ResolutionError: an input cannot be resolved, or the condition cannot be evaluated.
    """
    place = work.place
    if place.task is None or place.parent is None:
        raise DriverError("parent task is required")
    _hide_secrets(work)
    context = await _context(work)
    resolved = await resolve_inputs(context)
    work.log.info("inputs resolved", **sources(resolved))
    executor_inputs = await build_executor_inputs(context, resolved)
    work.log.hide(executor_inputs.parameter_values)
    work.log.debug("input values", values=shown_values(work.log.hide_in(executor_inputs.parameter_values)))
    try:
        condition = evaluate_condition(
            place.task, executor_inputs, engine=work.services.expressions, log=work.log
        )
    except ExpressionError as error:
        raise error.within(f'evaluating the condition of task "{context.task_key}": ') from error
    work.learn(condition=condition)
    return TaskInputs(
        context=context, resolved=resolved, executor_inputs=executor_inputs, condition=condition
    )


def _hide_secrets(work: Invocation) -> None:
    """What is secret among what the inputs are made of: errors of the resolution may quote it."""
    place = work.place
    assert place.task is not None
    assert place.parent is not None
    work.log.hide({entry.parameter_key: entry.value for entry in place.parent.input_parameters})
    constants = {
        key: source.runtime_value.constant
        for key, source in place.task.inputs.parameters.items()
        if source.runtime_value is not None
    }
    work.log.hide(constants)


async def _context(work: Invocation) -> ResolveContext:
    place, call = work.place, work.call
    assert place.task is not None
    assert place.parent is not None
    run = await work.run.facts()
    times = await job_times(
        run,
        place.task,
        workflow=(call.namespace, call.workflow_name),
        kubernetes=work.services.kubernetes,
        log=work.log,
    )
    context = ResolveContext(
        spec=place.spec,
        run_id=call.run_id,
        run_name=call.run_name,
        run_display_name=call.run_display_name or run.display_name,
        create_time_utc=times.create,
        schedule_time_utc=times.schedule,
        scope=place.scope,
        parent=place.parent,
        rows=work.run,
        iteration_index=call.iteration_index,
        workspace_path=work.services.settings.workspace_path,
        expressions=work.services.expressions,
    )
    settled = await settle_final_statuses(work.run, context, sleep=work.services.sleep)
    # Inputs and pod-spec patch ask the same questions.
    return settled.joined()


async def link_inputs(work: Invocation, inputs: TaskInputs) -> None:
    """Record the input artifacts as links; links that are there already stay (spec DRIVER 4.2)."""
    links = input_artifact_links(inputs.resolved, run_id=work.call.run_id, task_id=work.writer.row.task_id)
    if links:
        await work.run.client.create_artifact_tasks(links)

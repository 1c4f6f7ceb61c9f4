"""A task's trigger condition, evaluated over its resolved inputs (spec DRIVER 10)."""

from driver_plugin.system_logs.capture import InvocationLog
from kfp_api.ir.executor_input import ExecutorInputs
from kfp_api.ir.pipeline import TaskSpec
from resolver.expressions import ExpressionEngine


def evaluate_condition(
    task: TaskSpec, inputs: ExecutorInputs, *, engine: ExpressionEngine, log: InvocationLog
) -> bool | None:
    """Whether the task is triggered; ``None`` when it has no condition. The strategy plays no part here.

    Raises:
        ExpressionError: the condition cannot be evaluated or is not a boolean.
    """
    expression = task.trigger_policy.condition
    if not expression:
        return None
    outcome = engine.condition(expression, inputs)
    log.info("condition evaluated", expression=expression, outcome=outcome)
    log.debug(
        "condition values",
        values={key: value for key, value in inputs.parameter_values.items() if key in expression},
    )
    return outcome

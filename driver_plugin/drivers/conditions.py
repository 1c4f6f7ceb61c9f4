"""A task's trigger condition, evaluated over its resolved inputs (spec DRIVER 10)."""

import re
from typing import Final

from driver_plugin.drivers.facts import shown_values
from driver_plugin.system_logs.capture import InvocationLog
from driver_plugin.system_logs.redaction import is_secret_key
from kfp_api.ir.executor_input import ExecutorInputs
from kfp_api.ir.pipeline import TaskSpec
from resolver.expressions import ExpressionEngine

_LITERAL: Final = re.compile(r"'([^']*)'|\"([^\"]*)\"")


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
    values = {key: value for key, value in inputs.parameter_values.items() if key in expression}
    if any(is_secret_key(key) for key in values):
        # The literal beside a secret is the secret, or a guess at it.
        literals = {text for pair in _LITERAL.findall(expression) for text in pair}
        log.hide({"secret": sorted(literals - inputs.parameter_values.keys())})
    # Before the evaluation, which may fail over them.
    log.debug("condition values", values=shown_values(log.hide_in(values)))
    outcome = engine.condition(expression, inputs)
    log.info("condition evaluated", expression=expression, outcome=outcome)
    return outcome

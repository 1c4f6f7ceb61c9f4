"""``when`` clauses of DAG tasks (spec LAUNCHER E3.4)."""

from local_stack.runner.errors import ExpressionSyntaxError
from local_stack.runner.expressions import evaluate


def should_execute(expression: str) -> bool:
    """Whether a task with this ``when`` clause runs; no clause means yes.

    A bare word is a text: ``nil != false`` compares a text with a boolean and is true, and so is
    ``False != false``.

    Raises:
        ExpressionSyntaxError: ``Invalid 'when' expression …``.
    """
    if not expression:
        return True
    try:
        return evaluate(expression, word=str)
    except ExpressionSyntaxError as error:
        raise ExpressionSyntaxError(f"Invalid 'when' expression '{expression}': {error}") from error

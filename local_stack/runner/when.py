"""``when`` clauses of DAG tasks (spec LAUNCHER E3.4)."""

import re
from typing import Final

from kfp_api.shortening import beginning
from local_stack.runner.errors import ExpressionSyntaxError
from local_stack.runner.expressions import SHOWN, evaluate

_WORD: Final = re.compile(r"[^\W\d]\w*")
_OPERATORS: Final = ("in", "IN")


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
        return evaluate(expression, word=_bare_word)
    except ExpressionSyntaxError as error:
        raise ExpressionSyntaxError(
            f"Invalid 'when' expression '{beginning(expression, SHOWN)}': {error}"
        ) from error


def _bare_word(word: str) -> str:
    """A word of letters, digits and underscores. Argo reads others as formulas: ``dry-run`` subtracts."""
    if not _WORD.fullmatch(word) or word in _OPERATORS:
        raise ExpressionSyntaxError(f"{beginning(word, SHOWN)!r} must stand in quotes to be a text")
    return word

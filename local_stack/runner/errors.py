"""What can go wrong in the local runner, and what the user reads.

Errors of one node (:class:`NodeError`) become that node's phase and message; errors of the workflow
itself (:class:`UnsupportedWorkflowError`) end the command before anything was started.
"""


class RunnerError(Exception):
    """Base of the runner's errors; its text is one line for the user."""

    exit_code: int = 1


class UnsupportedWorkflowError(RunnerError):
    """The workflow uses something that the runner does not execute; the text names the field."""

    exit_code = 2

    def __init__(self, field: str, reason: str = "is not supported by the local runner") -> None:
        super().__init__(f"{field} {reason}")
        self.field = field


class ExecutorModeError(RunnerError):
    """Executors cannot run on this machine in the way that was asked for; the text says what to do."""

    exit_code = 2


class NodeError(RunnerError):
    """A node cannot be executed: it ends in phase Error with this text."""


class SubstitutionError(NodeError):
    """A ``{{tag}}`` or an input has no value."""


class ExpressionSyntaxError(NodeError):
    """A ``when``, ``depends``, retry or success expression cannot be read or evaluated."""

"""What can go wrong in a driver call, and what each kind of failure means to Argo.

One small hierarchy: the text of a :class:`DriverError` is what a pipeline author reads in the node's
message, and ``retryable`` says whether the same call may succeed later without anybody changing anything.
``driver_plugin.invocation`` is the one place that maps these, the resolver's errors and the API client's
errors to Argo's answers (spec DRIVER 1.3, 9.2).
"""

from typing import ClassVar

from driver_plugin.argo.replies import DriverResult


class DriverError(Exception):
    """The call failed; ``str(error)`` is for the user. Without a more special class: node ``Failed``."""

    retryable: bool = False


class ArgumentError(DriverError):
    """An argument of the plugin template is missing or wrong: node ``Failed``, the message names it."""


class UnavailableError(DriverError):
    """Something the driver depends on is down for now: tried again until the outage budget is spent."""

    retryable = True


class ForbiddenError(DriverError):
    """The caller is not bound to this namespace, run or workflow: HTTP 403, nothing is done."""


class OverloadedError(DriverError):
    """Draining, or over the admission limit, before any side effect: HTTP 503, the agent tries again."""

    retryable = True


class DriverFailure(DriverError):  # noqa: N818 (a failure that carries results, not a kind of error)
    """A driver failed after it had learned something; ``raise DriverFailure(...) from error``.

    ``partial`` holds the outputs known so far, which the failed node still publishes. Whether a retry
    helps is decided by the cause.
    """

    def __init__(self, message: str, *, partial: DriverResult) -> None:
        super().__init__(message)
        self.partial = partial


class ConfigurationError(Exception):
    """The service cannot start with these settings. The text is one line; exit code 78 (EX_CONFIG)."""

    exit_code: ClassVar[int] = 78


class UsageError(Exception):
    """The command line is wrong. The text is one line; exit code 2."""

    exit_code: ClassVar[int] = 2


def is_retryable(error: BaseException) -> bool:
    """Whether trying the same call again may help, without a change by anybody.

    Looks at the ``retryable`` attribute of the error and of its explicit causes: API and Kubernetes
    errors carry one too, and a :class:`DriverFailure` is as retryable as what caused it.
    """
    current: BaseException | None = error
    while current is not None:
        if getattr(current, "retryable", False):
            return True
        current = current.__cause__
    return False

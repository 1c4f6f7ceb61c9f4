"""What can be wrong with a task's pod: each text says to the pipeline's author what to change.

The place that finds a mistake knows the value, its callers know the field and the task: :func:`naming` puts
those in front on the way out.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from driver_plugin.errors import DriverError


class PodSpecError(DriverError):
    """The pod cannot be described as the pipeline asks; trying again does not help."""


class QuantityError(PodSpecError):
    """A text is not a Kubernetes quantity."""


class OutputPathError(PodSpecError):
    """A pipeline or task name cannot be part of an output URI."""


class LauncherConfigError(PodSpecError):
    """The namespace's launcher configuration cannot be used."""


@contextmanager
def naming(what: str) -> Iterator[None]:
    """Put ``what``, a task or a field, before the text of every :class:`PodSpecError` from inside."""
    try:
        yield
    except PodSpecError as error:
        raise type(error)(f"{what}: {error}") from error

"""What can be wrong with a task's pod: each text says to the pipeline's author what to change."""

from driver_plugin.errors import DriverError


class PodSpecError(DriverError):
    """The pod cannot be described as the pipeline asks; trying again does not help."""


class QuantityError(PodSpecError):
    """A text is not a Kubernetes quantity."""


class OutputPathError(PodSpecError):
    """A pipeline or task name cannot be part of an output URI."""


class LauncherConfigError(PodSpecError):
    """The namespace's launcher configuration cannot be used."""

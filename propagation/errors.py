"""What can go wrong while status and outputs travel up, beside the KFP API itself."""

from kfp_api.errors import KfpApiError


class PropagationError(KfpApiError):
    """The rows of the run do not fit its pipeline: a missing loop size, a scope path that leads nowhere.

    A :class:`~kfp_api.errors.KfpApiError`, because callers treat both alike: a walk that fails never
    fails the task that it started from.
    """

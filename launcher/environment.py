"""Settings of the launcher that come from its environment."""

from collections.abc import Mapping

from launcher.errors import LauncherError


def seconds(environment: Mapping[str, str], name: str, *, default: float) -> float:
    """A duration in seconds, zero or more.

    Raises:
        LauncherError: the variable holds something else.
    """
    text = environment.get(name, "")
    try:
        found = float(text) if text else default
    except ValueError:
        found = -1
    if not 0 <= found < float("inf"):
        raise LauncherError(f"{name} must be a number of seconds, not {text!r}")
    return found

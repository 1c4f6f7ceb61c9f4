"""Small words of the room: Kubernetes objects as plain data, and where warnings go."""

from typing import Any, Protocol

JsonObject = dict[str, Any]
"""A Kubernetes object, or a part of one, in its JSON form."""


class EventLog(Protocol):
    """What the patch says about itself: the invocation's log, or any structlog logger."""

    def debug(self, event: str, /, **fields: Any) -> Any:
        """Record an event that only debugging needs."""

    def warning(self, event: str, /, **fields: Any) -> Any:
        """Record that something was ignored or changed."""


def without_empty(document: JsonObject) -> JsonObject:
    """``document`` without the members that Kubernetes' own encoder leaves out: unset and empty ones.

    Numbers and booleans stay, zero and ``False`` among them: callers give them only when they are set.
    """
    return {key: value for key, value in document.items() if value is not None and value not in ("", [], {})}

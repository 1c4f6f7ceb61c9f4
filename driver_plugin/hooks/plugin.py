"""What a task plugin is: told of a task's start and end, it may add properties and variables (DRIVER 12.4).

A plugin object belongs to one driver call. It is configured by the run, through the argument
``runtime_args``; where it may connect to is the operator's decision.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from pydantic import JsonValue

from kfp_api.messages import TaskState

PROPERTY_PREFIX: Final = "plugins."
"""Custom properties of task rows under this prefix belong to plugins; children of a loop inherit them."""


@dataclass(frozen=True, kw_only=True)
class TaskStart:
    """A task that begins.

    Attributes:
        name: display name of the task.
        key: the same text for every delivery of the same task's call, unlike any other task's.
    """

    name: str
    key: str


@dataclass(frozen=True, kw_only=True)
class TaskEnd:
    """A task that ended inside the driver.

    Attributes:
        state: final state of its row.
        end_ms: when it ended, in milliseconds since the epoch.
        parameters: resolved inputs.
        metrics: scalar metrics of its outputs, by name.
    """

    state: TaskState
    end_ms: int
    parameters: Mapping[str, JsonValue] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)


class PluginError(Exception):
    """The plugin could not do its part; the text is for the driver's log."""


class TaskPlugin(Protocol):
    """One plugin at work for one driver call. Methods raise :class:`PluginError` when they fail."""

    @property
    def name(self) -> str:
        """Names the plugin in logs; plugins run in the order of their names."""
        ...

    def apply_properties(self, properties: Mapping[str, str]) -> None:
        """Learn the properties of the parent's row, before the task starts."""
        ...

    async def start(self, task: TaskStart) -> dict[str, str]:
        """The task begins; custom properties for its row. Repeated for a call that is delivered again."""
        ...

    async def resume(self, properties: Mapping[str, str]) -> None:
        """The task's row has these properties, maybe from another delivery of the call: go on with them."""
        ...

    async def end(self, task: TaskEnd) -> None:
        """The task ended. Repeated like :meth:`start`."""
        ...

    def user_variables(self) -> Sequence[dict[str, Any]]:
        """Kubernetes ``EnvVar`` objects for the user's container."""
        ...

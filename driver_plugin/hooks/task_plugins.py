"""The plugins of one driver call, run together: their failures are logged and fail nothing.

The one exception are the variables of the user's container: a task that was promised them must not run
without. A plugin is told of an end only if its start succeeded (spec DRIVER 12.4).
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from pydantic import JsonValue

from driver_plugin.errors import DriverError
from driver_plugin.hooks.plugin import PROPERTY_PREFIX, PluginError, TaskEnd, TaskPlugin, TaskStart


class PluginLog(Protocol):
    """Where failures of plugins are told."""

    def info(self, event: str, /, **fields: Any) -> None:
        """Record a step."""
        ...

    def warning(self, event: str, /, **fields: Any) -> None:
        """Record a failure that fails nothing."""
        ...


class TaskPlugins:
    """One call's plugins in the order of their names. Without plugins every method does nothing."""

    def __init__(self, plugins: Sequence[TaskPlugin], *, log: PluginLog) -> None:
        self._plugins = sorted(plugins, key=lambda plugin: plugin.name)
        self._started: list[TaskPlugin] = []
        self._log = log

    def inherit(self, properties: Mapping[str, JsonValue]) -> None:
        """Apply what the parent's row says to plugins."""
        own = plugin_properties(properties)
        for plugin in self._plugins:
            with self._tolerated(plugin, "plugin could not learn what its parent noted"):
                plugin.apply_properties(own)

    async def start(self, task: TaskStart) -> dict[str, str]:
        """Tell every plugin that the task begins; the properties for its row."""
        properties: dict[str, str] = {}
        for plugin in self._plugins:
            with self._tolerated(plugin, "plugin failed at the start of the task"):
                properties |= await plugin.start(task)
                self._started.append(plugin)
                self._log.info("plugin told of the start of the task", plugin=plugin.name)
        return properties

    async def resume(self, properties: Mapping[str, JsonValue]) -> None:
        """Tell every started plugin what stands on the task's row."""
        own = plugin_properties(properties)
        for plugin in self._started:
            with self._tolerated(plugin, "plugin could not resume the task"):
                await plugin.resume(own)

    async def end(self, task: TaskEnd) -> None:
        """Tell every started plugin, once, that the task ended."""
        started, self._started = self._started, []
        for plugin in started:
            with self._tolerated(plugin, "plugin failed at the end of the task"):
                await plugin.end(task)

    def user_variables(self) -> tuple[dict[str, Any], ...]:
        """Variables of all plugins for the user's container.

        Raises:
            DriverError: a plugin cannot give them.
        """
        variables: list[dict[str, Any]] = []
        for plugin in self._plugins:
            try:
                variables += plugin.user_variables()
            except Exception as error:
                raise DriverError(f"plugin {plugin.name}: {_described(error)}") from error
        return tuple(variables)

    @contextmanager
    def _tolerated(self, plugin: TaskPlugin, event: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # noqa: BLE001 (whatever is wrong with a plugin, the task goes on)
            self._log.warning(event, plugin=plugin.name, error=_described(error))


def _described(error: Exception) -> str:
    return str(error) if isinstance(error, PluginError) else f"{type(error).__name__}: {error}"


def plugin_properties(properties: Mapping[str, JsonValue]) -> dict[str, str]:
    """The properties of a row that belong to plugins, as text."""
    return {
        key: value if isinstance(value, str) else str(value)
        for key, value in properties.items()
        if key.startswith(PROPERTY_PREFIX)
    }

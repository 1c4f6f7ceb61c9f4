"""Constants: placeholders, the workspace path and pipeline channels inside them (spec RESOLVER 5.3).

All of a text is replaced in one pass, so that a value which looks like a placeholder stays what it is.
Placeholders that only the launcher can resolve (outputs, ``{{$}}``, parameters that are no channels) are
left alone.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from pydantic import JsonValue

from kfp_api.messages import IOType
from resolver.context import ResolveContext, ResolvedValue
from resolver.errors import ResolutionError
from resolver.values import MAX_NESTING, next_level, value_to_text

ChannelReader = Callable[[str, str], Awaitable[ResolvedValue]]
"""From a channel's name and its placeholder to its value."""

MAX_TEXT: Final = 4 * 1024 * 1024
"""Characters that replacing may produce for all constants of a task together."""

_CHANNEL: Final = re.compile(r"\{\{\$\.inputs\.parameters\['(pipelinechannel--[^']+)'\]\}\}")
_PLACEHOLDER: Final = re.compile(rf"{_CHANNEL.pattern}|\{{\{{\$\.(workspace_path|pipeline_\w+)\}}\}}")


def job_placeholders(context: ResolveContext) -> Mapping[str, str]:
    """The values of ``{{$.<name>}}`` that are known before the task has an id of its own."""
    return {
        "pipeline_job_name": context.run_display_name,
        "pipeline_job_resource_name": context.run_name,
        "pipeline_job_uuid": context.run_id,
        "pipeline_job_create_time_utc": context.create_time_utc,
        "pipeline_job_schedule_time_utc": context.schedule_time_utc,
        "pipeline_task_name": context.task_key,
        "pipeline_task_uuid": context.parent.task_id,
        "workspace_path": context.workspace_path,
    }


class TextBudget:
    """How much text the constants of one task may still produce."""

    def __init__(self, characters: int = MAX_TEXT) -> None:
        self._left = characters

    def take(self, characters: int) -> None:
        """Use up that many; :class:`~resolver.errors.ResolutionError` when they do not remain."""
        self._left -= characters
        if self._left < 0:
            raise ResolutionError(f"constants become longer than {MAX_TEXT} characters")


async def resolve_constant(
    constant: JsonValue, context: ResolveContext, read_channel: ChannelReader, budget: TextBudget
) -> ResolvedValue:
    """The value of a constant; a string that is one channel keeps the channel's type and producer."""
    if isinstance(constant, str) and (whole := _CHANNEL.fullmatch(constant)):
        return await read_channel(whole[1], whole[0])
    channels: dict[str, str] = {}
    for name, placeholder in _channels_of(constant, MAX_NESTING).items():
        channels[name] = value_to_text((await read_channel(name, placeholder)).value)
    value = _Interpolation(job_placeholders(context), channels, budget).apply(constant, MAX_NESTING)
    return ResolvedValue(value, IOType.RUNTIME_VALUE_INPUT, context.producer(context.parent.name))


def _channels_of(constant: JsonValue, levels: int) -> dict[str, str]:
    """Names and placeholders of all channels in a constant, keys included, in order of appearance."""
    if isinstance(constant, str):
        return {match[1]: match[0] for match in _CHANNEL.finditer(constant)}
    found: dict[str, str] = {}
    if isinstance(constant, list):
        deeper = next_level(levels)
        for item in constant:
            found |= _channels_of(item, deeper)
    elif isinstance(constant, dict):
        deeper = next_level(levels)
        for key, item in constant.items():
            found |= _channels_of(key, deeper) | _channels_of(item, deeper)
    return found


class _Interpolation:
    """Replaces placeholders in the texts of a value."""

    def __init__(
        self, placeholders: Mapping[str, str], channels: Mapping[str, str], budget: TextBudget
    ) -> None:
        self._placeholders = placeholders
        self._channels = channels
        self._budget = budget

    def apply(self, value: JsonValue, levels: int) -> JsonValue:
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, list):
            deeper = next_level(levels)
            return [self.apply(item, deeper) for item in value]
        if isinstance(value, dict):
            deeper = next_level(levels)
            return {self._text(key): self.apply(item, deeper) for key, item in value.items()}
        return value

    def _text(self, text: str) -> str:
        return _PLACEHOLDER.sub(self._replace, text) if "{{$." in text else text

    def _replace(self, match: re.Match[str]) -> str:
        replacement = self._channels[match[1]] if match[1] else self._placeholders.get(match[2], match[0])
        self._budget.take(len(replacement))
        return replacement

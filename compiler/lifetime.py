"""How long a Workflow lives: TTL and deadline from the platform's pipeline config (spec COMPILER 7.3)."""

from collections.abc import Mapping
from typing import Any, Final

from compiler.argo import Json
from compiler.errors import CompileError

_TTL_FIELDS: Final = {
    "secondsAfterCompletion": ("resourceTtlOnCompletion", "resource_ttl_on_completion"),
    "secondsAfterSuccess": ("resourceTtlOnSuccess", "resource_ttl_on_success"),
    "secondsAfterFailure": ("resourceTtlOnFailure", "resource_ttl_on_failure"),
}


def lifetime_fields(pipeline_config: Mapping[str, Any]) -> Json:
    """``ttlStrategy`` and ``activeDeadlineSeconds``, those that are configured."""
    strategy = {
        name: seconds
        for name, spellings in _TTL_FIELDS.items()
        if (seconds := _positive_seconds(pipeline_config, *spellings))
    }
    deadline = _positive_seconds(pipeline_config, "activeDeadlineSeconds", "active_deadline_seconds")
    fields: Json = {}
    if strategy:
        fields["ttlStrategy"] = strategy
    if deadline:
        fields["activeDeadlineSeconds"] = deadline
    return fields


def _positive_seconds(config: Mapping[str, Any], camel: str, snake: str) -> int:
    value = config.get(camel, config.get(snake))
    if value is None:
        return 0
    try:
        seconds = int(value)
    except (TypeError, ValueError, OverflowError):
        seconds = None
    if seconds is None or isinstance(value, bool) or (isinstance(value, float) and seconds != value):
        raise CompileError(f"pipelineConfig.{camel}: expected a whole number of seconds, got {value!r}")
    return max(seconds, 0)

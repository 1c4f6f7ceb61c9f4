"""Loop items of a DAG task: ``withItems``, ``withParam`` and ``withSequence`` (spec LAUNCHER E3.5)."""

import json
from collections.abc import Mapping
from typing import Any

from local_stack.runner.errors import NodeError

LOOP_FIELDS = ("withItems", "withParam", "withSequence")


def loop_items(task: Mapping[str, Any]) -> list[Any] | None:
    """The items of a task whose tags are substituted; ``None`` when the task is not a loop.

    Raises:
        NodeError: the count is not an integer, or ``withParam`` is not a JSON list.
    """
    if task.get("withItems") is not None:
        return list(task["withItems"])
    if task.get("withParam") is not None:
        return _parameter_items(task["withParam"])
    if task.get("withSequence") is not None:
        return list(_sequence_items(task["withSequence"]))
    return None


def _parameter_items(text: str) -> list[Any]:
    try:
        items = json.loads(text)
    except json.JSONDecodeError as error:
        raise NodeError(f"withParam value could not be parsed as a JSON list: {error}") from error
    if not isinstance(items, list):
        raise NodeError("withParam value is not a JSON list")
    return items


def _sequence_items(sequence: Mapping[str, Any]) -> list[str]:
    start = _integer(sequence.get("start"), "start") or 0
    template = sequence.get("format") or "%d"
    if sequence.get("end") not in (None, ""):
        end = _integer(sequence["end"], "end") or 0
        numbers = range(start, end + 1) if end >= start else range(start, end - 1, -1)
    else:
        numbers = range(start, start + (_integer(sequence.get("count"), "count") or 0))
    try:
        return [template % number for number in numbers]
    except (TypeError, ValueError) as error:
        raise NodeError(
            f"withSequence.format {template!r} is not a format of one integer: {error}"
        ) from error


def _integer(value: object, field: str) -> int | None:
    if value in (None, ""):
        return None
    try:
        return int(str(value))
    except ValueError:
        raise NodeError(f"withSequence.{field} {str(value)!r} is not an integer") from None

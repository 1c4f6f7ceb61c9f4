"""Loop items of a DAG task: ``withItems``, ``withParam`` and ``withSequence`` (spec LAUNCHER E3.5)."""

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from local_stack.runner.errors import NodeError

LOOP_FIELDS: Final = ("withItems", "withParam", "withSequence")
MAX_ITEMS: Final = 100_000
"""Longer loops are refused: a workflow with that many nodes fits into no cluster."""

_INTEGER: Final = re.compile(r"[-+]?[0-9]{1,18}")
# Verbs of Go's fmt for one integer; %v is %d there.
_VERB: Final = re.compile(r"%(?P<flags>[-+ 0#]*)(?P<width>[0-9]{0,3})(?P<verb>[dvxXo])|%%|%")


def is_loop(task: Mapping[str, Any]) -> bool:
    """Whether a task is expanded; an empty list or text counts as absent, as in Argo."""
    return any(task.get(field) not in (None, [], "") for field in LOOP_FIELDS)


def loop_items(task: Mapping[str, Any]) -> list[Any] | None:
    """The items of a task whose tags are substituted; ``None`` when the task is not a loop.

    Raises:
        NodeError: a number of a sequence is not an integer, its format is not one of an integer,
            ``withParam`` is not a JSON list, or the loop is too long.
    """
    if task.get("withItems"):
        return list(task["withItems"])
    if task.get("withParam"):
        return _parameter_items(task["withParam"])
    if task.get("withSequence") is not None:
        return _sequence_items(task["withSequence"])
    return None


def item_node_text(item: Any) -> str:
    """What stands for an item in the name of its node, parentheses removed."""
    if isinstance(item, dict):
        shown = ",".join(sorted(f"{key}:{item_format(value)}" for key, value in item.items()))
    elif isinstance(item, list):
        shown = f"[{' '.join(item_format(value) for value in item)}]"
    else:
        shown = "[]" if item is None else item_format(item)
    return shown.replace("(", "").replace(")", "")


def item_format(item: Any) -> str:
    """An item as Argo's ``%v`` shows it: JSON, of a string without its quotes but with its escapes."""
    text = json.dumps(item, separators=(",", ":"), ensure_ascii=False)
    return text[1:-1] if isinstance(item, str) else text


def check_format(template: str) -> None:
    """Refuse a ``withSequence.format`` that does not format one integer.

    Raises:
        NodeError: says so.
    """
    verbs = [match for match in _VERB.finditer(template) if match[0] != "%%"]
    if len(verbs) != 1 or not verbs[0]["verb"]:
        raise NodeError(f"withSequence.format {template!r} is not a format of one integer, such as %02d")


def _parameter_items(text: str) -> list[Any]:
    try:
        items = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise NodeError(f"withParam value could not be parsed as a JSON list: {error}") from error
    if not isinstance(items, list):
        raise NodeError("withParam value is not a JSON list")
    _check_length(len(items))
    return items


def _sequence_items(sequence: Mapping[str, Any]) -> list[str]:
    start = _integer(sequence.get("start"), "start") or 0
    end = _integer(sequence.get("end"), "end")
    if end is None:
        count = _integer(sequence.get("count"), "count")
        if count is None:
            raise NodeError("withSequence has neither count nor end")
        if count == 0:
            return []
        end = start + count - 1
    numbers = range(start, end + 1) if end >= start else range(start, end - 1, -1)
    _check_length(len(numbers))
    template = sequence.get("format") or "%d"
    check_format(template)
    return [_formatted(template, number) for number in numbers]


def _check_length(length: int) -> None:
    if length > MAX_ITEMS:
        raise NodeError(f"the loop has {length} items; the local runner takes up to {MAX_ITEMS}")


def _formatted(template: str, number: int) -> str:
    def replacement(match: re.Match[str]) -> str:
        if match[0] == "%%":
            return "%"
        verb = "d" if match["verb"] == "v" else match["verb"]
        return f"%{match['flags']}{match['width']}{verb}" % number

    return _VERB.sub(replacement, template)


def _integer(value: object, field: str) -> int | None:
    if value in (None, ""):
        return None
    if not _INTEGER.fullmatch(str(value)):
        raise NodeError(f"withSequence.{field} {str(value)!r} is not an integer")
    return int(str(value))

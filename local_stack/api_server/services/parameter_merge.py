"""How UpdateTask merges parameters into those stored (spec KFP_API 4.2).

Entries of the same identity are replaced in place, others are appended in request order; nothing is ever
removed. The identity is a tuple, so that names with dashes cannot collide.
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, Final

from kfp_api.messages import IOType
from local_stack.api_server.storage.encoding import canonical_json

_BY_VALUE: Final = frozenset(
    io_type.value
    for io_type in (
        IOType.COLLECTED_INPUTS,
        IOType.ITERATOR_INPUT,
        IOType.ITERATOR_INPUT_RAW,
        IOType.ITERATOR_OUTPUT,
    )
)
"""Types whose entries without an iteration are told apart by value."""


def merge_parameters(
    stored: Iterable[Mapping[str, Any]], sent: Sequence[Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    """``stored`` with ``sent`` merged in; both in wire form."""
    merged = {_identity(entry): entry for entry in stored}
    for entry in sent:
        merged[_identity(entry)] = entry
    return list(merged.values())


def _identity(entry: Mapping[str, Any]) -> Hashable:
    producer = entry.get("producer")
    iteration = None if producer is None else producer.get("iteration")
    told_apart = iteration is None and entry.get("type") in _BY_VALUE
    return (
        entry.get("type"),
        entry.get("parameter_key"),
        None if producer is None else (producer.get("task_name", ""), iteration),
        (canonical_json(entry["value"]) if "value" in entry else "") if told_apart else None,
    )

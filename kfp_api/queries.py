"""Query values of list calls: filters in the form that survives the server, and batches of ids."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, TypeVar
from urllib.parse import quote

import orjson

from kfp_api.filters import Filter

_ITERATION_KEY: Final = "iteration_index"
_Item = TypeVar("_Item")


def filter_text(filter: Filter | None) -> str:  # noqa: A002 (the API's name)
    """The ``filter`` query value; percent-encoded once more where the server's second decoding would harm.

    Upstream decodes the value twice, so a ``+`` or ``%`` inside must survive one more round (KFP_API 8.3).
    """
    if filter is None or not filter.predicates:
        return ""
    text = orjson.dumps(filter.to_wire()).decode()
    return quote(text, safe="") if "%" in text or "+" in text else text


def wanted_iteration(filter: Filter | None) -> int | None:  # noqa: A002 (the API's name)
    """The iteration index that a filter asks for, if it does."""
    for predicate in filter.predicates if filter else ():
        if predicate.key == _ITERATION_KEY:
            return predicate.int_value if predicate.int_value is not None else predicate.long_value
    return None


def without_iteration(filter: Filter | None) -> Filter | None:  # noqa: A002 (the API's name)
    """The filter in a form that every server knows."""
    if filter is None:
        return None
    kept = [predicate for predicate in filter.predicates if predicate.key != _ITERATION_KEY]
    return Filter(predicates=kept) if kept else None


def given(query: Mapping[str, str]) -> list[tuple[str, str]]:
    """The query values that say something."""
    return [(name, value) for name, value in query.items() if value]


def chunks(items: Sequence[_Item], size: int) -> Iterator[Sequence[_Item]]:
    """``items`` in parts of at most ``size``."""
    for start in range(0, len(items), size):
        yield items[start : start + size]

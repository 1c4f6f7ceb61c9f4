"""A DAG row as one child needs it: its inputs, of a loop's items only the child's own, and nothing else.

A loop head has one input per item, the list of them as well, and all children: the answer for each of its
importers would grow with the loop. The rule is that of :mod:`kfp_api.known_parent`, applied to stored JSON.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from kfp_api.known_parent import ITERATOR_INPUTS

_ITEM_TYPES: Final = frozenset(kind.value for kind in ITERATOR_INPUTS)


@dataclass(frozen=True)
class ChildView:
    """The view of a child of that iteration, if it is in a loop, that takes these inputs; ``None``: any."""

    iteration_index: int | None
    inputs: frozenset[str] | None = None

    def artifacts(self, groups: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        """Those of the row's input artifacts that the child sees."""
        return [group for group in groups if self._is_taken(group, "artifact_key")]

    def parameters(self, entries: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        """Those of the row's input parameters that the child sees.

        Of an input whose items lack the iteration, the first stays: it must not look as if it was not given.
        """
        seen: list[dict[str, Any]] = []
        items: dict[str, list[dict[str, Any]]] = {}
        for entry in entries:
            if not self._is_taken(entry, "parameter_key"):
                continue
            if entry.get("type") in _ITEM_TYPES:
                items.setdefault(entry.get("parameter_key", ""), []).append(entry)
            else:
                seen.append(entry)
        for every in items.values():
            seen += [entry for entry in every if self._is_mine(entry)] or every[:1]
        return seen

    def _is_taken(self, entry: dict[str, Any], key: str) -> bool:
        return self.inputs is None or entry.get(key, "") in self.inputs

    def _is_mine(self, entry: dict[str, Any]) -> bool:
        iteration = entry.get("producer", {}).get("iteration")
        return iteration is not None and int(iteration) == self.iteration_index

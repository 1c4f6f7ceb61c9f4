"""The part of JSON Patch (RFC 6902) that changes of Workflows are written in: test, add, replace.

A change is a list of operations first and an object second: the admission webhook sends the operations,
everything else applies them, so both come to the same.
"""

from collections.abc import Sequence
from typing import Any

from compiler.argo import Json

Pointer = tuple[str | int, ...]
"""A JSON pointer, not yet escaped; a final ``-`` is the place after a list's end."""


def pointer_text(path: Pointer) -> str:
    """The path as RFC 6901 writes it."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


def operation(kind: str, path: Pointer, value: Any) -> Json:
    """One operation: ``test``, ``add`` or ``replace``."""
    return {"op": kind, "path": pointer_text(path), "value": value}


def applied(document: Json, operations: Sequence[Json]) -> Json:
    """The document after operations whose parents exist; tests are not repeated.

    The given document stays as it is. Parts that no operation touches are shared with the result.
    """
    copies = _Copies()
    root: Any = copies.of(document)
    for one in operations:
        if one["op"] == "test":
            continue
        *parents, last = (_unescaped(part) for part in one["path"].removeprefix("/").split("/"))
        target = root
        for part in parents:
            key = int(part) if isinstance(target, list) else part
            target[key] = copies.of(target[key])
            target = target[key]
        _set(target, last, one)
    result: Json = root
    return result


def _set(target: Any, last: str, one: Json) -> None:
    if isinstance(target, dict):
        target[last] = one["value"]
    elif last == "-":
        target.append(one["value"])
    else:
        target[int(last)] = one["value"]


def _unescaped(part: str) -> str:
    return part.replace("~1", "/").replace("~0", "~")


class _Copies:
    """Shallow copies of containers on the way to a change, one of each."""

    def __init__(self) -> None:
        self._made: dict[int, Any] = {}

    def of(self, container: Any) -> Any:
        if id(container) not in self._made:
            copy = container.copy()
            # The copy is kept so that its id stays its own.
            self._made[id(copy)] = copy
            return copy
        return container

"""RFC 6902 as the API server applies it: test, add and replace, on a deep copy, every test checked."""

import json
from typing import Any


class FailedTestError(AssertionError):
    """A ``test`` operation found something else."""


def patched(document: Any, operations: Any) -> Any:
    """The document after the operations."""
    document = json.loads(json.dumps(document))
    for one in operations:
        parts = [part.replace("~1", "/").replace("~0", "~") for part in one["path"].split("/")[1:]]
        parent = document
        for part in parts[:-1]:
            parent = parent[int(part)] if isinstance(parent, list) else parent[part]
        _apply(parent, parts[-1], one["op"], json.loads(json.dumps(one["value"])))
    return document


def _apply(parent: Any, last: str, kind: str, value: Any) -> None:
    key: Any = last if isinstance(parent, dict) else len(parent) if last == "-" else int(last)
    match kind:
        case "test":
            if parent[key] != value:
                raise FailedTestError(f"{last} is {parent[key]!r}, not {value!r}")
        case "replace":
            assert key in parent if isinstance(parent, dict) else key < len(parent)
            parent[key] = value
        case "add" if isinstance(parent, list):
            parent.insert(key, value)
        case "add":
            parent[key] = value
        case _:
            raise AssertionError(f"unexpected operation {kind}")

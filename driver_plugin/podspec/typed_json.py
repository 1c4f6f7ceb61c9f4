"""Reads Kubernetes objects that arrive as pipeline parameters, as Go's decoder would (spec PODSPEC 7.1).

Unknown keys are ignored, known ones match in any case and come out in their canonical one, null is unset,
a value of the wrong type is an error. What Kubernetes' encoder leaves out when empty is left out.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from driver_plugin.podspec.errors import PodSpecError
from driver_plugin.podspec.values import JsonObject
from resolver.context import shortened
from resolver.values import kind_of

_INT64: Final = 2**63

Decode = Callable[[Any, str], Any]


class _Field:
    """A member of an object: how to read it, and whether it is written even when it is empty."""

    def __init__(self, decode: Decode, *, always: Any = None) -> None:
        self.decode = decode
        self.always = always


def decode_toleration(value: object) -> JsonObject:
    """A ``Toleration``."""
    return _decoded(_TOLERATION, value)


def decode_node_affinity(value: object) -> JsonObject:
    """A ``NodeAffinity``."""
    return _decoded(_NODE_AFFINITY, value)


def decode_string_map(value: object) -> dict[str, str]:
    """An object of strings, such as a node selector."""
    return {key: _string(item, key) if item is not None else "" for key, item in _members(value, "").items()}


def _decoded(decode: Decode, value: object) -> JsonObject:
    try:
        document: JsonObject = decode(value, "")
    except PodSpecError as error:
        raise PodSpecError(
            "failed to unmarshal k8s Resource json ensure that k8s Resource json correctly adheres to its "
            f"respective k8s spec: {error}"
        ) from error
    return document


def _object(fields: Mapping[str, _Field]) -> Decode:
    folded = {name.lower(): name for name in fields}

    def decode(value: Any, where: str) -> JsonObject:
        given: JsonObject = {}
        for key, item in _members(value, where).items():
            name = key if key in fields else folded.get(key.lower())
            if name is not None and item is not None:
                given[name] = fields[name].decode(item, f"{where}.{name}".lstrip("."))
        result: JsonObject = {}
        for name, field in fields.items():
            found = given.get(name)
            if found is None or found in ("", []):
                found = field.always
            if found is not None:
                result[name] = found
        return result

    return decode


def _list(decode_item: Decode) -> Decode:
    def decode(value: Any, where: str) -> list[Any]:
        if not isinstance(value, list):
            raise _wrong(where, "list", value)
        return [decode_item(item, f"{where}[{index}]") for index, item in enumerate(value)]

    return decode


def _string(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise _wrong(where, "string", value)
    return value


def _integer(value: Any, where: str) -> int:
    if kind_of(value) != "number" or value % 1 != 0 or not -_INT64 <= value < _INT64:
        raise _wrong(where, "integer", value)
    return int(value)


def _members(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _wrong(where, "struct", value)
    return value


def _wrong(where: str, expected: str, value: Any) -> PodSpecError:
    text = shortened(json.dumps(value, ensure_ascii=False, default=str))
    return PodSpecError(f"{where or 'value'}: expected {expected}, got {kind_of(value)} {text}")


_TOLERATION: Final = _object(
    {
        "key": _Field(_string),
        "operator": _Field(_string),
        "value": _Field(_string),
        "effect": _Field(_string),
        "tolerationSeconds": _Field(_integer),
    }
)
_REQUIREMENT: Final = _object(
    {
        "key": _Field(_string, always=""),
        "operator": _Field(_string, always=""),
        "values": _Field(_list(_string)),
    }
)
_TERM: Final = _object(
    {
        "matchExpressions": _Field(_list(_REQUIREMENT)),
        "matchFields": _Field(_list(_REQUIREMENT)),
    }
)
_PREFERRED: Final = _object({"weight": _Field(_integer, always=0), "preference": _Field(_TERM, always={})})
_NODE_AFFINITY: Final = _object(
    {
        "requiredDuringSchedulingIgnoredDuringExecution": _Field(
            _object({"nodeSelectorTerms": _Field(_list(_TERM))})
        ),
        "preferredDuringSchedulingIgnoredDuringExecution": _Field(_list(_PREFERRED)),
    }
)

"""Kubernetes' strategic merge patch for pod specs (spec LAUNCHER E5.1, PODSPEC 2.2).

Pure: neither argument is changed. Maps merge, ``null`` deletes, lists with a merge key merge by it, all
other lists are replaced. The directives ``$patch: delete|replace``, ``$deleteFromPrimitiveList`` and
``$retainKeys`` of entries are honoured where Kubernetes honours them.
"""

import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any, Final

from local_stack.runner.errors import NodeError

_DIRECTIVE: Final = "$patch"
_RETAIN_KEYS: Final = "$retainKeys"
_DELETE_FROM_LIST: Final = "$deleteFromPrimitiveList/"

MERGE_KEYS: Final[Mapping[str, str]] = {
    "containers": "name",
    "ephemeralContainers": "name",
    "env": "name",
    "hostAliases": "ip",
    "imagePullSecrets": "name",
    "initContainers": "name",
    "ports": "containerPort",
    "resourceClaims": "name",
    "topologySpreadConstraints": "topologyKey",
    "volumeDevices": "devicePath",
    "volumeMounts": "mountPath",
    "volumes": "name",
}
"""Lists that merge, and the field that identifies their entries."""

_CONTAINERS: Final = frozenset({"containers", "initContainers", "ephemeralContainers"})
_IN_CONTAINER: Final = frozenset({"env", "ports", "volumeMounts", "volumeDevices"})


def read_patch(text: str) -> dict[str, Any]:
    """A pod-spec patch from its JSON or YAML text.

    Raises:
        NodeError: not an object, or not readable.
    """
    try:
        patch = json.loads(text)
    except json.JSONDecodeError:
        import yaml  # noqa: PLC0415 (patches are JSON; YAML is read only where one is not)

        try:
            patch = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise NodeError(f"podSpecPatch is neither JSON nor YAML: {error}") from error
    if patch is None:
        return {}
    if not isinstance(patch, dict):
        raise NodeError("podSpecPatch is not an object")
    return patch


def merge_pod_spec(base: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with the strategic merge patch applied.

    Raises:
        NodeError: an entry of a merging list has no merge key, or a directive is unknown.
    """
    return _merge_maps(base, patch, parent="")


def _merge_maps(base: Mapping[str, Any], patch: Mapping[str, Any], parent: str) -> dict[str, Any]:
    directive = patch.get(_DIRECTIVE)
    if directive == "replace":
        return {key: _as_read(value) for key, value in patch.items() if key != _DIRECTIVE}
    if directive == "delete":
        return {}
    if directive is not None:
        raise NodeError(f"podSpecPatch: unknown $patch directive {directive!r} in a map")
    kept = patch.get(_RETAIN_KEYS, base)
    merged = {key: deepcopy(value) for key, value in base.items() if key in kept}
    for key, value in patch.items():
        if key.startswith(_DELETE_FROM_LIST):
            name = key.removeprefix(_DELETE_FROM_LIST)
            merged[name] = [item for item in merged.get(name) or () if item not in value]
        elif key.startswith("$"):
            continue
        elif value is None:
            merged.pop(key, None)
        elif merged.get(key) is not None:
            merged[key] = _merge_values(merged[key], value, key, parent)
        elif not _is_directive(value):
            merged[key] = _new_value(value)
    return merged


def _merge_values(base: Any, patch: Any, key: str, parent: str) -> Any:
    if isinstance(patch, Mapping) and isinstance(base, Mapping):
        # What is below a list of containers is a container's field; maps keep their own name as parent.
        return _merge_maps(base, patch, key)
    if isinstance(patch, list) and isinstance(base, list):
        merge_key = _merge_key(key, parent)
        if merge_key is not None:
            return _merge_lists(base, patch, merge_key, key)
    return deepcopy(patch)


def _merge_key(key: str, parent: str) -> str | None:
    """Merge key of the list ``key``, which is known only where pod specs have such lists."""
    if key in _IN_CONTAINER:
        return MERGE_KEYS[key] if parent in _CONTAINERS else None
    return MERGE_KEYS.get(key) if parent == "" else None


def _merge_lists(base: Sequence[Any], patch: Sequence[Any], merge_key: str, name: str) -> list[Any]:
    directives = [entry.get(_DIRECTIVE) if isinstance(entry, Mapping) else None for entry in patch]
    if unknown := set(directives) - {None, "replace", "delete"}:
        raise NodeError(f"podSpecPatch: unknown $patch directive {unknown.pop()!r} in {name}")
    if "replace" in directives:
        return [_as_read(entry) for entry in patch if not _is_directive(entry)]
    for entry in patch:
        if not isinstance(entry, Mapping) or merge_key not in entry:
            raise NodeError(f"podSpecPatch: an entry of {name} has no {merge_key}")
    # Deletes come first, wherever they stand: an entry beside one is a new entry.
    deleted = [entry[merge_key] for entry in patch if _is_directive(entry)]
    kept = [entry for entry in base if entry[merge_key] not in deleted]
    additions = [entry for entry in patch if not _is_directive(entry)]
    # A base may repeat a name, as containers may a variable: the first entry is merged, all stay.
    entries: dict[Any, list[dict[str, Any]]] = {}
    for entry in kept:
        entries.setdefault(entry[merge_key], []).append(entry)
    for entry in additions:
        there = entries.setdefault(entry[merge_key], [])
        merged = _merge_maps(there[0], entry, name) if there else _as_read(entry)
        there[:1] = [merged]
    order = _merged_order(_identities(kept, merge_key), _identities(additions, merge_key))
    return [entry for identity in order for entry in entries[identity]]


def _identities(entries: Sequence[Mapping[str, Any]], merge_key: str) -> list[Any]:
    return list(dict.fromkeys(entry[merge_key] for entry in entries))


def _merged_order(base: Sequence[Any], patched: Sequence[Any]) -> list[Any]:
    """Patch entries in patch order; a base-only entry goes before the first patch entry that it precedes."""
    order: list[Any] = []
    waiting = [identity for identity in base if identity not in patched]
    for identity in patched:
        if identity in base:
            position = base.index(identity)
            ahead = [one for one in waiting if base.index(one) < position]
            order += ahead
            waiting = [one for one in waiting if one not in ahead]
        order.append(identity)
    return order + waiting


def _is_directive(value: Any) -> bool:
    return isinstance(value, Mapping) and _DIRECTIVE in value


def _new_value(value: Any) -> Any:
    """A patch's value for a field that the base lacks: as it is, duplicates too, but nothing to apply."""
    if isinstance(value, Mapping):
        return {
            key: _new_value(item)
            for key, item in value.items()
            if item is not None and not key.startswith("$") and not _is_directive(item)
        }
    if isinstance(value, list):
        return [_new_value(item) for item in value if not _is_directive(item)]
    return value


def _as_read(value: Any) -> Any:
    """What Kubernetes reads in a part that no merge touches: null is unset, a directive an unknown field."""
    if isinstance(value, Mapping):
        return {
            key: _as_read(item) for key, item in value.items() if item is not None and not key.startswith("$")
        }
    if isinstance(value, list):
        return [_as_read(item) for item in value]
    return value

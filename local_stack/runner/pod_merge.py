"""Kubernetes' strategic merge patch for pod specs (spec LAUNCHER E5.1, PODSPEC 2.2).

Pure: neither argument is changed. Maps merge, ``null`` deletes, lists with a merge key merge by it, all
other lists are replaced. The directives ``$patch: delete|replace|merge``,
``$deleteFromPrimitiveList`` and ``$retainKeys`` of entries are honoured where Kubernetes honours them.
"""

import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any, Final

from local_stack.runner.errors import NodeError

_DIRECTIVE: Final = "$patch"
_RETAIN_KEYS: Final = "$retainKeys"
_DELETE_FROM_LIST: Final = "$deleteFromPrimitiveList/"
_ELEMENT_ORDER: Final = "$setElementOrder/"

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
        return {key: _without_directives(value) for key, value in patch.items() if key != _DIRECTIVE}
    if directive == "delete":
        return {}
    if directive not in (None, "merge"):
        raise NodeError(f"podSpecPatch: unknown $patch directive {directive!r}")
    merged = deepcopy(dict(base))
    if _RETAIN_KEYS in patch:
        merged = {key: value for key, value in merged.items() if key in patch[_RETAIN_KEYS]}
    for key, value in patch.items():
        if key.startswith(_DELETE_FROM_LIST):
            name = key.removeprefix(_DELETE_FROM_LIST)
            merged[name] = [item for item in merged.get(name) or () if item not in value]
        elif key in (_DIRECTIVE, _RETAIN_KEYS) or key.startswith(_ELEMENT_ORDER):
            continue
        elif value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merge_values(merged.get(key), value, key, parent)
    return merged


def _merge_values(base: Any, patch: Any, key: str, parent: str) -> Any:
    if isinstance(patch, Mapping):
        # What is below a list of containers is a container's field; maps keep their own name as parent.
        return _merge_maps(base if isinstance(base, Mapping) else {}, patch, key)
    if isinstance(patch, list):
        merge_key = _merge_key(key, parent)
        if merge_key is not None:
            if not isinstance(base, list):
                # Kubernetes keeps a list that the base lacks as it is, duplicates included.
                return _new_entries(patch)
            return _merge_lists(base, patch, merge_key, key)
    return deepcopy(patch)


def _merge_key(key: str, parent: str) -> str | None:
    """Merge key of the list ``key``, which is known only where pod specs have such lists."""
    if key in _IN_CONTAINER:
        return MERGE_KEYS[key] if parent in _CONTAINERS else None
    return MERGE_KEYS.get(key) if parent == "" else None


def _new_entries(patch: Sequence[Any]) -> list[Any]:
    return [
        _without_directives(entry)
        for entry in patch
        if not (isinstance(entry, Mapping) and entry.get(_DIRECTIVE) == "delete")
    ]


def _merge_lists(base: Sequence[Any], patch: Sequence[Any], merge_key: str, name: str) -> list[Any]:
    if any(isinstance(entry, Mapping) and entry.get(_DIRECTIVE) == "replace" for entry in patch):
        return [
            _without_directives(entry)
            for entry in patch
            if not (isinstance(entry, Mapping) and _DIRECTIVE in entry)
        ]
    entries: dict[Any, dict[str, Any]] = {entry[merge_key]: entry for entry in base}
    patched: list[Any] = []
    for entry in patch:
        if not isinstance(entry, Mapping) or merge_key not in entry:
            raise NodeError(f"podSpecPatch: an entry of {name} has no {merge_key}")
        identity = entry[merge_key]
        if entry.get(_DIRECTIVE) == "delete":
            entries.pop(identity, None)
            continue
        entries[identity] = _merge_maps(entries.get(identity, {}), entry, name)
        if identity not in patched:
            patched.append(identity)
    order = _merged_order([entry[merge_key] for entry in base if entry[merge_key] in entries], patched)
    return [entries[identity] for identity in order]


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


def _without_directives(value: Any) -> Any:
    """A patch part that stands on its own: directives and nulls removed."""
    if isinstance(value, Mapping):
        return {
            key: _without_directives(item)
            for key, item in value.items()
            if item is not None and not key.startswith("$")
        }
    if isinstance(value, list):
        return [_without_directives(item) for item in value]
    return value

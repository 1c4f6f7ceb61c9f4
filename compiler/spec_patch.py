"""The administrator's strategic merge patch on a Workflow's ``spec`` (spec COMPILER 7.4)."""

import json
from typing import Any, Final

from compiler.argo import Json
from compiler.errors import CompileError

_MERGE_KEYS: Final = {
    "templates": "name",
    "volumes": "name",
    "imagePullSecrets": "name",
    "initContainers": "name",
    "sidecars": "name",
    "parameters": "name",
    "artifacts": "name",
    "tasks": "name",
    "tolerations": "key",
    "hostAliases": "ip",
}
"""Lists whose elements are merged one by one, and the field that identifies an element."""


def patch_spec(spec: Json, patch_text: str) -> Json:
    """The spec with the patch applied; an empty patch changes nothing.

    Maps are merged, ``null`` deletes, lists with a merge key are merged by it, others replaced.

    Raises:
        CompileError: the patch is not a JSON object, or uses a ``$patch`` directive.
    """
    if not patch_text.strip():
        return spec
    try:
        patch = json.loads(patch_text)
    except ValueError as error:
        raise CompileError(f"invalid JSON in COMPILED_PIPELINE_SPEC_PATCH: {error}") from error
    if patch is None:
        return spec
    if not isinstance(patch, dict):
        raise CompileError("invalid JSON in COMPILED_PIPELINE_SPEC_PATCH: expected an object")
    return _merged(spec, patch, path="spec")


def _merged(original: Json, patch: Json, *, path: str) -> Json:
    result = dict(original)
    for key, change in patch.items():
        where = f"{path}.{key}"
        if key.startswith("$"):
            raise CompileError(f"COMPILED_PIPELINE_SPEC_PATCH: directive {where} is not supported")
        if change is None:
            result.pop(key, None)
        elif isinstance(change, dict):
            current = result.get(key)
            result[key] = _merged(current if isinstance(current, dict) else {}, change, path=where)
        elif isinstance(change, list) and key in _MERGE_KEYS:
            current = result.get(key)
            merge_key = _MERGE_KEYS[key]
            result[key] = _merged_list(
                current if isinstance(current, list) else [], change, merge_key=merge_key, path=where
            )
        else:
            result[key] = change
    return result


def _merged_list(original: list[Any], patch: list[Any], *, merge_key: str, path: str) -> list[Any]:
    """The elements merged by their key, in Kubernetes' order.

    Patched elements stand in the order of the patch and never move behind what they stood before; new ones
    come as early as that allows.
    """
    places = {
        element[merge_key]: index
        for index, element in enumerate(original)
        if isinstance(element, dict) and isinstance(element.get(merge_key), str)
    }
    changed: dict[str, Json] = {}
    for change in patch:
        key = change.get(merge_key) if isinstance(change, dict) else None
        if not isinstance(key, str):
            raise CompileError(f'COMPILED_PIPELINE_SPEC_PATCH: an element of {path} has no "{merge_key}"')
        present = changed.get(key, original[places[key]] if key in places else {})
        changed[key] = _merged(present, change, path=f"{path}[{key}]")
    patched_places = {places[key] for key in changed if key in places}
    untouched = [index for index in range(len(original)) if index not in patched_places]
    result: list[Any] = []
    for key, element in changed.items():
        while untouched and untouched[0] < places.get(key, 0):
            result.append(original[untouched.pop(0)])
        result.append(element)
    return result + [original[index] for index in untouched]

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
    """Elements keep their place; new ones follow."""
    result = list(original)
    for change in patch:
        if not isinstance(change, dict) or merge_key not in change:
            raise CompileError(f'COMPILED_PIPELINE_SPEC_PATCH: an element of {path} has no "{merge_key}"')
        where = f"{path}[{change[merge_key]}]"
        for index, element in enumerate(result):
            if isinstance(element, dict) and element.get(merge_key) == change[merge_key]:
                result[index] = _merged(element, change, path=where)
                break
        else:
            result.append(_merged({}, change, path=where))
    return result

"""Placeholders in the command and arguments of a component (spec PODSPEC 5.1).

Structure first: ``{"Concat": ...}`` and ``{"IfPresent": ...}`` are resolved as JSON before any value is
put in, so no value can break the JSON. Then input parameters are replaced by their text. What mentions
outputs is left whole to the launcher, as are artifacts and ``{{$}}``. Text that replaces a placeholder is
data: its ``$`` are doubled against the kubelet's expansion. It is not searched for placeholders again.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from driver_plugin.podspec.encoding import escape_dollars
from driver_plugin.podspec.errors import PodSpecError
from kfp_api.ir.executor_input import ExecutorInput
from kfp_api.ir.pipeline import ComponentSpec
from kfp_api.wire import UNSET, Value
from resolver.values import value_to_text

_PARAMETER: Final = re.compile(r"\{\{\$\.inputs\.parameters\['(.+?)'\]\}\}")
_CONCAT: Final = '{"Concat":'
_IF_PRESENT: Final = '{"IfPresent":'
_OUTPUTS: Final = "$.outputs"


def resolve_command_line(
    container_command: Sequence[str],
    container_args: Sequence[str],
    *,
    executor_input: ExecutorInput,
    component: ComponentSpec,
) -> list[str]:
    """The user's command line: resolved command, then resolved arguments.

    Raises:
        PodSpecError: a placeholder names no input, or a structure cannot be understood.
    """
    resolver = _Resolver(executor_input, component)
    resolved: list[str] = []
    for part, elements in (("command", container_command), ("args", container_args)):
        try:
            resolved += [text for element in elements for text in resolver.element(element)]
        except PodSpecError as error:
            raise PodSpecError(f"failed to resolve container {part}: {error}") from error
    return resolved


class _Resolver:
    def __init__(self, executor_input: ExecutorInput, component: ComponentSpec) -> None:
        self._values: Mapping[str, Value] = executor_input.parameter_values
        self._artifacts = {key for key, found in executor_input.input_artifacts.items() if found.artifacts}
        self._declared = component.input_definitions.parameters

    def element(self, element: str) -> list[str]:
        """One element of the command line: none, one or several after resolution."""
        structure = _structure(element)
        if structure is None:
            return [self._text(element)]
        parts = self._parts(structure)
        return [self._text(part) for part in (parts if isinstance(parts, list) else [parts])]

    def _text(self, text: str) -> str:
        if _OUTPUTS in text:
            return text
        return _PARAMETER.sub(lambda match: escape_dollars(self._parameter(match[1])), text)

    def _parameter(self, name: str) -> str:
        value = self._values.get(name, UNSET)
        if value is UNSET and not (name in self._declared and self._declared[name].is_optional):
            raise PodSpecError(f'parameter "{name}" not found in executor input')
        text = value_to_text(value)
        if "\0" in text:
            raise PodSpecError(f'parameter "{name}" holds a NUL character, which no command line can carry')
        return text

    def _parts(self, structure: Mapping[str, Any]) -> str | list[str]:
        """What a structure stands for: one string, or the list of strings of an ``IfPresent``."""
        if "Concat" in structure:
            return self._joined(structure["Concat"])
        choice = structure["IfPresent"]
        if not isinstance(choice, Mapping) or not isinstance(choice.get("InputName"), str):
            raise PodSpecError("failed to parse IfPresent JSON: InputName is missing")
        chosen = choice.get("Then" if self._is_present(choice["InputName"]) else "Else")
        if chosen is None:
            return []
        if isinstance(chosen, list):
            return [text for item in chosen for text in self._single(item)]
        if isinstance(chosen, str) or _is_structure(chosen):
            return self._single(chosen)
        raise PodSpecError(f"unexpected type in IfPresent Then/Else: {type(chosen).__name__}")

    def _joined(self, items: object) -> str:
        if not isinstance(items, list):
            raise PodSpecError(f"unexpected type in Concat: {type(items).__name__}")
        parts: list[str] = []
        for item in items:
            found = self._single(item)
            if len(found) > 1:
                raise PodSpecError("a list inside Concat cannot be joined to one string")
            parts += found
        return "".join(parts)

    def _single(self, item: object) -> list[str]:
        """A string or a nested structure, as the strings that it stands for."""
        if isinstance(item, str):
            return [item]
        if not isinstance(item, Mapping) or not _is_structure(item):
            raise PodSpecError(f"non-string item in IfPresent Then/Else array: {json.dumps(item)}")
        parts = self._parts(item)
        return parts if isinstance(parts, list) else [parts]

    def _is_present(self, name: str) -> bool:
        return self._values.get(name, UNSET) not in (None, UNSET) or name in self._artifacts


def _structure(element: str) -> dict[str, Any] | None:
    """The JSON structure of an element; ``None`` when it is plain text."""
    text = element.strip()
    if not text.startswith((_CONCAT, _IF_PRESENT)):
        return None
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        if text.startswith(_CONCAT) or _OUTPUTS in text:
            return None
        raise PodSpecError(f"failed to parse IfPresent JSON: {error}") from error
    return document if _is_structure(document) else None


def _is_structure(document: object) -> bool:
    return isinstance(document, Mapping) and ("Concat" in document or "IfPresent" in document)

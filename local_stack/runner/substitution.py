"""Argo's ``{{tag}}`` substitution on JSON-like data (spec LAUNCHER E3.2).

A tag is the text between ``{{`` and the next ``}}``, trimmed. Substitution covers every string of an
object, map keys included. Text that was inserted is not scanned again in the same pass; an unclosed
``{{`` is literal text.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from local_stack.runner.errors import SubstitutionError
from local_stack.runner.expansion import item_format

Lookup = Callable[[str], str | None]
"""From a tag to its text; ``None`` leaves the tag in place."""

_HTML: Final = str.maketrans({char: f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"})


def substitute(value: Any, lookup: Lookup) -> Any:
    """``value`` with every tag replaced for which ``lookup`` has a text; the original stays unchanged."""
    if isinstance(value, str):
        return _substitute_text(value, lookup) if "{{" in value else value
    if isinstance(value, dict):
        return {substitute(key, lookup): substitute(item, lookup) for key, item in value.items()}
    if isinstance(value, list):
        return [substitute(item, lookup) for item in value]
    return value


def _substitute_text(text: str, lookup: Lookup) -> str:
    # By hand: a regular expression looks for the end of each of many unclosed tags again.
    parts: list[str] = []
    position = 0
    while (opened := text.find("{{", position)) >= 0 and (closed := text.find("}}", opened + 2)) >= 0:
        found = lookup(text[opened + 2 : closed].strip())
        parts += [text[position:opened], text[opened : closed + 2] if found is None else found]
        position = closed + 2
    return "".join(parts) + text[position:]


def only_tag(text: str) -> str | None:
    """The tag of a text that is nothing but one tag, else ``None``."""
    stripped = text.strip()
    alone = stripped.startswith("{{") and stripped.find("}}", 2) == len(stripped) - 2
    return stripped[2:-2].strip() if alone else None


def has_unclosed_tag(value: Any) -> bool:
    """Whether some string holds a ``{{`` that no ``}}`` follows."""
    if isinstance(value, str):
        return value.rfind("{{") > value.rfind("}}")
    if isinstance(value, dict):
        return any(has_unclosed_tag(key) or has_unclosed_tag(item) for key, item in value.items())
    return isinstance(value, list) and any(has_unclosed_tag(item) for item in value)


def strict(lookup: Lookup) -> Lookup:
    """A lookup that refuses unknown tags, as the expansion of loops does."""

    def refusing(tag: str) -> str:
        found = lookup(tag)
        if found is None:
            raise SubstitutionError(f"failed to resolve {{{{{tag}}}}}")
        return found

    return refusing


def item_lookup(item: Any) -> Lookup:
    """``item``, and ``item.<key>`` where the item is an object."""

    def lookup(tag: str) -> str | None:
        if tag == "item":
            return (
                _html_safe(item_text(item, sort=True)) if isinstance(item, dict | list) else item_text(item)
            )
        if tag.startswith("item.") and isinstance(item, dict):
            key = tag.removeprefix("item.")
            return item_format(item[key]) if key in item else None
        return None

    return lookup


def item_text(item: Any, *, sort: bool = False) -> str:
    """A value as text: strings as they are, everything else as compact JSON.

    ``sort`` orders the keys of an object, but not of what is in it: Go's maps, of texts that it keeps.
    """
    if isinstance(item, str):
        return item
    ordered = dict(sorted(item.items())) if sort and isinstance(item, dict) else item
    return json.dumps(ordered, separators=(",", ":"), ensure_ascii=False)


def go_json(value: Any) -> str:
    """JSON as Go writes it: compact, keys sorted, and safe inside HTML."""
    return _html_safe(json.dumps(value, separators=(",", ":"), ensure_ascii=False, sort_keys=True))


def _html_safe(text: str) -> str:
    return text.translate(_HTML)


def resolve_inputs(template: Mapping[str, Any], arguments: Mapping[str, str]) -> dict[str, str]:
    """Values of a template's input parameters: argument, else value, else default.

    Arguments that the template does not declare are dropped.

    Raises:
        SubstitutionError: a declared parameter has no value.
    """
    values: dict[str, str] = {}
    for parameter in (template.get("inputs") or {}).get("parameters") or ():
        name = parameter["name"]
        candidates = (arguments.get(name), parameter.get("value"), parameter.get("default"))
        found = next((value for value in candidates if value is not None), None)
        if found is None:
            raise SubstitutionError(f"inputs.parameters.{name} was not supplied")
        values[name] = item_text(found)
    return values


def instantiate(
    template: Mapping[str, Any],
    *,
    inputs: Mapping[str, str],
    global_values: Mapping[str, str],
    node_name: str,
    task_name: str,
    pod_name: str,
) -> dict[str, Any]:
    """The template pass: a template with its globals and then its inputs inserted, and inputs filled in."""
    first = dict(global_values)
    first["node.name"] = node_name
    first["pod.name"] = pod_name
    first["tasks.name"] = task_name
    document: dict[str, Any] = substitute(dict(template), first.get)
    document = substitute(document, input_values(template, inputs).get)
    declared = (template.get("inputs") or {}).get("parameters") or []
    if declared:
        document["inputs"] = {
            "parameters": [dict(parameter) | {"value": inputs[parameter["name"]]} for parameter in declared]
        }
    return document


def input_values(template: Mapping[str, Any], inputs: Mapping[str, str]) -> dict[str, str]:
    """Variables of the second half of the template pass."""
    values = {f"inputs.parameters.{name}": value for name, value in inputs.items()}
    values["inputs.parameters"] = json.dumps([{"name": k, "value": v} for k, v in inputs.items()])
    for parameter in (template.get("outputs") or {}).get("parameters") or ():
        path = (parameter.get("valueFrom") or {}).get("path")
        if path:
            values[f"outputs.parameters.{parameter['name']}.path"] = path
    return values

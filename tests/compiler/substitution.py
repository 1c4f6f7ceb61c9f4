"""What Argo does to a template's text before a plugin sees it (spec COMPILER 10.2).

The template is serialised, tags are replaced inside JSON strings by the value as Go's ``strconv.Quote``
writes it, and the result is parsed again; first with global variables, then with the template's inputs.
"""

import json
import re
from typing import Any

_TAG = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_SHORT = {
    "\a": "\\a",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\v": "\\v",
    "\\": "\\\\",
    '"': '\\"',
}
GLOBALS = {"workflow.name": "demo-x7", "workflow.namespace": "team-a", "workflow.uid": "uid-1"}


class Evaluated(Exception):  # noqa: N818 (an outcome, not an error)
    """Argo evaluated an expression that came from a value."""


def go_quoted(text: str) -> str:
    """The inside of ``strconv.Quote(text)``."""
    return "".join(_go_character(character) for character in text)


def _go_character(character: str) -> str:
    if character in _SHORT:
        return _SHORT[character]
    code = ord(character)
    if code < 0x20 or code == 0x7F:
        return f"\\x{code:02x}"
    if character.isprintable():
        return character
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def replaced(document: Any, variables: dict[str, str]) -> Any:
    """One pass; ``ValueError`` where the result is not JSON any more."""

    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        if name.startswith("="):
            raise Evaluated(name)
        return go_quoted(variables[name]) if name in variables else match.group(0)

    return json.loads(_TAG.sub(value, json.dumps(document, ensure_ascii=False)))


def executed(template: dict[str, Any], arguments: dict[str, str]) -> dict[str, Any]:
    """The template as the agent gets it, called with arguments."""
    called = json.loads(json.dumps(template))
    for declared in called["inputs"]["parameters"]:
        declared["value"] = arguments.get(declared["name"], declared.get("default", ""))
    called = replaced(called, GLOBALS)
    inputs = {
        f"inputs.parameters.{declared['name']}": declared["value"]
        for declared in called["inputs"]["parameters"]
    }
    result: dict[str, Any] = replaced(called, inputs)
    return result

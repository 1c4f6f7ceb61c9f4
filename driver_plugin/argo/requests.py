"""The body of ``template.execute``: what Argo's agent sends (spec DRIVER 1.1, LAUNCHER D2).

Only the envelope is looked at here. A body that is not an envelope is a :class:`RequestError`, whose text
says what is missing and never quotes the body.
"""

from dataclasses import dataclass
from typing import Any, Final, Self

import orjson

PLUGIN_KEY: Final = "driver-plugin"
"""Key of our templates in ``template.plugin``."""

MAX_DEPTH: Final = 64
"""Nesting of JSON that comes from a workflow (spec DRIVER 15)."""


class RequestError(ValueError):
    """The body is not a ``template.execute`` request: HTTP 400."""


@dataclass(frozen=True, kw_only=True)
class WorkflowMetadata:
    """Identity of the calling workflow, as the agent states it. Missing parts are empty."""

    name: str = ""
    namespace: str = ""
    uid: str = ""


@dataclass(frozen=True, kw_only=True)
class ExecuteTemplateRequest:
    """One call: the workflow, the template's name, and our arguments."""

    workflow: WorkflowMetadata
    template_name: str
    ours: bool
    """Whether ``template.plugin`` has our key."""
    arguments: dict[str, Any] | None
    """``args`` of our plugin entry; ``None`` when they are missing or not an object."""

    @classmethod
    def parse(cls, body: bytes) -> Self:
        """Read a request body; :class:`RequestError` when it is not one."""
        document = load_json(body)
        if not isinstance(document, dict):
            raise RequestError("the body is not a JSON object")
        template = _as_object(document.get("template"), "template")
        plugin = _as_object(template.get("plugin"), "template.plugin")
        metadata = _mapping(_mapping(document.get("workflow")).get("metadata"))
        ours = plugin.get(PLUGIN_KEY)
        arguments = _mapping(ours).get("args")
        return cls(
            workflow=WorkflowMetadata(
                name=_text(metadata.get("name")),
                namespace=_text(metadata.get("namespace")),
                uid=_text(metadata.get("uid")),
            ),
            template_name=_text(template.get("name")),
            ours=PLUGIN_KEY in plugin,
            arguments=arguments if isinstance(arguments, dict) else None,
        )


def load_json(text: bytes | str) -> Any:
    """Decode JSON of bounded depth; :class:`RequestError` says what is wrong without quoting the text."""
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise RequestError(f"not valid JSON (line {error.lineno}, column {error.colno})") from None
    if _deeper_than(document, MAX_DEPTH):
        raise RequestError(f"nested more than {MAX_DEPTH} levels deep")
    return document


def _deeper_than(document: Any, limit: int) -> bool:
    """Whether containers nest deeper than ``limit``; walks level by level, so depth costs no stack."""
    level = [document]
    for _ in range(limit):
        level = [
            child
            for node in level
            if isinstance(node, (dict, list))
            for child in (node.values() if isinstance(node, dict) else node)
            if isinstance(child, (dict, list))
        ]
        if not level:
            return False
    return True


def _as_object(value: Any, where: str) -> dict[str, Any]:
    if value is None:
        raise RequestError(f"{where} is missing")
    if not isinstance(value, dict):
        raise RequestError(f"{where} is not a JSON object")
    return value


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""

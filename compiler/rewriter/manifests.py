"""Manifest files: several documents in YAML or JSON, read within bounds, written as kubectl reads them."""

import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, NamedTuple

from compiler.errors import CompilerError
from compiler.yaml_text import MAX_DEPTH, YamlTextError, json_data, read_documents, write_document

_MAX_BYTES: Final = 32 * 1024 * 1024
_WHITESPACE: Final = re.compile(r"\s*")
STANDARD_INPUT: Final = "-"


class ManifestError(CompilerError):
    """A manifest cannot be read or written; the text names it."""

    exit_code = 1


class Manifest(NamedTuple):
    """The documents of one file."""

    name: str
    documents: list[Any]
    is_json: bool


def read_manifest(name: str) -> Manifest:
    """Read a file, or standard input for ``-``.

    Raises:
        ManifestError: it cannot be read, or is neither YAML nor JSON.
    """
    text = _text(name)
    is_json = text.lstrip()[:1] in ("{", "[")
    try:
        if is_json and (documents := _json_documents(text)) is not None:
            return Manifest(name, documents, is_json=True)
        return Manifest(name, read_documents(text, kubernetes=True), is_json=False)
    except YamlTextError as error:
        raise ManifestError(f"{_shown(name)}: not valid YAML or JSON: {error}") from error


def written(documents: Iterable[Any], *, as_json: bool) -> str:
    """The documents as text that kubectl reads."""
    if as_json:
        return "".join(f"{json.dumps(one, indent=2, ensure_ascii=False)}\n" for one in documents)
    return "---\n".join(map(write_document, documents))


def _text(name: str) -> str:
    try:
        if name == STANDARD_INPUT:
            data = sys.stdin.buffer.read(_MAX_BYTES + 1)
        else:
            with Path(name).open("rb") as file:
                data = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise ManifestError(f"{name}: cannot be read: {error.strerror or error}") from error
    if len(data) > _MAX_BYTES:
        raise ManifestError(f"{_shown(name)}: larger than {_MAX_BYTES // 1024**2} MiB")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ManifestError(
            f"{_shown(name)}: not UTF-8 text (byte 0x{data[error.start]:02x} at offset {error.start})"
        ) from error


def _shown(name: str) -> str:
    return "standard input" if name == STANDARD_INPUT else name


def _json_documents(text: str) -> list[Any] | None:
    """JSON values one after the other, or ``None`` where it is YAML that begins like JSON."""
    decoder = json.JSONDecoder()
    documents: list[Any] = []
    position = _after_whitespace(text, 0)
    try:
        while position < len(text):
            value, end = decoder.raw_decode(text, position)
            documents.append(value)
            position = _after_whitespace(text, end)
    except json.JSONDecodeError:
        return None
    except RecursionError as error:
        raise YamlTextError(f"nested deeper than {MAX_DEPTH} levels") from error
    for document in documents:
        _check_depth(document)
    return [json_data(document, "") for document in documents]


def _after_whitespace(text: str, position: int) -> int:
    found = _WHITESPACE.match(text, position)
    return found.end() if found else position


def _check_depth(document: Any) -> None:
    level = [document]
    for _ in range(MAX_DEPTH + 1):
        level = [
            item
            for one in level
            if isinstance(one, dict | list)
            for item in (one.values() if isinstance(one, dict) else one)
        ]
        if not level:
            return
    raise YamlTextError(f"nested deeper than {MAX_DEPTH} levels")

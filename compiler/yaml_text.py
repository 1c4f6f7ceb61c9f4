"""YAML in and out: the JSON subset only, bounded on the way in, stable and readable on the way out.

A pipeline file comes from anywhere. Aliases can make a kilobyte expand to gigabytes, and deep nesting can
exhaust the stack; both are measured on the event stream, before any object exists. Dates stay text, as in
every YAML reader that KFP uses.
"""

import math
from collections.abc import Iterator
from functools import cache
from typing import Any, Final, Protocol, cast

from compiler.argo import Json

_MAX_NODES: Final = 1_000_000
_MAX_DEPTH: Final = 200
_NO_WRAP: Final = 2**31 - 1


class YamlTextError(ValueError):
    """The text is not YAML, or not the JSON subset, or too big; the message says where."""


def read_documents(text: str) -> list[Any]:
    """The documents of a YAML stream as JSON data, empty ones left out.

    Raises:
        YamlTextError: with line and column where there are any.
    """
    import yaml  # noqa: PLC0415 (only those who read files pay for it)

    try:
        _check_size(text)
        documents = list(yaml.load_all(text, Loader=_loader()))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise YamlTextError(f"{where}{error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise YamlTextError(" ".join(str(error).split())) from error
    except (ValueError, OverflowError, RecursionError) as error:
        raise YamlTextError(" ".join(str(error).split())) from error
    return [json_data(document, "") for document in documents if document is not None]


def write_document(document: Json) -> str:
    """One YAML document, keys in their given order, no aliases, no folded lines."""
    import yaml  # noqa: PLC0415

    text: str = yaml.dump(
        document,
        Dumper=_dumper(),
        sort_keys=False,
        allow_unicode=True,
        width=_NO_WRAP,
        default_flow_style=False,
    )
    return text


def json_data(value: Any, path: str) -> Any:
    """The value as JSON data with text keys; ``YamlTextError`` names what JSON cannot hold."""
    where = path or "the document"
    match value:
        case None | bool() | int():
            return value
        case float():
            if not math.isfinite(value):
                raise YamlTextError(f"{where} is {value}, which JSON cannot hold")
            return value
        case str():
            if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
                raise YamlTextError(f"{where} is not valid Unicode text")
            return value
        case list():
            return [json_data(item, f"{path}[{index}]") for index, item in enumerate(value)]
        case dict():
            return {
                _key(key, where): json_data(item, f"{path}.{key}" if path else str(key))
                for key, item in value.items()
            }
    raise YamlTextError(f"{where} is a YAML {type(value).__name__}, which JSON cannot hold")


def _key(key: Any, where: str) -> str:
    match key:
        case str():
            return key
        case bool():
            return "true" if key else "false"
        case None:
            return "null"
        case int() | float():
            return str(key)
    raise YamlTextError(f"{where} has a key that is not text")


class _Sizes:
    """Expanded sizes of the nodes that are open, and of those that have an anchor."""

    def __init__(self) -> None:
        self.anchors: dict[str, int] = {}
        self._open: list[tuple[str | None, int]] = []
        self._total = 0

    def open(self, anchor: str | None) -> None:
        if len(self._open) == _MAX_DEPTH:
            raise YamlTextError(f"nested deeper than {_MAX_DEPTH} levels")
        self._open.append((anchor, self._total))
        self.add(None, 1)

    def close(self) -> None:
        anchor, before = self._open.pop()
        if anchor is not None:
            self.anchors[anchor] = self._total - before

    def add(self, anchor: str | None, size: int) -> None:
        self._total += size
        if self._total > _MAX_NODES:
            raise YamlTextError(f"more than {_MAX_NODES} values after expanding its aliases")
        if anchor is not None:
            self.anchors[anchor] = size

    def alias(self, anchor: str, mark: Any) -> None:
        if anchor not in self.anchors:
            where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
            raise YamlTextError(f"{where}alias *{anchor} refers to itself or to nothing")
        self.add(None, self.anchors[anchor])


def _check_size(text: str) -> None:
    import yaml  # noqa: PLC0415

    loader = yaml.CSafeLoader if hasattr(yaml, "CSafeLoader") else yaml.SafeLoader
    sizes = _Sizes()
    for event in cast("Iterator[Any]", yaml.parse(text, Loader=loader)):
        match event:
            case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                sizes.open(event.anchor)
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                sizes.close()
            case yaml.ScalarEvent():
                sizes.add(event.anchor, 1)
            case yaml.AliasEvent():
                sizes.alias(event.anchor or "", event.start_mark)
            case yaml.DocumentEndEvent():
                sizes.anchors.clear()


class _YamlClass(Protocol):
    yaml_implicit_resolvers: dict[str | None, list[tuple[str, Any]]]


@cache
def _loader() -> Any:
    """The safe loader, libyaml's where there is one, with dates left as text."""
    import yaml  # noqa: PLC0415

    base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    resolvers = {
        first: [(tag, pattern) for tag, pattern in entries if tag != "tag:yaml.org,2002:timestamp"]
        for first, entries in cast("_YamlClass", base).yaml_implicit_resolvers.items()
    }
    return type("_JsonLoader", (base,), {"yaml_implicit_resolvers": resolvers})


@cache
def _dumper() -> Any:
    """The safe dumper, libyaml's where there is one, without aliases for data that occurs twice."""
    import yaml  # noqa: PLC0415

    base: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    return type("_PlainDumper", (base,), {"ignore_aliases": lambda _self, _data: True})

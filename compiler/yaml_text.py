"""YAML in and out: the JSON subset only, bounded on the way in, stable and readable on the way out.

A pipeline file comes from anywhere. Aliases can make a kilobyte expand to gigabytes, and deep nesting can
exhaust the stack; both are measured on the event stream, before any object exists. Dates stay text, as in
every YAML reader that KFP uses.

Two dialects decide what an unquoted ``y``, ``1e3`` or ``12:30`` is: Python's, in which the KFP SDK writes,
and that of Kubernetes, in which kubectl reads. What is written here means the same in both.
"""

import math
import re
from collections.abc import Iterator
from functools import cache
from typing import Any, Final, Protocol, cast

MAX_DEPTH: Final = 200
"""Deepest nesting that is read."""

_MAX_NODES: Final = 1_000_000
_NO_WRAP: Final = 2**31 - 1

_KUBERNETES_SCALARS: Final = (
    (
        "bool",
        "yYnNtTfFoO",
        r"y|Y|yes|Yes|YES|n|N|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF",
    ),
    ("int", "-+0123456789", r"[-+]?(?:0b[01_]+|0x[0-9a-fA-F_]+|0o?[0-7_]*|[1-9][0-9_]*)"),
    ("float", "-+.0123456789", r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"),
)
"""What Kubernetes' reader (go-yaml) takes for something else than text: kind, first characters, pattern."""


class YamlTextError(ValueError):
    """The text is not YAML, or not the JSON subset, or too big; the message says where."""


def read_documents(text: str, *, max_nodes: int = _MAX_NODES, kubernetes: bool = False) -> list[Any]:
    """The documents of a YAML stream as JSON data, empty ones left out.

    Args:
        text: the stream.
        max_nodes: how many values it may hold, aliases expanded.
        kubernetes: read plain scalars as Kubernetes does, instead of as Python and the KFP SDK do.

    Raises:
        YamlTextError: with line and column where there are any.
    """
    import yaml  # noqa: PLC0415 (only those who read files pay for it)

    try:
        _check_size(text, max_nodes)
        documents = list(yaml.load_all(text, Loader=_loader(kubernetes=kubernetes)))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise YamlTextError(f"{where}{error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise YamlTextError(" ".join(str(error).split())) from error
    except (ValueError, OverflowError, RecursionError) as error:
        raise YamlTextError(" ".join(str(error).split())) from error
    return [json_data(document, "") for document in documents if document is not None]


def write_document(document: Any) -> str:
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

    def __init__(self, limit: int) -> None:
        self.anchors: dict[str, int] = {}
        self._limit = limit
        self._open: list[tuple[str | None, int]] = []
        self._total = 0

    def open(self, anchor: str | None) -> None:
        if len(self._open) == MAX_DEPTH:
            raise YamlTextError(f"nested deeper than {MAX_DEPTH} levels")
        self._open.append((anchor, self._total))
        self.add(None, 1)

    def close(self) -> None:
        anchor, before = self._open.pop()
        if anchor is not None:
            self.anchors[anchor] = self._total - before

    def add(self, anchor: str | None, size: int) -> None:
        self._total += size
        if self._total > self._limit:
            raise YamlTextError(f"more than {self._limit} values after expanding its aliases")
        if anchor is not None:
            self.anchors[anchor] = size

    def alias(self, anchor: str, mark: Any) -> None:
        if anchor not in self.anchors:
            where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
            raise YamlTextError(f"{where}alias *{anchor} refers to itself or to nothing")
        self.add(None, self.anchors[anchor])


def _check_size(text: str, max_nodes: int) -> None:
    import yaml  # noqa: PLC0415

    loader = yaml.CSafeLoader if hasattr(yaml, "CSafeLoader") else yaml.SafeLoader
    sizes = _Sizes(max_nodes)
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
def _loader(*, kubernetes: bool) -> Any:
    """The safe loader, libyaml's where there is one, with dates and a lone ``=`` left as text."""
    import yaml  # noqa: PLC0415

    base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    left_out = {"timestamp", "value", *((kind for kind, _, _ in _KUBERNETES_SCALARS) if kubernetes else ())}
    resolvers = {
        first: [(tag, pattern) for tag, pattern in entries if tag.rpartition(":")[2] not in left_out]
        for first, entries in cast("_YamlClass", base).yaml_implicit_resolvers.items()
    }
    loader: Any = type("_JsonLoader", (base,), {"yaml_implicit_resolvers": resolvers})
    if kubernetes:
        loader.add_constructor("tag:yaml.org,2002:bool", _kubernetes_bool)
        _add_kubernetes_scalars(loader)
    return loader


def _kubernetes_bool(loader: Any, node: Any) -> bool:
    return str(loader.construct_scalar(node)).lower() in {"y", "yes", "true", "on"}


@cache
def _dumper() -> Any:
    """The safe dumper, libyaml's where there is one, without aliases for data that occurs twice.

    It quotes every text that either dialect would take for something else.
    """
    import yaml  # noqa: PLC0415

    base: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    dumper = type("_PlainDumper", (base,), {"ignore_aliases": lambda _self, _data: True})
    _add_kubernetes_scalars(dumper)
    return dumper


def _add_kubernetes_scalars(reader_or_writer: Any) -> None:
    for kind, first, pattern in _KUBERNETES_SCALARS:
        reader_or_writer.add_implicit_resolver(
            f"tag:yaml.org,2002:{kind}", re.compile(rf"(?:{pattern})\Z"), list(first)
        )

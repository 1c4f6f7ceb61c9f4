"""A driver log read back: its identity, its records, its outcome (spec DEPLOY 9.3).

The inverse of :mod:`driver_plugin.system_logs.capture` as far as ``explain`` needs it. Lines that were
cut, or that somebody else wrote, give fewer facts, never an error.
"""

import contextlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

_HEADER: Final = "# kfp-driver-log v1 "
_RECORD: Final = re.compile(r"(?P<time>\S+Z) (?P<level>[A-Z]+) (?P<logger>\S+) (?P<rest>.*)")
_FIELD: Final = re.compile(r" (?P<key>[A-Za-z_]\w*)=")
_END: Final = re.compile(r"# end outcome=(?P<outcome>\w+) duration_ms=(?P<duration>\d+)")
_DECODER: Final = json.JSONDecoder()


@dataclass(frozen=True, kw_only=True)
class Record:
    """One line: what happened, and its fields."""

    level: str
    event: str
    fields: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class DriverLog:
    """One call. ``outcome`` is ``succeeded``, ``failed`` or ``running``; ``duration_ms`` may be unknown."""

    header: Mapping[str, Any]
    records: tuple[Record, ...]
    outcome: str
    duration_ms: int | None

    def last(self, event: str) -> Mapping[str, Any] | None:
        """Fields of the last record of that event."""
        return next((record.fields for record in reversed(self.records) if record.event == event), None)

    @property
    def error(self) -> str:
        """Why the call failed; empty where it did not."""
        fields = self.last("driver failed")
        return "" if fields is None else str(fields.get("error", ""))

    @property
    def warnings(self) -> list[Record]:
        """What was ignored or repaired."""
        return [record for record in self.records if record.level == "WARNING"]


def read_driver_log(text: str) -> DriverLog:
    """The facts in the text of a log."""
    first, _, _ = text.partition("\n")
    end = _END.search(text, max(0, text.rfind("\n# end")))
    return DriverLog(
        header=_object(first.removeprefix(_HEADER)) if first.startswith(_HEADER) else {},
        records=tuple(_records(text)),
        outcome=end["outcome"] if end else "running",
        duration_ms=int(end["duration"]) if end else None,
    )


def _records(text: str) -> Iterator[Record]:
    for line in text.splitlines():
        match = _RECORD.fullmatch(line)
        if match is not None:
            event, fields = _event_and_fields(match["rest"])
            yield Record(level=match["level"], event=event, fields=fields)


def _event_and_fields(rest: str) -> tuple[str, dict[str, Any]]:
    first = _FIELD.search(rest)
    if first is None:
        return rest, {}
    fields: dict[str, Any] = {}
    match: re.Match[str] | None = first
    while match is not None:
        value, end = _value(rest, match.end())
        fields[match["key"]] = value
        match = _FIELD.match(rest, end)
    return rest[: first.start()], fields


def _value(text: str, start: int) -> tuple[Any, int]:
    """A field's value from ``start`` on, and where it ends: JSON, else a word."""
    with contextlib.suppress(ValueError):
        value, end = _DECODER.raw_decode(text, start)
        # An id may begin with a number.
        if text[end : end + 1] in ("", " "):
            return value, end
    end = text.find(" ", start)
    end = len(text) if end < 0 else end
    return text[start:end], end


def _object(text: str) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}

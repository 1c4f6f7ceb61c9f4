"""Records as JSON lines on standard output, through structlog.

:func:`configure` sets structlog up once per process and routes the standard library's loggers (aiohttp,
asyncio, botocore) into it. Every record passes the redaction filter, and a record that some module writes
while an invocation runs is taken into that invocation's log.
"""

import logging
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, Final, TextIO

import orjson
import structlog

from driver_plugin.system_logs.capture import LINE_LIMIT, Emit, current_log, now_text
from driver_plugin.system_logs.redaction import clean, clean_deep, hide_secret_values, is_clean_json

_QUIET: Final = ("aiohttp.access", "botocore", "boto3", "urllib3", "s3transfer", "httpx", "httpcore")
_RECORD: Final = ("event", "level", "logger")
"""What a record is beside its fields."""


def configure(level: str, stream: TextIO | None = None) -> None:
    """Log records of at least ``level`` (DEBUG, INFO, WARNING, ERROR) to ``stream``, default stdout."""
    number = logging.getLevelNamesMapping()[level]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            _capture,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _render_last,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(stream or sys.stdout),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.handlers[:] = [_ToStructlog()]
    root.setLevel(number)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(number, logging.WARNING))


def emitter(invocation_id: str) -> Emit:
    """Where an invocation's records go besides its own log: standard output, with its id.

    They come filtered and of a level that is wanted, so they are written without structlog's chain of
    processors, which costs more than everything else about a record.
    """
    printer = structlog.get_config()["logger_factory"]()

    def emit(level: str, event: str, fields: Mapping[str, Any]) -> None:
        # A field of one of these names must not replace them.
        renamed = {f"{key}_" if key in _RECORD else key: fields[key] for key in fields}
        own = {"invocation_id": invocation_id, "event": event, "level": level, "timestamp": now_text()}
        printer.msg(_render({**renamed, **own}))

    return emit


class _ToStructlog(logging.Handler):
    """Hands records of the standard library's loggers to structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        level = min(max(record.levelno // 10 * 10, logging.DEBUG), logging.ERROR)
        structlog.get_logger(record.name).log(
            level, record.getMessage(), logger=record.name, exc_info=record.exc_info
        )


def _capture(_logger: Any, level: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    log = current_log.get()
    if log is None:
        return hide_secret_values(event)
    fields = log.hide_in({key: value for key, value in event.items() if key not in _RECORD})
    text = log.redact(str(event["event"]))
    log.keep(level, str(event.get("logger", "service")), text, fields)
    return {**{key: event[key] for key in _RECORD if key in event}, "event": text, **fields}


def _render_last(_logger: Any, _level: str, event: MutableMapping[str, Any]) -> str:
    return _render(event)


def _render(event: MutableMapping[str, Any]) -> str:
    plain = _without_filtering(event)
    if plain is not None:
        return plain
    cleaned = clean_deep(event)
    line = orjson.dumps(cleaned, default=_text)
    if len(line) <= LINE_LIMIT:
        return line.decode()
    short = {key: cleaned[key] for key in ("timestamp", "level", "invocation_id") if key in cleaned}
    text = str(cleaned["event"])[: LINE_LIMIT // 8]
    return orjson.dumps({**short, "event": text, "cut_bytes": len(line)}).decode()


def _without_filtering(event: MutableMapping[str, Any]) -> str | None:
    """The line of a record in which there is nothing to filter, as in most; encoded once, searched once."""
    try:
        line = orjson.dumps(event, default=_text).decode()
    except TypeError:
        # A key that is no text; the filter makes one of it.
        return None
    return line if len(line) <= LINE_LIMIT and is_clean_json(line) else None


def _text(value: Any) -> str:
    return clean(str(value))

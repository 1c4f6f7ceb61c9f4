"""The log of one invocation: collected in memory, bounded, redacted (spec DEPLOY 9.3, 9.6).

Records come from the driver through :class:`InvocationLog` and, through structlog's processors
(:mod:`driver_plugin.system_logs.standard_output`), from any other module that logs while the invocation
runs. One record is one line; the same record goes to standard output as JSON, so that ``kubectl logs``
works while the pod lives.
"""

import re
import time
import traceback
from collections import deque
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from driver_plugin.system_logs.redaction import (
    clean,
    hide_secret_values,
    redact,
    replace_deep,
    secret_texts,
)

LINE_LIMIT: Final = 8 * 1024
HEAD_LIMIT: Final = 1 << 20
TAIL_LIMIT: Final = (4 << 20) - 2048
"""Bytes kept of the end; with head, marker and last line the object stays within 5 MiB."""

_CLEANED_CHARACTERS: Final = 4 * LINE_LIMIT
"""A record is filtered before it is cut to a line, and so much of it that no half secret stays at the cut."""

_QUOTED: Final = re.compile(r"""[ "'=\t\r\n]""")
"""Characters of which a field's text must have none to be written without quotes."""

_CAUSES: Final = 20
_KNOWN_SECRETS: Final = 1000

LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}

current_log: ContextVar["InvocationLog | None"] = ContextVar("current_log", default=None)
"""The invocation that the running code works for."""

Emit = Callable[[str, str, Mapping[str, Any]], None]
"""Where records also go: called with level, event and fields."""


def _nowhere(level: str, event: str, fields: Mapping[str, Any]) -> None:
    """The default for logs that nobody reads on standard output, as in tests of the drivers."""


class InvocationLog:
    """Collects the records of one invocation.

    Args:
        invocation_id: Names the log; part of failure messages.
        uri: Where the log will be readable; empty when it is not uploaded.
        header: Identity of the call for the first line.
        level: Least severity that is kept.
        emit: Gets every kept record too, for standard output.
    """

    def __init__(
        self,
        invocation_id: str,
        *,
        uri: str = "",
        header: Mapping[str, Any] | None = None,
        level: str = "INFO",
        emit: Emit = _nowhere,
    ) -> None:
        self.invocation_id = invocation_id
        self.uri = uri
        self._least = LEVELS[level.lower()]
        self._emit = emit
        self._started = time.monotonic()
        self._head: list[bytes] = []
        self._head_bytes = 0
        self._tail: deque[bytes] = deque()
        self._tail_bytes = 0
        self._cut_lines = 0
        self._secrets: tuple[str, ...] = ()
        first = {"invocation_id": invocation_id, **(header or {}), "started_at": now_text()}
        self._append(f"# kfp-driver-log v1 {_json(first)}")

    def hide(self, values: Mapping[str, Any]) -> None:
        """From now on replace the values of secret-sounding names among ``values`` wherever they appear."""
        known = {*self._secrets, *secret_texts(values)}
        # The longest first: one secret may contain another.
        self._secrets = tuple(sorted(known, key=lambda text: (-len(text), text))[:_KNOWN_SECRETS])

    def redact(self, text: str) -> str:
        """``text`` without secrets, those given to :meth:`hide` among them; lines stay lines."""
        return redact(text, self._secrets)

    def hide_in(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """``fields`` without values of secret-sounding names and without those given to :meth:`hide`.

        To be done before they are encoded: what is secret may contain quotes.
        """
        hidden = hide_secret_values(fields)
        if not self._secrets:
            return hidden
        return {key: replace_deep(value, self._secrets) for key, value in hidden.items()}

    def debug(self, event: str, /, **fields: Any) -> None:
        """Record details for whoever looks into a problem; parameter values belong here, shortened."""
        self._log("debug", event, fields)

    def info(self, event: str, /, **fields: Any) -> None:
        """Record a step of the call."""
        self._log("info", event, fields)

    def warning(self, event: str, /, **fields: Any) -> None:
        """Record something that was ignored or repaired."""
        self._log("warning", event, fields)

    def error(self, event: str, /, **fields: Any) -> None:
        """Record why the call fails."""
        self._log("error", event, fields)

    def failure(self, event: str, error: BaseException, *, stack: bool) -> None:
        """Record why the call failed, with its causes; the stack of a bug is in the log, never in a reply."""
        causes = [f"{type(one).__name__}: {one}" for one in _causes(error)]
        self._log("error", event, {"error": str(error) or type(error).__name__, "causes": causes})
        # Filtered as a whole: a secret may spread over several lines.
        trace = self.redact("".join(traceback.format_exception(error))) if stack else ""
        for line in trace.splitlines():
            self._log("error", f"  {line}", {})

    def keep(self, level: str, logger: str, event: str, fields: Mapping[str, Any]) -> None:
        """Take a record of another logger, with the fields of :meth:`hide_in`, without passing it on."""
        if LEVELS.get(level, 0) >= self._least:
            self._append(_line(level, logger, event, fields))

    def body(self, outcome: str) -> bytes:
        """The log as UTF-8 text: what was kept, and a last line with the outcome and the duration.

        ``outcome`` is ``succeeded``, ``failed``, or ``running`` for a log that is flushed before its end.
        """
        milliseconds = round((time.monotonic() - self._started) * 1000)
        truncated = str(self._cut_lines > 0).lower()
        marker = [f"# ... {self._cut_lines} lines cut ...\n".encode()] if self._cut_lines else []
        end = f"# end outcome={outcome} duration_ms={milliseconds} truncated={truncated}\n".encode()
        return b"".join([*self._head, *marker, *self._tail, end])

    def _log(self, level: str, event: str, fields: Mapping[str, Any]) -> None:
        if LEVELS[level] < self._least:
            return
        text, hidden = self.redact(event), self.hide_in(fields)
        self._append(_line(level, "driver", text, hidden))
        self._emit(level, text, hidden)

    def _append(self, text: str) -> None:
        line = cut_line(clean(text[:_CLEANED_CHARACTERS], self._secrets)) + b"\n"
        if not self._tail and self._head_bytes + len(line) <= HEAD_LIMIT:
            self._head.append(line)
            self._head_bytes += len(line)
            return
        self._tail.append(line)
        self._tail_bytes += len(line)
        while self._tail_bytes > TAIL_LIMIT:
            self._tail_bytes -= len(self._tail.popleft())
            self._cut_lines += 1


def cut_line(text: str) -> bytes:
    """``text`` in UTF-8, at most :data:`LINE_LIMIT` bytes, saying how much is missing."""
    encoded = text.encode("utf-8", "replace")
    if len(encoded) <= LINE_LIMIT:
        return encoded
    note = f" ... ({len(encoded)} bytes)".encode()
    return encoded[: LINE_LIMIT - len(note)].decode("utf-8", "ignore").encode() + note


def _causes(error: BaseException) -> list[BaseException]:
    chain: list[BaseException] = []
    cause = error.__cause__
    while cause is not None and len(chain) < _CAUSES:
        chain.append(cause)
        cause = cause.__cause__
    return chain


def _line(level: str, logger: str, event: str, fields: Mapping[str, Any]) -> str:
    pairs = "".join(f" {key}={_field(value)}" for key, value in fields.items())
    return f"{now_text()} {level.upper()} {logger} {event}{pairs}"


def _field(value: Any) -> str:
    if isinstance(value, str) and value and not _QUOTED.search(value):
        return value
    return _json(value)


def _json(value: Any) -> str:
    return orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


def now_text() -> str:
    """The present moment in RFC 3339, UTC, with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

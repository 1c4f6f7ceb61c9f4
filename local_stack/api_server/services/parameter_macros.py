"""The macros in string parameters of a run: ``[[RunUUID]]``, ``[[CurrentTime]]``, ``[[ScheduledTime]]``.

Times are UTC; ``[[CurrentTime.15-04-05]]`` carries a layout made of the parts of KFP's reference time
(``Mon Jan 2 15:04:05 2006``). What is not a macro stays as it is.
"""

import re
from datetime import UTC, datetime
from typing import Final

_MACRO: Final = re.compile(r"\[\[(RunUUID|CurrentTime|ScheduledTime)(?:\.(.*?))?\]\]")

_DEFAULT_LAYOUT: Final = "20060102150405"

_LAYOUT_PARTS: Final = {
    "January": "%B",
    "Monday": "%A",
    "2006": "%Y",
    "Jan": "%b",
    "Mon": "%a",
    "MST": "UTC",
    "002": "%j",
    "01": "%m",
    "02": "%d",
    "03": "%I",
    "04": "%M",
    "05": "%S",
    "06": "%y",
    "15": "%H",
    "PM": "%p",
}

_LAYOUT_PART: Final = re.compile("|".join(_LAYOUT_PARTS))


def expand_macros(text: str, *, run_id: str, now: int, scheduled: int | None) -> str:
    """``text`` with its macros replaced; times are Unix seconds.

    ``[[ScheduledTime]]`` stays where the run was not scheduled.
    """

    def replace(match: re.Match[str]) -> str:
        name, layout = match.groups()
        if name == "RunUUID":
            return match[0] if layout else run_id
        moment = now if name == "CurrentTime" else scheduled
        return match[0] if moment is None else _format(moment, layout or _DEFAULT_LAYOUT)

    return _MACRO.sub(replace, text)


def _format(moment: int, layout: str) -> str:
    time = datetime.fromtimestamp(moment, tz=UTC)
    return _LAYOUT_PART.sub(lambda part: time.strftime(_LAYOUT_PARTS[part[0]]), layout)

"""An explanation as lines of text."""

from collections.abc import Iterator
from datetime import datetime
from textwrap import wrap
from typing import Final

import orjson

from driver_plugin.system_logs.redaction import redact
from kfp_api.messages import PipelineTask
from troubleshooting.explanation import Explanation, label
from troubleshooting.logs import DriverLogs
from troubleshooting.task_logs import executor_pod

_WIDTH: Final = 100
_INDENT: Final = 11
_VALUE: Final = 60


def report(told: Explanation, logs: DriverLogs, *, option: str = "") -> Iterator[str]:
    """The lines, most important first: state, cause and way out; then the facts.

    ``option`` makes the command that shows the log look at the same place.
    """
    run, row = told.run, told.task.row
    yield _fact("run", f"{run.display_name} ({run.run_id}), {run.state.value}")
    name = label(told.task.name, told.task.iteration_index)
    yield _fact("task", f"{name}: {told.state}{_took(row)}")
    yield _fact("", told.task.scope_path + (f", row {row.task_id}" if row else ", no row"))
    yield from _wrapped("why", told.reason)
    if told.cause is not None:
        yield ""
        yield from _wrapped("cause", f"{told.cause.task}: {told.cause.message}")
        for line in told.cause.output:
            yield _fact("", f"| {line}")
        if told.cause.advice:
            yield from _wrapped("do this", told.cause.advice)
    yield ""
    yield from _inputs(told)
    if told.condition:
        yield from _wrapped("condition", told.condition)
    yield from _cache(told)
    for number, warning in enumerate(told.warnings):
        yield from _wrapped("" if number else "warnings", warning)
    yield from _logs(told, logs, option)


def _inputs(told: Explanation) -> Iterator[str]:
    width = max((len(fact.name) for fact in told.inputs), default=0)
    for number, fact in enumerate(told.inputs):
        value = fact.value if isinstance(fact.value, str) else orjson.dumps(fact.value).decode()
        yield _fact("" if number else "inputs", f"{fact.name:<{width}} = {_short(value)}  ({fact.source})")


def _cache(told: Explanation) -> Iterator[str]:
    if told.cache is None:
        return
    yield from _wrapped("cache", told.cache.decision)
    miss = told.cache.miss
    if miss is None:
        return
    yield from _wrapped("", miss.reason)
    if miss.earlier is not None:
        when = f" of {_time(miss.earlier.create_time)}" if miss.earlier.create_time else ""
        task = label(miss.earlier.name, miss.earlier.iteration_index)
        yield _fact(
            "",
            f"compared with {task}{when}, run {miss.earlier.run_id}",
        )
    for one in miss.differences:
        yield _fact("", f"  {one.what}: {_short(one.before)} before, {_short(one.now)} now")


def _logs(told: Explanation, logs: DriverLogs, option: str) -> Iterator[str]:
    if told.driver_log is not None:
        yield _fact("driver log", logs.uri(told.driver_log))
        task = label(told.task.name, told.task.iteration_index)
        yield _fact("", f"kfp-driver logs {told.run.run_id} {task}{option}")
    elif told.driver_log_missing:
        yield from _wrapped("driver log", told.driver_log_missing)
    pod = executor_pod(told.task.row) if told.task.row else ""
    if told.task_log is not None:
        yield _fact("task log", str(told.task_log))
    elif pod:
        yield _fact("task log", f"output of pod {pod}: kubectl logs {pod} -c main")


def _took(row: PipelineTask | None) -> str:
    if row is None or row.create_time is None or row.end_time is None or row.end_time < row.create_time:
        return ""
    return f" after {(row.end_time - row.create_time).total_seconds():.0f} s"


def _fact(name: str, text: str) -> str:
    return f"{name:<{_INDENT}}{text}"


def _wrapped(name: str, text: str) -> Iterator[str]:
    # What is printed is filtered line by line: too late for what stands on several.
    lines = [
        part for line in redact(text).splitlines() for part in wrap(line, _WIDTH, break_long_words=False)
    ] or [""]
    for number, line in enumerate(lines):
        yield _fact("" if number else name, line)


def _short(text: str) -> str:
    text = redact(text)
    return text if len(text) <= _VALUE else f"{text[: _VALUE - 1]}…"


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S")

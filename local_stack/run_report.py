"""What a local run shows at its end: the tree of its task rows, and why it failed.

Built from the rows of the KFP API, so that it shows what any client of KFP would see.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Final

from kfp_api.ir.pipeline import PipelineSpec
from kfp_api.messages import (
    Artifact,
    ArtifactType,
    IOArtifact,
    IOParameter,
    PipelineTask,
    TaskState,
    TaskType,
)
from local_stack.terminal import Screen, duration_text
from propagation.state_rules import dependencies_of
from resolver.scope import ScopePath

_VALUE_WIDTH: Final = 60
_LISTED: Final = 3
_EXECUTOR_LOGS: Final = "executor-logs"
_INTERNAL: Final = "pipelinechannel--"
"""The SDK's names for what passes through groups of tasks; the producing task shows the same output."""


@dataclass(frozen=True)
class _Line:
    """One row of the tree: prefix and name, then the columns; details stand below it."""

    name: str
    row: PipelineTask
    details_prefix: str


def in_order_of_work(tasks: Iterable[PipelineTask], spec: PipelineSpec) -> list[PipelineTask]:
    """The rows so that a task stands behind those it waits for; rows keep only whole seconds."""
    ranks: dict[int, dict[str, int]] = {}

    def rank(row: PipelineTask) -> int:
        enclosing = ScopePath.from_dot(spec, row.scope_path).parent.last
        dag = enclosing.component.dag if enclosing else None
        if dag is None:
            return 0
        if id(dag) not in ranks:
            waits = {name: sorted(dependencies_of(task)) for name, task in sorted(dag.tasks.items())}
            ranks[id(dag)] = {
                name: place for place, name in enumerate(TopologicalSorter(waits).static_order())
            }
        return ranks[id(dag)].get(row.name, 0)

    return sorted(tasks, key=rank)


def show_tasks(screen: Screen, tasks: Sequence[PipelineTask], *, driver_logs: Mapping[str, Path]) -> None:
    """Print the tree of tasks: state, duration, decision, outputs, and where the driver's log lies.

    Siblings stand by iteration, then in the given order. ``driver_logs`` holds the logs' paths by task id.
    """
    lines = list(_tree(tasks))
    width = max((len(line.name) for line in lines), default=0)
    for line in lines:
        state = line.row.state.value.lower()
        columns = f"{screen.paint(f'{state:<9}', state)}  {_duration(line.row):>7}  {_remark(line.row)}"
        screen.line(f"{line.name:<{width}}  {columns}".rstrip())
        for detail in _details(line.row, driver_logs.get(line.row.task_id)):
            screen.line(screen.paint(f"{line.details_prefix}  {detail}", "dim"))


def shown_path(path: str | Path) -> str:
    """A path, relative to the current directory where that is shorter."""
    text = str(path)
    if not text.startswith("/"):
        return text
    relative = os.path.relpath(text)
    return text if relative.startswith("..") else relative


def _tree(tasks: Sequence[PipelineTask]) -> Iterator[_Line]:
    known = {task.task_id for task in tasks}
    children: dict[str, list[PipelineTask]] = {}
    for task in tasks:
        parent = task.parent_task_id or ""
        children.setdefault(parent if parent in known else "", []).append(task)

    def below(parent: str, prefix: str) -> Iterator[_Line]:
        rows = sorted(children.get(parent, []), key=_order)
        for row in rows:
            last = row is rows[-1]
            inner = prefix + ("   " if last else "│  ")
            bar = "│" if children.get(row.task_id) else " "
            yield _Line(f"{prefix}{'└─ ' if last else '├─ '}{_name(row)}", row, inner + bar)
            yield from below(row.task_id, inner)

    for root in sorted(children.get("", []), key=_order):
        yield _Line(_name(root), root, "│" if children.get(root.task_id) else " ")
        yield from below(root.task_id, "")


def _order(row: PipelineTask) -> int:
    return -1 if row.iteration_index is None else row.iteration_index


def _name(row: PipelineTask) -> str:
    if not row.parent_task_id:
        return row.display_name or row.name
    return row.name if row.iteration_index is None else f"{row.name} [{row.iteration_index}]"


def _duration(row: PipelineTask) -> str:
    if row.create_time is None or row.end_time is None or row.end_time < row.create_time:
        return ""
    return duration_text((row.end_time - row.create_time).total_seconds(), decimals=0)


def _remark(row: PipelineTask) -> str:
    if row.state is TaskState.CACHED and row.type is TaskType.RUNTIME:
        return "served from cache"
    if row.type is TaskType.LOOP and row.iteration_count is not None:
        return f"{row.iteration_count} iteration{'' if row.iteration_count == 1 else 's'}"
    if row.state in (TaskState.FAILED, TaskState.SKIPPED) and row.status_metadata is not None:
        message = row.status_metadata.message.partition("\n")[0]
        if message:
            return message
    return "its condition is false" if row.state is TaskState.SKIPPED and not row.child_tasks else ""


def _details(row: PipelineTask, log: Path | None) -> Iterator[str]:
    values: dict[str, list[str]] = {}
    for parameter in sorted(row.output_parameters, key=_iteration):
        if parameter.parameter_key.startswith(_INTERNAL):
            continue
        text = json.dumps(parameter.value, ensure_ascii=False) if parameter.value is not None else "null"
        values.setdefault(parameter.parameter_key, []).append(_short(text))
    for key, texts in values.items():
        yield f"{key} = {_listed(texts)}"
    for output in row.output_artifacts:
        if output.artifact_key == _EXECUTOR_LOGS or output.artifact_key.startswith(_INTERNAL):
            continue
        yield f"{output.artifact_key} → {_listed(_artifact_texts(output))}"
    if log is not None:
        yield f"driver log  {shown_path(log)}"


def _iteration(parameter: IOParameter) -> int:
    index = parameter.producer.iteration if parameter.producer else None
    return -1 if index is None else index


def _artifact_texts(output: IOArtifact) -> list[str]:
    return [_artifact_text(artifact) for artifact in output.artifacts]


def _artifact_text(artifact: Artifact) -> str:
    if artifact.type is ArtifactType.Metric:
        return (
            f"{artifact.name} = {artifact.number_value:g}"
            if artifact.number_value is not None
            else artifact.name
        )
    return shown_path(artifact.uri) if artifact.uri else f"{artifact.name} ({artifact.type.value})"


def _short(text: str) -> str:
    return text if len(text) <= _VALUE_WIDTH else text[: _VALUE_WIDTH - 1] + "…"


def _listed(texts: Sequence[str]) -> str:
    shown = ", ".join(texts[:_LISTED])
    return shown if len(texts) <= _LISTED else f"{shown}, … ({len(texts)} in all)"

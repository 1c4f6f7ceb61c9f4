"""Logs of a finished run under readable names: ``<run directory>/logs/<task path>/{driver,task}.log``.

The files are links to where the driver service and the executors wrote them: those places are named by
ids, which a machine finds quickly and a person does not.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from driver_plugin.system_logs.location import scope, slug
from kfp_api.messages import PipelineTask

DRIVER_LOG: Final = "driver.log"
TASK_LOG: Final = "task.log"


def link_logs(
    tasks: Sequence[PipelineTask],
    directory: Path,
    *,
    driver_logs: Path,
    task_log: Callable[[str], Path],
) -> dict[str, Path]:
    """Make the links; returns the driver logs by task id.

    Args:
        tasks: all rows of the run.
        directory: where the links go.
        driver_logs: the driver service's log root.
        task_log: from the name of a pod to its output.
    """
    found: dict[str, Path] = {}
    for row, place in _places(tasks, directory):
        driver = _driver_log(row, driver_logs)
        if driver is not None:
            found[row.task_id] = _link(place / DRIVER_LOG, driver)
        outputs = [log for pod in row.pods if (log := task_log(pod.name)).is_file()]
        if outputs:
            _link(place / TASK_LOG, outputs[-1])
    return found


def _places(tasks: Sequence[PipelineTask], directory: Path) -> Iterator[tuple[PipelineTask, Path]]:
    rows = {task.task_id: task for task in tasks}
    for task in tasks:
        names = list(_names(task, rows))
        yield task, directory.joinpath(*reversed(names))


def _names(task: PipelineTask, rows: Mapping[str, PipelineTask]) -> Iterator[str]:
    """Names from the task up to, and without, the root."""
    row: PipelineTask | None = task
    while row is not None and row.parent_task_id:
        index = "" if row.iteration_index is None else f".{row.iteration_index}"
        yield slug(row.name) + index
        row = rows.get(row.parent_task_id)


def _driver_log(row: PipelineTask, driver_logs: Path) -> Path | None:
    """The latest log: the row's hint, else the newest file at its place (spec DEPLOY 9.2, 9.5)."""
    hint = row.custom_properties.get("driver_logs_uri")
    if isinstance(hint, str) and Path(hint).is_file():
        return Path(hint)
    place = scope(
        parent_task_id=row.parent_task_id or "", task_name=row.name, iteration_index=row.iteration_index
    )
    return max((driver_logs / row.run_id / place).glob("*.log"), default=None)


def _link(link: Path, target: Path) -> Path:
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(target)
    return link

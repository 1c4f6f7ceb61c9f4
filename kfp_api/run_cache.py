"""What the process remembers of runs: only what cannot change, bounded in entries and in bytes.

A run's pipeline spec is immutable and large; the identity of a task row (type, place, loop position) does
not change either, nor do the inputs of a DAG row once its children start. All cost a read to get and nothing
to lose (spec DRIVER 14). Keys hold the run id, so what is remembered reaches only calls that are bound to
that run.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

import orjson

from kfp_api.ir.load import Pipeline
from kfp_api.known_parent import KnownParent, identity
from kfp_api.messages import InputOutputs, PipelineTask, Run, TaskType

_DEFAULT_RUNS: Final = 256
_DEFAULT_BYTES: Final = 64 * 1024 * 1024
_DEFAULT_TASKS: Final = 20_000
_DEFAULT_PARENTS: Final = 1_000
_DEFAULT_PARENT_BYTES: Final = 16 * 1024 * 1024

_Value = TypeVar("_Value")


class BoundedCache(Generic[_Value]):
    """A least-recently-used map, bounded in entries and in the summed size of its values."""

    def __init__(self, *, max_entries: int, max_bytes: int | None = None) -> None:
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._entries: OrderedDict[tuple[str, ...], tuple[_Value, int]] = OrderedDict()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, *key: str) -> _Value | None:
        """The value under ``key``, which becomes the most recently used one."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        self._entries.move_to_end(key)
        return entry[0]

    def put(self, *key: str, value: _Value, size: int = 0) -> None:
        """Keep ``value``, of ``size`` bytes, unless it alone exceeds the bounds; drop the oldest beyond."""
        self.drop(*key)
        if self._max_bytes is not None and size > self._max_bytes:
            return
        self._entries[key] = (value, size)
        self.bytes += size
        while len(self._entries) > self._max_entries or (
            self._max_bytes is not None and self.bytes > self._max_bytes
        ):
            _, (_, freed) = self._entries.popitem(last=False)
            self.bytes -= freed

    def drop(self, *key: str) -> None:
        """Forget ``key``."""
        entry = self._entries.pop(key, None)
        if entry is not None:
            self.bytes -= entry[1]


@dataclass(frozen=True)
class KnownRun:
    """A run's immutable part.

    Attributes:
        pipeline: what the run executes.
        facts: the run without pipeline spec, tasks and state: ids, names, creation times.
    """

    pipeline: Pipeline
    facts: Run


class RunCache:
    """The process-wide memory behind all :class:`~kfp_api.run_view.RunView` objects.

    Args:
        max_runs: runs remembered at most.
        max_bytes: bound of the summed JSON sizes of their pipeline specs.
        max_tasks: task identities remembered at most.
        max_parent_bytes: bound of the summed JSON sizes of the parent rows' inputs.
    """

    def __init__(
        self,
        *,
        max_runs: int = _DEFAULT_RUNS,
        max_bytes: int = _DEFAULT_BYTES,
        max_tasks: int = _DEFAULT_TASKS,
        max_parent_bytes: int = _DEFAULT_PARENT_BYTES,
    ) -> None:
        self._runs: BoundedCache[KnownRun] = BoundedCache(max_entries=max_runs, max_bytes=max_bytes)
        self._tasks: BoundedCache[PipelineTask] = BoundedCache(max_entries=max_tasks)
        self._parents: BoundedCache[KnownParent] = BoundedCache(
            max_entries=_DEFAULT_PARENTS, max_bytes=max_parent_bytes
        )

    @property
    def bytes(self) -> int:
        """Summed JSON size of the remembered pipeline specs."""
        return self._runs.bytes

    def run(self, run_id: str) -> KnownRun | None:
        """What is remembered of a run."""
        return self._runs.get(run_id)

    def remember_run(self, run_id: str, run: Run, pipeline: Pipeline) -> KnownRun:
        """Keep what cannot change of ``run``."""
        known = KnownRun(pipeline, _facts(run))
        size = len(orjson.dumps(pipeline.submission))
        self._runs.put(run_id, value=known, size=size)
        return known

    def task(self, run_id: str, task_id: str) -> PipelineTask | None:
        """The identity of a task row: name, type, attributes, parent and scope path, nothing else."""
        return self._tasks.get(run_id, task_id)

    def remember_task(self, task: PipelineTask) -> PipelineTask:
        """Keep and return the identity of ``task``; a loop whose size is not known yet is not kept."""
        known = identity(task)
        if task.type is TaskType.LOOP and task.iteration_count is None:
            self._tasks.drop(task.run_id, task.task_id)
        else:
            self._tasks.put(task.run_id, task.task_id, value=known)
        return known

    def parent(self, run_id: str, task_id: str) -> KnownParent | None:
        """A DAG row as its children see it."""
        return self._parents.get(run_id, task_id)

    def remember_parent(self, task: PipelineTask) -> KnownParent:
        """Keep what the children of ``task`` see of it: once its driver succeeded, that does not change.

        A retry of the run keeps input parameters, and does not run a driver again that succeeded.
        """
        known = KnownParent.of(task)
        size = len(orjson.dumps((task.inputs or InputOutputs()).to_wire()))
        self._parents.put(task.run_id, task.task_id, value=known, size=size)
        return known

    def forget_parent(self, run_id: str, task_id: str) -> None:
        """Drop a DAG row, because its driver runs again."""
        self._parents.drop(run_id, task_id)


def _facts(run: Run) -> Run:
    return Run(
        experiment_id=run.experiment_id,
        run_id=run.run_id,
        display_name=run.display_name,
        description=run.description,
        pipeline_version_reference=run.pipeline_version_reference,
        runtime_config=run.runtime_config,
        service_account=run.service_account,
        created_at=run.created_at,
        scheduled_at=run.scheduled_at,
        recurring_run_id=run.recurring_run_id,
    )

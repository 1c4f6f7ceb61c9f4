"""How the resolver asks for task rows, and how it finds the row of a sibling (spec RESOLVER 3.1 and 4).

What it asks for follows from the pipeline: the producers that a task's inputs name, and what the output
selectors of a producing DAG lead to. It never asks for all rows of a run, nor for rows by id. A driver serves
:class:`TaskRows` from the KFP API, a test from a list. Rows are shared with the caller and are never changed.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Protocol, TypeVar, cast

from kfp_api.messages import PipelineTask
from resolver.errors import ResolutionError

T = TypeVar("T")

_LONG_AGO: Final = datetime.min.replace(tzinfo=UTC)


class TaskRows(Protocol):
    """The rows of one run, hydrated with inputs and outputs."""

    async def children(
        self, parent_task_id: str, name: str, iteration_index: int | None = None
    ) -> Sequence[PipelineTask]:
        """Children of a row with that task key; with an index, at least those of that iteration."""
        ...

    async def has_children(self, parent_task_id: str) -> bool:
        """Whether the row has any child."""
        ...

    async def workspace_importers(self) -> Sequence[PipelineTask]:
        """Importer rows of the run that download into the workspace."""
        ...


class JoinedRows:
    """:class:`TaskRows` for one resolution: a question that was asked is not asked again."""

    def __init__(self, rows: TaskRows) -> None:
        self._rows = rows
        self._answers: dict[tuple[Hashable, ...], asyncio.Future[Any]] = {}

    async def children(
        self, parent_task_id: str, name: str, iteration_index: int | None = None
    ) -> Sequence[PipelineTask]:
        """Children with that key, of that iteration if one is given."""
        return await self._once(
            ("children", parent_task_id, name, iteration_index),
            lambda: self._rows.children(parent_task_id, name, iteration_index),
        )

    async def has_children(self, parent_task_id: str) -> bool:
        """Whether the row has any child."""
        return await self._once(
            ("has_children", parent_task_id), lambda: self._rows.has_children(parent_task_id)
        )

    async def workspace_importers(self) -> Sequence[PipelineTask]:
        """Importer rows with ``download_to_workspace``."""
        return await self._once(("workspace_importers",), self._rows.workspace_importers)

    async def _once(self, question: tuple[Hashable, ...], ask: Callable[[], Awaitable[T]]) -> T:
        if question not in self._answers:
            self._answers[question] = asyncio.ensure_future(ask())
        return cast("T", await self._answers[question])


def unique_name(name: str, parent_task_id: str, iteration_index: int | None) -> str:
    """How a sibling is named in errors and logs: ``produce_9f1c_idx_2``."""
    suffix = "" if iteration_index is None else f"_idx_{iteration_index}"
    return f"{name}_{parent_task_id}{suffix}"


async def find_child(
    rows: TaskRows, parent: PipelineTask, name: str, *, under_loop: bool, iteration_index: int | None
) -> PipelineTask | None:
    """The child of ``parent`` with task key ``name`` that a task of ``iteration_index`` means.

    Args:
        rows: where rows come from.
        parent: the row of the enclosing DAG.
        name: task key of the sibling.
        under_loop: whether ``parent`` is a loop head, according to the spec.
        iteration_index: iteration of the asking task; ``None`` outside loops.

    Raises:
        ResolutionError: no name, or no iteration index under a loop head.
    """
    if not name:
        raise ResolutionError("producerTask task cannot be empty")
    if not under_loop:
        return choose(await rows.children(parent.task_id, name, None), parent, name, iteration_index)
    if iteration_index is None:
        raise ResolutionError(f'task "{name}" of loop "{parent.name}" needs an iteration index')
    found = await rows.children(parent.task_id, name, iteration_index)
    return choose(
        [row for row in found if row.iteration_index == iteration_index], parent, name, iteration_index
    )


def choose(
    candidates: Sequence[PipelineTask], parent: PipelineTask, name: str, iteration_index: int | None
) -> PipelineTask | None:
    """One of several rows of the same task: the one of this iteration, then the latest."""
    siblings = [row for row in candidates if row.name == name and row.parent_task_id == parent.task_id]
    same = [row for row in siblings if row.iteration_index == iteration_index]
    return max(same or siblings, key=_age, default=None)


def _age(row: PipelineTask) -> tuple[datetime, str]:
    return (row.create_time or _LONG_AGO, row.task_id)

"""Freshness of the final status that an exit task reads of its sibling (spec DRIVER 12.2).

Normally the sibling's row is final, because launchers finish rows before their pods end. The row of a
launcher that died, or of a DAG whose last children were never started, may still say RUNNING: it is read
again for a few seconds; then a DAG's children speak for it. What is still open after that the resolver
reports as failed.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Final

from kfp_api.messages import PipelineTask, TaskState, TaskType
from kfp_api.run_view import RunView
from propagation.statuses import state_from_children
from resolver.context import ResolveContext
from resolver.final_status import final_status_producers

READS: Final = 5
PAUSE_SECONDS: Final = 1.0


class SettledRows:
    """The rows of a run, with settled copies in place of rows that still say RUNNING."""

    def __init__(self, run: RunView, settled: dict[str, PipelineTask]) -> None:
        self._run = run
        self._settled = settled

    async def children(
        self, parent_task_id: str, name: str, iteration_index: int | None = None
    ) -> Sequence[PipelineTask]:
        """Children of a row with that task key."""
        rows = await self._run.children(parent_task_id, name, iteration_index)
        return [self._settled.get(row.task_id, row) for row in rows]

    async def has_children(self, parent_task_id: str) -> bool:
        """Whether the row has any child."""
        return await self._run.has_children(parent_task_id)

    async def workspace_importers(self) -> Sequence[PipelineTask]:
        """Importer rows that download into the workspace."""
        return await self._run.workspace_importers()


async def settle_final_statuses(
    run: RunView, context: ResolveContext, *, sleep: Callable[[float], Awaitable[None]]
) -> ResolveContext:
    """``context`` with rows that are final, as far as they can be, for the task's final-status inputs."""
    settled: dict[str, PipelineTask] = {}
    for name in final_status_producers(context.task_spec):
        row = await _wait(run, context, name, sleep)
        if row is None:
            continue
        # Other rows have no children to speak for them.
        has_children = row.type not in (TaskType.RUNTIME, TaskType.IMPORTER)
        state = await state_from_children(run, row.task_id) if has_children else None
        if state is not None:
            settled[row.task_id] = row.model_copy(update={"state": state})
    return replace(context, rows=SettledRows(run, settled)) if settled else context


async def _wait(
    run: RunView, context: ResolveContext, name: str, sleep: Callable[[float], Awaitable[None]]
) -> PipelineTask | None:
    """The producer's row if it says RUNNING even after the last read."""
    row = await context.sibling(name)
    for _ in range(READS):
        if row is None or row.state is not TaskState.RUNNING:
            return None
        await sleep(PAUSE_SECONDS)
        run.forget_children()
        row = await context.sibling(name)
    return row if row is not None and row.state is TaskState.RUNNING else None

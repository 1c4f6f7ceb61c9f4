"""What one driver or launcher call reads of its run: precise questions, each asked once.

A view never asks for all tasks of a run, so the number and size of its requests do not grow with the run
(spec DRIVER 14). Rows are read once per call unless a fresh one is wanted; concurrent identical reads
share one request; what cannot change comes from the process-wide :class:`RunCache`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Hashable
from contextlib import aclosing
from typing import Any, TypeVar, cast

from kfp_api.client import KfpApiClient
from kfp_api.errors import ApiCredentialError, ApiNotFoundError, ApiRequestError
from kfp_api.filters import Filter, IntValues, Predicate, PredicateOperation
from kfp_api.ir.load import InvalidPipelineError, Pipeline, pipeline_from_struct
from kfp_api.known_parent import KnownParent
from kfp_api.messages import (
    PipelineTask,
    Run,
    TaskState,
    TaskType,
    ViewMode,
)
from kfp_api.run_cache import KnownRun, RunCache

_Answer = TypeVar("_Answer")


class RunView:
    """The reading side of one call, bound to one run."""

    def __init__(self, client: KfpApiClient, run_id: str, *, cache: RunCache) -> None:
        self.client = client
        self.run_id = run_id
        self._cache = cache
        self._run: Run | None = None
        self._rows: dict[str, PipelineTask] = {}
        self._children: dict[tuple[str, str, int | None], list[PipelineTask]] = {}
        self._parents: dict[str, bool] = {}
        self._flights: dict[Hashable, _Flight] = {}

    async def run(self) -> Run:
        """The run itself, by the DEFAULT view; the one that :meth:`pipeline` read, if it read one."""
        if self._run is None:
            self._run = await self._once("run", lambda: self.client.get_run(self.run_id))
        return self._run

    async def facts(self) -> Run:
        """What never changes of the run: ids, names, creation times; costs nothing once remembered."""
        return (await self._known(full_view=False)).facts

    async def pipeline(self, *, full_view: bool = False) -> Pipeline:
        """The run's pipeline, parsed once per process.

        Args:
            full_view: ask for the FULL view, which shows a spec where DEFAULT shows a reference; cheap
                only while the run has no tasks.

        Raises:
            InvalidPipelineError: the run has no pipeline spec, or one that cannot be read.
            KfpApiError: the run or its pipeline version cannot be read.
        """
        return (await self._known(full_view=full_view)).pipeline

    async def task(self, task_id: str, *, fresh: bool = False) -> PipelineTask:
        """One row, read once per call unless ``fresh``.

        Raises:
            ApiRequestError: the row belongs to another run.
            KfpApiError: it cannot be read.
        """
        if not fresh and task_id in self._rows:
            return self._rows[task_id]
        if fresh:
            return await self._read_task(task_id)
        return await self._once(("task", task_id), lambda: self._read_task(task_id))

    async def parent(self, task_id: str, iteration_index: int | None = None) -> PipelineTask:
        """The parent row of a call of that iteration: place, inputs and plugin properties; nothing else.

        It lists all its children, and a loop head all its items: reading it for each of its children would
        cost the square of their number (spec DRIVER 14). So it is read once per process, and a child is
        shown the items of its own iteration.
        """
        known = self._cache.parent(self.run_id, task_id)
        if known is None:
            known = self._cache.remember_parent(await self.task(task_id))
        return known.seen_from(iteration_index)

    async def parent_of_one(
        self, task_id: str, iteration_index: int | None, *, inputs: Collection[str]
    ) -> PipelineTask:
        """:meth:`parent` for a process of this one call, which takes these inputs: others need not travel."""
        answer = await self.client.get_parent(
            self.run_id, task_id, iteration_index=iteration_index, inputs=inputs
        )
        row = self._checked(answer)
        self._cache.remember_task(row)
        return KnownParent.of(row).seen_from(iteration_index)

    async def task_identity(self, task_id: str) -> PipelineTask:
        """What never changes of a row: name, type, attributes, parent, scope path; other fields are empty."""
        known = self._cache.task(self.run_id, task_id)
        return known if known is not None else self._cache.remember_task(await self.task(task_id))

    async def children(
        self, parent_task_id: str, name: str, iteration_index: int | None = None
    ) -> list[PipelineTask]:
        """Children of a row with that task key, of that iteration if one is given."""
        every = self._children.get((parent_task_id, name, None))
        if every is not None:
            return [row for row in every if iteration_index in (None, row.iteration_index)]
        key = (parent_task_id, name, iteration_index)
        if key not in self._children:
            self._children[key] = await self._once(
                ("children", *key), lambda: self._read_children(parent_task_id, name, iteration_index)
            )
        return list(self._children[key])

    async def has_children(self, parent_task_id: str) -> bool:
        """Whether a row has any child."""
        if parent_task_id not in self._parents:
            count = await self._once(
                ("has_children", parent_task_id), lambda: self.count_children(parent_task_id)
            )
            self._parents[parent_task_id] = count > 0
        return self._parents[parent_task_id]

    async def workspace_importers(self) -> list[PipelineTask]:
        """Importer rows of the run that download into the workspace: all of them, however many there are."""
        importers = await self._once("importers", self._read_importers)
        return [row for row in importers if row.type_attributes and row.type_attributes.download_to_workspace]

    async def all_children(self, parent_task_id: str) -> list[PipelineTask]:
        """All children of a row, read now; for republishing, which needs every one of them."""
        rows = self.client.iterate_tasks(self.run_id, parent_id=parent_task_id)
        return [self._checked(row) async for row in rows]

    async def children_in_state(self, parent_task_id: str, state: TaskState) -> list[PipelineTask]:
        """The children of a row in that state, read now."""
        rows = self.client.iterate_tasks(
            self.run_id, parent_id=parent_task_id, filter=Filter(predicates=[_in_states([state])])
        )
        return [self._checked(row) async for row in rows]

    async def count_children(
        self, parent_task_id: str, *, state: TaskState | None = None, states: Collection[TaskState] = ()
    ) -> int:
        """How many children a row has now: all, those in ``state``, or those in any of ``states``."""
        wanted = [state] if state is not None else list(states)
        return await self._count(parent_task_id, [_in_states(wanted)] if wanted else [])

    async def is_in_state(self, task_id: str, state: TaskState) -> bool:
        """Whether a row is in that state now; its inputs and outputs need not travel."""
        return await self._count("", [_equals("task_id", task_id), _in_states([state])]) > 0

    def remember(self, task: PipelineTask) -> None:
        """Note a row that this call wrote, so that later reads of this call see it."""
        self.remember_identity(task)
        self._rows[task.task_id] = task

    def remember_identity(self, task: PipelineTask) -> None:
        """Note that this call wrote a row of which it knows no more than what never changes."""
        self._rows.pop(task.task_id, None)
        self._cache.remember_task(task)
        if task.parent_task_id:
            self._parents[task.parent_task_id] = True
            for key in [key for key in self._children if key[0] == task.parent_task_id]:
                del self._children[key]

    def forget_parent(self, task_id: str) -> None:
        """Drop what the process knows of a row as a parent: its driver runs again, its inputs may change."""
        self._cache.forget_parent(self.run_id, task_id)

    def forget_children(self) -> None:
        """Drop what this call knows of children."""
        self._children.clear()
        self._parents.clear()

    async def _known(self, *, full_view: bool) -> KnownRun:
        known = self._cache.run(self.run_id)
        if known is not None:
            return known
        return await self._once("pipeline", lambda: self._read_pipeline(full_view=full_view))

    async def _read_pipeline(self, *, full_view: bool) -> KnownRun:
        view = ViewMode.FULL if full_view else ViewMode.DEFAULT
        run = await self.client.get_run(self.run_id, view=view)
        self._run = run
        document: object = run.pipeline_spec or None
        if document is None and run.pipeline_version_reference is not None:
            document = await self._referenced_spec(run, already_full=full_view)
        if document is None:
            raise InvalidPipelineError("pipeline spec is not set")
        return self._cache.remember_run(self.run_id, run, pipeline_from_struct(document))

    async def _referenced_spec(self, run: Run, *, already_full: bool) -> object:
        """The spec of a stored version; by the FULL view where the credential cannot read versions."""
        reference = run.pipeline_version_reference
        if reference is not None and reference.pipeline_id and reference.pipeline_version_id:
            try:
                version = await self.client.get_pipeline_version(
                    reference.pipeline_id, reference.pipeline_version_id
                )
            except (ApiCredentialError, ApiNotFoundError):
                if already_full:
                    raise
            else:
                return version.get("pipeline_spec")
        if already_full:
            return None
        return (await self.client.get_run(self.run_id, view=ViewMode.FULL)).pipeline_spec

    async def _read_task(self, task_id: str) -> PipelineTask:
        task = self._checked(await self.client.get_task(self.run_id, task_id))
        self._rows[task_id] = task
        self._cache.remember_task(task)
        return task

    async def _read_children(self, parent: str, name: str, iteration: int | None) -> list[PipelineTask]:
        predicates = [_equals("name", name)]
        if iteration is not None:
            predicates.append(
                Predicate(operation=PredicateOperation.EQUALS, key="iteration_index", int_value=iteration)
            )
        rows = self.client.iterate_tasks(self.run_id, parent_id=parent, filter=Filter(predicates=predicates))
        found: list[PipelineTask] = []
        async with aclosing(rows):
            async for row in rows:
                found.append(self._checked(row))
                self._rows.setdefault(row.task_id, row)
                if iteration is not None:
                    # The logical key allows one row per iteration; a server that pages need not go on.
                    break
        return found

    async def _read_importers(self) -> list[PipelineTask]:
        importers = Predicate(
            operation=PredicateOperation.EQUALS, key="type", int_value=TaskType.IMPORTER.number
        )
        rows = self.client.iterate_tasks(self.run_id, filter=Filter(predicates=[importers]))
        return [self._checked(row) async for row in rows]

    async def _count(self, parent_task_id: str, predicates: list[Predicate]) -> int:
        return await self.client.count_tasks(
            self.run_id,
            parent_id=parent_task_id,
            filter=Filter(predicates=predicates) if predicates else None,
        )

    def _checked(self, row: PipelineTask) -> PipelineTask:
        if row.run_id != self.run_id:
            raise ApiRequestError(f"task {row.task_id} does not belong to run {self.run_id}")
        return row

    async def _once(self, question: Hashable, ask: Callable[[], Awaitable[_Answer]]) -> _Answer:
        """Ask, or wait for the same question that is under way; a caller that gives up stops no other.

        When the last one gives up, the question is dropped: nothing asks on behalf of nobody.
        """
        flight = self._flights.get(question)
        if flight is None:
            flight = self._flights[question] = _Flight(asyncio.ensure_future(ask()))
        flight.waiting += 1
        try:
            return cast("_Answer", await asyncio.shield(flight.answer))
        finally:
            flight.waiting -= 1
            if not flight.waiting:
                self._flights.pop(question, None)
                flight.answer.cancel()


class _Flight:
    """A question under way, and how many wait for its answer."""

    def __init__(self, answer: "asyncio.Future[Any]") -> None:
        self.answer = answer
        self.waiting = 0


def _equals(key: str, text: str) -> Predicate:
    return Predicate(operation=PredicateOperation.EQUALS, key=key, string_value=text)


def _in_states(states: Collection[TaskState]) -> Predicate:
    """Upstream knows a task's state under the key ``status``, and only by number."""
    numbers = [state.number for state in states]
    if len(numbers) == 1:
        return Predicate(operation=PredicateOperation.EQUALS, key="status", int_value=numbers[0])
    return Predicate(operation=PredicateOperation.IN, key="status", int_values=IntValues(values=numbers))


__all__ = ["RunCache", "RunView"]

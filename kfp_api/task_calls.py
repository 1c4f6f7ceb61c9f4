"""Calls about task rows (spec KFP_API 4)."""

from collections.abc import AsyncGenerator, Collection, Mapping
from urllib.parse import quote

from kfp_api import operations
from kfp_api.answers import object_of, parse
from kfp_api.calls import ApiCalls
from kfp_api.errors import ApiRequestError
from kfp_api.filters import Filter
from kfp_api.limits import sendable_task
from kfp_api.messages import PipelineTask
from kfp_api.pages import PAGE_SIZE, TaskPage
from kfp_api.queries import filter_text, given, wanted_iteration, without_iteration
from kfp_api.transport import Request


class TaskCalls(ApiCalls):
    """Task rows of runs."""

    _filters_iterations = True
    """Whether the server is not known to refuse filters for an iteration."""

    async def create_task(self, task: PipelineTask) -> PipelineTask:
        """Create the task row, or get the one that has its logical key, unchanged (spec KFP_API 4.1)."""
        if task.parent_task_id == "":
            task = task.model_copy(update={"parent_task_id": None})
        answer = await self._call(
            operations.CREATE_TASK, run_id=task.run_id, body=sendable_task(task).to_wire()
        )
        return parse(PipelineTask, answer)

    async def get_task(self, run_id: str, task_id: str) -> PipelineTask:
        """One task row with its artifacts and children."""
        return parse(
            PipelineTask, await self._call(operations.GET_TASK, run_id=run_id, parts={"task_id": task_id})
        )

    async def get_parent(
        self, run_id: str, task_id: str, *, iteration_index: int | None, inputs: Collection[str]
    ) -> PipelineTask:
        """A DAG row for one of its children, which takes these of its inputs.

        The embedded server leaves out what the child does not need: other inputs, items of other iterations,
        children, outputs. KFP's own answers the whole row.
        """
        names = " ".join(quote(name, safe="") for name in sorted(inputs))
        iteration = "" if iteration_index is None else f"; iteration={iteration_index}"
        answer = await self._transport.call(
            Request(
                operation=operations.GET_TASK,
                parts={"run_id": run_id, "task_id": task_id},
                run_id=run_id,
                headers={"Prefer": f'view=child{iteration}; inputs="{names}"'},
            )
        )
        return parse(PipelineTask, answer)

    async def update_task(self, run_id: str, task_id: str, patch: PipelineTask) -> PipelineTask:
        """Apply a sparse patch (spec KFP_API 4.2) and get the whole row."""
        answer = await self._transport.call(_task_update(run_id, task_id, patch))
        return parse(PipelineTask, answer)

    async def write_task(self, run_id: str, task_id: str, patch: PipelineTask) -> PipelineTask | None:
        """Apply a sparse patch to a row that may be large: a DAG's lists its children, a loop's its items.

        Returns:
            What never changes of the row, and its state; ``None`` where the server answered with a whole
            row that was too long to be read.
        """
        answer = await self._transport.call(_task_update(run_id, task_id, patch, wants_answer=False))
        return None if answer is None else parse(PipelineTask, answer)

    async def write_tasks(self, run_id: str, patches: Mapping[str, PipelineTask]) -> None:
        """Apply sparse patches by task id; after a failure the outcome of each is unknown. Empty: no call."""
        if not patches:
            return
        tasks = {task_id: sendable_task(patch).to_wire() for task_id, patch in patches.items()}
        await self._transport.call(
            Request(
                operation=operations.UPDATE_TASKS,
                parts={"run_id": run_id},
                run_id=run_id,
                body={"tasks": tasks},
                wants_answer=False,
            )
        )

    async def list_tasks(
        self,
        run_id: str,
        *,
        parent_id: str = "",
        filter: Filter | None = None,  # noqa: A002 (the API's name)
        page_size: int = PAGE_SIZE,
        page_token: str = "",
        order_by: str = "",
    ) -> TaskPage:
        """One page of a run's tasks, or of a task's children; with a token, order and filter are its own."""
        query = {
            "parent_id": parent_id,
            "page_size": str(page_size),
            "page_token": page_token,
            "order_by": "" if page_token else order_by,
            "filter": "" if page_token else filter_text(filter),
        }
        return parse(TaskPage, await self._call(operations.LIST_TASKS, run_id=run_id, query=given(query)))

    async def count_tasks(
        self,
        run_id: str,
        *,
        parent_id: str = "",
        filter: Filter | None = None,  # noqa: A002 (the API's name)
    ) -> int:
        """How many tasks of a run, or children of a task, match. One of them comes along, if there is any.

        In the order of types it is a leaf wherever one matches: a loop would bring all its items along. And
        a server that can leaves out of it what grows with a run.
        """
        query = {
            "parent_id": parent_id,
            "page_size": "1",
            "order_by": "type",
            "filter": filter_text(filter),
        }
        answer = await self._transport.call(
            Request(
                operation=operations.LIST_TASKS,
                parts={"run_id": run_id},
                run_id=run_id,
                query=given(query),
                headers={"Prefer": "return=minimal"},
            )
        )
        return parse(TaskPage, answer).total_size

    async def iterate_tasks(
        self,
        run_id: str,
        *,
        parent_id: str = "",
        filter: Filter | None = None,  # noqa: A002 (the API's name)
    ) -> AsyncGenerator[PipelineTask, None]:
        """All matching tasks, page after page, in the server's order.

        An EQUALS predicate on ``iteration_index`` is an extra of the embedded server: where a server
        refuses it, this client remembers and compares the rows itself (spec DRIVER 14).
        """
        iteration = wanted_iteration(filter)
        page: TaskPage | None = None
        if iteration is not None and self._filters_iterations:
            try:
                page = await self.list_tasks(run_id, parent_id=parent_id, filter=filter)
            except ApiRequestError as error:
                if "unrecognized field" not in error.server_message:
                    raise
                self._filters_iterations = False
        if page is None:
            filter = without_iteration(filter)  # noqa: A001
            page = await self.list_tasks(run_id, parent_id=parent_id, filter=filter)
        while True:
            for task in page.tasks:
                if iteration is None or task.iteration_index == iteration:
                    yield task
            if not page.next_page_token:
                return
            page = await self.list_tasks(run_id, parent_id=parent_id, page_token=page.next_page_token)

    async def find_cached_task(
        self, *, namespace: str, cache_fingerprint: str, run_id: str
    ) -> PipelineTask | None:
        """The newest SUCCEEDED task with that fingerprint; ``run_id`` is the run that asks."""
        answer = await self._transport.call(
            Request(
                operation=operations.FIND_CACHED_TASK,
                parts={},
                body={"namespace": namespace, "cache_fingerprint": cache_fingerprint},
                run_id=run_id,
                headers={"x-kfp-bound-run-id": run_id},
            )
        )
        task = object_of(answer).get("task")
        return parse(PipelineTask, task) if task is not None else None


def _task_update(run_id: str, task_id: str, patch: PipelineTask, *, wants_answer: bool = True) -> Request:
    return Request(
        operation=operations.UPDATE_TASK,
        parts={"run_id": run_id, "task_id": task_id},
        run_id=run_id,
        body=sendable_task(patch).to_wire(),
        wants_answer=wants_answer,
    )

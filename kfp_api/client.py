"""Typed calls of KFP's v2beta1 run, task and artifact API.

One client serves a whole process: a shared connection pool, opened by the first call and closed by
:meth:`KfpApiClient.aclose`. A call returns frozen messages or raises a
:class:`~kfp_api.errors.KfpApiError`; repeating, deadlines and credentials are the transport's
(:mod:`kfp_api.transport`), lost answers of creations those of :mod:`kfp_api.checked_creation`.
"""

import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Mapping, Sequence
from itertools import product
from types import TracebackType
from typing import Any, Final, Self

import orjson

from kfp_api import operations
from kfp_api.answers import list_of, object_of, parse
from kfp_api.checked_creation import ArtifactCreation, LinkCreation, create_checked
from kfp_api.credentials import Credentials
from kfp_api.errors import ApiRequestError
from kfp_api.filters import Filter
from kfp_api.limits import check_artifact_request, sendable_task
from kfp_api.messages import (
    Artifact,
    ArtifactTask,
    CreateArtifactRequest,
    PipelineTask,
    Run,
    ViewMode,
)
from kfp_api.operations import Operation
from kfp_api.pages import ArtifactTaskPage, RunPage, TaskPage
from kfp_api.queries import chunks, filter_text, given, wanted_iteration, without_iteration
from kfp_api.transport import ApiCall, ApiTransport, Backoff, Request

PAGE_SIZE: Final = 200
"""What the server gives at most."""

LINKS_PER_CALL: Final = 500
_IDS_PER_CALL: Final = 50
_FULL_VIEW_SECONDS: Final = 120.0


class KfpApiClient:
    """The KFP API of one server; usable as an async context manager.

    Args:
        base_url: where the server listens, without ``/apis/v2beta1``.
        credentials: what proves who calls; nothing by default.
        allowed_hosts: hosts that may see the credential; the one of ``base_url`` by default.
        verify: trust anchors for TLS; ``True`` is the system's store.
        timeout_seconds: bound of one attempt.
        retry_deadline_seconds: bound of all attempts of one call, pauses included.
        observer: told of every attempt.
        backoff: pauses between attempts.
    """

    def __init__(
        self,
        base_url: str,
        *,
        credentials: Credentials | None = None,
        allowed_hosts: Collection[str] | None = None,
        verify: ssl.SSLContext | bool = True,
        timeout_seconds: float = 30.0,
        retry_deadline_seconds: float = 20.0,
        observer: Callable[[ApiCall], None] | None = None,
        backoff: Backoff | None = None,
    ) -> None:
        self._transport = ApiTransport(
            base_url,
            credentials=credentials,
            allowed_hosts=allowed_hosts,
            verify=verify,
            timeout_seconds=timeout_seconds,
            retry_deadline_seconds=retry_deadline_seconds,
            observer=observer,
            backoff=backoff,
        )
        self._filters_iterations = True

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close all connections."""
        await self._transport.aclose()

    # Runs

    async def create_run(self, run: Run) -> Run:
        """Create a run; with a ``run_id`` of the caller's choice a repetition is refused by the server."""
        return parse(Run, await self._call(operations.CREATE_RUN, body=run.to_wire()))

    async def get_run(self, run_id: str, *, view: ViewMode = ViewMode.DEFAULT) -> Run:
        """One run; the FULL view carries all its tasks and may take two minutes."""
        full = view is ViewMode.FULL
        answer = await self._transport.call(
            Request(
                operation=operations.GET_RUN,
                parts={"run_id": run_id},
                query=[("view", view.value)] if full else (),
                run_id=run_id,
                timeout_seconds=_FULL_VIEW_SECONDS if full else None,
            )
        )
        return parse(Run, answer)

    async def list_runs(
        self,
        *,
        namespace: str = "",
        experiment_id: str = "",
        sort_by: str = "",
        filter: Filter | None = None,  # noqa: A002 (the API's name)
        view: ViewMode = ViewMode.DEFAULT,
        page_size: int = 20,
        page_token: str = "",
    ) -> RunPage:
        """One page of runs; with a token, order and filter are the token's."""
        query = {
            "namespace": namespace,
            "experiment_id": experiment_id,
            "page_size": str(page_size),
            "page_token": page_token,
            "sort_by": "" if page_token else sort_by,
            "filter": "" if page_token else filter_text(filter),
            "view": view.value if view is ViewMode.FULL else "",
        }
        return parse(RunPage, await self._call(operations.LIST_RUNS, query=given(query)))

    async def iterate_runs(
        self,
        *,
        experiment_id: str = "",
        sort_by: str = "",
        filter: Filter | None = None,  # noqa: A002 (the API's name)
    ) -> AsyncGenerator[Run, None]:
        """All matching runs, page after page, in the order of ``sort_by``."""
        page = await self.list_runs(
            experiment_id=experiment_id, sort_by=sort_by, filter=filter, page_size=PAGE_SIZE
        )
        while True:
            for run in page.runs:
                yield run
            if not page.next_page_token:
                return
            page = await self.list_runs(
                experiment_id=experiment_id, page_size=PAGE_SIZE, page_token=page.next_page_token
            )

    async def terminate_run(self, run_id: str) -> None:
        """Ask for the end of a run; refused when it is already ending or over."""
        await self._call(operations.TERMINATE_RUN, run_id=run_id)

    async def retry_run(self, run_id: str) -> None:
        """Run the failed parts of a finished run again."""
        await self._call(operations.RETRY_RUN, run_id=run_id)

    async def archive_run(self, run_id: str) -> None:
        """Archive a run; nothing about its tasks changes."""
        await self._call(operations.ARCHIVE_RUN, run_id=run_id)

    async def delete_run(self, run_id: str) -> None:
        """Delete a run with its tasks and links; artifacts stay."""
        await self._call(operations.DELETE_RUN, run_id=run_id)

    async def report_workflow(self, workflow: dict[str, Any]) -> None:
        """Report an Argo Workflow's phase, as KFP's persistence agent does."""
        await self._call(operations.REPORT_WORKFLOW, body=orjson.dumps(workflow).decode())

    async def get_pipeline_version(self, pipeline_id: str, version_id: str) -> dict[str, Any]:
        """A stored pipeline version as JSON data; needs a base-audience credential."""
        answer = await self._call(
            operations.GET_PIPELINE_VERSION,
            parts={"pipeline_id": pipeline_id, "pipeline_version_id": version_id},
        )
        return object_of(answer)

    # Tasks

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

    # Artifacts

    async def create_artifact(self, request: CreateArtifactRequest) -> Artifact:
        """Create an artifact and its output link; a lost answer is looked for before sending again."""
        if request.reuse_if_exists:
            check_artifact_request(request)
            answer = await self._call(
                operations.REUSE_ARTIFACT, named_run=request.run_id, body=request.to_wire()
            )
            return parse(Artifact, answer)

        async def create(requests: Sequence[CreateArtifactRequest]) -> list[Artifact]:
            answer = await self._call(
                operations.CREATE_ARTIFACT, named_run=request.run_id, body=requests[0].to_wire()
            )
            return [parse(Artifact, answer)]

        return (await self._create_artifacts([request], create))[0]

    async def create_artifacts(self, requests: Sequence[CreateArtifactRequest]) -> list[Artifact]:
        """Create artifacts and their output links in one transaction, in order. Empty: no call."""

        async def create(batch: Sequence[CreateArtifactRequest]) -> list[Artifact]:
            answer = await self._call(
                operations.CREATE_ARTIFACTS,
                named_run=batch[0].run_id,
                body={"artifacts": [request.to_wire() for request in batch]},
            )
            return [parse(Artifact, artifact) for artifact in list_of(object_of(answer).get("artifacts", []))]

        return await self._create_artifacts(requests, create) if requests else []

    async def _create_artifacts(
        self, requests: Sequence[CreateArtifactRequest], create: Any
    ) -> list[Artifact]:
        for request in requests:
            check_artifact_request(request)
        creation = ArtifactCreation(requests, create=create, get_task=self.get_task)
        await create_checked(
            creation,
            deadline_seconds=self._transport.retry_deadline_seconds,
            backoff=self._transport.backoff,
        )
        return creation.artifacts

    async def get_artifact(self, artifact_id: str) -> Artifact:
        """One artifact; needs a base-audience credential."""
        return parse(Artifact, await self._call(operations.GET_ARTIFACT, parts={"artifact_id": artifact_id}))

    async def create_artifact_tasks(self, links: Sequence[ArtifactTask]) -> list[ArtifactTask]:
        """Create links between artifacts and tasks; links that are there count as created.

        The answer has one link for each of ``links``, in order. Empty: no call.
        """
        for link in links:
            if not link.artifact_id:
                raise ApiRequestError("artifact id is required")
        distinct = {link.identity: link for link in links}
        stored: dict[Any, ArtifactTask] = {}
        for run_id in dict.fromkeys(link.run_id for link in links):
            of_run = [link for link in distinct.values() if link.run_id == run_id]
            for batch in chunks(of_run, LINKS_PER_CALL):
                stored |= await self._create_links(run_id, batch)
        return [stored.get(link.identity, link) for link in links]

    async def _create_links(self, run_id: str, batch: Sequence[ArtifactTask]) -> dict[Any, ArtifactTask]:
        async def create(links: Sequence[ArtifactTask]) -> list[ArtifactTask]:
            answer = await self._call(
                operations.CREATE_ARTIFACT_TASKS,
                named_run=run_id,
                body={"artifact_tasks": [link.to_wire() for link in links]},
            )
            return [
                parse(ArtifactTask, link) for link in list_of(object_of(answer).get("artifact_tasks", []))
            ]

        async def list_of_tasks(task_ids: Sequence[str]) -> list[ArtifactTask]:
            return await self.list_artifact_tasks(task_ids=task_ids)

        creation = LinkCreation(batch, create=create, list_of_tasks=list_of_tasks)
        await create_checked(
            creation,
            deadline_seconds=self._transport.retry_deadline_seconds,
            backoff=self._transport.backoff,
        )
        return creation.stored

    async def list_artifact_tasks(
        self,
        *,
        task_ids: Sequence[str] = (),
        run_ids: Sequence[str] = (),
        artifact_ids: Sequence[str] = (),
    ) -> list[ArtifactTask]:
        """All links that match: OR inside a list, AND between lists. At least one list is needed."""
        names = ("task_ids", "run_ids", "artifact_ids")
        chunked = [
            list(chunks(ids, _IDS_PER_CALL)) if ids else [()] for ids in (task_ids, run_ids, artifact_ids)
        ]
        found: list[ArtifactTask] = []
        for lists in product(*chunked):
            scope = [(name, one) for name, ids in zip(names, lists, strict=True) for one in ids]
            found.extend([link async for link in self._links_of(scope)])
        return found

    async def _links_of(self, scope: list[tuple[str, str]]) -> AsyncIterator[ArtifactTask]:
        token = ""
        while True:
            query = [*scope, ("page_size", str(PAGE_SIZE)), *given({"page_token": token})]
            page = parse(ArtifactTaskPage, await self._call(operations.LIST_ARTIFACT_TASKS, query=query))
            for link in page.artifact_tasks:
                yield link
            token = page.next_page_token
            if not token:
                return

    async def healthz(self) -> dict[str, Any]:
        """The server's health and mode."""
        return object_of(await self._call(operations.HEALTHZ))

    async def _call(
        self,
        operation: Operation,
        *,
        run_id: str | None = None,
        named_run: str | None = None,
        parts: Mapping[str, str] | None = None,
        query: Sequence[tuple[str, str]] = (),
        body: Any = None,
    ) -> Any:
        """One call. ``run_id`` is a path part; a run that only the body names is ``named_run``."""
        path_parts = dict(parts or {}) if run_id is None else {"run_id": run_id, **(parts or {})}
        named = run_id if run_id is not None else named_run
        if body is None:
            return await self._transport.call(
                Request(operation=operation, parts=path_parts, query=query, run_id=named)
            )
        return await self._transport.call(
            Request(operation=operation, parts=path_parts, query=query, body=body, run_id=named)
        )


def _task_update(run_id: str, task_id: str, patch: PipelineTask, *, wants_answer: bool = True) -> Request:
    return Request(
        operation=operations.UPDATE_TASK,
        parts={"run_id": run_id, "task_id": task_id},
        run_id=run_id,
        body=sendable_task(patch).to_wire(),
        wants_answer=wants_answer,
    )

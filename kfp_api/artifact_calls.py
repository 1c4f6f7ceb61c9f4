"""Calls about artifacts and their links to tasks (spec KFP_API 5)."""

from collections.abc import AsyncIterator, Sequence
from itertools import product
from typing import Any, Final

from kfp_api import operations
from kfp_api.answers import list_of, object_of, parse
from kfp_api.checked_creation import ArtifactCreation, LinkCreation, create_checked
from kfp_api.errors import ApiRequestError
from kfp_api.limits import check_artifact_request
from kfp_api.messages import Artifact, ArtifactTask, CreateArtifactRequest
from kfp_api.pages import PAGE_SIZE, ArtifactTaskPage
from kfp_api.queries import chunks, given
from kfp_api.task_calls import TaskCalls

LINKS_PER_CALL: Final = 500
_IDS_PER_CALL: Final = 50


class ArtifactCalls(TaskCalls):
    """Artifacts and links; a creation whose answer was lost looks for its result among a task's."""

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

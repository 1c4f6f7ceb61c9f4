"""Calls about runs and pipeline versions (spec KFP_API 6 and 7)."""

from collections.abc import AsyncGenerator
from typing import Any, Final

import orjson

from kfp_api import operations
from kfp_api.answers import object_of, parse
from kfp_api.calls import ApiCalls
from kfp_api.filters import Filter
from kfp_api.messages import Run, ViewMode
from kfp_api.pages import PAGE_SIZE, RunPage
from kfp_api.queries import filter_text, given
from kfp_api.transport import Request

_FULL_VIEW_SECONDS: Final = 120.0


class RunCalls(ApiCalls):
    """Runs, and the pipeline versions that they name."""

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

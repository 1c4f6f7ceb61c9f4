"""Why a task was not served from the cache: its nearest earlier execution, and what differs.

Reads at most a few pages of runs and one row of each candidate run, whatever the runs' sizes.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Final

from driver_plugin.drivers.facts import source_text
from driver_plugin.system_logs.redaction import HIDDEN, is_secret_key
from kfp_api.client import KfpApiClient
from kfp_api.errors import KfpApiError
from kfp_api.ir.load import InvalidPipelineError, Pipeline
from kfp_api.messages import PipelineTask, Run, TaskState
from kfp_api.run_view import RunCache, RunView
from resolver.errors import ResolutionError
from troubleshooting.cache_key import Difference, cache_key_of, differences, uses_workspace_of_run
from troubleshooting.finding import row_at

_PAGE: Final = 10
_PAGES: Final = 5
_CANDIDATES: Final = 10
"""Runs of the same pipeline whose row is looked for: most pipelines have the task in the run before."""


@dataclass(frozen=True, kw_only=True)
class Miss:
    """Why there was no hit: one sentence, the execution it was compared with, and what differs."""

    reason: str
    earlier: PipelineTask | None = None
    differences: tuple[Difference, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Execution:
    row: PipelineTask
    pipeline: Pipeline


async def explain_miss(
    client: KfpApiClient, run: Run, row: PipelineTask, pipeline: Pipeline, *, namespace: str
) -> Miss:
    """Compare a container task that has a fingerprint with its nearest earlier execution."""
    try:
        earlier = await _nearest(client, run, row, pipeline, namespace)
    except KfpApiError as error:
        return Miss(reason=f"earlier runs cannot be looked at: {error}")
    if earlier is None:
        return Miss(reason="no earlier execution of this task was found")
    if earlier.row.cache_fingerprint == row.cache_fingerprint:
        return Miss(reason=_same_fingerprint(earlier.row, row), earlier=earlier.row)
    return _compared(row, pipeline, earlier, namespace)


def _compared(row: PipelineTask, pipeline: Pipeline, earlier: _Execution, namespace: str) -> Miss:
    before = cache_key_of(earlier.row, earlier.pipeline, namespace=namespace)
    now = cache_key_of(row, pipeline, namespace=namespace)
    if not earlier.row.cache_fingerprint:
        return Miss(reason="the execution before did not use the cache", earlier=earlier.row)
    if before is None or now is None:
        return Miss(reason="its cache key cannot be made from the row", earlier=earlier.row)
    makers = {
        f"input artifact {entry.artifact_key}": f", {source_text(entry.type, entry.producer)}"
        for entry in row.input_artifacts
    }
    found = tuple(
        replace(_without_secrets(one), what=one.what + makers.get(one.what, ""))
        for one in differences(before.document, now.document)
    )
    if found:
        return Miss(reason="it differs from the execution before", earlier=earlier.row, differences=found)
    if uses_workspace_of_run(row):
        reason = "it uses the workspace, whose claim is another one in every run"
    else:
        reason = "it differs in what rows do not tell: names of volume claims, or whether logs are published"
    return Miss(reason=reason, earlier=earlier.row)


def _same_fingerprint(earlier: PipelineTask, row: PipelineTask) -> str:
    state = earlier.state.value
    if earlier.state is TaskState.CACHED:
        return (
            "the same work was served from the cache before, but its source is gone or in another namespace"
        )
    if earlier.state is not TaskState.SUCCEEDED:
        return f"the same work was done before, but ended {state}: only what succeeded is reused"
    if earlier.end_time and row.create_time and earlier.end_time >= row.create_time:
        return "the same work had not ended yet when this task looked"
    return "the same work succeeded before, but the lookup did not find it: see the driver log for its answer"


def _without_secrets(difference: Difference) -> Difference:
    if is_secret_key(difference.what.rpartition(" ")[2]) and difference.what.startswith("input "):
        return replace(difference, before=HIDDEN, now=HIDDEN)
    return difference


async def _nearest(
    client: KfpApiClient, run: Run, row: PipelineTask, pipeline: Pipeline, namespace: str
) -> _Execution | None:
    looked_at = 0
    async for candidate in _earlier_runs(client, run, namespace):
        other = await _pipeline_of(client, candidate)
        if other is None or other.spec.pipeline_info.name != pipeline.spec.pipeline_info.name:
            continue
        looked_at += 1
        found = await row_at(client, candidate.run_id, row.scope_path, row.iteration_index)
        if found is None and row.iteration_index is not None:
            found = await row_at(client, candidate.run_id, row.scope_path)
        if found is not None:
            return _Execution(row=found, pipeline=other)
        if looked_at == _CANDIDATES:
            break
    return None


async def _earlier_runs(client: KfpApiClient, run: Run, namespace: str) -> AsyncIterator[Run]:
    """Runs of the same experiment that were created before, the newest first."""
    token = ""
    for _ in range(_PAGES):
        page = await client.list_runs(
            namespace="" if run.experiment_id else namespace,
            experiment_id=run.experiment_id,
            sort_by="created_at desc",
            page_size=_PAGE,
            page_token=token,
        )
        for other in page.runs:
            later = run.created_at and other.created_at and other.created_at > run.created_at
            if other.run_id != run.run_id and not later:
                yield other
        token = page.next_page_token
        if not token:
            return


async def _pipeline_of(client: KfpApiClient, run: Run) -> Pipeline | None:
    """The pipeline of another run; ``None`` when it cannot be read, which says nothing about this task."""
    try:
        return await RunView(client, run.run_id, cache=RunCache()).pipeline()
    except (InvalidPipelineError, ResolutionError, KfpApiError):
        return None

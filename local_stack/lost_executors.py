"""The last word for executors that cannot speak: pods that never started, and launchers that were killed.

A launcher writes its task's end itself. Where there was none, or it was killed, the row would stay RUNNING
until the run ends and then say no more than that. What the runner knows goes onto the row instead, with the
states of the ancestors, as a launcher would do it; the launcher of a later attempt takes it away again.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from kfp_api.client import KfpApiClient
from kfp_api.errors import KfpApiError
from kfp_api.messages import PipelineTask, StatusMetadata, TaskState
from kfp_api.run_view import RunCache, RunView
from local_stack.runner.engine import PodRequest, PodResult, PodRunner
from local_stack.runner.errors import NodeError
from local_stack.runner.pod_build import MAIN
from local_stack.runner.pod_command import task_id_of
from local_stack.runner.pod_merge import read_patch
from propagation.errors import PropagationError
from propagation.statuses import propagate_statuses


class SpokenFor:
    """Runs the pods of one run, and ends the rows of those that failed without a word."""

    def __init__(
        self, pods: PodRunner, *, client: KfpApiClient, run_id: str, warn: Callable[[str], None]
    ) -> None:
        self._pods = pods
        self._client = client
        self._run_id = run_id
        self._warn = warn

    async def run(self, request: PodRequest) -> PodResult:
        """Run a pod to its end."""
        result = await self._pods.run(request)
        if result.phase.failed:
            await self._speak(request, result.message)
        return result

    @asynccontextmanager
    async def devices(self, request: PodRequest) -> AsyncIterator[None]:
        """Hold what a pod needs; raises ``NodeError`` as the pods do."""
        try:
            async with self._pods.devices(request):
                yield
        except NodeError as error:
            await self._speak(request, str(error))
            raise

    async def _speak(self, request: PodRequest, message: str) -> None:
        task_id = _task_of(request)
        if not task_id:
            return
        try:
            await self._end(task_id, message)
        except (KfpApiError, PropagationError) as error:
            self._warn(f"{request.node.name}: the task's row could not be ended: {error}")

    async def _end(self, task_id: str, message: str) -> None:
        row = await self._client.get_task(self._run_id, task_id)
        if row.state is not TaskState.RUNNING:
            return
        failed = PipelineTask(
            state=TaskState.FAILED,
            end_time=datetime.now(UTC),
            # The server replaces it whole.
            status_metadata=StatusMetadata(message=message, custom_properties=row.custom_properties),
        )
        row = await self._client.update_task(self._run_id, task_id, failed)
        await propagate_statuses(RunView(self._client, self._run_id, cache=RunCache()), row)


def _task_of(request: PodRequest) -> str:
    """The task row that a pod's launcher would work for, even where the pod cannot be built."""
    containers = [request.template.get("container") or {}]
    for text in request.patches:
        try:
            patched = read_patch(text).get("containers") or ()
        except NodeError:
            continue
        containers += [one for one in patched if isinstance(one, dict) and one.get("name") == MAIN]
    found = ""
    for container in containers:
        argv = [str(part) for name in ("command", "args") for part in container.get(name) or ()]
        found = task_id_of(argv) or found
    return found

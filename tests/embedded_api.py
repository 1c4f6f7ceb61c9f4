"""The embedded KFP API in this process, and a run on it whose rows a test writes one by one."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from kfp_api.client import KfpApiClient
from kfp_api.messages import (
    InputOutputs,
    IOParameter,
    PipelineTask,
    Run,
    TaskState,
    TaskType,
    TypeAttributes,
)
from kfp_api.run_view import RunCache, RunView
from kfp_api.transport import ApiCall
from local_stack.api_server.app import build_app
from local_stack.api_server.config import ServerConfig
from propagation.output_identity import output_type_and_producer


@asynccontextmanager
async def embedded_api(folder: Path, **options: Any) -> AsyncIterator[str]:
    """Serve the embedded API on a free loopback port, with these options of it; yields its URL."""
    config = ServerConfig(database=folder / "kfp.db", **options)
    runner = web.AppRunner(build_app(config))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    try:
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


@dataclass
class Rows:
    """Writes the rows of one run as drivers and launchers would, and reads them back."""

    client: KfpApiClient
    run_id: str
    calls: list[ApiCall]
    cache: RunCache = field(default_factory=RunCache)

    @classmethod
    async def of(cls, client: KfpApiClient, spec: dict[str, Any], calls: list[ApiCall]) -> "Rows":
        run = await client.create_run(Run(display_name="test", pipeline_spec=spec))
        return cls(client, run.run_id, calls)

    def view(self) -> RunView:
        """What a new driver call sees."""
        return RunView(self.client, self.run_id, cache=self.cache)

    async def add(
        self,
        scope: str,
        *,
        state: TaskState = TaskState.RUNNING,
        parent: PipelineTask | None = None,
        kind: TaskType | None = None,
        index: int | None = None,
        count: int | None = None,
    ) -> PipelineTask:
        """Create a row; its type is RUNTIME below a parent and ROOT without one unless given."""
        attributes = TypeAttributes(iteration_index=index, iteration_count=count)
        return await self.client.create_task(
            PipelineTask(
                run_id=self.run_id,
                name=scope.rsplit(".", 1)[-1] if parent else "ROOT",
                type=kind or (TaskType.RUNTIME if parent else TaskType.ROOT),
                state=state,
                scope_path=scope,
                parent_task_id=parent.task_id if parent else None,
                type_attributes=attributes if attributes != TypeAttributes() else None,
            )
        )

    async def end(self, row: PipelineTask, state: TaskState = TaskState.SUCCEEDED) -> PipelineTask:
        """Write the row's state."""
        return await self.client.update_task(self.run_id, row.task_id, PipelineTask(state=state))

    async def output(self, row: PipelineTask, key: str, value: Any) -> PipelineTask:
        """Record an own output parameter of a leaf."""
        kind, producer = output_type_and_producer(row.name, row.iteration_index)
        entry = IOParameter(parameter_key=key, value=value, type=kind, producer=producer)
        patch = PipelineTask(outputs=InputOutputs(parameters=[entry]))
        return await self.client.update_task(self.run_id, row.task_id, patch)

    async def read(self, row: PipelineTask) -> PipelineTask:
        """The row as it is now."""
        return await self.client.get_task(self.run_id, row.task_id)

    async def state(self, row: PipelineTask) -> TaskState:
        """The row's state as it is now."""
        return (await self.read(row)).state


def operations(calls: list[ApiCall]) -> list[str]:
    """The RPC names of observed calls."""
    return [call.operation for call in calls]

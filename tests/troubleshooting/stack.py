"""The real service before the embedded KFP API: calls go in over HTTP, explanations come out as text."""

import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from driver_plugin.app import Service, create_application, open_service
from driver_plugin.http.execute import PATH
from driver_plugin.settings import Settings
from driver_plugin.system_logs.opening import open_store
from kfp_api.client import KfpApiClient
from kfp_api.messages import (
    Artifact,
    ArtifactType,
    CreateArtifactRequest,
    InputOutputs,
    IOParameter,
    PipelineTask,
    Run,
    RuntimeConfig,
    StatusMetadata,
    TaskPod,
    TaskPodType,
    TaskState,
)
from kfp_api.run_view import RunCache, RunView
from propagation.output_identity import output_type_and_producer
from propagation.outputs import propagate_outputs
from propagation.statuses import propagate_statuses
from tests.driver_plugin.calls import body, container_args, dag_args, root_args
from tests.embedded_api import embedded_api
from troubleshooting.explain_command import explain_lines
from troubleshooting.logs import DriverLogs
from troubleshooting.printing import print_lines
from troubleshooting.source import Source
from troubleshooting.task_logs import TaskLogs

AGENT_TOKEN = "agent-token-canary-0123456789abcdef"
Json = dict[str, Any]


@dataclass(kw_only=True)
class Stack:
    """Service, API and what both left behind."""

    client: KfpApiClient
    http: TestClient[web.Request, web.Application]
    service: Service
    settings: Settings
    source: Source
    directory: Path
    replies: list[Json] = field(default_factory=list)

    async def submit(self, spec: Json, **parameters: Any) -> "Driven":
        """A run that nobody drives yet."""
        run = await self.client.create_run(
            Run(
                display_name="Demo",
                pipeline_spec=spec,
                runtime_config=RuntimeConfig(
                    parameters=parameters, pipeline_root=str(self.directory / "artifacts")
                ),
            )
        )
        return Driven(stack=self, run_id=run.run_id, parameters=parameters)

    async def start(self, spec: Json, **parameters: Any) -> "Driven":
        """A run whose root is driven."""
        run = await self.submit(spec, **parameters)
        await run.drive_root()
        return run

    async def call(self, args: Json) -> Json:
        """One delivery through Argo's door; its reply."""
        response = await self.http.post(
            PATH, json=body(args), headers={"Authorization": f"Bearer {AGENT_TOKEN}"}
        )
        assert response.status == 200, await response.text()
        reply: Json = await response.json()
        self.replies.append(reply)
        return reply

    async def explain(self, run_id: str, task: str | None = None) -> str:
        """What ``kfp-driver explain`` prints; lines that were wrapped are joined."""
        source = _source(self.client, self.settings)
        printed = io.StringIO()
        print_lines(await explain_lines(source, run_id, task), printed)
        return " ".join(printed.getvalue().split())


@dataclass(kw_only=True)
class Driven:
    """One run under test."""

    stack: Stack
    run_id: str
    parameters: Json
    root: str = ""

    async def drive_root(self, **changes: Any) -> Json:
        config = json.dumps({"parameterValues": self.parameters})
        reply = await self.stack.call(root_args(run_id=self.run_id, runtime_config=config, **changes))
        self.root = _row_id(reply)
        return reply

    async def dag(self, name: str, parent: str = "", **changes: Any) -> Json:
        args = dag_args(run_id=self.run_id, task_name=name, parent_task_id=parent or self.root, **changes)
        return await self.stack.call(args)

    async def container(self, name: str, parent: str = "", index: int = -1, **changes: Any) -> Json:
        given = {
            "run_id": self.run_id,
            "task_name": name,
            "parent_task_id": parent or self.root,
            "iteration_index": str(index),
        }
        return await self.stack.call(container_args(**given | changes))

    async def finish(
        self,
        reply: Json,
        *,
        outputs: Json | None = None,
        artifacts: dict[str, str] | None = None,
        error: str = "",
    ) -> PipelineTask:
        """Play the launcher: outputs and final state, passed up."""
        client = self.stack.client
        row = await client.get_task(self.run_id, _row_id(reply))
        for key, uri in (artifacts or {}).items():
            await client.create_artifact(
                CreateArtifactRequest(
                    artifact=Artifact(name=key, type=ArtifactType.Dataset, uri=uri, namespace="team-a"),
                    run_id=self.run_id,
                    task_id=row.task_id,
                    producer_key=key,
                )
            )
        kind, producer = output_type_and_producer(row.name, row.iteration_index)
        entries = [
            IOParameter(parameter_key=key, value=value, type=kind, producer=producer)
            for key, value in (outputs or {}).items()
        ]
        row = await client.update_task(
            self.run_id,
            row.task_id,
            PipelineTask(
                state=TaskState.FAILED if error else TaskState.SUCCEEDED,
                end_time=datetime.now(UTC),
                pods=[TaskPod(name="demo-pod-1", uid="u", type=TaskPodType.EXECUTOR)],
                outputs=InputOutputs(parameters=entries),
                status_metadata=StatusMetadata(message=error, custom_properties=row.custom_properties)
                if error
                else None,
            ),
        )
        view = RunView(client, self.run_id, cache=RunCache())
        await propagate_outputs(view, row)
        await propagate_statuses(view, row)
        return row

    async def rows(self) -> list[PipelineTask]:
        return [row async for row in self.stack.client.iterate_tasks(self.run_id)]


def _source(client: KfpApiClient, settings: Settings) -> Source:
    open_root = partial(open_store, settings=settings)
    return Source(
        client=client,
        logs=DriverLogs(settings.log_root, open_root=open_root),
        task_logs=TaskLogs(open_root=open_root),
    )


def _row_id(reply: Json) -> str:
    found = {entry["name"]: entry["value"] for entry in reply["node"]["outputs"]["parameters"]}
    return str(found["task-id"])


@asynccontextmanager
async def running(directory: Path, *, api_door: Any = None, **environ: str) -> AsyncIterator[Stack]:
    """The stack in a directory.

    ``api_door`` is an aiohttp middleware between service and API: what makes the API misbehave towards the
    service, while the test itself asks the API directly.
    """
    (directory / "token").write_text(AGENT_TOKEN)
    logs = directory / "driver-logs"
    async with embedded_api(directory) as url, _door(url, api_door) as service_url:
        settings = Settings.from_environ(
            {
                "KFP_API_URL": service_url,
                "KFP_TOKEN_MODE": "none",
                "KFP_DRIVER_AGENT_TOKEN_FILE": str(directory / "token"),
                "KFP_DRIVER_LOG_ROOT": str(logs),
                "KFP_LAUNCHER_CONFIG_DIR": str(directory / "launcher-config"),
                **environ,
            }
        )
        async with (
            open_service(settings) as service,
            TestClient(TestServer(create_application(service))) as http,
            KfpApiClient(url) as client,
        ):
            source = _source(client, settings)
            yield Stack(
                client=client,
                http=http,
                service=service,
                settings=settings,
                source=source,
                directory=directory,
            )
            await service.invocations.drain(5)
            await service.uploader.flush(1)


@asynccontextmanager
async def _door(url: str, middleware: Any) -> AsyncIterator[str]:
    """The API's own address, or that of a door before it."""
    if middleware is None:
        yield url
        return

    async def pass_on(request: web.Request) -> web.Response:
        async with (
            aiohttp.ClientSession() as session,
            session.request(
                request.method, f"{url}{request.raw_path}", data=await request.read(), headers=request.headers
            ) as answer,
        ):
            return web.Response(
                status=answer.status, body=await answer.read(), content_type="application/json"
            )

    application = web.Application(middlewares=[middleware])
    application.router.add_route("*", "/{path:.*}", pass_on)
    async with TestServer(application) as server:
        yield str(server.make_url("")).rstrip("/")

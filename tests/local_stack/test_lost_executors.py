"""Rows of executors that ended without a word get the runner's; all others are left alone.

Oracle: what KFP's launcher writes on a task that failed (spec LAUNCHER A13), on the embedded API over HTTP.
"""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from kfp_api.client import KfpApiClient
from kfp_api.messages import PipelineTask, Run, StatusMetadata, TaskState, TaskType
from local_stack.lost_executors import SpokenFor
from local_stack.runner.engine import PodRequest, PodResult
from local_stack.runner.errors import NodeError
from local_stack.runner.nodes import Node, NodeType, Phase
from tests.embedded_api import embedded_api

SPEC = {
    "schemaVersion": "2.1.0",
    "sdkVersion": "kfp-2.17.0",
    "pipelineInfo": {"name": "demo"},
    "deploymentSpec": {"executors": {"exec-a": {"container": {"image": "x"}}}},
    "components": {"comp-a": {"executorLabel": "exec-a"}},
    "root": {"dag": {"tasks": {"a": {"componentRef": {"name": "comp-a"}, "taskInfo": {"name": "a"}}}}},
}
LOST = PodResult(phase=Phase.ERROR, message="it could not start")
PROPERTIES: dict[str, Any] = {"driver_logs_uri": "/log"}


class Pods:
    """Pods that end as told, or that the machine has not enough for."""

    def __init__(self, result: PodResult, refusal: str = "") -> None:
        self.result = result
        self.refusal = refusal

    @asynccontextmanager
    async def devices(self, request: PodRequest) -> AsyncIterator[None]:  # noqa: ARG002 (the interface)
        if self.refusal:
            raise NodeError(self.refusal)
        yield

    async def run(self, request: PodRequest) -> PodResult:  # noqa: ARG002 (the interface)
        return self.result


class Stage:
    """A run with a root and one task whose executor is about to start."""

    def __init__(self, client: KfpApiClient, run_id: str, root: str, task: str) -> None:
        self.client, self.run_id, self.root, self.task = client, run_id, root, task
        self.warnings: list[str] = []

    def spoken_for(self, pods: Pods) -> SpokenFor:
        return SpokenFor(pods, client=self.client, run_id=self.run_id, warn=self.warnings.append)

    def request(self, *patches: str, argv: tuple[str, ...] = ()) -> PodRequest:
        node = Node(id="w-1", name="w.root.a.executor", type=NodeType.POD)
        container = {"command": list(argv or ("should-be-overridden",))}
        return PodRequest(node=node, template={"container": container}, patches=patches)

    def patch(self, command: str = "/kfp-launcher/launch") -> str:
        argv = {"command": [command, "--executor_type", "container", f"--task_id={self.task}", "--", "x"]}
        return json.dumps({"containers": [{"name": "main", **argv}]})

    async def state(self, task_id: str = "") -> tuple[TaskState, str]:
        row = await self.client.get_task(self.run_id, task_id or self.task)
        if row.task_id == self.task:
            assert row.custom_properties == PROPERTIES
        return row.state, row.status_metadata.message if row.status_metadata else ""


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with embedded_api(tmp_path) as url, KfpApiClient(url) as client:
        run_id = (await client.create_run(Run(display_name="r", pipeline_spec=SPEC))).run_id
        root = await client.create_task(
            PipelineTask(
                run_id=run_id, name="ROOT", scope_path="root", type=TaskType.ROOT, state=TaskState.RUNNING
            )
        )
        task = await client.create_task(
            PipelineTask(
                run_id=run_id,
                name="a",
                scope_path="root.a",
                parent_task_id=root.task_id,
                type=TaskType.RUNTIME,
                state=TaskState.RUNNING,
                status_metadata=StatusMetadata(custom_properties=PROPERTIES),
            )
        )
        yield Stage(client, run_id, root.task_id, task.task_id)


async def test_a_pod_that_could_not_start_ends_its_row_and_the_rows_above(stage: Stage) -> None:
    assert await stage.spoken_for(Pods(LOST)).run(stage.request(stage.patch())) is LOST
    assert await stage.state() == (TaskState.FAILED, "it could not start")
    assert (await stage.state(stage.root))[0] is TaskState.FAILED
    assert stage.warnings == []


async def test_a_pod_that_the_machine_has_not_enough_for_does_so_too(stage: Stage) -> None:
    pods = stage.spoken_for(Pods(LOST, refusal="there are no such devices"))
    with pytest.raises(NodeError, match="no such devices"):
        async with pods.devices(stage.request(stage.patch())):
            pass
    assert await stage.state() == (TaskState.FAILED, "there are no such devices")


async def test_the_command_of_the_template_counts_where_no_patch_can_be_read(stage: Stage) -> None:
    argv = ("launcher-v2", "--task_id", stage.task)
    await stage.spoken_for(Pods(LOST)).run(stage.request("{", argv=argv))
    assert (await stage.state())[0] is TaskState.FAILED


async def test_a_row_that_its_launcher_ended_keeps_the_launchers_words(stage: Stage) -> None:
    await stage.client.update_task(
        stage.run_id,
        stage.task,
        PipelineTask(
            state=TaskState.FAILED,
            status_metadata=StatusMetadata(message="exit status 3", custom_properties=PROPERTIES),
        ),
    )
    await stage.spoken_for(Pods(LOST)).run(stage.request(stage.patch()))
    assert await stage.state() == (TaskState.FAILED, "exit status 3")


@pytest.mark.parametrize("command", ["/kfp-launcher/launch", "sh"])
async def test_pods_that_succeed_or_have_no_row_are_left_alone(command: str, stage: Stage) -> None:
    result = PodResult(phase=Phase.SUCCEEDED) if command != "sh" else LOST
    await stage.spoken_for(Pods(result)).run(stage.request(stage.patch(command)))
    assert await stage.state() == (TaskState.RUNNING, "")


async def test_a_row_that_cannot_be_ended_is_a_warning(stage: Stage) -> None:
    stage.task = "there-is-none"
    assert await stage.spoken_for(Pods(LOST)).run(stage.request(stage.patch())) is LOST
    assert len(stage.warnings) == 1
    assert "could not be ended" in stage.warnings[0]

"""The launcher as a process, against a real embedded KFP API in this one."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestServer

from kfp_api.client import KfpApiClient
from kfp_api.messages import PipelineTask, Run, StatusMetadata, TaskState, TaskType
from launcher.flags import parse
from launcher.task import run_task
from launcher.termination import Termination
from local_stack.api_server.app import build_app
from local_stack.api_server.config import ServerConfig
from tests.launcher.s3_server import S3Server, s3_server

SPEC = {
    "schemaVersion": "2.1.0",
    "pipelineInfo": {"name": "demo"},
    "root": {
        "dag": {
            "tasks": {
                "train": {"taskInfo": {"name": "train"}, "componentRef": {"name": "comp-train"}},
                "import": {
                    "taskInfo": {"name": "import"},
                    "componentRef": {"name": "comp-import"},
                    "inputs": {"parameters": {"note": {"runtimeValue": {"constant": "n1"}}}},
                },
            },
            "outputs": {
                "parameters": {
                    "acc": {"valueFromParameter": {"producerSubtask": "train", "outputParameterKey": "acc"}}
                }
            },
        },
        "outputDefinitions": {"parameters": {"acc": {"parameterType": "NUMBER_DOUBLE"}}},
    },
    "components": {
        "comp-train": {
            "executorLabel": "exec-train",
            "inputDefinitions": {"artifacts": {"data": {"artifactType": {"schemaTitle": "system.Dataset"}}}},
            "outputDefinitions": {
                "parameters": {"acc": {"parameterType": "NUMBER_DOUBLE"}},
                "artifacts": {"model": {"artifactType": {"schemaTitle": "system.Model"}}},
            },
        },
        "comp-import": {
            "executorLabel": "exec-import",
            "inputDefinitions": {"parameters": {"note": {"parameterType": "STRING"}}},
            "outputDefinitions": {
                "artifacts": {"artifact": {"artifactType": {"schemaTitle": "system.Dataset"}}}
            },
        },
    },
    "deploymentSpec": {"executors": {"exec-train": {"container": {"image": "alpine"}}, "exec-import": {}}},
}


OUTPUTS = ("{{$.outputs.artifacts['model'].path}}", "{{$.outputs.parameters['acc'].output_file}}")


@dataclass(frozen=True)
class Bench:
    """A run with its root row, and what starts launchers for it."""

    server: TestServer
    client: KfpApiClient
    run_id: str
    root: PipelineTask
    directory: Path

    @property
    def url(self) -> str:
        """Where the API listens."""
        return str(self.server.make_url("")).rstrip("/")

    async def with_pipeline(self, spec: Mapping[str, Any]) -> "Bench":
        """The same on a new run of another pipeline."""
        run = await self.client.create_run(Run(display_name="demo", pipeline_spec=dict(spec)))
        root = PipelineTask(
            name="ROOT", run_id=run.run_id, type=TaskType.ROOT, state=TaskState.RUNNING, scope_path="root"
        )
        return replace(self, run_id=run.run_id, root=await self.client.create_task(root))

    async def task(self, **changes: Any) -> PipelineTask:
        """The row of ``train``, as the driver leaves it."""
        metadata = StatusMetadata(custom_properties={"kfp_driver_attempt": "m1", "plugins.x": "kept"})
        row = PipelineTask(
            name="train",
            run_id=self.run_id,
            type=TaskType.RUNTIME,
            state=TaskState.RUNNING,
            scope_path="root.train",
            parent_task_id=self.root.task_id,
            status_metadata=metadata,
        )
        return await self.client.create_task(row.model_copy(update=changes))

    async def row(self, task_id: str) -> PipelineTask:
        """A row as it is stored now."""
        return await self.client.get_task(self.run_id, task_id)

    def artifact(self, name: str, title: str, root: str = "") -> dict[str, Any]:
        """A runtime artifact below ``root``; in a bucket, its files are kept in our own directory."""
        place = self.directory / "artifacts" / "train" / name
        declared = {"name": name, "uri": str(place), "type": {"schemaTitle": title}}
        return declared | ({"uri": f"{root}/{name}", "customPath": str(place)} if root else {})

    def executor_input(self, root: str = "", **inputs: Any) -> dict[str, Any]:
        """Provisioned outputs below ``root``, our directory by default."""
        artifacts = {
            "model": self.artifact("model", "system.Model", root),
            "executor-logs": self.artifact("executor-logs", "system.Artifact", root),
        }
        return {
            "inputs": inputs,
            "outputs": {
                "parameters": {"acc": {"outputFile": "/tmp/kfp/outputs/acc"}},
                "artifacts": {key: {"artifacts": [value]} for key, value in artifacts.items()},
                "outputFile": str(self.directory / "artifacts/train/output_metadata.json"),
            },
        }

    def flags(
        self,
        task: PipelineTask,
        changes: Mapping[str, str] | None = None,
        *,
        executor_input: Mapping[str, Any] | None = None,
    ) -> list[str]:
        """The launcher's command line for a container task."""
        values = {
            "executor_type": "container",
            "pipeline_name": "demo",
            "run_id": self.run_id,
            "task_id": task.task_id,
            "parent_task_id": self.root.task_id,
            "executor_input": json.dumps(executor_input or self.executor_input()),
            "namespace": "ns",
            "pod_name": "pod-1",
            "pod_uid": "uid-1",
            "ml_pipeline_server_address": str(self.server.host),
            "ml_pipeline_server_port": str(self.server.port),
            "publish_logs": "true",
            "fingerprint": "",
            "task_name": "train",
            "ca_cert_path": "",
            "log_level": "1",
            **(changes or {}),
        }
        arguments = ["--ml_pipeline_tls_enabled=false", "--cache_disabled=false"]
        for name, value in values.items():
            arguments += [f"--{name}", value]
        return arguments

    async def start(
        self,
        task: PipelineTask,
        script: str,
        *,
        executor_input: Mapping[str, Any] | None = None,
        flags: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
        program: Sequence[str] = ("-m", "launcher"),
    ) -> asyncio.subprocess.Process:
        """Start a container launcher whose command is a shell script.

        ``$0`` is the path of the output artifact ``model``, ``$1`` the file of the output parameter ``acc``.
        """
        arguments = self.flags(task, flags, executor_input=executor_input)
        return await asyncio.create_subprocess_exec(
            sys.executable,
            *program,
            *arguments,
            "--",
            "sh",
            "-c",
            script,
            *OUTPUTS,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={
                **os.environ,
                "KFP_LOCAL_OUTPUTS_DIR": str(self.directory / "outputs"),
                **(environment or {}),
            },
        )

    async def run_here(
        self,
        task: PipelineTask,
        script: str,
        *,
        executor_input: Mapping[str, Any] | None = None,
        environment: Mapping[str, str] | None = None,
        termination: Termination | None = None,
    ) -> int:
        """Run a launcher in this process, where a test does not look at the process; its exit status."""
        line = parse([*self.flags(task, executor_input=executor_input), "--", "sh", "-c", script, *OUTPUTS])
        given = {
            **os.environ,
            "KFP_LOCAL_OUTPUTS_DIR": str(self.directory / "outputs"),
            **(environment or {}),
        }
        return await run_task(line, self.client, given, "", termination or Termination())

    async def run(self, task: PipelineTask, script: str, **more: Any) -> tuple[int, str]:
        """Run a launcher to its end: exit status and output."""
        process = await self.start(task, script, **more)
        async with asyncio.timeout(60):
            output, _ = await process.communicate()
        assert process.returncode is not None
        return process.returncode, output.decode()


@pytest.fixture(scope="session")
def s3() -> Iterator[S3Server]:
    """moto's S3 server, one for all tests of a process; every test makes its own bucket."""
    with s3_server() as server:
        yield server


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    server = TestServer(build_app(ServerConfig(database=tmp_path / "kfp.db")))
    async with server, KfpApiClient(await _address(server)) as client:
        run = await client.create_run(Run(display_name="demo", pipeline_spec=SPEC))
        root = PipelineTask(
            name="ROOT", run_id=run.run_id, type=TaskType.ROOT, state=TaskState.RUNNING, scope_path="root"
        )
        yield Bench(server, client, run.run_id, await client.create_task(root), tmp_path)


async def _address(server: TestServer) -> str:
    await server.start_server()
    return str(server.make_url("")).rstrip("/")

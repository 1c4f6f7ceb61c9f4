"""What one task or importer of a loop costs the KFP API, driver and launcher together.

Oracle: a proxy between them and a real embedded API counts requests and bytes; a task of a small loop and
one in the middle of a large loop must cost the same. The loop's items come from a task, and its outputs are
collected. Every other task of the loop has ended, one has not begun: the walk up has to find out whether
the loop is over.
"""

import asyncio
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest

from kfp_api.client import KfpApiClient
from kfp_api.messages import (
    InputOutputs,
    IOParameter,
    PipelineTask,
    Run,
    RuntimeConfig,
    StatusMetadata,
    TaskState,
    TaskType,
    TypeAttributes,
)
from kfp_api.run_cache import RunCache
from propagation.loop_size import LOOP_SIZE_PROPERTY
from propagation.output_identity import output_type_and_producer
from tests.counting_proxy import counting_proxy
from tests.driver_plugin.drivers.conftest import stack  # noqa: F401 (a fixture)
from tests.driver_plugin.drivers.pipelines import (
    DATASET,
    Json,
    dag,
    from_parent,
    from_task,
    leaf,
    pipeline,
    task,
)
from tests.driver_plugin.drivers.stack import DrivenRun, Stack

COLLECTED: Json = {
    "train": {
        "parameters": {
            "all": {"valueFromParameter": {"producerSubtask": "train", "outputParameterKey": "acc"}}
        }
    },
    "import": {
        "artifacts": {
            "all": {"artifactSelectors": [{"producerSubtask": "import", "outputArtifactKey": "artifact"}]}
        }
    },
}
"""What the loop collects of its only task, by the task's name."""

COMMAND = ("sh", "-c", 'echo 0.5 > "$0"', "{{$.outputs.parameters['acc'].output_file}}")
LOWEST = 1_000_000
"""Items and indexes have as many digits in a small loop as in a large one."""


def spec_of(name: str) -> Json:
    """A loop over the output of a task, around a container task or an importer, that collects its outputs."""
    leaves = {
        "train": leaf("exec-train", inputs={"value": "STRING"}, outputs={"acc": "NUMBER_DOUBLE"}),
        "import": leaf("exec-import", inputs={"value": "STRING"}, output_artifacts=("artifact",)),
    }
    loop = dag(
        {name: task("comp-leaf", inputs={"value": from_parent("item")})},
        inputs={"items": "LIST", "item": "STRING"},
        outputs=COLLECTED[name],
    )
    loop["outputDefinitions"] = {
        "parameters": {"all": {"parameterType": "LIST"}} if name == "train" else {},
        "artifacts": {"all": {"artifactType": DATASET, "isArtifactList": True}} if name == "import" else {},
    }
    spec = pipeline(
        {
            "make": task("comp-make"),
            "loop": task(
                "comp-loop", inputs={"items": from_task("make")}, items_from="items", depends=("make",)
            ),
        },
        {
            "comp-make": leaf("exec-make", outputs={"Output": "LIST"}),
            "comp-loop": loop,
            "comp-leaf": leaves[name],
        },
    )
    spec["deploymentSpec"]["executors"]["exec-import"] = {"importer": {}}
    return spec


async def cost(drivers: Stack, name: str, size: int, directory: Path) -> tuple[list[str], int]:
    """Requests and bytes of one task in the middle of a loop of ``size`` iterations."""
    async with (
        counting_proxy(drivers.services.settings.api_url) as traffic,
        KfpApiClient(traffic.url) as client,
    ):
        services = replace(drivers.services, client=client, run_cache=RunCache())
        run = await started(Stack(client=client, services=services), name, directory, size)
        loop = (await run.dag("loop")).task_id
        measured, missing = size // 2, size - 1
        if name == "train":
            # The driver service reads a loop head once, for the first of its tasks.
            await run.container(name, loop, 0)
        await finish_iterations(client, run, name, loop, leave=(measured, missing), size=size)
        traffic.reset()
        if name == "train":
            patch = (await run.container(name, loop, measured)).pod_spec_patch
            (main,) = json.loads(patch)["containers"]
            await launch([*main["command"][1:], *COMMAND], traffic.url, directory)
        else:
            await launch(importer_flags(run.run_id, loop, measured), traffic.url, directory)
        requests, transferred = [shape(line) for line in traffic.requests], traffic.bytes
        (row,) = [row for row in await run.rows(name) if row.iteration_index == measured]
        assert row.state is TaskState.SUCCEEDED
        if name == "train":
            assert row.output_parameters[0].value == 0.5
        else:
            assert row.output_artifacts[0].artifacts[0].uri == f"s3://public/{LOWEST + measured}"
        assert (await run.row(loop)).state is TaskState.RUNNING
    return requests, transferred


async def started(drivers: Stack, name: str, directory: Path, size: int) -> DrivenRun:
    """A run whose loop is about to begin."""
    spec = spec_of(name)
    created = await drivers.client.create_run(
        Run(
            display_name="Demo",
            pipeline_spec=spec,
            runtime_config=RuntimeConfig(parameters={}, pipeline_root=str(directory / "artifacts")),
        )
    )
    run = DrivenRun(stack=drivers, run_id=created.run_id, spec=spec, parameters={})
    run.root = (await run.drive_root()).task_id
    make = (await run.container("make")).task_id
    await run.finish(make, {"Output": [f"s3://public/{LOWEST + index}" for index in range(size)]})
    return run


async def finish_iterations(
    client: KfpApiClient, run: DrivenRun, name: str, loop: str, *, leave: tuple[int, ...], size: int
) -> None:
    """The rows of finished iterations, as drivers and launchers leave them; the first may be there."""
    at_once = asyncio.Semaphore(8)
    is_container = name == "train"

    async def finish(index: int) -> None:
        kind, producer = output_type_and_producer(name, index)
        output = IOParameter(parameter_key="acc", value=0.5, type=kind, producer=producer)
        properties: Json = (
            {"kfp_driver_attempt": str(uuid4()), LOOP_SIZE_PROPERTY: size} if is_container else {}
        )
        async with at_once:
            row = await client.create_task(
                PipelineTask(
                    name=name,
                    display_name="leaf",
                    run_id=run.run_id,
                    type=TaskType.RUNTIME if is_container else TaskType.IMPORTER,
                    state=TaskState.SUCCEEDED,
                    scope_path=f"root.loop.{name}",
                    parent_task_id=loop,
                    type_attributes=TypeAttributes(
                        iteration_index=index, download_to_workspace=None if is_container else False
                    ),
                    status_metadata=StatusMetadata(custom_properties=properties) if properties else None,
                    create_time=datetime.now(UTC),
                    end_time=datetime.now(UTC),
                    outputs=InputOutputs(parameters=[output] if is_container else []),
                )
            )
            if row.state is TaskState.RUNNING:
                await client.write_task(
                    run.run_id,
                    row.task_id,
                    PipelineTask(state=TaskState.SUCCEEDED, end_time=datetime.now(UTC)),
                )

    await asyncio.gather(*(finish(index) for index in range(size) if index not in leave))


def importer_flags(run_id: str, loop: str, index: int) -> list[str]:
    """The command line of the compiler's importer template."""
    flags = {
        "executor_type": "importer",
        "pipeline_name": "demo",
        "run_id": run_id,
        "parent_task_id": loop,
        "task_name": "import",
        "importer_spec": json.dumps({"artifactUri": {"runtimeParameter": "value"}, "typeSchema": DATASET}),
        "iteration_index": str(index),
        "namespace": "team-a",
        "pod_name": "pod",
        "pod_uid": "uid",
        "publish_logs": "true",
        "ca_cert_path": "",
        "log_level": "1",
    }
    switches = ["--cache_disabled=false", "--ml_pipeline_tls_enabled=false"]
    return [*switches, *(part for name, value in flags.items() for part in (f"--{name}", value))]


async def launch(arguments: Sequence[str], url: str, directory: Path) -> None:
    """Run the launcher."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "launcher",
        *arguments,
        env={**os.environ, "KFP_API_URL": url, "KFP_LOCAL_OUTPUTS_DIR": str(directory / "outputs")},
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(100):
        _, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()


def shape(line: str) -> str:
    """A request without the ids in its path."""
    return "/".join(
        "*" if before in {"runs", "tasks"} else part
        for before, part in zip(["", *line.split("/")], line.split("/"), strict=False)
    )


@pytest.mark.parametrize("name", ["train", "import"])
@pytest.mark.parametrize("size", [200, pytest.param(5000, marks=pytest.mark.slow)])
async def test_task_costs_the_same_in_a_loop_of_any_size(
    name: str,
    size: int,
    stack: Stack,  # noqa: F811 (the fixture)
    tmp_path: Path,
) -> None:
    requests, few = await cost(stack, name, 10, tmp_path)
    more_requests, many = await cost(stack, name, size, tmp_path)
    sys.stdout.write(f"{name} in a loop of {size}: {len(requests)} requests, {few} and {many} bytes\n")
    assert more_requests == requests
    assert not any("view=FULL" in line for line in requests)
    # Indexes have more digits in a large loop; the head of the smaller of the large loops has 30,000 bytes.
    assert abs(many - few) < 100, (few, many)

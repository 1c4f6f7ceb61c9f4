"""What one task of a loop costs the KFP API, driver and launcher together.

Oracle: a proxy between them and a real embedded API counts requests and bytes; a task of a small loop and
one in the middle of a large loop must cost the same. The loop's items come from a task, and its outputs are
collected. Every other task of the loop has ended, one has not begun: the walk up has to find out whether
the loop is over.
"""

import asyncio
import json
import os
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

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
from tests.driver_plugin.drivers.pipelines import dag, from_parent, from_task, leaf, pipeline, task
from tests.driver_plugin.drivers.stack import DrivenRun, Stack

COLLECTED = {
    "parameters": {"accs": {"valueFromParameter": {"producerSubtask": "train", "outputParameterKey": "acc"}}}
}
SPEC = pipeline(
    {
        "make": task("comp-make"),
        "loop": task("comp-loop", inputs={"items": from_task("make")}, items_from="items", depends=("make",)),
        "use": task("comp-use", inputs={"accs": from_task("loop", "accs")}, depends=("loop",)),
    },
    {
        "comp-make": leaf("exec-make", outputs={"Output": "LIST"}),
        "comp-loop": dag(
            {"train": task("comp-train", inputs={"lr": from_parent("item")})},
            inputs={"items": "LIST", "item": "NUMBER_DOUBLE"},
            outputs=COLLECTED,
            output_types={"accs": "LIST"},
        ),
        "comp-train": leaf("exec-train", inputs={"lr": "NUMBER_DOUBLE"}, outputs={"acc": "NUMBER_DOUBLE"}),
        "comp-use": leaf("exec-use", inputs={"accs": "LIST"}),
    },
)
COMMAND = ("sh", "-c", 'echo 0.5 > "$0"', "{{$.outputs.parameters['acc'].output_file}}")


async def cost(drivers: Stack, size: int, directory: Path) -> tuple[list[str], int]:
    """Requests and bytes of one task in the middle of a loop of ``size`` iterations."""
    async with (
        counting_proxy(drivers.services.settings.api_url) as traffic,
        KfpApiClient(traffic.url) as client,
    ):
        services = replace(drivers.services, client=client, run_cache=RunCache())
        run = await started(Stack(client=client, services=services), directory, size)
        loop = (await run.dag("loop")).task_id
        measured, missing = size // 2, size - 1
        await finish_iterations(client, run.run_id, loop, size, leave=(measured, missing))
        # The driver service reads a loop head once, for the first of its tasks.
        await run.container("train", loop, 0)
        traffic.reset()
        patch = (await run.container("train", loop, measured)).pod_spec_patch
        await launch(patch, traffic.url, directory)
        requests, transferred = [shape(line) for line in traffic.requests], traffic.bytes
        (row,) = [row for row in await run.rows("train") if row.iteration_index == measured]
        assert (row.state, row.output_parameters[0].value) == (TaskState.SUCCEEDED, 0.5)
        assert (await run.row(loop)).state is TaskState.RUNNING
    return requests, transferred


async def started(drivers: Stack, directory: Path, size: int) -> DrivenRun:
    """A run whose loop is about to begin."""
    created = await drivers.client.create_run(
        Run(
            display_name="Demo",
            pipeline_spec=SPEC,
            runtime_config=RuntimeConfig(parameters={}, pipeline_root=str(directory / "artifacts")),
        )
    )
    run = DrivenRun(stack=drivers, run_id=created.run_id, spec=SPEC, parameters={})
    run.root = (await run.drive_root()).task_id
    make = (await run.container("make")).task_id
    await run.finish(make, {"Output": [index / 10_000 for index in range(size)]})
    return run


async def finish_iterations(
    client: KfpApiClient, run_id: str, loop: str, size: int, *, leave: tuple[int, ...]
) -> None:
    """The rows of finished iterations, as drivers and launchers leave them."""
    at_once = asyncio.Semaphore(8)

    async def finish(index: int) -> None:
        kind, producer = output_type_and_producer("train", index)
        output = IOParameter(parameter_key="acc", value=0.5, type=kind, producer=producer)
        async with at_once:
            await client.create_task(
                PipelineTask(
                    name="train",
                    run_id=run_id,
                    type=TaskType.RUNTIME,
                    state=TaskState.SUCCEEDED,
                    scope_path="root.loop.train",
                    parent_task_id=loop,
                    type_attributes=TypeAttributes(iteration_index=index),
                    status_metadata=StatusMetadata(custom_properties={LOOP_SIZE_PROPERTY: size}),
                    create_time=datetime.now(UTC),
                    outputs=InputOutputs(parameters=[output]),
                )
            )

    await asyncio.gather(*(finish(index) for index in range(size) if index not in leave))


async def launch(patch: str, url: str, directory: Path) -> None:
    """Run the patch's launcher command with a user command of ours."""
    (main,) = json.loads(patch)["containers"]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "launcher",
        *main["command"][1:],
        *COMMAND,
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


async def equal_cost(drivers: Stack, small: int, large: int, directory: Path) -> None:
    requests, few = await cost(drivers, small, directory)
    more_requests, many = await cost(drivers, large, directory)
    assert more_requests == requests
    assert not any("view=FULL" in line for line in requests)
    # Indexes have more digits in a large loop, and a count brings one row of a leaf along: any one, short or
    # long. Nothing else may differ; the head of the smaller of the large loops alone is ten times as much.
    assert abs(many - few) < 1200, (few, many)


async def test_task_costs_the_same_in_a_loop_of_ten_and_of_two_hundred(
    stack: Stack,  # noqa: F811 (the fixture)
    tmp_path: Path,
) -> None:
    await equal_cost(stack, 10, 200, tmp_path)


@pytest.mark.slow
async def test_task_costs_the_same_in_a_loop_of_ten_and_of_five_thousand(
    stack: Stack,  # noqa: F811 (the fixture)
    tmp_path: Path,
) -> None:
    await equal_cost(stack, 10, 5000, tmp_path)

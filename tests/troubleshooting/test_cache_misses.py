"""What ``explain`` says of the cache: hits, misses with what differs, and what it may read to find out.

Oracle: the fingerprints that the driver put on the rows, and the change that each test makes.
"""

from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kfp_api.client import KfpApiClient
from kfp_api.ir.load import pipeline_from_struct
from kfp_api.transport import ApiCall
from tests.driver_plugin.drivers.pipelines import (
    artifact_from_task,
    constant,
    from_parent,
    from_task,
    leaf,
    pipeline,
    task,
)
from tests.troubleshooting.stack import Driven, Json, Stack, running
from troubleshooting.cache_key import cache_key_of
from troubleshooting.explain_command import explain_lines

TRAIN = leaf(
    "exec-train",
    inputs={"lr": "NUMBER_DOUBLE", "names": "LIST", "options": "STRUCT", "api_token": "STRING"},
    outputs={"score": "NUMBER_DOUBLE"},
    output_artifacts=("model",),
)


def spec(**constants: Any) -> Json:
    values = {"names": ["a<b", "c"], "options": {"x": 1.5}, "api_token": "canary-a"} | constants
    inputs = {"lr": from_parent("lr")} | {key: constant(value) for key, value in values.items()}
    return pipeline(
        {"train": task("comp-train", inputs=inputs, cache=True)},
        {"comp-train": TRAIN},
        inputs={"lr": "NUMBER_DOUBLE"},
    )


async def trained(
    stack: Stack, document: Json, *, error: str = "", lr: float = 0.1, **changes: Any
) -> Driven:
    """A run whose task was driven, and executed if it was not served from the cache."""
    run = await stack.start(document, lr=lr)
    reply = await run.container("train", **changes)
    outputs = {entry["name"]: entry["value"] for entry in reply["node"]["outputs"]["parameters"]}
    if outputs["cached-decision"] == "false":
        await run.finish(reply, outputs={"score": 0.9}, error=error)
    return run


def changed(**container: Any) -> Json:
    document = deepcopy(spec())
    document["deploymentSpec"]["executors"]["exec-train"]["container"] |= container
    return document


async def test_keys_made_from_rows_have_the_fingerprints_of_the_driver(tmp_path: Path) -> None:
    make = leaf("exec-make", outputs={"Output": "STRING"}, output_artifacts=("data",))
    use = leaf("exec-use", inputs={"text": "STRING"}, input_artifacts=("data",))
    document = pipeline(
        {
            "make": task("comp-make", cache=True),
            "use": task(
                "comp-use",
                inputs={"text": from_task("make")},
                artifacts={"data": artifact_from_task("make", "data")},
                cache=True,
            ),
        },
        {"comp-make": make, "comp-use": use},
    )
    async with running(tmp_path) as stack:
        runs = [(spec(), await trained(stack, spec()))]
        for publish_logs in ("true", "false"):
            run = await stack.start(document)
            reply = await run.container("make", publish_logs=publish_logs)
            await run.finish(reply, outputs={"Output": "x"}, artifacts={"data": "s3://b/data"})
            await run.container("use", publish_logs=publish_logs)
            runs.append((document, run))
        keys = [
            cache_key_of(await stack.client.get_task(run.run_id, row.task_id), pipeline_from_struct(of_run))
            for of_run, run in runs
            for row in await run.rows()
            if row.cache_fingerprint
        ]

    assert len(keys) == 5
    assert all(key is not None and key.exact for key in keys)


@pytest.mark.parametrize(
    ("then", "said"),
    [
        ({"lr": 0.2}, "input lr: 0.1 before, 0.2 now"),
        ({"document": spec(names=["a<b"])}, 'input names: ["a<b","c"] before, ["a<b"] now'),
        ({"document": spec(api_token="canary-b")}, "input api_token: *** before, *** now"),
        ({"document": changed(image="python:3.12")}, "image: python:3.11 before, python:3.12 now"),
        (
            {"document": changed(command=["sh", "-c", "a\nb\nnew line"])},
            "command or code: python3 before, sh now",
        ),
        ({"publish_logs": "false"}, "output artifact executor-logs: {"),
    ],
    ids=["parameter", "list", "secret", "image", "command", "published logs"],
)
async def test_a_miss_says_what_differs_from_the_execution_before(
    then: dict[str, Any], said: str, tmp_path: Path
) -> None:
    async with running(tmp_path) as stack:
        before = await trained(stack, spec())
        run = await trained(stack, then.pop("document", spec()), **then)
        told = await stack.explain(run.run_id, "train")

    assert "cache miss (fingerprint " in told
    assert f"run {before.run_id}" in told
    assert said in told
    assert "canary" not in told


async def test_a_hit_says_where_its_outputs_came_from(tmp_path: Path) -> None:
    async with running(tmp_path) as stack:
        before = await trained(stack, spec())
        run = await trained(stack, spec())
        told = await stack.explain(run.run_id, "train")

    assert "cache hit: the outputs of task " in told
    assert f"in run {before.run_id} were taken over" in told


async def test_the_same_work_that_failed_before_is_told_as_such(tmp_path: Path) -> None:
    async with running(tmp_path) as stack:
        await trained(stack, spec(), error="exit code 1")
        run = await trained(stack, spec())
        told = await stack.explain(run.run_id, "train")

    assert "ended FAILED: only what succeeded is reused" in told


async def test_the_first_execution_has_nothing_to_be_compared_with(tmp_path: Path) -> None:
    async with running(tmp_path) as stack:
        run = await trained(stack, spec())
        told = await stack.explain(run.run_id, "train")

    assert "no earlier execution of this task was found" in told


async def test_a_task_without_caching_says_why(tmp_path: Path) -> None:
    async with running(tmp_path) as stack:
        run = await trained(stack, spec(), cache_disabled=True)
        told = await stack.explain(run.run_id, "train")

    assert "cache not used: caching is disabled for the pipeline" in told


async def test_explaining_reads_as_much_of_a_big_run_as_of_a_small_one(tmp_path: Path) -> None:
    document = spec()
    tasks = document["root"]["dag"]["tasks"]
    for number in range(30):
        tasks[f"train-{number}"] = deepcopy(tasks["train"])
    asked: dict[bool, list[ApiCall]] = {False: [], True: []}
    async with running(tmp_path) as stack:
        await trained(stack, spec(), lr=0.3)
        small = await trained(stack, spec(), lr=0.4)
        big = await trained(stack, document, lr=0.5)
        for number in range(30):
            await big.container(f"train-{number}")
        for run in (small, big):
            async with KfpApiClient(stack.settings.api_url, observer=asked[run is big].append) as client:
                await explain_lines(replace(stack.source, client=client), run.run_id, "train")

    def of_rows(calls: list[ApiCall]) -> int:
        return sum(call.bytes for call in calls if call.operation in ("GetTask", "ListTasks"))

    assert len(asked[True]) == len(asked[False])
    assert of_rows(asked[True]) < 2 * of_rows(asked[False])

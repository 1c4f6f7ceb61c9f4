"""Loops in KFP's own pipelines, simulated. Oracle: spec RESOLVER 16 and what the pipelines compute."""

from typing import Any

import pytest

from kfp_api.ir.kubernetes import KubernetesExecutorConfig
from kfp_api.messages import TaskType
from resolver.parameters import resolve_input_parameter_str
from tests.resolver.fixtures import (
    given,
    in_order_of_creation,
    iterations,
    load,
    made,
    makers,
    nothing,
    row_of,
    simulate,
)
from tests.resolver.simulation import Leaf

pytestmark = pytest.mark.conformance


def chain(leaf: Leaf) -> dict[str, Any]:
    """Split, prepend, read: what the components of the collecting pipelines do."""
    values = leaf.parameters
    for key in ("ids", "model_ids", "input"):
        if isinstance(values.get(key), str):
            return {"Output": values[key].split(",")}
    if "content" in values:
        return {"Output": f"model_id_{values['content']}"}
    return {"Output": values.get("expected", "completed")}


async def test_iterator_input() -> None:
    run = await simulate("driver_pipelines/loop_collected_InputParameter_Iterator", chain)
    heads = [row for row in run.rows if row.type is TaskType.LOOP]
    assert [head.iteration_count for head in heads] == [4]
    run = await simulate("pipelines/parallel_and_nested/loop_consume_upstream", chain)
    assert [leaf.parameters for leaf in run.of("root.for-loop-1.create-file")] == [
        {"content": f"component{number}"} for number in (1, 2, 3)
    ]


async def test_loop_sibling_param() -> None:
    """D1: upstream wraps the output in a list."""
    run = await simulate("pipelines/critical/collected_parameters", chain)
    collected = ["model_id_s1", "model_id_s2", "model_id_s3"]
    body = "root.collecting-parameters.for-loop-1.consume-single-id"
    assert [leaf.parameters["id"] for leaf in run.of(body)] == collected


async def test_loop_sibling_artifact() -> None:
    run = await simulate("driver_pipelines/loop_collected_raw_Iterator", nothing)
    assert len(run.rows) == 12
    analyzed = run.of("root.secondary-pipeline.for-loop-2.analyze-artifact")
    made_by = "root.secondary-pipeline.for-loop-2.process-dataset"
    assert [makers(leaf.artifacts["analyze_artifact_input"]) for leaf in analyzed] == [
        [one] for one in iterations(made_by, range(3))
    ]


@pytest.mark.parametrize(
    ("name", "leaves"),
    [("critical/parallel_for_after_dependency", 5), ("cross_loop_after_topology", 19)],
)
async def test_loop_after_dependency(name: str, leaves: int) -> None:
    run = await simulate(f"pipelines/{name}", nothing)
    assert len(run.leaves) == leaves
    assert all(leaf.parameters["message"] for leaf in run.leaves)


async def test_loop_k8s_params() -> None:
    """A claim made outside the loop is mounted in every iteration."""
    name = "pipelines/parallel_and_nested/parallel_for_mount_pvc"
    run = await simulate(name, made(Output=["a", "b"], createpvc={"name": "claim-1"}))
    ((_, document),) = load(name).kubernetes_executors.items()
    (mount,) = KubernetesExecutorConfig.parse(document).pvc_mount
    assert mount.pvc_name_parameter is not None
    scope = next(leaf.scope for leaf in run.leaves if "for-loop" in leaf.scope)
    for iteration in (0, 1):
        context = run.context_of(scope, iteration)
        assert await resolve_input_parameter_str(context, mount.pvc_name_parameter) == "claim-1"


async def test_nested_loop_items() -> None:
    run = await simulate(
        "pipelines/pipeline_with_parallelfor_parallelism",
        lambda _: {"Output": [{"a": 1, "b": 2}]},
        loop_parameter=["x", "y"],
    )
    printed = run.of("root.for-loop-1.for-loop-2.print-text-2")
    inner = [(leaf.iteration, leaf.parameters["msg"]) for leaf in printed]
    assert inner == [(0, "x"), (1, "y")] * 2


async def test_collected_params_flat() -> None:
    run = await simulate("driver_pipelines/loop_collected_InputParameter_Iterator", chain)
    for scope in ("root.secondary-pipeline.read-values", "root.read-values"):
        assert given(run, scope) == {"values": ["s1", "s2", "s3", "s4"]}
    run = await simulate("pipelines/critical/collected_parameters", chain)
    ids = {"ids": ["model_id_s1", "model_id_s2", "model_id_s3"]}
    assert given(run, "root.collecting-parameters.consume-ids") == ids
    assert given(run, "root.consume-ids") == ids
    run = await simulate("pipelines/critical/parameters_simple", double)
    assert given(run, "root.add") == {"nums": [2, 4, 6]}
    assert given(run, "root.add-container") == {"nums": [2, 4, 6]}


def double(leaf: Leaf) -> dict[str, Any]:
    value = 2 * leaf.parameters.get("num", 0)
    return dict.fromkeys(leaf.component.output_definitions.parameters, value)


async def test_collected_params_nested() -> None:
    """D6: upstream flattens nested lists and drops equal values."""
    run = await simulate("pipelines/parameters_complex", double)
    assert given(run, "root.nested-add") == {"nums": [[8, 10, 12]] * 3}
    inner = run.of("root.for-loop-6.nested-add-2")
    assert [leaf.parameters["nums"] for leaf in inner] == [[[8, 10, 12]] * 3] * 3
    assert [leaf.parameters["nums"] for leaf in run.of("root.for-loop-6.simple-add-2")] == [[2, 4, 6]] * 3
    assert [leaf.parameters["nums"] for leaf in run.of("root.for-loop-2.simple-add")] == [[8, 10, 12]] * 3

    def total(leaf: Leaf) -> dict[str, Any]:
        numbers = leaf.parameters.get("nums", [])
        flat = [one for item in numbers for one in (item if isinstance(item, list) else [item])]
        return {"Output": sum(flat)} if "nums" in leaf.parameters else double(leaf)

    run = await simulate("pipelines/parameters_complex", total)
    last = run.leaves[-1].parameters
    assert sorted(last.values()) == [[12, 12, 12], [90, 90, 90]]


async def test_collected_artifacts_flat() -> None:
    run = await simulate("driver_pipelines/loop_collected_raw_Iterator", nothing)
    made_by = "root.secondary-pipeline.for-loop-2.process-dataset"
    for scope in ("root.secondary-pipeline.analyze-artifact-list", "root.analyze-artifact-list"):
        lists = run.of(scope)[0].artifacts["artifact_list_input"]
        assert makers(lists) == iterations(made_by, range(3))


@pytest.mark.parametrize(
    ("name", "consumer", "key", "maker", "count"),
    [
        (
            "local_execution/pipeline_with_collected_artifacts",
            "root.read-and-join",
            "artifacts",
            "root.for-loop-2.write-artifact",
            3,
        ),
        (
            "pythonic_artifacts_with_list_of_artifacts",
            "root.join-datasets",
            "datasets",
            "root.for-loop-1.make-dataset",
            4,
        ),
    ],
)
async def test_collected_artifacts_flat_at_the_root(
    name: str, consumer: str, key: str, maker: str, count: int
) -> None:
    run = await simulate(f"pipelines/{name}", nothing)
    assert makers(run.of(consumer)[0].artifacts[key]) == iterations(maker, range(count))


async def test_collected_artifacts_nested() -> None:
    """D26: upstream hands the list into the nested pipeline in random order."""
    run = await simulate("pipelines/artifacts_complex", nothing, threshold=2)
    for scope, count in (("add", 3), ("add-2", 6)):
        datasets = run.of(f"root.add-two-lists-of-datasets.{scope}")[0].artifacts["in_datasets"]
        assert len(datasets["artifacts"]) == count
        assert in_order_of_creation(datasets)


async def test_artifact_iterator() -> None:
    run = await simulate("pipelines/pipeline_with_parallelfor_list_artifacts_GH-12033", nothing)
    for loop, key, maker in (
        ("for-loop-1", "print-artifact-name", "make-artifacts.for-loop-1.make-artifact"),
        ("for-loop-2", "print-artifact-name-2", "make-datasets.for-loop-1.make-dataset"),
    ):
        assert row_of(run, f"root.{loop}").iteration_count == 4
        printed = [makers(leaf.artifacts["artifact"]) for leaf in run.of(f"root.{loop}.{key}")]
        assert printed == [[one] for one in iterations(f"root.{maker}", range(4))]

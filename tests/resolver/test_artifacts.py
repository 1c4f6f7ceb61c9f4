"""Input artifacts and their links. Oracle: the examples of spec RESOLVER 6 and 9.3."""

from typing import Any

import pytest

from kfp_api.messages import ArtifactTask
from resolver.errors import NullInputError, ResolutionError
from resolver.executor_input import input_artifact_links
from resolver.inputs import ResolvedInputs
from tests.resolver.builders import artifact, artifact_source, artifacts, leaf, resolve_task, row, task_of


def component_input(key: str) -> dict[str, Any]:
    return {"componentInputArtifact": key}


def ids(resolved: ResolvedInputs, key: str) -> list[list[str]]:
    return [[one.artifact_id for one in entry.artifacts] for entry in resolved.artifacts if entry.key == key]


def links(resolved: ResolvedInputs) -> list[dict[str, Any]]:
    return [link.to_wire() for link in input_artifact_links(resolved, run_id="R", task_id="new")]


async def test_artifact_artifact_source() -> None:
    made = row("m", "make", outputs=[artifacts("out", [artifact("a1")], task_name="make")])
    resolved = await resolve_task(
        task_of("c", artifacts={"data": artifact_source("make", "out")}),
        leaf(artifacts={"data": {}}),
        siblings={"make": task_of("c")},
        rows=[made],
    )
    assert links(resolved) == [
        {
            "artifact_id": "a1",
            "run_id": "R",
            "task_id": "new",
            "type": "TASK_OUTPUT_INPUT",
            "key": "data",
            "producer": {"task_name": "make"},
        }
    ]


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        ([], "producerTask task make_P not found"),
        ([row("m", "make")], "artifact with producer key out not found"),
    ],
)
async def test_a_missing_artifact_is_an_error_that_names_it(rows: list[Any], text: str) -> None:
    with pytest.raises(ResolutionError) as caught:
        await resolve_task(
            task_of("c", artifacts={"data": artifact_source("make", "out")}),
            leaf(artifacts={"data": {}}),
            siblings={"make": task_of("c")},
            rows=rows,
        )
    assert "failed to resolve input artifact data with spec {" in str(caught.value)
    assert text in str(caught.value)


async def test_artifact_optional_absent() -> None:
    optional = leaf(artifacts={"data": {"isOptional": True}, "unwired": {"isOptional": True}})
    resolved = await resolve_task(task_of("c", artifacts={"data": component_input("nobody")}), optional)
    assert resolved.artifacts == ()
    policy = {"triggerPolicy": {"strategy": "ALL_UPSTREAM_TASKS_COMPLETED"}}
    task = task_of("c", artifacts={"data": artifact_source("make", "out")}, **policy)
    assert (await resolve_task(task, optional, siblings={"make": task_of("c")})).artifacts == ()


async def test_artifact_required_null() -> None:
    task = task_of("c", artifacts={"data": component_input("nobody")})
    with pytest.raises(NullInputError) as caught:
        await resolve_task(task, leaf(artifacts={"data": {}}))
    assert str(caught.value) == (
        'task "t": failed to resolve input artifact data with spec {"componentInputArtifact":"nobody"}: '
        "the resolved input artifact is null"
    )
    with pytest.raises(ResolutionError, match='no value provided for non-optional artifact "data"'):
        await resolve_task(task_of("c"), leaf(artifacts={"data": {}}))


async def test_collected_empty_enters_a_nested_dag() -> None:
    """D7: upstream fails, because an empty collection leaves no link."""
    resolved = await resolve_task(
        task_of("c", artifacts={"data": component_input("models")}),
        leaf(artifacts={"data": {"isArtifactList": True}}),
    )
    assert ids(resolved, "data") == [[]]
    assert links(resolved) == []


async def test_collected_same_artifact_twice() -> None:
    """D26: upstream's links of a list are all alike; order is lost and a repetition refused."""
    given = artifacts(
        "in", [artifact("b"), artifact("a"), artifact("b")], "COLLECTED_INPUTS", task_name="loop"
    )
    resolved = await resolve_task(
        task_of("c", artifacts={"data": component_input("in")}), leaf(artifacts={"data": {}}), inputs=[given]
    )
    assert ids(resolved, "data") == [["b", "a", "b"]]
    assert resolved.artifacts[0].groups is None
    assert [link["producer"] for link in links(resolved)] == [
        {"task_name": "loop", "iteration": str(position)} for position in range(3)
    ]
    assert len({ArtifactTask.from_wire(link).identity for link in links(resolved)}) == 3


async def test_of_several_entries_those_of_this_iteration_count() -> None:
    given = [
        artifacts("in", [artifact("a")], "COMPONENT_INPUT", task_name="x", iteration="0"),
        artifacts("in", [artifact("b")], "COMPONENT_INPUT", task_name="x", iteration="1"),
    ]
    task = task_of("c", artifacts={"data": component_input("in")})
    component = leaf(artifacts={"data": {}})
    assert ids(await resolve_task(task, component, inputs=given, iteration=1), "data") == [["b"]]
    assert ids(await resolve_task(task, component, inputs=given), "data") == [["a", "b"]]


@pytest.mark.parametrize("merged", [True, False])
async def test_artifact_iterator(merged: bool) -> None:
    if merged:
        items = [
            artifacts(
                "item", [artifact("a1"), artifact("a2")], "ITERATOR_INPUT", task_name="l", iteration="0"
            )
        ]
    else:
        items = [
            artifacts("item", [artifact(f"a{i + 1}")], "ITERATOR_INPUT", task_name="l", iteration=str(i))
            for i in (1, 0)
        ]
    task = task_of("c", artifacts={"x": component_input("item")})
    component = leaf(artifacts={"x": {}})
    resolved = await resolve_task(task, component, inputs=items, iteration=1)
    assert ids(resolved, "x") == [["a2"]]
    assert links(resolved)[0]["type"] == "COMPONENT_INPUT"
    assert links(resolved)[0]["producer"] == {"task_name": "l", "iteration": "1"}
    with pytest.raises(ResolutionError, match="no value for iteration 5 of input artifact item"):
        await resolve_task(task, component, inputs=items, iteration=5)


async def test_artifact_iterator_links() -> None:
    loop = task_of(
        "c",
        artifacts={"ds": artifact_source("make", "out")},
        artifactIterator={"items": {"inputArtifact": "ds"}, "itemInput": "ds-loop-item"},
    )
    made = row("m", "make", outputs=[artifacts("out", [artifact("a1"), artifact("a2")])])
    resolved = await resolve_task(
        loop,
        {
            "dag": {"tasks": {}},
            "inputDefinitions": {"artifacts": {"ds": {"isArtifactList": True}, "ds-loop-item": {}}},
        },
        siblings={"make": task_of("leaf")},
        components={"leaf": leaf()},
        rows=[made],
    )
    assert resolved.iteration_count == 2
    assert [(one["artifact_id"], one["type"], one["key"], one["producer"]) for one in links(resolved)] == [
        ("a1", "TASK_OUTPUT_INPUT", "ds", {"task_name": "make", "iteration": "0"}),
        ("a2", "TASK_OUTPUT_INPUT", "ds", {"task_name": "make", "iteration": "1"}),
        ("a1", "ITERATOR_INPUT", "ds-loop-item", {"task_name": "t", "iteration": "0"}),
        ("a2", "ITERATOR_INPUT", "ds-loop-item", {"task_name": "t", "iteration": "1"}),
    ]


async def test_an_artifact_loop_without_its_list_is_an_error() -> None:
    loop = task_of("c", artifactIterator={"items": {"inputArtifact": "ds"}, "itemInput": "item"})
    with pytest.raises(ResolutionError, match="artifact not found"):
        await resolve_task(loop, leaf())


async def test_an_artifact_without_id_cannot_be_linked() -> None:
    given = artifacts("in", [artifact("")], task_name="x")
    resolved = await resolve_task(
        task_of("c", artifacts={"data": component_input("in")}), leaf(artifacts={"data": {}}), inputs=[given]
    )
    with pytest.raises(ResolutionError, match="artifact id is required"):
        links(resolved)


async def test_an_artifact_spec_of_unknown_kind_is_refused() -> None:
    with pytest.raises(ResolutionError, match="artifact spec of type none not implemented yet"):
        await resolve_task(task_of("c", artifacts={"data": {}}), leaf(artifacts={"data": {}}))
    with pytest.raises(ResolutionError, match="empty component input"):
        await resolve_task(task_of("c", artifacts={"data": component_input("")}), leaf())

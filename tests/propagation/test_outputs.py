"""Which outputs travel up, under which type and producer.

Oracle: the tables, the worked example and the project rules of spec DRIVER 4.4 and 4.5. The rows live on
the embedded API, the hops are read back from it.
"""

from typing import Any

import pytest

from kfp_api.ir.pipeline import PipelineSpec
from kfp_api.messages import (
    Artifact,
    ArtifactType,
    CreateArtifactRequest,
    IOParameter,
    IOType,
    PipelineTask,
    TaskState,
    TaskType,
)
from propagation.batch import WriteBatch, merged_parameters
from propagation.errors import PropagationError
from propagation.output_identity import output_type_and_producer
from propagation.output_rules import climb_in_memory, missing_outputs
from propagation.outputs import propagate_outputs
from propagation.republish import republish_outputs
from propagation.statuses import propagate_statuses
from tests.embedded_api import Rows, operations
from tests.propagation.conftest import StartRun
from tests.propagation.specs import Document, condition, dag, leaf, loop, pipeline, task

COMP = {"comp": leaf(outputs={"out": "NUMBER_DOUBLE"}, artifacts=("model",))}
Entry = tuple[str, Any, str, str, int | None]


def entries(row: PipelineTask) -> list[Entry]:
    """Output parameters as (key, value, type, producer, iteration), in a stable order."""
    found = [
        (
            one.parameter_key,
            one.value,
            one.type.value,
            one.producer.task_name if one.producer else "",
            one.producer.iteration if one.producer else None,
        )
        for one in row.output_parameters
    ]
    return sorted(found, key=lambda entry: (entry[0], -1 if entry[4] is None else entry[4]))


def linked(row: PipelineTask) -> list[tuple[str, list[str], str, str, int | None]]:
    """Output artifacts as (key, names, type, producer, iteration)."""
    return [
        (
            one.artifact_key,
            sorted(artifact.name for artifact in one.artifacts),
            one.type.value,
            one.producer.task_name if one.producer else "",
            one.producer.iteration if one.producer else None,
        )
        for one in row.output_artifacts
    ]


async def model(rows: Rows, row: PipelineTask, name: str = "m") -> PipelineTask:
    """Give a leaf an artifact output."""
    artifact = Artifact(name=name, type=ArtifactType.Model, uri=f"s3://b/{name}", namespace="ns")
    await rows.client.create_artifact(
        CreateArtifactRequest(
            artifact=artifact,
            run_id=rows.run_id,
            task_id=row.task_id,
            producer_key="model",
            iteration_index=row.iteration_index,
        )
    )
    return await rows.read(row)


@pytest.mark.parametrize(
    ("index", "expected"),
    [(None, ("OUTPUT", None)), (0, ("ITERATOR_OUTPUT", 0)), (2, ("ITERATOR_OUTPUT", 2))],
)
def test_own_outputs_are_typed_by_the_iteration(index: int | None, expected: tuple[str, int | None]) -> None:
    kind, producer = output_type_and_producer("train", index)
    assert (kind.value, producer.iteration) == expected
    assert producer.task_name == "train"


LOOP_TO_ROOT = pipeline(
    dag({"for-loop-1": loop("comp-loop")}, outputs={"Output": ("LIST", [("for-loop-1", "acc")])}),
    {"comp-loop": dag({"train": task("comp")}, outputs={"acc": ("LIST", [("train", "out")])}), **COMP},
)


BRANCH_IN_LOOP = pipeline(
    dag({"for-loop-1": loop("comp-loop")}, outputs={"Output": ("LIST", [("for-loop-1", "acc")])}),
    {
        "comp-loop": dag({"part": task("comp-part")}, outputs={"acc": ("LIST", [("part", "acc")])}),
        "comp-part": dag({"train": task("comp")}, outputs={"acc": ("NUMBER_DOUBLE", [("train", "out")])}),
        **COMP,
    },
)


async def test_loop_output_reaches_the_root_as_in_the_worked_example(start_run: StartRun) -> None:
    rows = await start_run(LOOP_TO_ROOT)
    root = await rows.add("root")
    head = await rows.add("root.for-loop-1", parent=root, kind=TaskType.LOOP, count=3)
    for index, value in ((1, 0.9), (0, 0.9), (2, 0.7)):
        leaf_row = await rows.add("root.for-loop-1.train", parent=head, index=index)
        await propagate_outputs(rows.view(), await rows.output(leaf_row, "out", value))
    assert entries(await rows.read(head)) == [
        ("acc", 0.9, "ITERATOR_OUTPUT", "train", 0),
        ("acc", 0.9, "ITERATOR_OUTPUT", "train", 1),
        ("acc", 0.7, "ITERATOR_OUTPUT", "train", 2),
    ]
    assert entries(await rows.read(root)) == [
        ("Output", 0.9, "ITERATOR_OUTPUT", "for-loop-1", 0),
        ("Output", 0.9, "ITERATOR_OUTPUT", "for-loop-1", 1),
        ("Output", 0.7, "ITERATOR_OUTPUT", "for-loop-1", 2),
    ]


@pytest.mark.parametrize("between", [False, True])
async def test_loop_head_gets_at_its_end_what_launchers_left_out(start_run: StartRun, between: bool) -> None:
    rows = await start_run(BRANCH_IN_LOOP if between else LOOP_TO_ROOT)
    root = await rows.add("root")
    head = await rows.add("root.for-loop-1", parent=root, kind=TaskType.LOOP, count=3)
    for index, value in ((1, 0.9), (0, 0.9), (2, 0.7)):
        if between:
            part = await rows.add("root.for-loop-1.part", parent=head, index=index, kind=TaskType.DAG)
            leaf_row = await rows.add("root.for-loop-1.part.train", parent=part)
        else:
            leaf_row = await rows.add("root.for-loop-1.train", parent=head, index=index)
        written = await rows.output(leaf_row, "out", value)
        rows.calls.clear()
        await propagate_outputs(rows.view(), written, into_loops=False)
        assert head.task_id not in "".join(call.path for call in rows.calls)
        await propagate_statuses(rows.view(), await rows.end(leaf_row))
        assert bool(entries(await rows.read(head))) is (index == 2)
    producer = "part" if between else "train"
    assert entries(await rows.read(head)) == [
        ("acc", 0.9, "ITERATOR_OUTPUT", producer, 0),
        ("acc", 0.9, "ITERATOR_OUTPUT", producer, 1),
        ("acc", 0.7, "ITERATOR_OUTPUT", producer, 2),
    ]
    assert [entry[1:3] for entry in entries(await rows.read(root))] == [
        (0.9, "ITERATOR_OUTPUT"),
        (0.9, "ITERATOR_OUTPUT"),
        (0.7, "ITERATOR_OUTPUT"),
    ]


async def test_one_of_travels_through_branch_wrapper_and_pipeline(start_run: StartRun) -> None:
    branch = dag({"flip": task("comp")}, outputs={"h": ("NUMBER_DOUBLE", [("flip", "out")])})
    pairs = [("condition-2", "h"), ("condition-3", "h")]
    wrapper = dag(
        {"condition-2": condition("comp-branch"), "condition-3": condition("comp-branch")},
        outputs={"one": ("NUMBER_DOUBLE", pairs)},
        artifacts={"best": [("condition-2", "m"), ("condition-3", "m")]},
    )
    branch["dag"]["outputs"]["artifacts"] = {
        "m": {"artifactSelectors": [{"producerSubtask": "flip", "outputArtifactKey": "model"}]}
    }
    branch["outputDefinitions"]["artifacts"] = {"m": {"artifactType": {"schemaTitle": "system.Model"}}}
    root_dag = dag(
        {"condition-branches-1": task("comp-branches")},
        outputs={"Output": ("NUMBER_DOUBLE", [("condition-branches-1", "one")])},
        artifacts={"Best": [("condition-branches-1", "best")]},
    )
    rows = await start_run(pipeline(root_dag, {"comp-branches": wrapper, "comp-branch": branch, **COMP}))
    root = await rows.add("root")
    branches = await rows.add("root.condition-branches-1", parent=root, kind=TaskType.DAG)
    chosen = await rows.add(
        "root.condition-branches-1.condition-3", parent=branches, kind=TaskType.CONDITION_BRANCH
    )
    flip = await rows.add("root.condition-branches-1.condition-3.flip", parent=chosen)
    await rows.output(flip, "out", 1.5)
    await propagate_outputs(rows.view(), await model(rows, flip))
    expected = [(chosen, "h", "m", "flip"), (branches, "one", "best", "condition-3")]
    expected.append((root, "Output", "Best", "condition-branches-1"))
    for row, parameter, artifact, producer in expected:
        stored = await rows.read(row)
        assert entries(stored) == [(parameter, 1.5, "ONE_OF_OUTPUT", producer, None)]
        assert linked(stored) == [(artifact, ["m"], "ONE_OF_OUTPUT", producer, None)]


@pytest.mark.parametrize("kind", [TaskType.DAG, TaskType.CONDITION_BRANCH])
async def test_iteration_survives_a_dag_between_task_and_loop(start_run: StartRun, kind: TaskType) -> None:
    inside = dag({"train": task("comp")}, outputs={"x": ("NUMBER_DOUBLE", [("train", "out")])})
    body = dag({"mid": task("comp-mid")}, outputs={"acc": ("LIST", [("mid", "x")])})
    rows = await start_run(
        pipeline(dag({"loop": loop("comp-loop")}), {"comp-loop": body, "comp-mid": inside, **COMP})
    )
    root = await rows.add("root")
    head = await rows.add("root.loop", parent=root, kind=TaskType.LOOP, count=2)
    for index in (1, 0):
        mid = await rows.add("root.loop.mid", parent=head, kind=kind, index=index)
        leaf_row = await rows.add("root.loop.mid.train", parent=mid, index=index)
        await propagate_outputs(rows.view(), await rows.output(leaf_row, "out", 7))
        hop = "ONE_OF_OUTPUT" if kind is TaskType.CONDITION_BRANCH else "OUTPUT"
        assert entries(await rows.read(mid)) == [("x", 7, hop, "train", None)]
    assert entries(await rows.read(head)) == [
        ("acc", 7, "ITERATOR_OUTPUT", "mid", 0),
        ("acc", 7, "ITERATOR_OUTPUT", "mid", 1),
    ]


def nested(between: bool = False) -> Document:
    """Loop in loop, directly or with a DAG between them; the root declares the outer loop's outputs."""
    inner = dag(
        {"train": task("comp")},
        outputs={"inner": ("LIST", [("train", "out")])},
        artifacts={"inner-models": [("train", "model")]},
        is_artifact_list=True,
    )
    components = {"comp-inner": inner, **COMP}
    key, parameter, models = "inner", "inner", "inner-models"
    inside = loop("comp-inner")
    if between:
        components["comp-mid"] = dag(
            {"inner": loop("comp-inner")},
            outputs={"mid": ("LIST", [("inner", "inner")])},
            artifacts={"mid-models": [("inner", "inner-models")]},
            is_artifact_list=True,
        )
        key, parameter, models, inside = "mid", "mid", "mid-models", task("comp-mid")
    components["comp-outer"] = dag(
        {key: inside},
        outputs={"outer": ("LIST", [(key, parameter)])},
        artifacts={"outer-models": [(key, models)]},
        is_artifact_list=True,
    )
    root = dag({"outer": loop("comp-outer")}, outputs={"Output": ("LIST", [("outer", "outer")])})
    return pipeline(root, components)


@pytest.mark.parametrize("between", [False, True])
async def test_nested_loop_hands_one_list_to_each_outer_iteration(start_run: StartRun, between: bool) -> None:
    rows = await start_run(nested(between))
    root = await rows.add("root")
    outer = await rows.add("root.outer", parent=root, kind=TaskType.LOOP, count=2)
    producer = "mid" if between else "inner"
    for i in range(2):
        parent, scope = outer, "root.outer"
        if between:
            scope += ".mid"
            parent = await rows.add(scope, parent=outer, kind=TaskType.DAG, index=i)
        head = await rows.add(f"{scope}.inner", parent=parent, kind=TaskType.LOOP, index=i, count=2)
        for j in (1, 0):
            leaf_row = await rows.add(f"{scope}.inner.train", parent=head, index=j)
            await rows.output(leaf_row, "out", 10 * i + j)
            await propagate_outputs(rows.view(), await model(rows, leaf_row, f"m{i}{j}"))
        if between:
            assert entries(await rows.read(parent)) == [
                ("mid", [10 * i, 10 * i + 1], "OUTPUT", "inner", None)
            ]
    assert entries(await rows.read(outer)) == [
        ("outer", [0, 1], "ITERATOR_OUTPUT", producer, 0),
        ("outer", [10, 11], "ITERATOR_OUTPUT", producer, 1),
    ]
    assert linked(await rows.read(outer)) == [
        ("outer-models", ["m00", "m01"], "ITERATOR_OUTPUT", producer, 0),
        ("outer-models", ["m10", "m11"], "ITERATOR_OUTPUT", producer, 1),
    ]
    assert [entry[1] for entry in entries(await rows.read(root))] == [[0, 1], [10, 11]]


async def test_last_word_of_a_nested_loop_is_spoken_when_it_ends(start_run: StartRun) -> None:
    rows = await start_run(nested())
    root = await rows.add("root")
    outer = await rows.add("root.outer", parent=root, kind=TaskType.LOOP, count=2)
    head = await rows.add("root.outer.inner", parent=outer, kind=TaskType.LOOP, index=0, count=2)
    leaves = [await rows.add("root.outer.inner.train", parent=head, index=j) for j in range(2)]
    for value, row in enumerate(leaves):
        await propagate_outputs(rows.view(), await rows.output(row, "out", value))
    # A slower sibling computed its list before the other's value was there, and wrote it last.
    partial: Document = {"parameter_key": "outer", "value": [0], "type": "ITERATOR_OUTPUT"}
    partial["producer"] = {"task_name": "inner", "iteration": "0"}
    patch = PipelineTask.from_wire({"outputs": {"parameters": [partial]}})
    await rows.client.update_task(rows.run_id, outer.task_id, patch)
    ended = [await rows.end(row) for row in leaves]
    await propagate_statuses(rows.view(), ended[1])
    assert entries(await rows.read(outer)) == [("outer", [0, 1], "ITERATOR_OUTPUT", "inner", 0)]


async def test_nothing_is_asked_when_no_selector_names_the_task(start_run: StartRun) -> None:
    rows = await start_run(pipeline(dag({"a": task("comp")}), COMP))
    root = await rows.add("root")
    leaf_row = await rows.output(await rows.add("root.a", parent=root), "out", 1)
    view = rows.view()
    await view.pipeline()
    rows.calls.clear()
    await propagate_outputs(view, leaf_row)
    assert rows.calls == []


async def test_one_bulk_update_follows_the_links(start_run: StartRun) -> None:
    root_dag = dag(
        {"a": task("comp")},
        outputs={"x": ("NUMBER_DOUBLE", [("a", "out")]), "y": ("NUMBER_DOUBLE", [("a", "out")])},
        artifacts={"m": [("a", "model")]},
    )
    rows = await start_run(pipeline(root_dag, COMP))
    root = await rows.add("root")
    leaf_row = await rows.add("root.a", parent=root)
    await rows.output(leaf_row, "out", 1)
    leaf_row = await model(rows, leaf_row)
    view = rows.view()
    await view.pipeline()
    rows.calls.clear()
    await propagate_outputs(view, leaf_row)
    assert operations(rows.calls) == ["GetTask", "CreateArtifactTasksBulk", "UpdateTasksBulk"]
    await propagate_outputs(rows.view(), leaf_row)
    stored = await rows.read(root)
    assert entries(stored) == [("x", 1, "OUTPUT", "a", None), ("y", 1, "OUTPUT", "a", None)]
    assert linked(stored) == [("m", ["m"], "OUTPUT", "a", None)]


async def test_output_write_leaves_the_parents_state_alone(start_run: StartRun) -> None:
    rows = await start_run(LOOP_TO_ROOT)
    root = await rows.add("root")
    head = await rows.add("root.for-loop-1", parent=root, kind=TaskType.LOOP, count=1)
    leaf_row = await rows.output(await rows.add("root.for-loop-1.train", parent=head, index=0), "out", 1)
    view = rows.view()
    await view.task(head.task_id)
    await rows.end(head, TaskState.FAILED)
    await propagate_outputs(view, leaf_row)
    assert await rows.state(head) is TaskState.FAILED


async def test_kept_childrens_outputs_are_republished_to_every_ancestor(start_run: StartRun) -> None:
    sub = dag(
        {"a": task("comp"), "b": task("comp")},
        outputs={"x": ("NUMBER_DOUBLE", [("a", "out")]), "y": ("NUMBER_DOUBLE", [("b", "out")])},
        artifacts={"m": [("a", "model")]},
    )
    root_dag = dag({"sub": task("comp-sub")}, outputs={"X": ("NUMBER_DOUBLE", [("sub", "x")])})
    rows = await start_run(pipeline(root_dag, {"comp-sub": sub, **COMP}))
    root = await rows.add("root")
    middle = await rows.add("root.sub", parent=root, kind=TaskType.DAG)
    kept = await rows.add("root.sub.a", parent=middle)
    await rows.output(kept, "out", 3)
    await rows.end(await model(rows, kept))
    running = await rows.add("root.sub.b", parent=middle)
    await rows.output(running, "out", 4)

    await republish_outputs(rows.view(), middle)
    assert entries(await rows.read(middle)) == [("x", 3, "OUTPUT", "a", None)]
    assert linked(await rows.read(middle)) == [("m", ["m"], "OUTPUT", "a", None)]
    assert entries(await rows.read(root)) == [("X", 3, "OUTPUT", "sub", None)]

    rows.calls.clear()
    await republish_outputs(rows.view(), middle)
    assert "CreateArtifactTasksBulk" not in operations(rows.calls)


async def test_nothing_is_listed_when_row_and_ancestors_have_all_outputs(start_run: StartRun) -> None:
    root_dag = dag({"a": task("comp")}, outputs={"x": ("NUMBER_DOUBLE", [("a", "out")])})
    rows = await start_run(pipeline(root_dag, COMP))
    root = await rows.add("root")
    leaf_row = await rows.output(await rows.add("root.a", parent=root), "out", 1)
    await propagate_outputs(rows.view(), leaf_row)
    rows.calls.clear()
    await republish_outputs(rows.view(), root)
    assert "ListTasks" not in operations(rows.calls)


async def test_dag_that_was_reset_gets_its_outputs_back_when_it_ends(start_run: StartRun) -> None:
    root_dag = dag({"a": task("comp"), "b": task("comp")}, outputs={"x": ("NUMBER_DOUBLE", [("a", "out")])})
    rows = await start_run(pipeline(root_dag, COMP))
    root = await rows.add("root")
    await rows.end(await rows.output(await rows.add("root.a", parent=root), "out", 5))
    again = await rows.add("root.b", parent=root, state=TaskState.FAILED)
    await propagate_statuses(rows.view(), again)
    await rows.end(root, TaskState.RUNNING)
    await propagate_statuses(rows.view(), await rows.end(again))
    assert await rows.state(root) is TaskState.SUCCEEDED
    assert entries(await rows.read(root)) == [("x", 5, "OUTPUT", "a", None)]


async def test_loop_row_republishes_one_entry_per_iteration(start_run: StartRun) -> None:
    rows = await start_run(LOOP_TO_ROOT)
    root = await rows.add("root")
    head = await rows.add("root.for-loop-1", parent=root, kind=TaskType.LOOP, count=2)
    for index in range(2):
        leaf_row = await rows.add("root.for-loop-1.train", parent=head, index=index)
        await rows.end(await rows.output(leaf_row, "out", index))
    await republish_outputs(rows.view(), head)
    await rows.end(head)
    expected = [("Output", index, "ITERATOR_OUTPUT", "for-loop-1", index) for index in range(2)]
    assert entries(await rows.read(root)) == expected
    await republish_outputs(rows.view(), root)
    assert entries(await rows.read(root)) == expected


def test_rows_in_memory_get_the_same_outputs() -> None:
    spec = PipelineSpec.parse(LOOP_TO_ROOT)
    rows = {
        "r": PipelineTask(task_id="r", name="ROOT", type=TaskType.ROOT, scope_path="root"),
        "l": PipelineTask.from_wire(
            {"task_id": "l", "name": "for-loop-1", "type": "LOOP", "parent_task_id": "r"}
            | {"scope_path": "root.for-loop-1", "type_attributes": {"iteration_count": "2"}}
        ),
    }
    ended = PipelineTask.from_wire(
        {"task_id": "t", "name": "train", "type": "RUNTIME", "parent_task_id": "l"}
        | {"scope_path": "root.for-loop-1.train", "type_attributes": {"iteration_index": "1"}}
        | {"outputs": {"parameters": [{"parameter_key": "out", "value": 2, "type": "ITERATOR_OUTPUT"}]}}
    )
    batch = WriteBatch("run")
    climb_in_memory(spec, ended, rows, batch)
    assert {key: entries(patch) for key, patch in batch.patches.items()} == {
        "l": [("acc", 2, "ITERATOR_OUTPUT", "train", 1)],
        "r": [("Output", 2, "ITERATOR_OUTPUT", "for-loop-1", 1)],
    }
    with pytest.raises(PropagationError, match="parent task l not found"):
        climb_in_memory(spec, ended, {}, WriteBatch("run"))


def test_row_whose_scope_path_leads_nowhere_is_an_error() -> None:
    spec = PipelineSpec.parse(LOOP_TO_ROOT)
    lost = PipelineTask(task_id="t", parent_task_id="p", scope_path="root.gone")
    with pytest.raises(PropagationError, match="task gone is not found"):
        climb_in_memory(spec, lost, {}, WriteBatch("run"))


def parameter(
    key: str, value: Any, *, kind: IOType = IOType.OUTPUT, iteration: int | None = None
) -> IOParameter:
    producer = {"task_name": "a", **({"iteration": iteration} if iteration is not None else {})}
    return IOParameter.from_wire(
        {"parameter_key": key, "value": value, "type": kind.value, "producer": producer}
    )


def test_entries_are_the_same_by_type_key_producer_and_iteration_never_by_value() -> None:
    merged = merged_parameters(
        [parameter("x", 1), parameter("x", 1, iteration=0), parameter("x", 1, iteration=1)],
        [parameter("x", 2), parameter("x", 1, kind=IOType.ONE_OF_OUTPUT)],
    )
    assert [(one.value, one.type.value) for one in merged] == [
        (2, "OUTPUT"),
        (1, "OUTPUT"),
        (1, "OUTPUT"),
        (1, "ONE_OF_OUTPUT"),
    ]


def test_missing_outputs_are_seen_per_declared_key() -> None:
    component = PipelineSpec.parse(pipeline(dag({}), COMP)).components["comp"]
    complete = {
        "outputs": {
            "parameters": [{"parameter_key": "out", "value": None}],
            "artifacts": [{"artifact_key": "model"}],
        }
    }
    assert not missing_outputs(component, PipelineTask.from_wire(complete))
    assert missing_outputs(component, PipelineTask.from_wire({"outputs": {"parameters": []}}))
    assert missing_outputs(component, PipelineTask())

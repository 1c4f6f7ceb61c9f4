"""From resolved inputs to the executor input. Oracle: the rules and examples of spec RESOLVER 6.3 and 9."""

from typing import Any

import pytest

from kfp_api.ir.executor_input import ExecutorInput, executor_input_to_json
from kfp_api.messages import ArtifactType, PipelineTask
from resolver.errors import ResolutionError
from resolver.executor_input import SCHEMA_TITLES, build_executor_inputs
from resolver.inputs import resolve_inputs
from tests.resolver.builders import (
    artifact,
    artifact_source,
    artifacts,
    context_of,
    dag,
    leaf,
    parameter,
    root_row,
    row,
    selectors,
    spec_of,
    task_of,
)
from tests.resolver.listed_rows import ListedRows

WIRED = {"x": {"taskOutputArtifact": {"producerTask": "make", "outputArtifactKey": "out"}}}
HANDED_DOWN = {"x": {"componentInputArtifact": "in"}}
LIST = {"x": {"isArtifactList": True}}
ONE: dict[str, Any] = {"x": {}}


def metric(artifact_id: str, name: str, number: float | None, **more: Any) -> dict[str, Any]:
    return artifact(artifact_id, name=name, type="Metric", number_value=number, **more)


async def built(
    found: list[dict[str, Any]] | None = None,
    *,
    task: dict[str, Any] | None = None,
    component: dict[str, Any] | None = None,
    inputs: list[dict[str, Any]] | None = None,
    rows: ListedRows | None = None,
    **pipeline: Any,
) -> dict[str, Any]:
    """``executorInput.inputs`` as JSON of a task that takes the output ``out`` of ``make``."""
    spec = spec_of(
        {"c": component or leaf(artifacts=ONE)},
        {"t": task or task_of("c", artifacts=WIRED), "make": task_of("c")},
        **pipeline,
    )
    made = row("m", "make", outputs=[artifacts("out", found)] if found is not None else [])
    context = context_of(spec, "t", rows=rows or ListedRows([made]), parent=root_row(inputs or []))
    executor_inputs = await build_executor_inputs(context, await resolve_inputs(context))
    document: dict[str, Any] = executor_input_to_json(ExecutorInput(inputs=executor_inputs))["inputs"]
    return document


async def test_an_artifact_is_written_as_user_code_reads_it() -> None:
    stored = artifact("a1", name="out", uri="s3://b/p/make/u/out", metadata={"n": 5})
    assert await built([stored]) == {
        "artifacts": {
            "x": {
                "artifacts": [
                    {
                        "name": "out",
                        "artifactId": "a1",
                        "uri": "s3://b/p/make/u/out",
                        "type": {"schemaTitle": "system.Dataset"},
                        "metadata": {"n": 5},
                    }
                ]
            }
        }
    }


@pytest.mark.parametrize(
    ("stored", "title"),
    [
        ("Artifact", "system.Artifact"),
        ("Model", "system.Model"),
        ("Dataset", "system.Dataset"),
        ("HTML", "system.HTML"),
        ("Markdown", "system.Markdown"),
        ("Metric", "system.Metrics"),
        ("ClassificationMetric", "system.ClassificationMetrics"),
        ("SlicedClassificationMetric", "system.SlicedClassificationMetrics"),
    ],
)
async def test_schema_titles_are_those_of_the_sdk(stored: str, title: str) -> None:
    """D25: upstream writes the bare name, which the SDK does not find."""
    inputs = await built([artifact("a", type=stored)])
    assert inputs["artifacts"]["x"]["artifacts"][0]["type"] == {"schemaTitle": title}


def test_every_artifact_type_has_a_schema_title() -> None:
    assert set(SCHEMA_TITLES) == set(ArtifactType)


async def test_artifact_custom_schema_title() -> None:
    stored = artifact("a", metadata={"_kfp_schema_title": "google.VertexModel"})
    written = (await built([stored]))["artifacts"]["x"]["artifacts"][0]
    assert written["type"] == {"schemaTitle": "google.VertexModel"}
    assert "metadata" not in written
    assert stored["metadata"] == {"_kfp_schema_title": "google.VertexModel"}


THREE = [
    metric("m1", "accuracy", 0.95, uri="s3://b/m.json"),
    metric("m2", "recall", 0.9),
    metric("m3", "f1", 0.92),
]


async def test_metrics_merge() -> None:
    assert (await built(THREE))["artifacts"] == {
        "x": {
            "artifacts": [
                {
                    "name": "accuracy",
                    "artifactId": "m1",
                    "uri": "s3://b/m.json",
                    "type": {"schemaTitle": "system.Metrics"},
                    "metadata": {"accuracy": 0.95, "recall": 0.9, "f1": 0.92},
                }
            ]
        }
    }


async def test_metrics_uri_first() -> None:
    """The merged artifact lies where the first of them lies, whatever the others say."""
    others = [metric("m4", "loss", 0.1, uri="s3://b/other"), metric("m5", "auc", 0.8)]
    (first,) = (await built([*THREE, *others]))["artifacts"]["x"]["artifacts"]
    assert first["uri"] == "s3://b/m.json"
    (without,) = (await built([THREE[1], *others]))["artifacts"]["x"]["artifacts"]
    assert "uri" not in without


async def test_metrics_merge_later_entries_win() -> None:
    """D15: upstream keeps its internal key."""
    found = [
        metric("m1", "a", 1, metadata={"shared": "first", "_kfp_schema_title": "my.Metrics"}),
        metric("m2", "b", 2, metadata={"shared": "second", "a": "text", "_kfp_schema_title": "my.Metrics"}),
    ]
    (written,) = (await built(found))["artifacts"]["x"]["artifacts"]
    assert written["metadata"] == {"a": "text", "b": 2, "shared": "second"}
    assert written["type"] == {"schemaTitle": "my.Metrics"}


@pytest.mark.parametrize(
    ("metadata", "expected"), [({}, {"accuracy": 0.5}), ({"accuracy": "kept"}, {"accuracy": "kept"})]
)
async def test_metrics_single(metadata: dict[str, Any], expected: dict[str, Any]) -> None:
    """D24: upstream loses the value."""
    (written,) = (await built([metric("m", "accuracy", 0.5, metadata=metadata)]))["artifacts"]["x"][
        "artifacts"
    ]
    assert written["metadata"] == expected


async def test_metrics_mixed() -> None:
    written = (await built([metric("m", "a", 1), artifact("d"), metric("n", "b", 2)]))["artifacts"]["x"]
    assert [one["artifactId"] for one in written["artifacts"]] == ["m", "d", "n"]


async def test_metrics_list_groups() -> None:
    """D15: upstream merges those of all iterations."""
    loop = {
        "dag": {
            "tasks": {"work": task_of("c")},
            "outputs": {
                "artifacts": {
                    "out": {"artifactSelectors": [{"producerSubtask": "work", "outputArtifactKey": "m"}]}
                }
            },
        }
    }
    spec = spec_of(
        {"c": leaf(artifacts=LIST), "loop": loop},
        {
            "t": task_of("c", artifacts=WIRED),
            "make": task_of("loop", parameterIterator={"items": {"raw": "[1,2]"}, "itemInput": "i"}),
        },
    )
    rows = [row("L", "make", count=2)] + [
        row(
            f"w{i}",
            "work",
            "L",
            iteration=i,
            outputs=[artifacts("m", [metric(f"a{i}", "acc", i), metric(f"b{i}", "f1", i)])],
        )
        for i in (1, 0)
    ]
    context = context_of(spec, "t", rows=rows)
    inputs = await build_executor_inputs(context, await resolve_inputs(context))
    assert [(one.artifact_id, one.metadata) for one in inputs.artifacts["x"].artifacts] == [
        ("a0", {"acc": 0, "f1": 0}),
        ("a1", {"acc": 1, "f1": 1}),
    ]


@pytest.mark.parametrize(("declared", "count"), [(ONE, 1), (LIST, 3)])
async def test_handed_down_metrics_are_one_group_unless_declared_a_list(
    declared: dict[str, Any], count: int
) -> None:
    inputs = await built(
        task=task_of("c", artifacts=HANDED_DOWN),
        component=leaf(artifacts=declared),
        inputs=[artifacts("in", THREE, task_name="make")],
    )
    assert len(inputs["artifacts"]["x"]["artifacts"]) == count


async def test_list_empty() -> None:
    inputs = await built(task=task_of("c", artifacts=HANDED_DOWN), component=leaf(artifacts=LIST))
    assert inputs == {"artifacts": {"x": {}}}


async def test_an_artifact_needs_a_name_or_a_uri() -> None:
    with pytest.raises(
        ResolutionError,
        match="failed to convert inputs to executor inputs: artifact name or uri cannot be empty",
    ):
        await built([artifact("a", name="")])
    (written,) = (await built([artifact("a", name="", uri="s3://b")]))["artifacts"]["x"]["artifacts"]
    assert "name" not in written


async def test_parameters_are_values_by_key_with_null_kept() -> None:
    inputs = await built(
        task=task_of(
            "c",
            {
                "a": {"componentInputParameter": "a"},
                "n": {"taskOutputParameter": {"producerTask": "make", "outputParameterKey": "null"}},
            },
        ),
        component=leaf({"d": {"parameterType": "LIST", "defaultValue": [1.0]}}),
        inputs=[parameter("a", 3.0)],
        rows=ListedRows([row("m", "make", outputs=[parameter("null", None)])]),
    )
    assert inputs == {"parameterValues": {"a": 3, "d": [1], "n": None}}


async def test_a_parameter_without_value_is_an_error() -> None:
    component = leaf({"item": "STRING"})
    spec = spec_of({"c": component}, {"t": task_of("c", {"item": {"componentInputParameter": "k"}})})
    context = context_of(spec, "t", parent=root_row([parameter("k", "v")]))
    resolved = await resolve_inputs(context)
    unset = resolved.parameters[0].model_copy(update={"value": type(resolved.parameters[0])().value})
    with pytest.raises(ResolutionError, match="parameter item has no value"):
        await build_executor_inputs(context, type(resolved)((unset,), (), None))


@pytest.mark.parametrize("raw", ["[]", "[1]", "[1, 2]"])
async def test_the_items_of_a_loop_are_one_list(raw: str) -> None:
    loop = task_of("c", parameterIterator={"items": {"raw": raw}, "itemInput": "item"})
    inputs = await built(task=loop, component={"dag": {"tasks": {}}})
    assert inputs == {"parameterValues": {"item": {"[]": [], "[1]": [1], "[1, 2]": [1, 2]}[raw]}}


DEPLOYMENT = {"executors": {"i": {"importer": {"downloadToWorkspace": True}}}}


async def test_importer_workspace_through_dag() -> None:
    """D8: upstream loses the mark on the way into a nested DAG. Without a note the run's importers say it."""
    importer = row(
        "i",
        "importer",
        "elsewhere",
        type="IMPORTER",
        type_attributes={"download_to_workspace": True},
        outputs=[artifacts("artifact", [artifact("a9", name="x.csv", uri="s3://b/x.csv")])],
    )
    rows = ListedRows([importer])
    given = artifacts(
        "in", [artifact("a9", name="x.csv", uri="s3://b/x.csv"), artifact("b")], task_name="sub"
    )
    inputs = await built(
        task=task_of("c", artifacts=HANDED_DOWN), inputs=[given], rows=rows, deploymentSpec=DEPLOYMENT
    )
    first, second = inputs["artifacts"]["x"]["artifacts"]
    assert first["metadata"] == {"_kfp_workspace": True}
    assert "metadata" not in second
    assert given["artifacts"][0].get("metadata") is None
    assert rows.questions["workspace_importers",] == 1


IMPORTED = artifact("a9", name="x.csv", uri="s3://b/x.csv")


async def marked(task: dict[str, Any], rows: ListedRows, parent: PipelineTask | None = None) -> bool:
    """Whether the executor of a task is told that its artifact lies in the workspace."""
    up = {"out": selectors(("inner", "out"))}
    group = dag({"inner": task_of("c")}, artifact_outputs=up)
    tasks = {"t": task, "make": task_of("c"), "group": task_of("group")}
    spec = spec_of({"c": leaf(artifacts=ONE), "group": group}, tasks, deploymentSpec=DEPLOYMENT)
    context = context_of(spec, "t", rows=rows, parent=parent)
    inputs = await build_executor_inputs(context, await resolve_inputs(context))
    (one,) = inputs.artifacts["x"].artifacts
    return one.metadata.get("_kfp_workspace") is True


@pytest.mark.parametrize(
    ("kind", "attributes", "expected"),
    [
        ("IMPORTER", {"download_to_workspace": True}, True),
        ("IMPORTER", {"download_to_workspace": False}, False),
        ("RUNTIME", {}, False),
    ],
)
@pytest.mark.parametrize("producer", ["make", "group"])
async def test_the_row_that_produced_an_artifact_says_whether_it_lies_in_the_workspace(
    kind: str, attributes: dict[str, Any], expected: bool, producer: str
) -> None:
    made: dict[str, Any] = {
        "type": kind,
        "type_attributes": attributes,
        "outputs": [artifacts("out", [IMPORTED])],
    }
    group = row("g", "group", type="DAG", scope_path="root.group")
    rows = ListedRows([row("m", "make", **made), group, row("i", "inner", "g", **made)])
    assert await marked(task_of("c", artifacts={"x": artifact_source(producer, "out")}), rows) is expected
    assert rows.questions["workspace_importers",] == 0


@pytest.mark.parametrize("noted", [["a9"], []])
async def test_what_the_parents_driver_noted_of_the_workspace_is_not_asked_again(noted: list[str]) -> None:
    rows = ListedRows([])
    given = artifacts("in", [IMPORTED], task_name="sub")
    properties = {"custom_properties": {"kfp_driver_workspace_artifacts": noted}}
    parent = row("P", "sub", "", inputs=[given], type="DAG", scope_path="root", status_metadata=properties)
    assert await marked(task_of("c", artifacts=HANDED_DOWN), rows, parent) is bool(noted)
    assert rows.questions["workspace_importers",] == 0


async def test_nobody_asks_for_importers_that_the_pipeline_does_not_have() -> None:
    rows = ListedRows([row("m", "make", outputs=[artifacts("out", [artifact("a")])])])
    await built(rows=rows)
    assert dict(rows.questions) == {("children", "P", "make", None): 1}
    await built(task=task_of("c"), component=leaf(), rows=rows, deploymentSpec=DEPLOYMENT)
    assert rows.questions["workspace_importers",] == 0

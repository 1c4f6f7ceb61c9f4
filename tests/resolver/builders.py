"""Hand-made pipelines, rows and contexts: as short as the examples of spec RESOLVER."""

from collections.abc import Iterable, Mapping
from typing import Any

from kfp_api.ir.pipeline import InputParameterSpec, PipelineSpec
from kfp_api.messages import PipelineTask
from resolver.context import ResolveContext
from resolver.expressions import ExpressionEngine
from resolver.inputs import ResolvedInputs, resolve_inputs
from resolver.scope import ScopePath
from tests.resolver.listed_rows import ListedRows

ENGINE = ExpressionEngine()


def spec_of(
    components: Mapping[str, Any] | None = None,
    tasks: Mapping[str, Any] | None = None,
    **more: Any,
) -> PipelineSpec:
    """A pipeline whose root DAG has ``tasks``; each component is as in the IR."""
    return PipelineSpec.parse(
        {"root": {"dag": {"tasks": tasks or {}}}, "components": components or {}, **more}
    )


def task_of(
    component: str,
    parameters: Mapping[str, Any] | None = None,
    artifacts: Mapping[str, Any] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """A task in IR form."""
    return {
        "componentRef": {"name": component},
        "taskInfo": {"name": f"shown-{component}"},
        "inputs": {"parameters": parameters or {}, "artifacts": artifacts or {}},
        **more,
    }


def leaf(
    parameters: Mapping[str, Any] | None = None, artifacts: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """A component that runs a container; parameters by key are a type name or a whole declaration."""
    declared = {
        key: {"parameterType": one} if isinstance(one, str) else one
        for key, one in (parameters or {}).items()
    }
    definitions = {"parameters": declared, "artifacts": artifacts or {}}
    return {"executorLabel": "exec", "inputDefinitions": definitions}


def each(raw: str = "[]", item: str = "item") -> dict[str, Any]:
    """What makes a task a loop over the items of a JSON text."""
    return {"parameterIterator": {"items": {"raw": raw}, "itemInput": item}}


def source(task: str, key: str = "Output") -> dict[str, Any]:
    """An input parameter that is the output of a sibling."""
    return {"taskOutputParameter": {"producerTask": task, "outputParameterKey": key}}


def artifact_source(task: str, key: str) -> dict[str, Any]:
    """An input artifact that is the output of a sibling."""
    return {"taskOutputArtifact": {"producerTask": task, "outputArtifactKey": key}}


def from_one(task: str, key: str = "Output") -> dict[str, Any]:
    """A DAG's output parameter that one subtask provides."""
    return {"valueFromParameter": {"producerSubtask": task, "outputParameterKey": key}}


def one_of(*pairs: tuple[str, str]) -> dict[str, Any]:
    """A DAG's output parameter that the first of several subtasks provides."""
    chosen = [{"producerSubtask": task, "outputParameterKey": key} for task, key in pairs]
    return {"valueFromOneof": {"parameterSelectors": chosen}}


def selectors(*pairs: tuple[str, str]) -> dict[str, Any]:
    """A DAG's output artifact from one or several subtasks."""
    return {"artifactSelectors": [{"producerSubtask": task, "outputArtifactKey": key} for task, key in pairs]}


def dag(
    tasks: Mapping[str, Any],
    parameters: Mapping[str, Any] | None = None,
    artifact_outputs: Mapping[str, Any] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """A component that is a DAG, with what it passes up."""
    outputs = {"parameters": parameters or {}, "artifacts": artifact_outputs or {}}
    return {"dag": {"tasks": tasks, "outputs": outputs}, **more}


def parameter(key: str, value: Any, io_type: str = "OUTPUT", **producer: Any) -> dict[str, Any]:
    """An entry of ``inputs.parameters`` or ``outputs.parameters``."""
    entry = {"parameter_key": key, "value": value, "type": io_type}
    return entry | ({"producer": producer} if producer else {})


def artifact(artifact_id: str, **more: Any) -> dict[str, Any]:
    """A stored artifact."""
    return {"artifact_id": artifact_id, "name": artifact_id, "type": "Dataset", **more}


def artifacts(
    key: str, found: Iterable[dict[str, Any]], io_type: str = "OUTPUT", **producer: Any
) -> dict[str, Any]:
    """An entry of ``inputs.artifacts`` or ``outputs.artifacts``."""
    entry = {"artifact_key": key, "artifacts": list(found), "type": io_type}
    return entry | ({"producer": producer} if producer else {})


def row(
    task_id: str,
    name: str,
    parent: str = "P",
    *,
    outputs: Iterable[dict[str, Any]] = (),
    inputs: Iterable[dict[str, Any]] = (),
    iteration: int | None = None,
    count: int | None = None,
    **more: Any,
) -> PipelineTask:
    """A task row; entries of inputs and outputs may be parameters and artifacts in any order."""
    attributes: dict[str, Any] = dict(more.pop("type_attributes", {}))
    if iteration is not None:
        attributes["iteration_index"] = str(iteration)
    if count is not None:
        attributes["iteration_count"] = str(count)
    return PipelineTask.from_wire(
        {
            "task_id": task_id,
            "name": name,
            "parent_task_id": parent,
            "state": "SUCCEEDED",
            "type_attributes": attributes,
            "inputs": _sorted_io(inputs),
            "outputs": _sorted_io(outputs),
            **more,
        }
    )


def _sorted_io(entries: Iterable[dict[str, Any]]) -> dict[str, Any]:
    listed = list(entries)
    return {
        "parameters": [entry for entry in listed if "parameter_key" in entry],
        "artifacts": [entry for entry in listed if "artifact_key" in entry],
    }


def root_row(inputs: Iterable[dict[str, Any]] = ()) -> PipelineTask:
    """The row of the root DAG, id ``P``."""
    return row("P", "ROOT", "", inputs=inputs, type="ROOT", scope_path="root")


def context_of(
    spec: PipelineSpec,
    dot: str,
    *,
    rows: Iterable[PipelineTask] | ListedRows = (),
    parent: PipelineTask | None = None,
    iteration: int | None = None,
) -> ResolveContext:
    """The context of task ``root.<dot>``; its parent is the root row unless given."""
    return ResolveContext(
        spec=spec,
        run_id="run-1",
        run_name="wf-x7k2p",
        run_display_name="my run",
        create_time_utc="2026-01-02T03:04:05Z",
        schedule_time_utc="2026-01-01T00:00:00Z",
        scope=ScopePath.from_dot(spec, f"root.{dot}"),
        parent=parent or root_row(),
        rows=rows if isinstance(rows, ListedRows) else ListedRows(rows),
        iteration_index=iteration,
        expressions=ENGINE,
    )


async def resolve_task(
    task: Mapping[str, Any],
    component: Mapping[str, Any],
    *,
    inputs: Iterable[dict[str, Any]] = (),
    rows: Iterable[PipelineTask] | ListedRows = (),
    iteration: int | None = None,
    siblings: Mapping[str, Any] | None = None,
    components: Mapping[str, Any] | None = None,
) -> ResolvedInputs:
    """Resolve ``task`` (its component is called ``c``) in a root DAG with those inputs and sibling rows."""
    spec = spec_of({"c": component, **(components or {})}, {"t": task, **(siblings or {})})
    context = context_of(spec, "t", rows=rows, parent=root_row(inputs), iteration=iteration)
    return await resolve_inputs(context)


def shown(resolved: ResolvedInputs) -> dict[str, Any]:
    """Parameter values by key; several entries of one key as a list."""
    values: dict[str, Any] = {}
    for entry in resolved.parameters:
        if entry.type.value == "ITERATOR_INPUT":
            values.setdefault(entry.parameter_key, []).append(entry.value)
        else:
            values[entry.parameter_key] = entry.value
    return values


def entry_of(resolved: ResolvedInputs, key: str) -> dict[str, Any]:
    """The one parameter entry of a key, in wire form."""
    (entry,) = [entry.to_wire() for entry in resolved.parameters if entry.parameter_key == key]
    return entry


def input_spec(**fields: Any) -> InputParameterSpec:
    """An input parameter spec from its IR fields."""
    return InputParameterSpec.parse(fields)

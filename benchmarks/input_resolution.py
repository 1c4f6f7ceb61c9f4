"""The resolver by itself, its questions answered from memory: what inputs cost beside the requests."""

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from measure import Rows

from kfp_api.ir.executor_input import ExecutorInputs
from kfp_api.ir.pipeline import PipelineSpec
from kfp_api.known_parent import KnownParent
from kfp_api.messages import PipelineTask
from resolver.context import ResolveContext
from resolver.executor_input import build_executor_inputs, input_artifact_links
from resolver.expressions import ExpressionEngine
from resolver.inputs import resolve_inputs
from resolver.scope import ScopePath

ROUNDS = 300
ITEM = "pipelinechannel--item"


def measure(directory: Path) -> Rows:
    """Container tasks with 20 inputs, in a small DAG and in large loops; a collected output; expressions."""
    del directory
    return asyncio.run(_measure())


async def _measure() -> Rows:
    rows = [
        ("resolver: container task with 20 inputs, executor input and links", await _timed(_task_of_a_dag())),
        ("resolver: the same, selectors and placeholders in half of the inputs", await _timed(_mixed_task())),
    ]
    rows += [
        (f"resolver: task with 20 inputs in a loop over {size:,} items", await _timed(_task_of_a_loop(size)))
        for size in (10, 1_000, 10_000)
    ]
    rows += [
        (f"resolver: output collected from {size:,} iterations", await _timed(_collector(size), rounds=20))
        for size in (1_000, 10_000)
    ]
    engine, inputs = ExpressionEngine(), await _inputs(_task_of_a_dag())
    condition = "inputs.parameter_values['i0'] == 'value 0' && size(inputs.parameter_values['i1']) > 3"

    async def evaluate() -> None:
        engine.condition(condition, inputs)

    await evaluate()
    return [
        *rows,
        ("resolver: condition over these inputs, compiled before", await _repeated(evaluate, ROUNDS)),
    ]


class Memory:
    """Rows by parent, for tasks whose producers are siblings."""

    def __init__(self, rows: Sequence[PipelineTask]) -> None:
        self._children: dict[tuple[str | None, str], list[PipelineTask]] = {}
        for row in rows:
            self._children.setdefault((row.parent_task_id, row.name), []).append(row)

    async def children(
        self, parent_task_id: str, name: str, iteration_index: int | None = None
    ) -> Sequence[PipelineTask]:
        """Children of a row with that task key."""
        rows = self._children.get((parent_task_id, name), [])
        return [row for row in rows if iteration_index in (None, row.iteration_index)]

    async def has_children(self, parent_task_id: str) -> bool:
        """Whether the row has any child."""
        return any(parent == parent_task_id for parent, _ in self._children)

    async def workspace_importers(self) -> Sequence[PipelineTask]:
        """None."""
        return []


async def _inputs(context: ResolveContext) -> ExecutorInputs:
    resolved = await resolve_inputs(context)
    inputs = await build_executor_inputs(context, resolved)
    input_artifact_links(resolved, run_id="run", task_id="new")
    return inputs


async def _timed(context: ResolveContext, *, rounds: int = ROUNDS) -> str:
    return await _repeated(lambda: _inputs(context), rounds)


async def _repeated(work: Callable[[], Awaitable[object]], rounds: int) -> str:
    samples = []
    for _ in range(rounds):
        # Nothing waits: CPU time is the measure that other processes do not disturb.
        started = time.process_time()
        await work()
        samples.append(time.process_time() - started)
    return f"{statistics.median(samples) * 1000:.2f} ms CPU"


def _task_of_a_dag() -> ResolveContext:
    """Inputs of all plain kinds: five of the parent, five constants, five outputs and five artifacts."""
    parameters: dict[str, Any] = {}
    for index in range(5):
        parameters[f"i{index}"] = {"componentInputParameter": f"given-{index}"}
        parameters[f"k{index}"] = {"runtimeValue": {"constant": {"a": [index, "text"]}}}
        parameters[f"o{index}"] = {
            "taskOutputParameter": {"producerTask": f"make-{index}", "outputParameterKey": "Output"}
        }
    artifacts = {
        f"a{index}": {"taskOutputArtifact": {"producerTask": f"make-{index}", "outputArtifactKey": "data"}}
        for index in range(5)
    }
    return _context(parameters, artifacts, parent=_root(), siblings=_made())


def _mixed_task() -> ResolveContext:
    selector = 'parseJson(string_value)["name"]'
    parameters: dict[str, Any] = {
        "pipelinechannel--n": {
            "taskOutputParameter": {"producerTask": "make-0", "outputParameterKey": "Output"}
        }
    }
    for index in range(9):
        parameters[f"p{index}"] = {"componentInputParameter": f"given-{index % 5}"}
    for index in range(5):
        text = f"{index}: {{{{$.inputs.parameters['pipelinechannel--n']}}}} of {{{{$.pipeline_job_name}}}}"
        parameters[f"t{index}"] = {"runtimeValue": {"constant": text}}
        parameters[f"s{index}"] = {
            "componentInputParameter": "struct",
            "parameterExpressionSelector": selector,
        }
    return _context(parameters, {}, parent=_root(), siblings=_made())


def _task_of_a_loop(size: int) -> ResolveContext:
    """Every input comes from the loop head: one of its items, and what it was given itself."""
    head = PipelineTask.from_wire(
        {
            "task_id": "L",
            "name": "loop",
            "parent_task_id": "P",
            "type": "LOOP",
            "type_attributes": {"iteration_count": str(size)},
            "inputs": {
                "parameters": [
                    *_given("COMPONENT_INPUT"),
                    *(
                        {
                            "parameter_key": ITEM,
                            "value": {"name": f"item {index}"},
                            "type": "ITERATOR_INPUT",
                            "producer": {"task_name": "loop", "iteration": str(index)},
                        }
                        for index in range(size)
                    ),
                ]
            },
        }
    )
    parameters: dict[str, Any] = {f"p{index}": {"componentInputParameter": ITEM} for index in range(10)}
    parameters |= {f"q{index}": {"componentInputParameter": f"given-{index % 5}"} for index in range(10)}
    seen = KnownParent.of(head).seen_from(size - 1)
    return _context(parameters, {}, parent=seen, siblings=[], iteration=size - 1)


def _collector(size: int) -> ResolveContext:
    head = PipelineTask.from_wire(
        {
            "task_id": "L",
            "name": "loop",
            "parent_task_id": "P",
            "type": "LOOP",
            "type_attributes": {"iteration_count": str(size)},
        }
    )
    body = [_row(f"w{index}", "work", parent="L", iteration=index) for index in range(size)]
    parameters = {"all": {"taskOutputParameter": {"producerTask": "loop", "outputParameterKey": "all"}}}
    return _context(parameters, {}, parent=_root(), siblings=[head, *body])


def _given(kind: str) -> list[dict[str, Any]]:
    values: dict[str, Any] = {f"given-{index}": f"value {index}" for index in range(5)}
    values["struct"] = {"name": "x", "members": list(range(20))}
    return [
        {"parameter_key": key, "value": value, "type": kind, "producer": {"task_name": "ROOT"}}
        for key, value in values.items()
    ]


def _root() -> PipelineTask:
    inputs = {"parameters": _given("RUNTIME_VALUE_INPUT")}
    return PipelineTask.from_wire({"task_id": "P", "name": "ROOT", "type": "ROOT", "inputs": inputs})


def _row(task_id: str, name: str, *, parent: str = "P", iteration: int | None = None) -> PipelineTask:
    artifact = {"artifact_id": f"a-{task_id}", "name": "data", "type": "Dataset", "uri": f"s3://b/{task_id}"}
    return PipelineTask.from_wire(
        {
            "task_id": task_id,
            "name": name,
            "parent_task_id": parent,
            "type": "RUNTIME",
            "state": "SUCCEEDED",
            "type_attributes": {} if iteration is None else {"iteration_index": str(iteration)},
            "outputs": {
                "parameters": [{"parameter_key": "Output", "value": "made", "type": "OUTPUT"}],
                "artifacts": [{"artifact_key": "data", "artifacts": [artifact], "type": "OUTPUT"}],
            },
        }
    )


def _made() -> list[PipelineTask]:
    return [_row(f"m{index}", f"make-{index}") for index in range(5)]


def _context(
    parameters: dict[str, Any],
    artifacts: dict[str, Any],
    *,
    parent: PipelineTask,
    siblings: Sequence[PipelineTask],
    iteration: int | None = None,
) -> ResolveContext:
    task = {"componentRef": {"name": "c"}, "inputs": {"parameters": parameters, "artifacts": artifacts}}
    declared = {key: {"parameterType": "STRING"} for key in parameters if key[0] in "iopqst" and key != ITEM}
    collect = {"valueFromParameter": {"producerSubtask": "work", "outputParameterKey": "Output"}}
    tasks = {f"make-{index}": {"componentRef": {"name": "leaf"}} for index in range(5)}
    loop = {
        "dag": {
            "tasks": {"t": task, "work": {"componentRef": {"name": "leaf"}}},
            "outputs": {"parameters": {"all": collect}},
        }
    }
    head = {
        "componentRef": {"name": "loop"},
        "parameterIterator": {"items": {"raw": "[]"}, "itemInput": ITEM},
    }
    spec = PipelineSpec.parse(
        {
            "root": {"dag": {"tasks": {**tasks, "t": task, "loop": head}}},
            "components": {
                "c": {
                    "executorLabel": "e",
                    "inputDefinitions": {
                        "parameters": {key: value for key, value in declared.items() if "channel" not in key},
                        "artifacts": {key: {} for key in artifacts},
                    },
                },
                "leaf": {"executorLabel": "e"},
                "loop": loop,
            },
        }
    )
    return ResolveContext(
        spec=spec,
        run_id="run",
        run_name="wf",
        run_display_name="benchmark",
        create_time_utc="2026-01-02T03:04:05Z",
        schedule_time_utc="2026-01-02T03:04:05Z",
        scope=ScopePath.from_dot(spec, "root.t" if iteration is None else "root.loop.t"),
        parent=parent,
        rows=Memory(siblings),
        iteration_index=iteration,
        expressions=ExpressionEngine(),
    )

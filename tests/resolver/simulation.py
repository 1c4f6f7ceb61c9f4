"""Runs a pipeline in memory: the resolver and real conditions decide, leaf tasks are Python functions.

Rows get only what drivers and launchers write to them; nothing is propagated upwards, so that whatever a
consumer receives was found by following selectors. Every resolution is repeated on shuffled rows and must
neither differ nor change a row.
"""

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from typing import Any

from kfp_api.ir.executor_input import ExecutorInput, executor_input_to_json
from kfp_api.ir.pipeline import ComponentSpec, ParameterType, PipelineSpec, TaskSpec, TriggerStrategy
from kfp_api.messages import ArtifactTask, IOType, PipelineTask, TaskState, TaskType
from resolver.context import ResolveContext
from resolver.executor_input import build_executor_inputs, input_artifact_links
from resolver.inputs import ResolvedInputs, resolve_inputs
from resolver.scope import ScopePath
from tests.resolver.builders import ENGINE
from tests.resolver.listed_rows import ListedRows

Inputs = dict[str, Any]
"""``parameterValues`` and ``artifacts`` of an executor input."""


ITERATED_KEYS = frozenset({"B_b"})
"""Members of loop items that a pipeline iterates in turn."""


class TaskFailed(Exception):  # noqa: N818 (an outcome of a simulated task, not an error of the test)
    """A leaf function raises it to let its task fail."""


@dataclass
class Leaf:
    """One leaf task that ran."""

    scope: str
    iteration: int | None
    component: ComponentSpec
    parameters: dict[str, Any]
    artifacts: dict[str, Any]


LeafFunction = Callable[[Leaf], dict[str, Any]]
"""Gives output values by key: parameters as values, artifacts as their number (for lists) or ``None``."""


@dataclass
class Simulation:
    """A simulated run; ``leaves`` lists what ran, in order."""

    spec: PipelineSpec
    leaf: LeafFunction
    parameters: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    rows: list[PipelineTask] = field(default_factory=list)
    leaves: list[Leaf] = field(default_factory=list)
    questions: int = 0
    artifacts: dict[str, dict[str, Any]] = field(default_factory=dict)
    root_artifacts: bool = True
    """Whether somebody supplies the root's input artifacts, which no runtime config can."""

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)

    async def run(self) -> "Simulation":
        """Run the root DAG to its end."""
        path = ScopePath.from_dot(self.spec, "root")
        assert path.last is not None
        declared = path.last.component.input_definitions
        entries = []
        for key, one in declared.parameters.items():
            default = one.default_value if "default_value" in one.model_fields_set else None
            value = self.parameters.get(key, default)
            entries.append(
                {
                    "parameter_key": key,
                    "value": value,
                    "type": "RUNTIME_VALUE_INPUT",
                    "producer": {"task_name": "ROOT"},
                }
            )
        given = [
            {
                "artifact_key": key,
                "artifacts": [self._new_artifact(key, {})],
                "type": "COMPONENT_INPUT",
                "producer": {"task_name": "ROOT"},
            }
            for key in (declared.artifacts if self.root_artifacts else ())
        ]
        root = self._add(None, path, None, TaskType.ROOT, inputs={"parameters": entries, "artifacts": given})
        await self._run_dag(root, path, None)
        return self

    def of(self, scope: str) -> list[Leaf]:
        """The leaves that ran at a scope path."""
        return [leaf for leaf in self.leaves if leaf.scope == scope]

    async def _run_dag(self, parent: PipelineTask, path: ScopePath, iteration: int | None) -> TaskState:
        assert path.last is not None
        assert path.last.component.dag is not None
        tasks = path.last.component.dag.tasks
        states: dict[str, TaskState | None] = {}
        for key in TopologicalSorter(
            {key: sorted(_upstream(task)) for key, task in tasks.items()}
        ).static_order():
            blocked = any(states[one] in (TaskState.FAILED, None) for one in _upstream(tasks[key]))
            tolerant = tasks[key].trigger_policy.strategy is TriggerStrategy.ALL_UPSTREAM_TASKS_COMPLETED
            if blocked and not tolerant:
                states[key] = None
            else:
                states[key] = await self._run_task(parent, path.push(key), iteration)
        failed = TaskState.FAILED in states.values()
        return TaskState.FAILED if failed else TaskState.SUCCEEDED

    async def _run_task(self, parent: PipelineTask, path: ScopePath, iteration: int | None) -> TaskState:
        assert path.last is not None
        assert path.last.task is not None
        task, component = path.last.task, path.last.component
        context = self._context(parent, path, iteration)
        resolved = await self._resolve(context)
        inputs = await build_executor_inputs(context, resolved)
        executor = self.spec.executor(component.executor_label)
        is_dag, is_importer = (
            component.dag is not None,
            executor is not None and executor.importer is not None,
        )
        task_type = TaskType.LOOP if task.has_iterator else TaskType.DAG if is_dag else TaskType.RUNTIME
        task_type = TaskType.IMPORTER if is_importer else task_type
        row = self._add(
            parent.task_id, path, iteration, task_type, inputs=self._row_inputs(resolved), resolved=resolved
        )
        condition = task.trigger_policy.condition
        if condition and not ENGINE.condition(condition, inputs):
            return self._finish(row, TaskState.SKIPPED)
        if not is_dag:
            document = executor_input_to_json(ExecutorInput(inputs=inputs))["inputs"]
            return self._run_leaf(row, path, iteration, component, document)
        if not task.has_iterator:
            return self._finish(row, await self._run_dag(row, path, iteration))
        states = [await self._run_dag(row, path, index) for index in range(resolved.iteration_count or 0)]
        state = TaskState.FAILED if TaskState.FAILED in states else TaskState.SUCCEEDED
        return self._finish(row, state if states else TaskState.SKIPPED)

    def context_of(self, scope: str, iteration: int | None = None) -> ResolveContext:
        """The context of a task that ran; its parent is the one row of the enclosing DAG."""
        path = ScopePath.from_dot(self.spec, scope)
        (parent,) = [row for row in self.rows if row.scope_path == path.parent.dot]
        return self._context(parent, path, iteration)

    def _context(self, parent: PipelineTask, path: ScopePath, iteration: int | None) -> ResolveContext:
        shuffled = list(self.rows)
        self.random.shuffle(shuffled)
        return ResolveContext(
            spec=self.spec,
            run_id="run-1",
            run_name="wf-1",
            run_display_name="run one",
            create_time_utc="2026-01-02T03:04:05Z",
            schedule_time_utc="2026-01-02T03:04:05Z",
            scope=path,
            parent=parent,
            rows=ListedRows(shuffled),
            iteration_index=iteration,
            expressions=ENGINE,
        )

    async def _resolve(self, context: ResolveContext) -> ResolvedInputs:
        before = [row.model_dump_json() for row in self.rows]
        resolved = await resolve_inputs(context)
        assert isinstance(context.rows, ListedRows)
        self.questions += sum(context.rows.questions.values())
        again = await resolve_inputs(self._context(context.parent, context.scope, context.iteration_index))
        assert resolved == again
        assert [row.model_dump_json() for row in self.rows] == before
        own = [
            entry.parameter_key for entry in resolved.parameters if entry.type is not IOType.ITERATOR_INPUT
        ]
        assert len(own) == len(set(own))
        return resolved

    def _run_leaf(
        self,
        row: PipelineTask,
        path: ScopePath,
        iteration: int | None,
        component: ComponentSpec,
        inputs: Inputs,
    ) -> TaskState:
        leaf = Leaf(
            path.dot, iteration, component, inputs.get("parameterValues", {}), inputs.get("artifacts", {})
        )
        self.leaves.append(leaf)
        try:
            produced = self.leaf(leaf)
        except TaskFailed as error:
            return self._finish(row, TaskState.FAILED, message=str(error))
        io_type = "OUTPUT" if iteration is None else "ITERATOR_OUTPUT"
        producer: dict[str, Any] = {"task_name": row.name}
        if iteration is not None:
            producer["iteration"] = iteration
        declared = component.output_definitions
        parameters = [
            {"parameter_key": key, "value": produced[key], "type": io_type, "producer": producer}
            for key in declared.parameters
            if key in produced
        ]
        artifacts = []
        for key, one in declared.artifacts.items():
            count = produced.get(key) if one.is_artifact_list else 1
            found = [
                self._new_artifact(key, {"scope": path.dot, "iteration": iteration})
                for _ in range(count or 0)
            ]
            artifacts.append({"artifact_key": key, "artifacts": found, "type": io_type, "producer": producer})
        return self._finish(
            row, TaskState.SUCCEEDED, outputs={"parameters": parameters, "artifacts": artifacts}
        )

    def _new_artifact(self, name: str, metadata: dict[str, Any]) -> dict[str, Any]:
        """Ids are random, so that no order survives by accident."""
        artifact_id = f"{self.random.getrandbits(64):016x}"
        metadata = metadata | {"order": len(self.artifacts)}
        stored = {"artifact_id": artifact_id, "name": name, "type": "Dataset", "metadata": metadata}
        self.artifacts[artifact_id] = stored
        return stored

    def _row_inputs(self, resolved: ResolvedInputs) -> dict[str, Any]:
        links = input_artifact_links(resolved, run_id="run-1", task_id="new")
        assert len({link.identity for link in links}) == len(links)
        return {
            "parameters": [entry.to_wire() for entry in resolved.parameters],
            "artifacts": self._grouped(links),
        }

    def _grouped(self, links: Iterable[ArtifactTask]) -> list[dict[str, Any]]:
        """Artifact links as the server shows them: grouped by key, type and producer, then ordered."""
        groups: dict[tuple[str, IOType, str], list[tuple[int, str, dict[str, Any]]]] = {}
        for link in links:
            producer = link.producer.to_wire() if link.producer else {}
            order = int(producer.get("iteration", -1))
            group = groups.setdefault((link.key, link.type, producer.get("task_name", "")), [])
            group.append((order, link.artifact_id, producer))
        return [
            {
                "artifact_key": key,
                "type": io_type.value,
                "producer": min(group, key=lambda one: one[:2])[2],
                "artifacts": [self.artifacts[one[1]] for one in sorted(group, key=lambda one: one[:2])],
            }
            for (key, io_type, _), group in groups.items()
        ]

    def _add(
        self,
        parent_id: str | None,
        path: ScopePath,
        iteration: int | None,
        task_type: TaskType,
        *,
        inputs: dict[str, Any],
        resolved: ResolvedInputs | None = None,
    ) -> PipelineTask:
        attributes: dict[str, Any] = {}
        if iteration is not None:
            attributes["iteration_index"] = str(iteration)
        if resolved is not None and resolved.iteration_count is not None:
            attributes["iteration_count"] = str(resolved.iteration_count)
        executor = self.spec.executor(path.last.component.executor_label) if path.last else None
        if executor is not None and executor.importer is not None:
            attributes["download_to_workspace"] = executor.importer.download_to_workspace
        row = PipelineTask.from_wire(
            {
                "task_id": f"t{len(self.rows)}",
                "name": path.names[-1] if parent_id else "ROOT",
                "parent_task_id": parent_id,
                "type": task_type.value,
                "state": "RUNNING",
                "scope_path": path.dot,
                "type_attributes": attributes,
                "inputs": inputs,
            }
        )
        self.rows.append(row)
        return row

    def _finish(
        self, row: PipelineTask, state: TaskState, *, message: str = "", outputs: dict[str, Any] | None = None
    ) -> TaskState:
        wire = row.to_wire() | {
            "state": state.value,
            "status_metadata": {"message": message},
            "outputs": outputs or {},
        }
        position = next(index for index, one in enumerate(self.rows) if one.task_id == row.task_id)
        self.rows[position] = PipelineTask.from_wire(wire)
        return state


def _upstream(task: TaskSpec) -> set[str]:
    named = set(task.dependent_tasks)
    for parameter in task.inputs.parameters.values():
        if parameter.task_output_parameter:
            named.add(parameter.task_output_parameter.producer_task)
        if parameter.task_final_status:
            named.add(parameter.task_final_status.producer_task)
    for artifact in task.inputs.artifacts.values():
        if artifact.task_output_artifact:
            named.add(artifact.task_output_artifact.producer_task)
    return named


def fabricated(declared: ParameterType, dice: random.Random, keys: Iterable[str] = ()) -> Any:
    """A value of a declared type; elements of lists are structs with ``keys`` where there are any."""
    element: Any = {key: ["x"] if key in ITERATED_KEYS else dice.randrange(9) for key in keys}
    element = element or dice.randrange(9)
    return {
        ParameterType.STRING: dice.choice(["heads", "tails", "a", "b"]),
        ParameterType.NUMBER_INTEGER: dice.randrange(20),
        ParameterType.NUMBER_DOUBLE: dice.random(),
        ParameterType.BOOLEAN: dice.random() < 0.5,
        ParameterType.LIST: [element] * dice.randrange(4),
        ParameterType.STRUCT: element if keys else {"a": 1},
    }[declared]


__all__ = ["Leaf", "Simulation", "TaskFailed", "fabricated"]

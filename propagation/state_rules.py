"""When a DAG row changes its state because of its children: pure rules (spec DRIVER 4.3).

The rules work on counts, because a driver asks for no more than that; the embedded server counts in SQL.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

from kfp_api.ir.pipeline import ComponentSpec, DagSpec, PipelineSpec, TaskSpec, TriggerStrategy
from kfp_api.messages import PipelineTask, TaskState
from propagation.errors import PropagationError

_PLATFORM_IMAGES: Final = frozenset({"argostub/createpvc", "argostub/deletepvc"})


@dataclass(frozen=True, kw_only=True)
class ChildCounts:
    """How many children a DAG row has, and in which states."""

    total: int
    running: int = 0
    failed: int = 0
    cached: int = 0
    skipped: int = 0

    @classmethod
    def of(cls, states: Iterable[TaskState]) -> "ChildCounts":
        """The counts of a list of states."""
        every = list(states)
        return cls(
            total=len(every),
            running=every.count(TaskState.RUNNING),
            failed=every.count(TaskState.FAILED),
            cached=every.count(TaskState.CACHED),
            skipped=every.count(TaskState.SKIPPED),
        )

    @property
    def aggregate(self) -> TaskState | None:
        """The state that a finished DAG with these children has; ``None`` where there are none."""
        if not self.total:
            return None
        if self.failed:
            return TaskState.FAILED
        if self.cached == self.total:
            return TaskState.CACHED
        if self.skipped == self.total:
            return TaskState.SKIPPED
        return TaskState.SUCCEEDED


def aggregate_state(children: Iterable[TaskState]) -> TaskState | None:
    """The state of a DAG from the final states of its children; ``None`` where it has none."""
    return ChildCounts.of(children).aggregate


def expected_children(dag: DagSpec, parent: PipelineTask, *, is_loop: bool) -> int:
    """How many child rows a DAG row gets when every task starts.

    Raises:
        PropagationError: a loop row does not say how often it iterates.
    """
    if not is_loop:
        return len(dag.tasks)
    if parent.iteration_count is None:
        raise PropagationError(f"loop task {parent.task_id} is missing iteration_count attribute")
    return len(dag.tasks) * parent.iteration_count


def omitted_tasks(
    dag: DagSpec, *, skipped: Collection[str] = (), failed: Collection[str] = ()
) -> frozenset[str]:
    """Keys of the tasks that Argo never starts, given the nodes of the DAG that were skipped or failed.

    A task is omitted when a dependency failed, was skipped or is omitted itself; a failed dependency does
    not omit a task that waits for completion only.
    """
    dependencies = {key: dependencies_of(task) & dag.tasks.keys() for key, task in dag.tasks.items()}
    omitted: set[str] = set()
    grows = True
    while grows:
        grows = False
        for key, task in dag.tasks.items():
            blocked = dependencies[key] & (omitted | set(skipped))
            if task.trigger_policy.strategy is not TriggerStrategy.ALL_UPSTREAM_TASKS_COMPLETED:
                blocked |= dependencies[key] & set(failed)
            if blocked and key not in omitted:
                omitted.add(key)
                grows = True
    return frozenset(omitted)


def dependencies_of(task: TaskSpec) -> set[str]:
    """Keys of the tasks in the same DAG that ``task`` waits for: declared ones and producers of inputs."""
    found = set(task.dependent_tasks)
    for parameter in task.inputs.parameters.values():
        if parameter.task_output_parameter is not None:
            found.add(parameter.task_output_parameter.producer_task)
        if parameter.task_final_status is not None:
            found.add(parameter.task_final_status.producer_task)
    for artifact in task.inputs.artifacts.values():
        if artifact.task_output_artifact is not None:
            found.add(artifact.task_output_artifact.producer_task)
    return found


def omitted_children(
    spec: PipelineSpec, dag: DagSpec, skipped_rows: Iterable[PipelineTask], *, is_loop: bool
) -> int:
    """How many child rows will never exist, because tasks were skipped; counted per loop iteration.

    Args:
        spec: the run's pipeline.
        dag: the parent's DAG.
        skipped_rows: the parent's SKIPPED children, with their own ``child_tasks``.
        is_loop: whether the parent is a loop, whose iterations are independent of each other.
    """
    by_iteration: defaultdict[int | None, set[str]] = defaultdict(set)
    for row in skipped_rows:
        task = dag.tasks.get(row.name)
        if task is not None and _node_was_skipped(spec, task, row):
            by_iteration[row.iteration_index if is_loop else None].add(row.name)
    return sum(len(omitted_tasks(dag, skipped=skipped)) for skipped in by_iteration.values())


def _node_was_skipped(spec: PipelineSpec, task: TaskSpec, row: PipelineTask) -> bool:
    """Whether a SKIPPED row means that its Argo node was skipped, so that consumers are omitted.

    A loop's node succeeds with no iterations or a false condition; so does a platform operation's, whose
    only node is the driver call, and a DAG's whose children were all skipped.
    """
    if task.has_iterator:
        return False
    component = spec.components.get(task.component_ref.name)
    if component is None or component.dag is not None:
        return not row.child_tasks
    return not _is_platform_operation(spec, component)


def _is_platform_operation(spec: PipelineSpec, component: ComponentSpec) -> bool:
    executor = spec.executor(component.executor_label)
    return (
        executor is not None
        and executor.container is not None
        and (executor.container.image in _PLATFORM_IMAGES)
    )


def dag_of(component: ComponentSpec, task_id: str) -> DagSpec:
    """The DAG of a parent row's component; :class:`PropagationError` where there is none."""
    if component.dag is None:
        raise PropagationError(f"parent task {task_id} is not a DAG")
    return component.dag

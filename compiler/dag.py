"""A DAG component as a DAG template: dependencies, exit tasks, tasks in order (spec COMPILER 6.9)."""

from collections.abc import Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

from compiler.argo import (
    PARENT_TASK_ID,
    PARENT_TASK_ID_OUTPUT,
    Json,
    dag_task,
    dag_template,
    parameter,
    succeeded,
    task_output_tag,
)
from compiler.context import CompileContext
from compiler.errors import CompileError, explained
from compiler.tasks import Placement, compile_task, dag_driver, is_driver_only
from compiler.visitor import ROOT
from kfp_api.ir.pipeline import TaskSpec, TriggerStrategy

ENTRYPOINT = "entrypoint"


def compile_dag(context: CompileContext, name: str, tasks: Mapping[str, TaskSpec]) -> None:
    """Add the template of a DAG component, its exit hooks, and for the root the entrypoint.

    Raises:
        CompileError: E9 to E14, E24, or exit tasks that Argo's hooks cannot express (C-10).
    """
    with explained(f'compiling DAG "{name}"'):
        for key, task in tasks.items():
            _check_iterators(key, task)
        dependencies = _dependencies(tasks)
        dag = _Dag(tasks, dependencies, _exit_tasks(context, tasks, dependencies))
        hooks = _add_exit_hooks(context, name, dag)
        argo_tasks: list[Json] = []
        for key, task in tasks.items():
            if key not in dag.exit_tasks:
                placement = Placement(dependencies=dependencies[key], exit_hook=hooks.get(key))
                argo_tasks += compile_task(context, key, task, placement)
        if not argo_tasks:
            raise CompileError(
                f"DAG {name} must contain one or more non-exit tasks; an exit task needs something to follow"
            )
        context.add(dag_template(name, inputs=[parameter(PARENT_TASK_ID)], tasks=argo_tasks))
        if name == ROOT:
            _add_entrypoint(context)


@dataclass(frozen=True)
class _Dag:
    """The tasks of a DAG in order of their names, with what each of them waits for."""

    tasks: Mapping[str, TaskSpec]
    dependencies: Mapping[str, tuple[str, ...]]
    exit_tasks: tuple[str, ...]


def _check_iterators(name: str, task: TaskSpec) -> None:
    if task.artifact_iterator is None:
        return
    if task.parameter_iterator is not None:
        raise CompileError(
            f'invalid task "{name}": parameterIterator and artifactIterator '
            "cannot be specified at the same time"
        )
    raise CompileError(
        f'artifact iterator not implemented yet: task "{name}" must loop over a parameter instead'
    )


def _dependencies(tasks: Mapping[str, TaskSpec]) -> dict[str, tuple[str, ...]]:
    """What each task waits for: ``dependentTasks``, and the producers of its inputs."""
    dependencies: dict[str, tuple[str, ...]] = {}
    for key, task in tasks.items():
        producers = _producers(task)
        for producer in producers:
            if producer not in tasks:
                raise CompileError(
                    f'failed to add implicit deps: unknown producer task "{producer}" in DAG, '
                    f'named by an input of task "{key}"'
                )
        for named in task.dependent_tasks:
            if named not in tasks:
                raise CompileError(f'task "{key}" depends on unknown task "{named}"')
        dependencies[key] = tuple(sorted({*task.dependent_tasks, *producers}))
    try:
        TopologicalSorter(dependencies).prepare()
    except CycleError as error:
        raise CompileError(f"tasks depend on each other in a cycle: {' -> '.join(error.args[1])}") from error
    return dependencies


def _producers(task: TaskSpec) -> list[str]:
    parameters = [source.task_output_parameter for source in task.inputs.parameters.values()]
    artifacts = [source.task_output_artifact for source in task.inputs.artifacts.values()]
    return [output.producer_task for output in (*parameters, *artifacts) if output is not None]


def _exit_tasks(
    context: CompileContext, tasks: Mapping[str, TaskSpec], dependencies: Mapping[str, tuple[str, ...]]
) -> tuple[str, ...]:
    """The tasks that run when others are done, whatever became of those.

    Without anything to wait for, such a task is an ordinary one; upstream makes it a hook of nothing,
    which never runs.
    """
    return tuple(
        key
        for key, task in tasks.items()
        if task.trigger_policy.strategy is TriggerStrategy.ALL_UPSTREAM_TASKS_COMPLETED
        and (dependencies[key] or context.options.parity)
    )


def _add_exit_hooks(context: CompileContext, name: str, dag: _Dag) -> dict[str, str]:
    """Add one template per exit task; returns the template that follows each guarded task."""
    for problem in _exit_task_problems(context, dag):
        if not context.options.parity:
            raise CompileError(problem)
        context.warn(problem)
    hooks: dict[str, str] = {}
    for key in dag.exit_tasks:
        task = dag.tasks[key]
        # Upstream keeps what a loop waits for, although that task is not in the hook's DAG: Argo refuses it.
        kept = dag.dependencies[key] if context.options.parity and task.parameter_iterator else ()
        argo_tasks = compile_task(context, key, task, Placement(dependencies=kept))
        hook = f"exit-hook-{name}-{key}"
        context.add(dag_template(hook, inputs=[parameter(PARENT_TASK_ID)], tasks=argo_tasks))
        hooks.update(dict.fromkeys(dag.dependencies[key], hook))
    return hooks


def _exit_task_problems(context: CompileContext, dag: _Dag) -> list[str]:
    """Exit tasks that a lifecycle hook cannot express (C-10 a to d)."""
    problems: list[str] = []
    guarded: dict[str, str] = {}
    for key in dag.exit_tasks:
        waits_for = dag.dependencies[key]
        if len(waits_for) > 1:
            listed = ", ".join(f'"{one}"' for one in waits_for)
            problems.append(
                f'exit task "{key}" waits for several tasks ({listed}): it would run once for each; '
                "group them, for example by one dsl.ExitHandler"
            )
        for dependency in waits_for:
            if dependency in guarded:
                problems.append(
                    f'exit tasks "{guarded[dependency]}" and "{key}" both wait for task "{dependency}": '
                    "only the last would run; make them one task, or guard two tasks"
                )
            guarded[dependency] = key
            if (kind := _without_hook(context, dag, dependency)) is not None:
                problems.append(
                    f'exit task "{key}" waits for {kind} "{dependency}": it would never run; '
                    "group what it waits for, for example by dsl.ExitHandler"
                )
    for key in dag.tasks:
        if key not in dag.exit_tasks:
            problems += [
                f'task "{key}" waits for exit task "{dependency}", which Argo cannot express; '
                "let it wait for the guarded task"
                for dependency in dag.dependencies[key]
                if dependency in dag.exit_tasks
            ]
    return problems


def _without_hook(context: CompileContext, dag: _Dag, name: str) -> str | None:
    """What kind of task this is, if a hook on it has no effect."""
    task = dag.tasks[name]
    if name in dag.exit_tasks:
        return "exit task"
    if task.component_ref.name in context.importers:
        return "importer"
    if is_driver_only(context, task):
        return "driver-only task"
    if task.parameter_iterator is not None and context.options.parity:
        return "loop"
    return None


def _add_entrypoint(context: CompileContext) -> None:
    driver_name = f"{ROOT}-driver"
    driver = dag_task(
        driver_name,
        template=dag_driver(context),
        arguments=[
            parameter("runtime-config", value=context.runtime_config),
            parameter("driver-type", value="ROOT_DAG"),
        ],
    )
    root = dag_task(
        ROOT,
        template=ROOT,
        depends=succeeded([driver_name]),
        arguments=[
            parameter(PARENT_TASK_ID, value=task_output_tag(driver_name, PARENT_TASK_ID_OUTPUT)),
            parameter("condition", value=""),
        ],
    )
    context.add(dag_template(ENTRYPOINT, inputs=[], tasks=[driver, root]))

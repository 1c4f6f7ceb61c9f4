"""Loops: the iterator template, and the iteration index for every driver inside (spec COMPILER 6.10)."""

from typing import Final

from compiler.argo import (
    ITERATION_INDEX,
    PARENT_TASK_ID,
    PARENT_TASK_ID_OUTPUT,
    Json,
    dag_task,
    dag_template,
    input_tag,
    iteration_index_input,
    parameter,
    task_output_tag,
)
from compiler.context import CompileContext
from compiler.templates.drivers import CONTAINER_DRIVER, DAG_DRIVER
from compiler.templates.importer import IMPORTER, WORKSPACE_IMPORTER

_ITERATION_DRIVER: Final = "iteration-driver"
_READERS: Final = frozenset({DAG_DRIVER, CONTAINER_DRIVER, IMPORTER, WORKSPACE_IMPORTER})
"""Templates that are no DAGs and take the iteration index."""


def iterator_template(name: str, *, task: str, component: str, parallelism: int, has_condition: bool) -> Json:
    """The template that asks the driver for the number of iterations and runs the component that often."""
    driver = dag_task(
        _ITERATION_DRIVER,
        template=DAG_DRIVER,
        arguments=[
            parameter(PARENT_TASK_ID, value=input_tag(PARENT_TASK_ID)),
            parameter("task-name", value=task),
        ],
    )
    iterations = dag_task(
        "iteration-iterations",
        template=component,
        depends=f"{_ITERATION_DRIVER}.Succeeded",
        when=f"{task_output_tag(_ITERATION_DRIVER, 'condition')} != false" if has_condition else "",
        arguments=[
            parameter(PARENT_TASK_ID, value=task_output_tag(_ITERATION_DRIVER, PARENT_TASK_ID_OUTPUT)),
            parameter(ITERATION_INDEX, value="{{item}}"),
        ],
    )
    iterations["withSequence"] = {"count": task_output_tag(_ITERATION_DRIVER, "iteration-count")}
    template = dag_template(name, inputs=[parameter(PARENT_TASK_ID)], tasks=[driver, iterations])
    if parallelism > 0:
        template["parallelism"] = parallelism
    return template


def propagate_iteration_index(context: CompileContext, start: str) -> None:
    """Hand the iteration index down from DAG template ``start`` to every driver and importer below it.

    A component that also runs outside of loops keeps working: its input defaults to -1.
    """
    seen: set[str] = set()
    pending = [start]
    while pending:
        name = pending.pop()
        if name in seen or (tasks := context.dag(name)) is None:
            continue
        seen.add(name)
        _add_missing(context.templates[name]["inputs"], iteration_index_input())
        for task in tasks:
            pending += _propagate_into(context, task)


def _propagate_into(context: CompileContext, task: Json) -> list[str]:
    """Give a task, and outside of parity its exit hook, the index; returns the templates to go on with."""
    called = [task]
    if not context.options.parity:
        called += task.get("hooks", {}).values()
    dags: list[str] = []
    for call in called:
        template = call["template"]
        is_dag = context.dag(template) is not None
        if is_dag or template in _READERS:
            _add_missing(call["arguments"], parameter(ITERATION_INDEX, value=input_tag(ITERATION_INDEX)))
        if is_dag:
            dags.append(template)
    return dags


def _add_missing(holder: Json, entry: Json) -> None:
    listed = holder.setdefault("parameters", [])
    if all(present["name"] != entry["name"] for present in listed):
        listed.append(entry)

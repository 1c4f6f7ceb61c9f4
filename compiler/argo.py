"""The few Argo objects that the compiler is made of, as plain data, and the tags that refer to them.

Objects are dictionaries in the order in which a person reads a Workflow; absent options are left out.
"""

from collections.abc import Iterable
from typing import Any, Final

Json = dict[str, Any]
"""A piece of a Workflow."""

PARENT_TASK_ID: Final = "parent-dag-task-id"
"""Input parameter that carries the KFP task id of the parent, everywhere."""
PARENT_TASK_ID_OUTPUT: Final = "parent-dag-task-id-path"
"""Output parameter of the DAG driver: the id of the task it created."""
ITERATION_INDEX: Final = "iteration-index"
NO_ITERATION: Final = "-1"

RUN_ID_TAG: Final = "{{workflow.uid}}"
"""Stands for the run id until submission, when it is replaced as text (spec COMPILER 2.4)."""


def input_tag(parameter: str) -> str:
    """The value of an input parameter of the template that the tag stands in."""
    return f"{{{{inputs.parameters.{parameter}}}}}"


def output_path_tag(parameter: str) -> str:
    """The file that a container of the template writes an output parameter to."""
    return f"{{{{outputs.parameters.{parameter}.path}}}}"


def task_output_tag(task: str, parameter: str) -> str:
    """The value of an output parameter of a sibling task."""
    return f"{{{{tasks.{task}.outputs.parameters.{parameter}}}}}"


def workflow_parameter_tag(argument: str) -> str:
    """The value of an argument of the workflow."""
    return f"{{{{workflow.parameters.{argument}}}}}"


def parameter(name: str, *, value: str | None = None, default: str | None = None) -> Json:
    """An input parameter (``default`` or nothing) or an argument (``value``)."""
    declared: Json = {"name": name}
    if default is not None:
        declared["default"] = default
    if value is not None:
        declared["value"] = value
    return declared


def iteration_index_input() -> Json:
    """The input that is -1 outside of loops."""
    return parameter(ITERATION_INDEX, default=NO_ITERATION)


def parameters(entries: Iterable[Json]) -> Json:
    """The ``inputs``, ``outputs`` or ``arguments`` that hold the entries; ``{}`` for none."""
    listed = list(entries)
    return {"parameters": listed} if listed else {}


def succeeded(tasks: Iterable[str]) -> str:
    """The ``depends`` expression that waits for all tasks; empty for none."""
    return " && ".join(f"{task}.Succeeded" for task in tasks)


def dag_task(
    name: str, *, template: str, arguments: Iterable[Json], depends: str = "", when: str = ""
) -> Json:
    """A task of a DAG template."""
    task: Json = {"name": name, "template": template}
    if depends:
        task["depends"] = depends
    if when:
        task["when"] = when
    task["arguments"] = parameters(arguments)
    return task


def dag_template(name: str, *, inputs: Iterable[Json], tasks: Iterable[Json]) -> Json:
    """A template that runs a DAG."""
    return {
        "name": name,
        "inputs": parameters(inputs),
        "outputs": {},
        "metadata": {},
        "dag": {"tasks": list(tasks)},
    }

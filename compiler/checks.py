"""What Argo would refuse, or quietly do wrong, found before submission (spec COMPILER 4, E20 to E23)."""

import re
from collections import Counter
from typing import Final

from compiler.argo import Json
from compiler.errors import CompileError

_NAME: Final = re.compile(r"[a-zA-Z0-9][-a-zA-Z0-9]{0,127}")
_PARAMETER: Final = re.compile(r"[-a-zA-Z0-9_]+")
_RESERVED_COMPONENT: Final = re.compile(
    r"root|entrypoint|system-.*|retry-system-.*|metadata-.*-system-.*|exit-hook-.*"
)
_MAX_TEMPLATES: Final = 200
_MAX_TASKS: Final = 200
_MAX_INPUTS: Final = 500


def check_component_name(name: str) -> None:
    """Refuse a component whose template would pass for one of the system's (E22)."""
    if _RESERVED_COMPONENT.fullmatch(name):
        raise CompileError(f'component name "{name}" is reserved for system templates; rename it')


def check_workflow(spec: Json) -> None:
    """Refuse names, name clashes and sizes that Argo does not accept (E20, E21, E23)."""
    templates: list[Json] = spec["templates"]
    if len(templates) > _MAX_TEMPLATES:
        raise CompileError(
            f"the workflow needs {len(templates)} templates, Argo allows {_MAX_TEMPLATES}; "
            "use fewer loops and nested pipelines, or several pipelines"
        )
    for argument in spec["arguments"].get("parameters", []):
        if not _PARAMETER.fullmatch(argument["name"]):
            raise CompileError(f'"{argument["name"]}" is not a valid name of an Argo parameter')
    for template in templates:
        _check_template(template)


def _check_template(template: Json) -> None:
    name = template["name"]
    if not _NAME.fullmatch(name):
        raise CompileError(
            f'template name "{name}" is not valid in Argo: letters, digits and "-", at most 128, '
            "starting with a letter or digit"
        )
    inputs = template["inputs"].get("parameters", [])
    if len(inputs) > _MAX_INPUTS:
        raise CompileError(f'template "{name}" has {len(inputs)} inputs, Argo allows {_MAX_INPUTS}')
    if "dag" in template:
        _check_tasks(name, template["dag"]["tasks"])


def _check_tasks(dag: str, tasks: list[Json]) -> None:
    if len(tasks) > _MAX_TASKS:
        raise CompileError(
            f'DAG "{dag}" needs {len(tasks)} Argo tasks (two per pipeline task), Argo allows {_MAX_TASKS}; '
            "group tasks into nested pipelines, or loop over them"
        )
    for name, count in Counter(task["name"] for task in tasks).items():
        if count > 1:
            raise CompileError(
                f'DAG "{dag}": two Argo tasks are named "{name}"; '
                'a task name must not be the name of another task followed by "-driver"'
            )
    has_depends = any("depends" in task for task in tasks)
    for task in tasks:
        name = task["name"]
        if not _NAME.fullmatch(name):
            raise CompileError(
                f'task name "{name}" in DAG "{dag}" is not valid in Argo: letters, digits and "-", '
                "at most 128, starting with a letter or digit"
            )
        if has_depends and name[0].isdigit():
            raise CompileError(f'task name "{name}" in DAG "{dag}" must not start with a digit')

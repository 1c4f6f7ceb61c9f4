"""Workflows without KFP parts: one DAG of pods, http calls and pauses, as people write them by hand."""

import json
from typing import Any

from tests.local_stack.runner.scripted import parameters


def task(name: str, template: str = "pod", **fields: Any) -> dict[str, Any]:
    """One task of the DAG."""
    return {"name": name, "template": template} | fields


def plain(
    *tasks: dict[str, Any], templates: list[dict[str, Any]] | None = None, **fields: Any
) -> dict[str, Any]:
    """A workflow ``w`` whose entrypoint ``d`` has the tasks; ``fields`` are the template's, or ``spec``.

    Templates there are: ``pod`` takes no input, ``echo`` takes ``x`` (default ``none``) as its argument, and
    ``made`` is a driver call that answers with whatever outputs its ``answer`` (JSON) says.
    """
    dag_fields = {name: fields.pop(name) for name in ("failFast", "target") if name in fields}
    spec = fields.pop("spec", {})
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {"name": "w", "namespace": "ns"},
        "spec": {
            "entrypoint": "d",
            "templates": [
                {"name": "d", "dag": {"tasks": list(tasks)} | dag_fields} | fields,
                {"name": "pod", "container": {"image": "x", "command": ["x"]}},
                {
                    "name": "echo",
                    "inputs": {"parameters": [{"name": "x", "default": "none"}]},
                    "container": {"image": "x", "command": ["x"], "args": ["{{inputs.parameters.x}}"]},
                },
                made(),
                *(templates or []),
            ],
        }
        | spec,
    }


def made(name: str = "made", **defaults: str) -> dict[str, Any]:
    """A driver call; ``defaults`` declares outputs, with an empty text meaning without a default."""
    declared = [
        {"name": key, "valueFrom": {"jsonPath": "$"} | ({"default": value} if value else {})}
        for key, value in defaults.items()
    ]
    return {
        "name": name,
        "inputs": {"parameters": [{"name": "answer", "default": "{}"}]},
        "outputs": {"parameters": declared},
        "plugin": {
            "driver-plugin": {"args": {"task_name": "made", "answer": "{{inputs.parameters.answer}}"}}
        },
    }


def makes(name: str, template: str = "made", *, answer: dict[str, str], **fields: Any) -> dict[str, Any]:
    """A task whose driver call produces the outputs ``answer``."""
    return task(name, template, arguments=parameters(answer=json.dumps(answer))) | fields

"""A Workflow that somebody else compiled, read from a file to be run in the place of ours.

KFP's API server compiles a pipeline to a Workflow; ``kfp-driver compile`` and ``rewrite`` do so too, and
people change the result by hand. The pipeline stays the run's pipeline: its drivers read it.
"""

import json
from collections.abc import Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any, Final

from pydantic import JsonValue

from compiler.stable_json import stable_json
from compiler.workflow import runtime_config
from compiler.yaml_text import YamlTextError, read_documents
from kfp_api.ir.pipeline import PipelineSpec
from local_stack.runner.workflow import load_workflow

MAX_BYTES: Final = 32 * 1024 * 1024
_RUNTIME_CONFIG: Final = "runtime-config"


class WorkflowFileError(Exception):
    """The file cannot be run as it is; the text is one line for the user."""

    exit_code = 2


def read_workflow(path: Path) -> dict[str, Any]:
    """The one Workflow of a YAML or JSON file, which the runner can execute.

    Raises:
        WorkflowFileError: the file cannot be read, or holds something else.
        UnsupportedWorkflowError: the runner does not execute it; names the field.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise WorkflowFileError(f"{path}: larger than {MAX_BYTES // 1024**2} MiB")
        documents = read_documents(data.decode("utf-8-sig"), kubernetes=True)
    except OSError as error:
        raise WorkflowFileError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise WorkflowFileError(f"{path}: not UTF-8 text") from error
    except YamlTextError as error:
        raise WorkflowFileError(f"{path}: not valid YAML: {error}") from error
    if len(documents) != 1:
        raise WorkflowFileError(f"{path}: holds {len(documents)} documents instead of one Workflow")
    (document,) = documents
    if not isinstance(document, dict) or document.get("kind") != "Workflow":
        kind = document.get("kind") if isinstance(document, dict) else None
        raise WorkflowFileError(
            f"{path}: is {f'a {kind}' if kind else 'no Kubernetes object'}, not a Workflow"
        )
    workflow: dict[str, Any] = without_nulls(document)
    load_workflow(workflow, name="trial")
    return {"metadata": {}} | workflow


def without_nulls(value: Any) -> Any:
    """Data without members that are null: in a manifest they are absent."""
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value


def compiled_parameters(workflow: Mapping[str, Any]) -> dict[str, JsonValue]:
    """The pipeline parameters that a Workflow was compiled with, as its root driver is told them."""
    for argument in _root_arguments(workflow):
        try:
            config = json.loads(argument.get("value") or "{}")
        except ValueError:
            continue
        values = config.get("parameterValues") if isinstance(config, dict) else None
        if isinstance(values, dict):
            return {name: value for name, value in values.items() if value is not None}
    return {}


def with_parameters(
    workflow: Mapping[str, Any], spec: PipelineSpec, values: Mapping[str, JsonValue], *, pipeline_root: str
) -> dict[str, Any]:
    """A copy whose root driver is told these parameters, as KFP's API server would have compiled it.

    Raises:
        WorkflowFileError: there are parameters, and no root driver that takes them.
    """
    bound: dict[str, Any] = deepcopy(dict(workflow))
    arguments = list(_root_arguments(bound))
    if values and not arguments:
        raise WorkflowFileError(
            f'the Workflow takes no parameters: no task of it has "{_RUNTIME_CONFIG}" among its arguments'
        )
    for argument in arguments:
        argument["value"] = stable_json(runtime_config(spec, values, pipeline_root), hardened=True)
    return bound


def _root_arguments(workflow: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The argument of root driver tasks that holds the run's parameters."""
    for template in workflow["spec"].get("templates") or ():
        for task in (template.get("dag") or {}).get("tasks") or ():
            for argument in (task.get("arguments") or {}).get("parameters") or ():
                if argument.get("name") == _RUNTIME_CONFIG and "{{" not in str(argument.get("value")):
                    yield argument

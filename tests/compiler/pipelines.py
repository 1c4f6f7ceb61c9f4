"""Small pipelines for the compiler's tests, written down as IR documents."""

from collections.abc import Mapping
from typing import Any

from compiler.options import CompilerOptions
from compiler.workflow import compile_workflow
from kfp_api.ir.load import Pipeline, pipeline_from_struct

Json = dict[str, Any]


def task(component: str = "comp-work", **fields: Any) -> Json:
    return {"taskInfo": {"name": "shown"}, "componentRef": {"name": component}, **fields}


def after(*tasks: str, component: str = "comp-work", **fields: Any) -> Json:
    return task(component, dependentTasks=list(tasks), **fields)


def exit_task(*tasks: str, component: str = "comp-work", **fields: Any) -> Json:
    return after(
        *tasks, component=component, triggerPolicy={"strategy": "ALL_UPSTREAM_TASKS_COMPLETED"}, **fields
    )


def loop(component: str = "comp-inner", **fields: Any) -> Json:
    return task(component, parameterIterator={"items": {"raw": "[1, 2]"}, "itemInput": "item"}, **fields)


def when(condition: str) -> Json:
    return {"triggerPolicy": {"condition": condition}}


def dag(tasks: Mapping[str, Json]) -> Json:
    return {"dag": {"tasks": dict(tasks)}}


def executor(label: str) -> Json:
    return {"executorLabel": label}


def document(
    tasks: Mapping[str, Json],
    *,
    components: Mapping[str, Json] | None = None,
    executors: Mapping[str, Json] | None = None,
    inputs: Mapping[str, Json] | None = None,
    name: str = "demo",
) -> Json:
    """A pipeline spec with the usual components; ``components`` and ``executors`` add to them."""
    root: Json = dag(tasks)
    if inputs:
        root["inputDefinitions"] = {"parameters": dict(inputs)}
    return {
        "schemaVersion": "2.1.0",
        "sdkVersion": "kfp-2.17.0",
        "pipelineInfo": {"name": name},
        "root": root,
        "components": {
            "comp-work": executor("exec-work"),
            "comp-import": executor("exec-import"),
            "comp-claim": executor("exec-claim"),
            "comp-inner": dag({"work": task()}),
            **(components or {}),
        },
        "deploymentSpec": {
            "executors": {
                "exec-work": {"container": {"image": "python:3.11", "command": ["true"]}},
                "exec-claim": {"container": {"image": "argostub/createpvc"}},
                "exec-import": {
                    "importer": {
                        "artifactUri": {"constant": "s3://bucket/data"},
                        "typeSchema": {"schemaTitle": "system.Dataset", "schemaVersion": "0.0.1"},
                    }
                },
                **(executors or {}),
            }
        },
    }


def pipeline(
    tasks: Mapping[str, Json],
    *,
    kubernetes: Json | None = None,
    pipeline_config: Json | None = None,
    **fields: Any,
) -> Pipeline:
    """A pipeline; ``kubernetes`` holds Kubernetes configs by executor label."""
    spec = document(tasks, **fields)
    if kubernetes is None and pipeline_config is None:
        return pipeline_from_struct(spec)
    platform: Json = {}
    if kubernetes is not None:
        platform["deploymentSpec"] = {"executors": kubernetes}
    if pipeline_config is not None:
        platform["pipelineConfig"] = pipeline_config
    return pipeline_from_struct(
        {"pipeline_spec": spec, "platform_spec": {"platforms": {"kubernetes": platform}}}
    )


def compiled(given: Pipeline, warnings: list[str] | None = None, **options: Any) -> Json:
    """The Workflow of a pipeline."""
    sink: list[str] = [] if warnings is None else warnings
    return compile_workflow(given, parameters={}, options=CompilerOptions(**options), warn=sink.append)


def templates(workflow: Json) -> dict[str, Json]:
    return {template["name"]: template for template in workflow["spec"]["templates"]}


def dag_tasks(workflow: Json, template: str = "root") -> dict[str, Json]:
    """The Argo tasks of a DAG template by name."""
    return {one["name"]: one for one in templates(workflow)[template]["dag"]["tasks"]}


def arguments(holder: Json) -> dict[str, str]:
    """Argument values by name."""
    return {one["name"]: one["value"] for one in holder["arguments"].get("parameters", [])}


def input_names(template: Json) -> list[str]:
    return [one["name"] for one in template["inputs"].get("parameters", [])]

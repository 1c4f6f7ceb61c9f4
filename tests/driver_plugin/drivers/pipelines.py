"""Small pipelines in the form that the KFP SDK compiles them to (PipelineSpec as JSON data)."""

from collections.abc import Mapping
from typing import Any

Json = dict[str, Any]

DATASET = {"schemaTitle": "system.Dataset", "schemaVersion": "0.0.1"}


def parameters(types: Mapping[str, str], *, optional: bool = False) -> Json:
    """Declarations of parameters by name and type."""
    return {
        name: {"parameterType": kind, **({"isOptional": True} if optional else {})}
        for name, kind in types.items()
    }


def leaf(
    label: str,
    *,
    inputs: Mapping[str, str] | None = None,
    input_artifacts: tuple[str, ...] = (),
    outputs: Mapping[str, str] | None = None,
    output_artifacts: tuple[str, ...] = (),
) -> Json:
    """A component that runs a container."""
    return {
        "executorLabel": label,
        "inputDefinitions": {
            "parameters": parameters(inputs or {}),
            "artifacts": {name: {"artifactType": DATASET} for name in input_artifacts},
        },
        "outputDefinitions": {
            "parameters": parameters(outputs or {}),
            "artifacts": {name: {"artifactType": DATASET} for name in output_artifacts},
        },
    }


def dag(
    tasks: Json,
    *,
    inputs: Mapping[str, str] | None = None,
    input_artifacts: tuple[str, ...] = (),
    outputs: Json | None = None,
    output_types: Mapping[str, str] | None = None,
) -> Json:
    """A component that is a DAG; ``outputs`` is its ``dag.outputs``."""
    return {
        "dag": {"tasks": tasks, **({"outputs": outputs} if outputs else {})},
        "inputDefinitions": {
            "parameters": parameters(inputs or {}),
            "artifacts": {name: {"artifactType": DATASET} for name in input_artifacts},
        },
        "outputDefinitions": {"parameters": parameters(output_types or {})},
    }


def task(
    component: str,
    *,
    name: str = "",
    inputs: Json | None = None,
    artifacts: Json | None = None,
    condition: str = "",
    cache: bool = False,
    items: str | None = None,
    items_from: str | None = None,
    item_input: str = "item",
    depends: tuple[str, ...] = (),
    strategy: str = "",
) -> Json:
    """A task of a DAG."""
    spec: Json = {
        "taskInfo": {"name": name or component.removeprefix("comp-")},
        "componentRef": {"name": component},
        "inputs": {"parameters": inputs or {}, "artifacts": artifacts or {}},
        "dependentTasks": list(depends),
        "cachingOptions": {"enableCache": cache},
    }
    if condition or strategy:
        spec["triggerPolicy"] = {"condition": condition, **({"strategy": strategy} if strategy else {})}
    if items is not None:
        spec["parameterIterator"] = {"items": {"raw": items}, "itemInput": item_input}
    if items_from is not None:
        spec["parameterIterator"] = {"items": {"inputParameter": items_from}, "itemInput": item_input}
    return spec


def pipeline(
    tasks: Json,
    components: Json,
    *,
    name: str = "demo",
    inputs: Mapping[str, str] | None = None,
    outputs: Json | None = None,
    output_types: Mapping[str, str] | None = None,
    images: Mapping[str, str] | None = None,
) -> Json:
    """A PipelineSpec; every leaf component gets an executor, with the image named for its label."""
    labels = [spec["executorLabel"] for spec in components.values() if "executorLabel" in spec]
    executors = {
        label: {
            "container": {
                "image": (images or {}).get(label, "python:3.11"),
                "command": ["python3", "-m", label],
                "args": ["--executor_input", "{{$}}"],
            }
        }
        for label in labels
    }
    return {
        "pipelineInfo": {"name": name},
        "schemaVersion": "2.1.0",
        "sdkVersion": "kfp-2.17.0",
        "deploymentSpec": {"executors": executors},
        "components": components,
        "root": dag(tasks, inputs=inputs, outputs=outputs, output_types=output_types),
    }


def constant(value: Any) -> Json:
    """An input that is given in the spec."""
    return {"runtimeValue": {"constant": value}}


def from_parent(name: str) -> Json:
    """An input that the enclosing DAG hands down."""
    return {"componentInputParameter": name}


def from_task(name: str, key: str = "Output") -> Json:
    """An input that a sibling puts out."""
    return {"taskOutputParameter": {"producerTask": name, "outputParameterKey": key}}


def artifact_from_task(name: str, key: str) -> Json:
    """An input artifact that a sibling puts out."""
    return {"taskOutputArtifact": {"producerTask": name, "outputArtifactKey": key}}


def output_of(name: str, key: str = "Output") -> Json:
    """A DAG output parameter taken from a task inside."""
    return {"valueFromParameter": {"producerSubtask": name, "outputParameterKey": key}}


CREATE_CLAIM = leaf(
    "exec-createpvc",
    inputs={
        "access_modes": "LIST",
        "size": "STRING",
        "pvc_name": "STRING",
        "pvc_name_suffix": "STRING",
        "storage_class_name": "STRING",
    },
    outputs={"name": "STRING"},
)
DELETE_CLAIM = leaf("exec-deletepvc", inputs={"pvc_name": "STRING"})
PLATFORM_IMAGES = {"exec-createpvc": "argostub/createpvc", "exec-deletepvc": "argostub/deletepvc"}


def claims(*, condition: str = "", cache: bool = False, **values: Any) -> Json:
    """Create a claim, then delete it."""
    given = {"access_modes": ["ReadWriteOnce"], "size": "5Gi", "storage_class_name": "fast", **values}
    definitions = CREATE_CLAIM["inputDefinitions"]["parameters"]
    optional = {name: {**declared, "isOptional": True} for name, declared in definitions.items()}
    create = {**CREATE_CLAIM, "inputDefinitions": {"parameters": optional}}
    return pipeline(
        {
            "createpvc": task(
                "comp-createpvc",
                inputs={key: constant(value) for key, value in given.items()},
                condition=condition,
                cache=cache,
            ),
            "deletepvc": task(
                "comp-deletepvc",
                inputs={"pvc_name": from_task("createpvc", "name")},
                depends=("createpvc",),
                cache=True,
            ),
        },
        {"comp-createpvc": create, "comp-deletepvc": DELETE_CLAIM},
        images=PLATFORM_IMAGES,
    )

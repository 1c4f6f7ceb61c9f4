"""Small pipeline specs, built the way the KFP SDK lays out its DAGs."""

from typing import Any

Document = dict[str, Any]


def leaf(
    *, outputs: dict[str, str] | None = None, artifacts: tuple[str, ...] = (), image: str = "python"
) -> Document:
    """A container component with output parameters (name to type) and output artifacts."""
    definitions: Document = {}
    if outputs:
        definitions["parameters"] = {name: {"parameterType": kind} for name, kind in outputs.items()}
    if artifacts:
        definitions["artifacts"] = {
            name: {"artifactType": {"schemaTitle": "system.Model"}} for name in artifacts
        }
    return {"executorLabel": image, **({"outputDefinitions": definitions} if definitions else {})}


def task(
    component: str, *, after: tuple[str, ...] = (), uses: dict[str, str] | None = None, **fields: Any
) -> Document:
    """A task of ``component`` after others, using output parameters (producer to key) of others."""
    inputs = {
        f"in-{producer}": {"taskOutputParameter": {"producerTask": producer, "outputParameterKey": key}}
        for producer, key in (uses or {}).items()
    }
    return {
        "componentRef": {"name": component},
        **({"dependentTasks": list(after)} if after else {}),
        **({"inputs": {"parameters": inputs}} if inputs else {}),
        **fields,
    }


def loop(component: str, **fields: Any) -> Document:
    """A ParallelFor over a literal list."""
    return task(component, parameterIterator={"items": {"raw": "[1, 2]"}, "itemInput": "item"}, **fields)


def condition(component: str, **fields: Any) -> Document:
    """A condition branch."""
    return task(component, triggerPolicy={"condition": "true"}, **fields)


def hook(component: str, **fields: Any) -> Document:
    """An exit task."""
    return task(component, triggerPolicy={"strategy": "ALL_UPSTREAM_TASKS_COMPLETED"}, **fields)


def dag(
    tasks: dict[str, Document],
    *,
    outputs: dict[str, tuple[str, list[tuple[str, str]]]] | None = None,
    artifacts: dict[str, list[tuple[str, str]]] | None = None,
    is_artifact_list: bool = False,
) -> Document:
    """A DAG component; outputs are name to (type, [(subtask, key), …]), artifacts name to such pairs."""
    component: Document = {"dag": {"tasks": tasks}}
    selectors: Document = {}
    definitions: Document = {}
    for name, (kind, pairs) in (outputs or {}).items():
        chosen = [{"producerSubtask": subtask, "outputParameterKey": key} for subtask, key in pairs]
        source: Document = {"valueFromParameter": chosen[0]}
        if len(chosen) > 1:
            source = {"valueFromOneof": {"parameterSelectors": chosen}}
        selectors.setdefault("parameters", {})[name] = source
        definitions.setdefault("parameters", {})[name] = {"parameterType": kind}
    for name, pairs in (artifacts or {}).items():
        selectors.setdefault("artifacts", {})[name] = {
            "artifactSelectors": [
                {"producerSubtask": subtask, "outputArtifactKey": key} for subtask, key in pairs
            ]
        }
        definitions.setdefault("artifacts", {})[name] = {
            "artifactType": {"schemaTitle": "system.Model"},
            "isArtifactList": is_artifact_list,
        }
    if definitions:
        component["dag"]["outputs"] = selectors
        component["outputDefinitions"] = definitions
    return component


def pipeline(root: Document, components: dict[str, Document] | None = None) -> Document:
    """A whole spec."""
    known = components or {}
    labels = {component["executorLabel"] for component in known.values() if "executorLabel" in component}
    return {
        "schemaVersion": "2.1.0",
        "sdkVersion": "kfp-2.17.0",
        "pipelineInfo": {"name": "test"},
        "root": root,
        "components": known,
        "deploymentSpec": {"executors": {label: {"container": {"image": label}} for label in sorted(labels)}},
    }

"""A workflow ready to run: loaded, checked as a whole, and with its globals (spec LAUNCHER E1, E3.1)."""

import json
import secrets
import string
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from graphlib import CycleError, TopologicalSorter
from typing import Any, Final

from local_stack.runner.depends import Depends, parse_depends
from local_stack.runner.driver_containers import is_driver_container
from local_stack.runner.errors import ExpressionSyntaxError, UnsupportedWorkflowError
from local_stack.runner.nodes import NodeType
from local_stack.runner.substitution import item_text
from local_stack.runner.workflow_fields import check_workflow

_SUFFIX_LENGTH: Final = 5
_SUFFIX_ALPHABET: Final = string.ascii_lowercase + string.digits


class TemplateKind(Enum):
    """What a template does; the value is the type of the node that it makes."""

    DAG = NodeType.DAG
    PLUGIN = NodeType.PLUGIN
    HTTP = NodeType.HTTP
    POD = NodeType.POD
    SUSPEND = NodeType.SUSPEND


_KINDS: Final[Mapping[str, TemplateKind]] = {
    "dag": TemplateKind.DAG,
    "container": TemplateKind.POD,
    "plugin": TemplateKind.PLUGIN,
    "http": TemplateKind.HTTP,
    "suspend": TemplateKind.SUSPEND,
}


@dataclass(frozen=True)
class Template:
    """One template; ``document`` is as in the manifest, with all tags.

    A driver container counts as a plugin template, ``driver_container`` then says so.
    """

    name: str
    kind: TemplateKind
    document: Mapping[str, Any]
    driver_container: bool = False


@dataclass(frozen=True, kw_only=True)
class Workflow:
    """A checked workflow. ``parallelism`` and ``deadline_seconds`` are ``None`` when unlimited."""

    name: str
    namespace: str
    uid: str
    created: datetime
    document: Mapping[str, Any]
    templates: Mapping[str, Template]
    entrypoint: str
    exit_template: str | None
    exit_arguments: Mapping[str, Any]
    parallelism: int | None
    deadline_seconds: float | None
    volume_claims: tuple[str, ...]
    ignored_fields: tuple[str, ...]

    @property
    def spec(self) -> Mapping[str, Any]:
        """The manifest's ``spec``."""
        found: Mapping[str, Any] = self.document["spec"]
        return found

    @property
    def arguments(self) -> dict[str, str]:
        """Workflow arguments as text."""
        return _parameter_values(self.spec.get("arguments"))

    def global_values(self) -> dict[str, str]:
        """Variables that every pass knows, by tag."""
        metadata = self.document.get("metadata") or {}
        arguments = self.arguments
        values = {
            "workflow.name": self.name,
            "workflow.uid": self.uid,
            "workflow.namespace": self.namespace,
            "workflow.serviceAccountName": str(self.spec.get("serviceAccountName") or ""),
            "workflow.creationTimestamp": self.created.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "workflow.parameters": (
                listing := json.dumps([{"name": k, "value": v} for k, v in arguments.items()])
            ),
            "workflow.parameters.json": listing,
        }
        values |= {f"workflow.parameters.{name}": value for name, value in arguments.items()}
        for field in ("labels", "annotations"):
            for key, value in (metadata.get(field) or {}).items():
                values[f"workflow.{field}.{key}"] = str(value)
        return values


def load_workflow(document: Mapping[str, Any], *, run_id: str = "", name: str | None = None) -> Workflow:
    """Check a Workflow manifest and make it runnable.

    Args:
        document: the manifest; it is not changed.
        run_id: becomes the workflow's uid; the manifest's own uid, if it has one, wins.
        name: workflow name; default ``metadata.name``, else ``generateName`` with a random suffix.

    Raises:
        UnsupportedWorkflowError: names what the runner does not execute, or what is wrong.
    """
    ignored = check_workflow(document)
    metadata, spec = document.get("metadata") or {}, document["spec"]
    templates: dict[str, Template] = {}
    for item in spec.get("templates") or ():
        template = _template(item)
        if template.name in templates:
            raise UnsupportedWorkflowError(f"spec.templates[{template.name}]", "is defined twice")
        templates[template.name] = template
    hook = (spec.get("hooks") or {}).get("exit") or {}
    workflow = Workflow(
        name=name or metadata.get("name") or generated_name(metadata.get("generateName") or "workflow-"),
        namespace=metadata.get("namespace") or "default",
        uid=metadata.get("uid") or run_id,
        created=datetime.now(UTC),
        document=document,
        templates=templates,
        entrypoint=spec.get("entrypoint") or "",
        exit_template=spec.get("onExit") or hook.get("template"),
        exit_arguments={} if spec.get("onExit") else hook.get("arguments") or {},
        parallelism=spec.get("parallelism"),
        deadline_seconds=spec.get("activeDeadlineSeconds"),
        volume_claims=tuple(
            claim.get("metadata", {}).get("name", "") for claim in spec.get("volumeClaimTemplates") or ()
        ),
        ignored_fields=ignored,
    )
    _check_references(workflow)
    return workflow


def generated_name(prefix: str) -> str:
    """``prefix`` and five random characters, as Kubernetes makes names."""
    return prefix + "".join(secrets.choice(_SUFFIX_ALPHABET) for _ in range(_SUFFIX_LENGTH))


def task_depends(task: Mapping[str, Any]) -> Depends:
    """What a task waits for: its ``depends``, or the older list ``dependencies``."""
    if task.get("dependencies"):
        if task.get("depends"):
            raise ExpressionSyntaxError("depends and dependencies exclude each other")
        return parse_depends(" && ".join(task["dependencies"]))
    return parse_depends(task.get("depends") or "")


def _parameter_values(arguments: Mapping[str, Any] | None) -> dict[str, str]:
    return {
        parameter["name"]: item_text(parameter["value"])
        for parameter in (arguments or {}).get("parameters") or ()
        if parameter.get("value") is not None
    }


def _template(document: Mapping[str, Any]) -> Template:
    name = document.get("name") or ""
    where = f"spec.templates[{name}]"
    if not name:
        raise UnsupportedWorkflowError("spec.templates[].name", "is missing")
    kinds = [kind for kind in _KINDS if document.get(kind) is not None]
    if len(kinds) != 1:
        raise UnsupportedWorkflowError(where, f"has {len(kinds)} of {', '.join(_KINDS)} instead of one")
    if kinds == ["plugin"] and len(document["plugin"]) != 1:
        raise UnsupportedWorkflowError(f"{where}.plugin", "must have exactly one key")
    if is_driver_container(document):
        return Template(name, TemplateKind.PLUGIN, document, driver_container=True)
    if kinds in (["container"], ["http"]):
        for parameter in (document.get("outputs") or {}).get("parameters") or ():
            raise UnsupportedWorkflowError(f"{where}.outputs.parameters[{parameter.get('name')}]")
    return Template(name, _KINDS[kinds[0]], document)


def _check_references(workflow: Workflow) -> None:
    def known(name: object, where: str) -> None:
        if name not in workflow.templates:
            raise UnsupportedWorkflowError(where, f"names template {name!r}, which does not exist")

    known(workflow.entrypoint, "spec.entrypoint")
    if workflow.exit_template is not None:
        known(workflow.exit_template, "spec.onExit")
    for template in workflow.templates.values():
        where = f"spec.templates[{template.name}].dag.tasks"
        tasks = (template.document.get("dag") or {}).get("tasks") or []
        _check_dependencies(tasks, where)
        for target in ((template.document.get("dag") or {}).get("target") or "").split():
            if "{{" not in target and target not in {task["name"] for task in tasks}:
                raise UnsupportedWorkflowError(
                    f"spec.templates[{template.name}].dag.target",
                    f"names task {target!r}, which does not exist",
                )
        for task in tasks:
            known(task.get("template"), f"{where}[{task['name']}].template")
            hook = (task.get("hooks") or {}).get("exit")
            if hook:
                known(hook.get("template"), f"{where}[{task['name']}].hooks.exit.template")


def _check_dependencies(tasks: Iterable[Mapping[str, Any]], where: str) -> None:
    waits: dict[str, frozenset[str]] = {}
    for task in tasks:
        name = task.get("name") or ""
        if not name or name in waits:
            raise UnsupportedWorkflowError(f"{where}[{name}].name", "is empty or used twice")
        try:
            waits[name] = task_depends(task).tasks
        except ExpressionSyntaxError as error:
            raise UnsupportedWorkflowError(f"{where}[{name}].depends", f"is wrong: {error}") from error
    for name, others in waits.items():
        for other in sorted(others - waits.keys()):
            raise UnsupportedWorkflowError(
                f"{where}[{name}].depends", f"names task {other!r}, which does not exist"
            )
    try:
        TopologicalSorter(waits).prepare()
    except CycleError as error:
        name = min(error.args[1])
        raise UnsupportedWorkflowError(f"{where}[{name}].depends", "is part of a cycle") from error

"""What Argo demands of a Workflow, checked on plain data (spec COMPILER 15.3, suite 7).

Written from Argo's documentation of templates, DAG tasks and variables; the compiler does not use it.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

Json = dict[str, Any]

_NAME = re.compile(r"[a-zA-Z0-9][-a-zA-Z0-9]{0,127}")
_PARAMETER = re.compile(r"[-a-zA-Z0-9_]+")
_DURATION = re.compile(r"([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+")
_TAG = re.compile(r"\{\{(.*?)\}\}")
_KINDS = ("container", "dag", "plugin", "steps", "script", "resource", "suspend", "data", "http")
_SOURCES = {"path", "jqFilter", "jsonPath", "parameter", "expression", "supplied"}
_KNOWN_GLOBALS = {"workflow.name", "workflow.namespace", "workflow.uid", "workflow.serviceAccountName"}


def violations(workflow: Json) -> list[str]:
    """Everything that Argo's validation or its run would stumble over."""
    spec = workflow["spec"]
    templates = {template["name"]: template for template in spec["templates"]}
    found = [
        f"template {name} occurs {count} times"
        for name, count in Counter(template["name"] for template in spec["templates"]).items()
        if count > 1
    ]
    if spec["entrypoint"] not in templates:
        found.append("the entrypoint does not exist")
    if len(templates) > 200:
        found.append("more than 200 templates")
    found += _plugins(spec.get("executorPlugins", []))
    workflow_arguments = [one["name"] for one in spec["arguments"].get("parameters", [])]
    for template in spec["templates"]:
        problems = [*_template(template), *_tags(template, workflow_arguments)]
        if "dag" in template:
            problems += _dag(template, templates)
        found += [f"template {template['name']}: {problem}" for problem in problems]
    return found


def _plugins(plugins: list[Json]) -> Iterator[str]:
    """Argo's validation of plugins that a workflow declares."""
    for plugin in plugins:
        if not plugin.get("metadata", {}).get("name"):
            yield "executor plugin metadata name is mandatory"
        container = plugin["spec"]["sidecar"]["container"]
        if not container.get("ports"):
            yield "at least one port is mandatory"
        for kind in ("requests", "limits"):
            if not container.get("resources", {}).get(kind):
                yield f"resources {kind} are mandatory"
        if not container.get("securityContext"):
            yield "security context is mandatory"
        if "/var/run/argo" in [mount["mountPath"] for mount in container.get("volumeMounts", [])]:
            yield "Argo mounts /var/run/argo itself"


def _template(template: Json) -> Iterator[str]:
    if not _NAME.fullmatch(template["name"]):
        yield "invalid name"
    kinds = [kind for kind in _KINDS if kind in template]
    if len(kinds) != 1:
        yield f"has types {kinds}"
    if len(template.get("plugin", {"one": 1})) != 1:
        yield "a plugin has exactly one key"
    yield from _parameters(template)
    if "timeout" in template and not _DURATION.fullmatch(template["timeout"]):
        yield "timeout is not a duration with unit"
    limit = template.get("retryStrategy", {}).get("limit", "0")
    if not (limit.isdecimal() or _TAG.fullmatch(limit)):
        yield "the limit of retries is neither a number nor a parameter"
    if "{{retries}}" in json.dumps(template) and "retryStrategy" not in template:
        yield "uses retries without a retryStrategy"


def _parameters(template: Json) -> Iterator[str]:
    for direction in ("inputs", "outputs"):
        names = [one["name"] for one in template[direction].get("parameters", [])]
        if len(set(names)) != len(names):
            yield f"duplicate {direction}"
        if len(names) > 500:
            yield f"more than 500 {direction}"
        for name in names:
            if not _PARAMETER.fullmatch(name):
                yield f"invalid parameter name {name}"
    for output in template["outputs"].get("parameters", []):
        if len(_SOURCES & set(output["valueFrom"])) != 1:
            yield f"output {output['name']} needs exactly one source"


def _tags(template: Json, workflow_arguments: list[str]) -> Iterator[str]:
    inputs = {one["name"] for one in template["inputs"].get("parameters", [])}
    outputs = {one["name"]: one["valueFrom"] for one in template["outputs"].get("parameters", [])}
    for tag in _TAG.findall(json.dumps(template)):
        kind, _, rest = tag.partition(".")
        match kind:
            case "inputs":
                if rest.removeprefix("parameters.") not in inputs:
                    yield f"undeclared input in {tag}"
            case "outputs":
                name = rest.removeprefix("parameters.").removesuffix(".path")
                if "path" not in outputs.get(name, {}):
                    yield f"{tag} has no path"
            case "workflow":
                argument = rest.removeprefix("parameters.")
                if tag not in _KNOWN_GLOBALS and argument not in workflow_arguments:
                    yield f"unknown {tag}"
            case "tasks" | "item" | "retries" | "$":
                pass
            case _:
                yield f"unknown tag {tag}"


def _dag(template: Json, templates: dict[str, Json]) -> Iterator[str]:
    tasks = {task["name"]: task for task in template["dag"]["tasks"]}
    if len(tasks) != len(template["dag"]["tasks"]):
        yield "duplicate task names"
    if len(tasks) > 200:
        yield "more than 200 tasks"
    if not tasks:
        yield "no tasks"
    has_depends = any("depends" in task for task in tasks.values())
    for name, task in tasks.items():
        if not _NAME.fullmatch(name) or (has_depends and name[0].isdigit()):
            yield f"invalid task name {name}"
        for target in _targets(task):
            if target not in tasks:
                yield f"{name} depends on missing {target}"
        for call in (task, *task.get("hooks", {}).values()):
            yield from _call(name, call, templates)
        yield from _variables(name, tasks, templates)


def _variables(name: str, tasks: dict[str, Json], templates: dict[str, Json]) -> Iterator[str]:
    ancestors = _ancestors(name, tasks)
    if name in ancestors:
        yield f"{name} depends on itself"
    for tag in _TAG.findall(json.dumps(tasks[name])):
        if tag == "item" and "withSequence" not in tasks[name]:
            yield f"{name} uses item outside of a loop"
        if tag.startswith("tasks."):
            yield from _task_tag(name, tag, tasks=tasks, ancestors=ancestors, templates=templates)


def _call(name: str, call: Json, templates: dict[str, Json]) -> Iterator[str]:
    called = templates.get(call["template"])
    if called is None:
        yield f"{name} calls missing template {call['template']}"
        return
    given = [one["name"] for one in call["arguments"].get("parameters", [])]
    if len(set(given)) != len(given):
        yield f"{name} passes an argument twice"
    for declared in called["inputs"].get("parameters", []):
        if "default" not in declared and declared["name"] not in given:
            yield f"{name} lacks argument {declared['name']} of {call['template']}"


def _task_tag(
    name: str, tag: str, *, tasks: dict[str, Json], ancestors: set[str], templates: dict[str, Json]
) -> Iterator[str]:
    match = re.fullmatch(r"tasks\.([^.]+)\.outputs\.parameters\.(.+)", tag)
    if match is None:
        yield f"{name}: odd tag {tag}"
        return
    producer, output = match.groups()
    if producer not in ancestors:
        yield f"{name}: {tag} is not an ancestor's output"
        return
    declared = templates[tasks[producer]["template"]]["outputs"].get("parameters", [])
    if output not in {one["name"] for one in declared}:
        yield f"{name}: {tag} is not declared"


def _targets(task: Json) -> list[str]:
    return (
        [part.removesuffix(".Succeeded") for part in task["depends"].split(" && ")]
        if "depends" in task
        else []
    )


def _ancestors(name: str, tasks: dict[str, Json]) -> set[str]:
    found: set[str] = set()
    pending = _targets(tasks[name])
    while pending:
        one = pending.pop()
        if one not in found and one in tasks:
            found.add(one)
            pending += _targets(tasks[one])
    return found

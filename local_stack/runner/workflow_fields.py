"""Which fields of an Argo Workflow the runner executes, which it may ignore, and which it refuses.

A field that is neither executed nor ignorable is refused by its path: running a workflow while leaving
out something that it asks for would give wrong results (spec LAUNCHER E1, E4). Empty values count as
absent, since serialised workflows are full of them.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

from local_stack.runner.errors import ExpressionSyntaxError, NodeError, UnsupportedWorkflowError
from local_stack.runner.expansion import LOOP_FIELDS, check_format
from local_stack.runner.http_template import check_success_condition

_POD_SETTINGS: Final = frozenset(
    {
        "affinity",
        "automountServiceAccountToken",
        "dnsConfig",
        "dnsPolicy",
        "executor",
        "hostAliases",
        "hostNetwork",
        "imagePullSecrets",
        "nodeSelector",
        "podPriorityClassName",
        "priority",
        "priorityClassName",
        "schedulerName",
        "securityContext",
        "serviceAccountName",
        "tolerations",
    }
)
IGNORED_SPEC: Final = _POD_SETTINGS | {
    "archiveLogs",
    "executorPlugins",
    "podDisruptionBudget",
    "podGC",
    "ttlStrategy",
    "volumeClaimGC",
}
IGNORED_TEMPLATE: Final = _POD_SETTINGS | {"archiveLocation"}
_SPEC: Final = frozenset(
    {
        "activeDeadlineSeconds",
        "arguments",
        "entrypoint",
        "hooks",
        "onExit",
        "parallelism",
        "podMetadata",
        "podSpecPatch",
        "templates",
        "volumeClaimTemplates",
        "volumes",
    }
)
_TEMPLATE: Final = frozenset(
    {
        "activeDeadlineSeconds",
        "container",
        "dag",
        "http",
        "initContainers",
        "inputs",
        "metadata",
        "name",
        "outputs",
        "parallelism",
        "plugin",
        "podSpecPatch",
        "retryStrategy",
        "sidecars",
        "suspend",
        "timeout",
        "volumes",
    }
)
_TASK: Final = frozenset(
    {
        "arguments",
        "dependencies",
        "depends",
        "hooks",
        "name",
        "template",
        "when",
        "withItems",
        "withParam",
        "withSequence",
    }
)
_SEQUENCE: Final = frozenset({"count", "end", "format", "start"})
_OUTPUT_SOURCES: Final = frozenset({"default", "jqFilter", "jsonPath", "parameter", "path"})
_HTTP: Final = frozenset(
    {
        "body",
        "headers",
        "insecureSkipVerify",
        "method",
        "successCondition",
        "timeoutSeconds",
        "url",
    }
)
_RETRY: Final = frozenset({"affinity", "backoff", "expression", "limit", "retryPolicy"})


def check_workflow(document: Mapping[str, Any]) -> tuple[str, ...]:
    """Refuse what cannot be executed; returns the paths of fields that will be ignored.

    Raises:
        UnsupportedWorkflowError: names the first such field.
    """
    if document.get("kind", "Workflow") != "Workflow":
        raise UnsupportedWorkflowError("kind", f"is {document['kind']}, not Workflow")
    spec = document.get("spec")
    if not isinstance(spec, dict):
        raise UnsupportedWorkflowError("spec", "is missing")
    _only(spec, _SPEC | IGNORED_SPEC, "spec")
    _only(spec.get("arguments"), ("parameters",), "spec.arguments")
    _check_hooks(spec.get("hooks"), "spec.hooks")
    ignored = [f"spec.{name}" for name in sorted(IGNORED_SPEC) if spec.get(name)]
    for index, template in enumerate(spec.get("templates") or ()):
        where = f"spec.templates[{template.get('name') or index}]"
        _check_template(template, where)
        ignored += [f"{where}.{name}" for name in sorted(IGNORED_TEMPLATE) if template.get(name)]
    # Arguments of the workflow are data.
    for path in _expression_tags({name: spec[name] for name in spec if name != "arguments"}, "spec"):
        raise UnsupportedWorkflowError(
            path, "uses a {{=…}} expression, which the local runner does not evaluate"
        )
    return tuple(ignored)


def _check_template(template: Mapping[str, Any], where: str) -> None:
    _only(template, _TEMPLATE | IGNORED_TEMPLATE, where)
    inputs, outputs = template.get("inputs"), template.get("outputs")
    _only(inputs, ("parameters",), f"{where}.inputs")
    _only(outputs, ("parameters",), f"{where}.outputs")
    for name, parameter in _named((inputs or {}).get("parameters")):
        _only(
            parameter,
            ("default", "description", "enum", "name", "value"),
            f"{where}.inputs.parameters[{name}]",
        )
    for name, parameter in _named((outputs or {}).get("parameters")):
        place = f"{where}.outputs.parameters[{name}]"
        _only(parameter, ("default", "description", "name", "value", "valueFrom"), place)
        _only(parameter.get("valueFrom"), _OUTPUT_SOURCES, f"{place}.valueFrom")
    _only(template.get("retryStrategy"), _RETRY, f"{where}.retryStrategy")
    _only(template.get("suspend"), ("duration",), f"{where}.suspend")
    if "suspend" in template and not (template["suspend"] or {}).get("duration"):
        raise UnsupportedWorkflowError(f"{where}.suspend", "without a duration waits for a person")
    if template.get("http") is not None:
        _check_http(template["http"], f"{where}.http")
    dag = template.get("dag")
    _only(dag, ("failFast", "target", "tasks"), f"{where}.dag")
    for name, task in _named((dag or {}).get("tasks")):
        place = f"{where}.dag.tasks[{name}]"
        _only(task, _TASK, place)
        _only(task.get("arguments"), ("parameters",), f"{place}.arguments")
        _check_hooks(task.get("hooks"), f"{place}.hooks")
        _check_loop(task, place)
        for key, argument in _named((task.get("arguments") or {}).get("parameters")):
            _only(argument, ("default", "name", "value"), f"{place}.arguments.parameters[{key}]")


def _check_loop(task: Mapping[str, Any], where: str) -> None:
    if len([field for field in LOOP_FIELDS if task.get(field) not in (None, [], "")]) > 1:
        raise UnsupportedWorkflowError(where, "has more than one kind of loop")
    sequence = task.get("withSequence")
    if sequence is None:
        return
    place = f"{where}.withSequence"
    _only(sequence, _SEQUENCE, place)
    if len([field for field in ("count", "end") if sequence.get(field) not in (None, "")]) != 1:
        raise UnsupportedWorkflowError(place, "must have one of count and end")
    try:
        if sequence.get("format") and "{{" not in sequence["format"]:
            check_format(sequence["format"])
    except NodeError as error:
        raise UnsupportedWorkflowError(f"{place}.format", f"is wrong: {error}") from error


def _check_http(http: Mapping[str, Any], where: str) -> None:
    _only(http, _HTTP, where)
    if not http.get("url"):
        raise UnsupportedWorkflowError(f"{where}.url", "is missing")
    for field, kind in (("timeoutSeconds", int), ("insecureSkipVerify", bool)):
        if http.get(field) is not None and type(http[field]) is not kind:
            raise UnsupportedWorkflowError(f"{where}.{field}", f"is not of type {kind.__name__}")
    for index, header in enumerate(http.get("headers") or ()):
        place = f"{where}.headers[{header.get('name', index)}]"
        if not header.get("name"):
            raise UnsupportedWorkflowError(f"{place}.name", "is missing")
        _only(header, ("name", "value", "valueFrom"), place)
        source = header.get("valueFrom") or {}
        _only(source, ("secretKeyRef",), f"{place}.valueFrom")
        _only(source.get("secretKeyRef"), ("key", "name", "optional"), f"{place}.valueFrom.secretKeyRef")
    try:
        check_success_condition(http.get("successCondition") or "")
    except ExpressionSyntaxError as error:
        reason = f"cannot be evaluated: {error}"
        raise UnsupportedWorkflowError(f"{where}.successCondition", reason) from error


def _check_hooks(hooks: Mapping[str, Any] | None, where: str) -> None:
    _only(hooks, ("exit",), where)
    hook = (hooks or {}).get("exit")
    _only(hook, ("arguments", "template"), f"{where}.exit")
    _only((hook or {}).get("arguments"), ("parameters",), f"{where}.exit.arguments")


def _only(document: Mapping[str, Any] | None, known: Collection[str], where: str) -> None:
    for name, value in (document or {}).items():
        if name not in known and value not in (None, "", [], {}, False):
            raise UnsupportedWorkflowError(f"{where}.{name}")


def _named(items: list[dict[str, Any]] | None) -> Iterator[tuple[str, dict[str, Any]]]:
    for index, item in enumerate(items or ()):
        yield str(item.get("name", index)), item


def _expression_tags(value: Any, where: str) -> Iterator[str]:
    if isinstance(value, str):
        if "{{=" in value:
            yield where
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _expression_tags(str(key), f"{where}.{key}")
            yield from _expression_tags(item, f"{where}.{key}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            name = item.get("name", index) if isinstance(item, dict) else index
            yield from _expression_tags(item, f"{where}[{name}]")

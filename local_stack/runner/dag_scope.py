"""What the tasks of one DAG may refer to: ``{{tasks.…}}`` and the globals (spec LAUNCHER E3.2).

A task sees the tasks that it waits for, directly or not, and no others: whether another one has ended by then
is chance. A tag without a value is an error here; Argo would put the task back into its queue for ever.
"""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from local_stack.runner.depends import Depends
from local_stack.runner.errors import NodeError, SubstitutionError
from local_stack.runner.nodes import Node, Phase
from local_stack.runner.substitution import Lookup, go_json, item_text, only_tag, substitute

_TASK_TAG: Final = re.compile(r"tasks\.(?P<task>[^.]+)\.(?P<what>.+)")
_PARAMETERS: Final = "outputs.parameters"
_PARAMETER: Final = "outputs.parameters."


class DagScope:
    """Values of ``{{tasks.…}}``, from the nodes of tasks that have ended."""

    def __init__(
        self,
        tasks: Mapping[str, Mapping[str, Any]],
        depends: Mapping[str, Depends],
        templates: Mapping[str, Any],
    ) -> None:
        """Prepare an empty scope.

        Args:
            tasks: the DAG's tasks, by name.
            depends: what each task waits for.
            templates: template documents by name, for the declared defaults of outputs.
        """
        self._tasks = tasks
        self._depends = depends
        self._templates = templates
        self._nodes: dict[str, Node] = {}
        self._iterations: dict[str, Sequence[Node]] = {}
        self._ancestors: dict[str, frozenset[str]] = {}

    def ended(self, task: str, node: Node, iterations: Sequence[Node] | None) -> None:
        """Note how a task ended; ``iterations`` are the nodes of a loop."""
        self._nodes[task] = node
        self.ancestors(task)
        if iterations is not None:
            self._iterations[task] = iterations

    def ancestors(self, task: str) -> frozenset[str]:
        """The tasks that a task waits for, directly or not; they must have ended."""
        if task not in self._ancestors:
            direct = self._depends[task].tasks
            self._ancestors[task] = direct.union(*(self._ancestors[other] for other in direct))
        return self._ancestors[task]

    def of_task(self, task: str, global_values: Mapping[str, str]) -> Lookup:
        """What a task may refer to."""
        return self._lookup(f"task {task}", self.ancestors(task), global_values)

    def of_hook(self, task: str, node: Node, global_values: Mapping[str, str]) -> Lookup:
        """What the exit hook of a task may refer to: its task too, which ended as ``node`` says."""
        outer = self._lookup(f"the exit hook of {task}", self.ancestors(task), global_values)

        def lookup(tag: str) -> str | None:
            match = _TASK_TAG.fullmatch(tag)
            own = _node_value(node, match["what"]) if match and match["task"] == task else None
            return outer(tag) if own is None else own

        return lookup

    def of_outputs(self, global_values: Mapping[str, str]) -> Lookup:
        """What the outputs of the DAG itself may refer to: every task that ran."""
        return self._lookup("the DAG's outputs", frozenset(self._nodes), global_values)

    def is_absent(self, tag: str) -> bool:
        """Whether a tag names an output that a task declares, did not produce, and has no default for."""
        match = _TASK_TAG.fullmatch(tag)
        node = self._nodes.get(match["task"]) if match else None
        if match is None or node is None or node.phase.completed:
            return False
        declared, default = self._declared(match["task"], match["what"])
        return declared and default is None

    def arguments(self, document: Mapping[str, Any] | None, scope: Lookup) -> dict[str, str]:
        """Arguments as text; one that only names an output which its producer skipped is left out."""
        values: dict[str, str] = {}
        for parameter in (document or {}).get("parameters") or ():
            default, value = parameter.get("default"), parameter.get("value")
            text = None if value is None else item_text(value)
            if text is not None:
                tag = only_tag(text)
                if tag is not None and self.is_absent(tag):
                    text = None
            if text is not None:
                values[parameter["name"]] = substitute(text, scope)
            elif default is not None:
                values[parameter["name"]] = item_text(default)
        return values

    def _lookup(self, reader: str, known: frozenset[str], global_values: Mapping[str, str]) -> Lookup:
        def lookup(tag: str) -> str | None:
            match = _TASK_TAG.fullmatch(tag)
            if match is None:
                return global_values.get(tag)
            task = match["task"]
            if task not in known:
                raise SubstitutionError(
                    f"{reader} references {{{{{tag}}}}} which was not produced: it does not wait for task "
                    f"{task}; name it in depends"
                )
            found = self._value(task, match["what"])
            if found is None:
                raise SubstitutionError(
                    f"{reader} references {{{{{tag}}}}} which was not produced; in a cluster, "
                    "Argo would wait for it for ever"
                )
            return found

        return lookup

    def _value(self, task: str, what: str) -> str | None:
        node = self._nodes[task]
        if task in self._iterations and (what == "outputs.result" or what.startswith(_PARAMETERS)):
            return _collected(self._iterations[task], what)
        if what.startswith("outputs.") and not node.phase.completed:
            return self._declared(task, what)[1]
        return _node_value(node, what)

    def _declared(self, task: str, what: str) -> tuple[bool, str | None]:
        """Whether a task's template declares an output, and what it is when the task is skipped."""
        outputs = self._templates[self._tasks[task]["template"]].get("outputs") or {}
        for parameter in outputs.get("parameters") or ():
            if what == _PARAMETER + parameter["name"]:
                default = (parameter.get("valueFrom") or {}).get("default")
                return True, None if default is None else item_text(default)
        return False, None


def _node_value(node: Node, what: str) -> str | None:
    """A value of one node; ``None`` when it has none of that name."""
    if what.startswith(_PARAMETER):
        return node.outputs.get(what.removeprefix(_PARAMETER))
    if what == "outputs.result":
        return node.result
    values = {
        "id": node.id,
        "status": node.phase.value,
        "startedAt": _seconds(node.started),
        "finishedAt": _seconds(node.finished) if node.finished else None,
        "exitCode": None if node.exit_code is None else str(node.exit_code),
    }
    return values.get(what)


def _collected(iterations: Sequence[Node], what: str) -> str | None:
    """Outputs of a loop as JSON: those of its succeeded iterations, in order.

    Raises:
        NodeError: a result is no JSON.
    """
    ran = [one for one in iterations if one.phase is Phase.SUCCEEDED]
    if what == _PARAMETERS:
        return go_json([one.outputs for one in ran if one.outputs])
    if what == "outputs.result":
        try:
            return go_json([json.loads(one.result) for one in ran if one.result is not None])
        except json.JSONDecodeError as error:
            raise NodeError(f"a result of the loop is no JSON, so they cannot be listed: {error}") from error
    name = what.removeprefix(_PARAMETER)
    texts = [one.outputs[name] for one in ran if name in one.outputs]
    if not texts:
        return None
    parsed = [_parsed(text) for text in texts]
    return go_json(parsed if all(isinstance(one, (dict, list)) for one in parsed) else texts)


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return None


def _seconds(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")

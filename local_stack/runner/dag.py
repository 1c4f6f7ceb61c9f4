"""One running DAG: order of its tasks, loops, conditions, exit hooks and result (spec LAUNCHER E3.5, E3.7).

Every task is a coroutine that waits for the tasks it depends on. Nothing is cancelled when a task
fails: independent branches run to their end, as in Argo, and the DAG waits for every node and hook.
"""

import asyncio
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

from local_stack.runner.depends import TaskOutcome
from local_stack.runner.errors import NodeError, SubstitutionError
from local_stack.runner.expansion import LOOP_FIELDS, loop_items
from local_stack.runner.nodes import Node, NodeType, Phase, iteration_task_name
from local_stack.runner.substitution import (
    Lookup,
    item_lookup,
    item_text,
    only_tag,
    strict,
    substitute,
)
from local_stack.runner.when import should_execute
from local_stack.runner.workflow import task_depends

NOT_MET: Final = "omitted: depends condition not met"
NO_ITEMS: Final = "Skipped, empty params"
_TASK_TAG: Final = re.compile(r"tasks\.(?P<task>[^.]+)\.(?P<what>.+)")
_PARAMETER: Final = "outputs.parameters."


@dataclass(frozen=True)
class Boundary:
    """The DAG node in which nodes start.

    ``slots`` limits its direct DAG and pod children (``None``: no limit); ``exit_hook`` says that the
    DAG belongs to an exit hook, which a deadline does not stop.
    """

    node: Node | None = None
    slots: asyncio.Semaphore | None = None
    exit_hook: bool = False


@dataclass(frozen=True, kw_only=True)
class TemplateCall:
    """One use of a template: the node's name, and arguments as text.

    ``parent`` is the node that lists the new one as its child; default is the boundary's node.
    """

    name: str
    template: str
    arguments: Mapping[str, str]
    boundary: Boundary
    parent: Node | None = None
    hooked: bool = False


class DagHost(Protocol):
    """What a DAG needs of the engine."""

    @property
    def hooks_allowed(self) -> bool:
        """Whether exit hooks still run; not after a termination."""

    def global_values(self) -> Mapping[str, str]:
        """Variables that every pass knows."""

    def template_document(self, name: str) -> Mapping[str, Any]:
        """A template as it is in the manifest."""

    def open_node(
        self,
        name: str,
        kind: NodeType,
        *,
        boundary: Boundary,
        parent: Node | None = None,
        template: str = "",
    ) -> Node:
        """Add a node that has started."""

    def close_node(self, node: Node, phase: Phase, message: str = "") -> Node:
        """End a node."""

    async def run_template(self, call: TemplateCall) -> Node:
        """Run a template to its end; the returned node is fulfilled."""


class DagRun:
    """One run of a DAG template whose inputs are substituted."""

    def __init__(self, host: DagHost, document: Mapping[str, Any], boundary: Boundary) -> None:
        assert boundary.node is not None, "a DAG runs inside its own node"
        self._host = host
        self._boundary = boundary
        self._name = boundary.node.name
        self._document = document
        self._tasks: dict[str, Mapping[str, Any]] = {task["name"]: task for task in document["dag"]["tasks"]}
        self._depends = {name: task_depends(task) for name, task in self._tasks.items()}
        self._ended = {name: asyncio.Event() for name in self._tasks}
        self._nodes: dict[str, Node] = {}
        self._iterations: dict[str, list[Node]] = {}

    async def run(self) -> Phase:
        """Run all tasks; returns the phase of the DAG."""
        async with asyncio.TaskGroup() as group:
            for task in self._tasks.values():
                group.create_task(self._run_task(task))
        return self._result()

    def outputs(self) -> dict[str, str]:
        """The template's outputs with ``valueFrom.parameter``, computed after success.

        Raises:
            NodeError: an output refers to something that was not produced.
        """
        found: dict[str, str] = {}
        for parameter in (self._document.get("outputs") or {}).get("parameters") or ():
            source = parameter.get("valueFrom") or {}
            if source.get("parameter") is not None:
                tag = only_tag(source["parameter"])
                if tag is not None and self._is_absent(tag) and source.get("default") is not None:
                    found[parameter["name"]] = item_text(source["default"])
                else:
                    found[parameter["name"]] = substitute(source["parameter"], self._scope(self._name))
        return found

    async def _run_task(self, task: Mapping[str, Any]) -> None:
        name = task["name"]
        node = await self._execute(task)
        self._nodes[name] = node
        hook = (task.get("hooks") or {}).get("exit")
        if hook and node.phase.completed and self._host.hooks_allowed:
            await self._run_hook(f"{node.name}.onExit", hook)
        self._ended[name].set()

    async def _execute(self, task: Mapping[str, Any]) -> Node:
        name = task["name"]
        depends = self._depends[name]
        for other in sorted(depends.tasks):
            await self._ended[other].wait()
        if not depends.satisfied(self._outcome):
            return self._settled(name, Phase.OMITTED, NOT_MET)
        try:
            scope = self._scope(name)
            if any(task.get(field) is not None for field in LOOP_FIELDS):
                return await self._run_loop(task, scope)
            when = substitute(task.get("when") or "", scope)
            if not should_execute(when):
                return self._settled(name, Phase.SKIPPED, f"when '{when}' evaluated false")
            return await self._start(name, task["template"], self._arguments(task, scope))
        except NodeError as error:
            return self._settled(name, Phase.ERROR, str(error))

    async def _run_loop(self, task: Mapping[str, Any], scope: Lookup) -> Node:
        name = task["name"]
        when = substitute(task.get("when") or "", scope)
        skipped = "{{" not in when and not should_execute(when)
        items = loop_items(substitute({field: task.get(field) for field in LOOP_FIELDS}, scope))
        if skipped or not items:
            return self._settled(name, Phase.SKIPPED, NO_ITEMS)
        group_node = self._host.open_node(
            f"{self._name}.{name}", NodeType.TASK_GROUP, boundary=self._boundary
        )
        arguments = self._arguments(task, scope)
        async with asyncio.TaskGroup() as group:
            running = [
                group.create_task(self._run_iteration(task, (index, item), when, arguments, group_node))
                for index, item in enumerate(items)
            ]
        nodes = [one.result() for one in running]
        self._iterations[name] = nodes
        failed = [node.phase for node in nodes if node.phase.failed]
        return self._host.close_node(group_node, failed[-1] if failed else Phase.SUCCEEDED)

    async def _run_iteration(
        self,
        task: Mapping[str, Any],
        position: tuple[int, Any],
        when: str,
        arguments: Mapping[str, str],
        group: Node,
    ) -> Node:
        index, item = position
        name = iteration_task_name(task["name"], index, item_text(item))
        lookup = strict(item_lookup(item))
        try:
            condition = substitute(when, lookup)
            if not should_execute(condition):
                return self._settled(name, Phase.SKIPPED, f"when '{condition}' evaluated false", group)
            values = substitute(dict(arguments), lookup)
        except NodeError as error:
            return self._settled(name, Phase.ERROR, str(error), group)
        return await self._start(name, task["template"], values, group)

    async def _start(
        self, name: str, template: str, arguments: Mapping[str, str], parent: Node | None = None
    ) -> Node:
        return await self._host.run_template(
            TemplateCall(
                name=f"{self._name}.{name}",
                template=template,
                arguments=arguments,
                boundary=self._boundary,
                parent=parent,
            )
        )

    async def _run_hook(self, name: str, hook: Mapping[str, Any]) -> None:
        boundary = replace(self._boundary, exit_hook=True)
        try:
            arguments = self._arguments(hook, self._scope(name))
        except NodeError as error:
            node = self._host.open_node(name, NodeType.SKIPPED, boundary=boundary)
            node.hooked = True
            self._host.close_node(node, Phase.ERROR, str(error))
            return
        await self._host.run_template(
            TemplateCall(
                name=name, template=hook["template"], arguments=arguments, boundary=boundary, hooked=True
            )
        )

    def _settled(self, task_name: str, phase: Phase, message: str, parent: Node | None = None) -> Node:
        """A node that never ran."""
        name = f"{self._name}.{task_name}"
        node = self._host.open_node(name, NodeType.SKIPPED, boundary=self._boundary, parent=parent)
        return self._host.close_node(node, phase, message)

    def _outcome(self, task: str) -> TaskOutcome:
        iterations = self._iterations.get(task)
        phases = None if iterations is None else tuple(node.phase for node in iterations)
        return TaskOutcome(self._nodes[task].phase, phases)

    def _arguments(self, task: Mapping[str, Any], scope: Lookup) -> dict[str, str]:
        """Arguments as text; one that only names an output which its producer skipped is left out."""
        values: dict[str, str] = {}
        for parameter in (task.get("arguments") or {}).get("parameters") or ():
            default, value = parameter.get("default"), parameter.get("value")
            text = None if value is None else item_text(value)
            if text is not None:
                tag = only_tag(text)
                if tag is not None and self._is_absent(tag):
                    text = None
            if text is not None:
                values[parameter["name"]] = substitute(text, scope)
            elif default is not None:
                values[parameter["name"]] = item_text(default)
        return values

    def _is_absent(self, tag: str) -> bool:
        match = _TASK_TAG.fullmatch(tag)
        node = self._nodes.get(match["task"]) if match else None
        if match is None or node is None or node.phase.completed or not match["what"].startswith("outputs."):
            return False
        return self._default(match["task"], match["what"]) is None

    def _scope(self, reader: str) -> Lookup:
        global_values = self._host.global_values()

        def lookup(tag: str) -> str | None:
            match = _TASK_TAG.fullmatch(tag)
            if match is None or tag == "tasks.name":
                return global_values.get(tag)
            found = self._task_value(match["task"], match["what"])
            if found is None:
                raise SubstitutionError(f"task {reader} references {{{{{tag}}}}} which was not produced")
            return found

        return lookup

    def _task_value(self, task: str, what: str) -> str | None:
        node = self._nodes.get(task)
        if node is None:
            return None
        if what in ("status", "id"):
            return node.phase.value if what == "status" else node.id
        if not node.phase.completed:
            return self._default(task, what)
        if task in self._iterations:
            key = what.removeprefix(_PARAMETER)
            return json.dumps([one.outputs.get(key) for one in self._iterations[task]])
        if what == "outputs.result":
            return node.result
        return node.outputs.get(what.removeprefix(_PARAMETER)) if what.startswith(_PARAMETER) else None

    def _default(self, task: str, what: str) -> str | None:
        """The declared default of an output of a task that did not run."""
        outputs = self._host.template_document(self._tasks[task]["template"]).get("outputs") or {}
        for parameter in outputs.get("parameters") or ():
            if what == _PARAMETER + parameter["name"]:
                default = (parameter.get("valueFrom") or {}).get("default", parameter.get("default"))
                return None if default is None else item_text(default)
        return None

    def _result(self) -> Phase:
        target = (self._document["dag"].get("target") or "").split()
        inner = {other for depends in self._depends.values() for other in depends.tasks}
        leaves = sorted(target) if target else sorted(self._tasks.keys() - inner)
        phases = (self._effective_phase(name) for name in leaves)
        return next((phase for phase in phases if phase.failed), Phase.SUCCEEDED)

    def _effective_phase(self, task: str) -> Phase:
        """The phase that counts for the DAG: one that did not run takes the failure of what it waited for."""
        phase = self._nodes[task].phase
        if phase.completed:
            return phase
        inherited = (self._effective_phase(other) for other in sorted(self._depends[task].tasks))
        return next((one for one in inherited if one.failed), Phase.SUCCEEDED)

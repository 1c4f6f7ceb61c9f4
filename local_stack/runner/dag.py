"""One running DAG: order of its tasks, loops, conditions, exit hooks and result (spec LAUNCHER E3.5, E3.7).

Every task is a coroutine that waits for the tasks it depends on. Nothing is cancelled when a task
fails: independent branches run to their end, as in Argo, and the DAG waits for every node and hook.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

from local_stack.runner.dag_scope import DagScope
from local_stack.runner.depends import TaskOutcome
from local_stack.runner.errors import ExpressionSyntaxError, NodeError
from local_stack.runner.expansion import LOOP_FIELDS, is_loop, item_node_text, loop_items
from local_stack.runner.nodes import Node, NodeType, Phase
from local_stack.runner.substitution import (
    Lookup,
    item_lookup,
    item_text,
    strict,
    substitute,
)
from local_stack.runner.when import should_execute
from local_stack.runner.workflow import task_depends

NOT_MET: Final = "omitted: depends condition not met"
NO_ITEMS: Final = "Skipped, empty params"


@dataclass(frozen=True)
class Boundary:
    """The DAG node in which nodes start.

    ``slots`` limits its direct DAG and pod children (``None``: no limit); ``exit_hook`` says that the
    DAG belongs to an exit hook, which a deadline does not stop; ``depth`` counts the templates around.
    """

    node: Node | None = None
    slots: asyncio.Semaphore | None = None
    exit_hook: bool = False
    depth: int = 0


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

    def template_documents(self) -> Mapping[str, Mapping[str, Any]]:
        """Templates by name, as they are in the manifest."""

    def workflow_arguments(self) -> Mapping[str, str]:
        """Arguments of the workflow, which exit hooks without arguments get."""

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


@dataclass(frozen=True)
class _Iteration:
    """One expanded task; ``arguments`` is ``None`` when its ``when`` is false before it is expanded."""

    name: str
    when: str
    arguments: Mapping[str, str] | None


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
        self._scope = DagScope(self._tasks, self._depends, host.template_documents())
        self._outcomes: dict[str, TaskOutcome] = {}
        self._effective: dict[str, Phase] = {}

    async def run(self) -> Phase:
        """Run the targets and all that they wait for; returns the phase of the DAG.

        Raises:
            NodeError: a target does not exist.
        """
        targets = self._targets()
        async with asyncio.TaskGroup() as group:
            for name in self._wanted(targets):
                group.create_task(self._run_task(self._tasks[name]))
        failed = [phase for phase in (self._effective[name] for name in targets) if phase.failed]
        if not failed:
            return Phase.SUCCEEDED
        # Failing fast only chooses the failure that counts: every task that was started has ended.
        return failed[-1] if self._document["dag"].get("failFast") is False else failed[0]

    def outputs(self) -> dict[str, str]:
        """The template's outputs with ``valueFrom.parameter``, computed after success.

        Raises:
            NodeError: an output refers to something that was not produced.
        """
        found: dict[str, str] = {}
        scope = self._scope.of_outputs(self._host.global_values())
        for parameter in (self._document.get("outputs") or {}).get("parameters") or ():
            source = parameter.get("valueFrom") or {}
            if source.get("parameter") is None:
                continue
            try:
                found[parameter["name"]] = substitute(source["parameter"], scope)
            except NodeError:
                if source.get("default") is None:
                    raise
                found[parameter["name"]] = item_text(source["default"])
        return found

    def _targets(self) -> Sequence[str]:
        """The tasks whose phases make the DAG's: those that it names, or those that nothing waits for."""
        target = (self._document["dag"].get("target") or "").split()
        for name in target:
            if name not in self._tasks:
                raise NodeError(f"dag.target names task {name!r}, which does not exist")
        inner = {other for depends in self._depends.values() for other in depends.tasks}
        return target or sorted(self._tasks.keys() - inner)

    def _wanted(self, targets: Sequence[str]) -> Sequence[str]:
        found, waiting = set(targets), list(targets)
        while waiting:
            more = self._depends[waiting.pop()].tasks - found
            found |= more
            waiting += more
        return [name for name in self._tasks if name in found]

    async def _run_task(self, task: Mapping[str, Any]) -> None:
        name, depends = task["name"], self._depends[task["name"]]
        for other in sorted(depends.tasks):
            await self._ended[other].wait()
        node, iterations = await self._execute(task)
        self._scope.ended(name, node, iterations)
        phases = None if iterations is None else tuple(one.phase for one in iterations)
        self._outcomes[name] = TaskOutcome(node.phase, phases)
        self._effective[name] = self._effective_phase(name, node.phase)
        await self._run_hook(task, node)
        self._ended[name].set()

    async def _execute(self, task: Mapping[str, Any]) -> tuple[Node, Sequence[Node] | None]:
        """Run a task to its end; of a loop the nodes of its iterations too."""
        name = task["name"]
        if not self._depends[name].satisfied(self._outcomes.__getitem__):
            return self._settled(name, Phase.OMITTED, NOT_MET), None
        try:
            scope = self._scope.of_task(name, self._host.global_values())
            if is_loop(task):
                return await self._run_loop(task, scope)
            when = substitute(task.get("when") or "", scope)
            if not should_execute(when):
                return self._settled(name, Phase.SKIPPED, _evaluated_false(when)), None
            arguments = self._scope.arguments(task.get("arguments"), scope)
            return await self._start(name, task["template"], arguments), None
        except NodeError as error:
            return self._settled(name, Phase.ERROR, str(error)), None

    async def _run_loop(self, task: Mapping[str, Any], scope: Lookup) -> tuple[Node, Sequence[Node] | None]:
        name = task["name"]
        iterations = self._expand(task, scope)
        if not iterations:
            return self._settled(name, Phase.SKIPPED, NO_ITEMS), None
        group_node = self._host.open_node(
            f"{self._name}.{name}", NodeType.TASK_GROUP, boundary=self._boundary
        )
        async with asyncio.TaskGroup() as group:
            running = [
                group.create_task(self._run_iteration(task, iteration, group_node))
                for iteration in iterations
            ]
        nodes = [one.result() for one in running]
        failed = [node.phase for node in nodes if node.phase.failed]
        return self._host.close_node(group_node, failed[-1] if failed else Phase.SUCCEEDED), nodes

    def _expand(self, task: Mapping[str, Any], scope: Lookup) -> Sequence[_Iteration]:
        """The iterations of a loop. Where ``when`` is false for all of them, nothing else need have a value.

        Raises:
            NodeError: the items are none, or a tag has no value.
        """
        when = substitute(task.get("when") or "", scope)
        fields = {field: task.get(field) for field in LOOP_FIELDS}
        if _is_false(when):
            try:
                items = loop_items(fields)
            except NodeError:
                items = []
            arguments = None
        else:
            items = loop_items(substitute(fields, scope))
            arguments = self._scope.arguments(task.get("arguments"), scope)
        iterations = []
        for index, item in enumerate(items or ()):
            name = f"{task['name']}({index}:{item_node_text(item)})"
            if arguments is None:
                iterations.append(_Iteration(name, when, None))
            else:
                lookup = strict(item_lookup(item))
                iterations.append(_Iteration(name, substitute(when, lookup), substitute(arguments, lookup)))
        return iterations

    async def _run_iteration(self, task: Mapping[str, Any], iteration: _Iteration, group: Node) -> Node:
        name, when = iteration.name, iteration.when
        try:
            if iteration.arguments is None or not should_execute(when):
                return self._settled(name, Phase.SKIPPED, _evaluated_false(when), group)
        except NodeError as error:
            return self._settled(name, Phase.ERROR, str(error), group)
        node = await self._start(name, task["template"], iteration.arguments, group)
        await self._run_hook(task, node)
        return node

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

    async def _run_hook(self, task: Mapping[str, Any], ended: Node) -> None:
        """Run the exit hook for what ran and ended: a task, each iteration of a loop, and the loop."""
        hook = (task.get("hooks") or {}).get("exit")
        if not hook or not ended.phase.completed or not self._host.hooks_allowed:
            return
        name = f"{ended.name}.onExit"
        boundary = replace(self._boundary, exit_hook=True)
        given = hook.get("arguments")
        try:
            if (given or {}).get("parameters"):
                scope = self._scope.of_hook(task["name"], ended, self._host.global_values())
                arguments = self._scope.arguments(given, scope)
            else:
                arguments = dict(self._host.workflow_arguments())
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

    def _effective_phase(self, task: str, phase: Phase) -> Phase:
        """The phase that counts for the DAG: one that did not run takes the failure of what it waited for."""
        if phase.completed:
            return phase
        inherited = (self._effective[other] for other in sorted(self._depends[task].tasks))
        return next((one for one in inherited if one.failed), Phase.SUCCEEDED)


def _evaluated_false(when: str) -> str:
    return f"when '{when}' evaluated false"


def _is_false(when: str) -> bool:
    """Whether a clause is false before its task is expanded; one with an item cannot be evaluated yet."""
    try:
        return not should_execute(when)
    except ExpressionSyntaxError:
        return False

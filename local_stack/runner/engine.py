"""The engine: runs a workflow's templates as Argo's controller would (spec LAUNCHER E3).

One asyncio task per node, all state on the event loop. The engine knows neither HTTP nor processes: a
:class:`PluginCaller` executes plugin and ``http`` templates, a :class:`PodRunner` executes pods. Every
node change is announced to the observer.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import Enum
from typing import Any, Final, Protocol, TypeVar

from local_stack.runner.agent import PluginCallError
from local_stack.runner.dag import Boundary, DagRun, TemplateCall
from local_stack.runner.driver_containers import as_plugin_template
from local_stack.runner.durations import parse_duration
from local_stack.runner.errors import NodeError
from local_stack.runner.nodes import Node, NodeResult, NodeType, Phase, node_id
from local_stack.runner.retry import (
    Again,
    RetryStrategy,
    decide,
    parse_retry_strategy,
    retry_variables,
)
from local_stack.runner.substitution import (
    go_json,
    has_unclosed_tag,
    input_values,
    instantiate,
    item_text,
    resolve_inputs,
    substitute,
)
from local_stack.runner.workflow import TemplateKind, Workflow

T = TypeVar("T")
Observer = Callable[[Node], None]
MAX_DEPTH: Final = 100
"""Templates inside each other, as many as Argo's controller allows by default."""

_TEMPLATE_DEADLINE: Final = "Pod was active on the node longer than the specified deadline"


class Stop(Enum):
    """Why a run was stopped; the value is the message of the nodes that it ended."""

    TERMINATED = "Stopped with strategy 'Terminate'"
    DEADLINE = "Step exceeded its deadline"


@dataclass(frozen=True, kw_only=True)
class PodRequest:
    """A pod to run: its node, the substituted template, and pod-spec patches in the order they apply.

    ``interrupted`` says that it was running when the runner was killed: it may have done its work.
    """

    node: Node
    template: Mapping[str, Any]
    patches: tuple[str, ...] = ()
    interrupted: bool = False


@dataclass(frozen=True, kw_only=True)
class PodResult:
    """How a pod ended."""

    phase: Phase
    message: str = ""
    exit_code: int | None = None


class PluginCaller(Protocol):
    """Executes plugin and ``http`` templates."""

    async def execute(self, template: Mapping[str, Any]) -> NodeResult:
        """Execute one; raises ``PluginCallError`` when the call fails for good."""


class PodRunner(Protocol):
    """Executes pods. Cancelling ``run`` stops the pod before the cancellation goes on."""

    def devices(self, request: PodRequest) -> AbstractAsyncContextManager[None]:
        """Hold what a pod needs besides a slot; raises ``NodeError`` where the machine has not as much."""

    async def run(self, request: PodRequest) -> PodResult:
        """Run a pod to its end."""


async def _at_once() -> None:
    """Nothing to wait for."""


class _StoppedError(Exception):
    def __init__(self, stop: Stop) -> None:
        super().__init__(stop.value)


class Engine:
    """Runs one workflow to its end, from its beginning or from where another engine was interrupted.

    A run that goes on is executed again from its root: nodes that did their work before (``history``) take
    their outcome from there at once, so that everything between them comes out as it was.
    """

    def __init__(
        self,
        workflow: Workflow,
        *,
        plugins: PluginCaller,
        pods: PodRunner,
        pod_slots: asyncio.Semaphore,
        history: Mapping[str, Node] | None = None,
        observer: Observer = lambda _node: None,
        kept: Callable[[], Awaitable[None]] = _at_once,
        warn: Callable[[str], None] = lambda _text: None,
        fix_retries: bool = False,
    ) -> None:
        """Prepare a run.

        Args:
            workflow: what to run.
            plugins: executes plugin and ``http`` templates.
            pods: executes pods.
            pod_slots: how many pods may run at once on this machine; runs may share it.
            history: nodes by name of an earlier engine for the same run, finished or not.
            observer: called after every change of a node that the history does not have.
            kept: returns when what the observer was told cannot be lost any more; no pod starts before.
            warn: called with one line where the workflow does something that surprises.
            fix_retries: take a ``maxDuration`` of 0, which disables retries, as unset.
        """
        self.workflow = workflow
        self.nodes: dict[str, Node] = {}
        self._plugins = plugins
        self._pods = pods
        self._observer = observer
        self._kept = kept
        self._warn = warn
        self._fix_retries = fix_retries
        self._history = history or {}
        self._pod_slots = pod_slots
        self._own_slots = asyncio.Semaphore(workflow.parallelism) if workflow.parallelism else None
        self._terminated = asyncio.Event()
        self._deadline = asyncio.Event()
        self._globals = workflow.global_values()
        self._documents = {name: template.document for name, template in workflow.templates.items()}

    @property
    def hooks_allowed(self) -> bool:
        """Whether exit hooks still run; not after a termination."""
        return not self._terminated.is_set()

    def terminate(self) -> None:
        """Stop the run: running nodes fail, nothing more starts, exit hooks included."""
        self._terminated.set()

    async def run(self) -> Node:
        """Run the workflow; returns its root node, whose phase is the workflow's."""
        timer = None
        if self.workflow.deadline_seconds:
            first = self._history.get(self.workflow.name)
            used = (datetime.now(UTC) - first.started).total_seconds() if first else 0.0
            left = max(self.workflow.deadline_seconds - used, 0.0)
            timer = asyncio.get_running_loop().call_later(left, self._deadline.set)
        root = await self.run_template(
            TemplateCall(
                name=self.workflow.name,
                template=self.workflow.entrypoint,
                arguments=self.workflow.arguments,
                boundary=Boundary(),
            )
        )
        if timer is not None:
            timer.cancel()
        if self._deadline.is_set() and not root.phase.failed:
            self.close_node(root, Phase.FAILED, Stop.DEADLINE.value)
        if self.workflow.exit_template and self.hooks_allowed:
            await self._run_workflow_hook(root)
        return root

    def global_values(self) -> Mapping[str, str]:
        """Variables that every pass knows."""
        return self._globals

    def template_documents(self) -> Mapping[str, Mapping[str, Any]]:
        """Templates by name, as they are in the manifest."""
        return self._documents

    def workflow_arguments(self) -> Mapping[str, str]:
        """Arguments of the workflow, which exit hooks without arguments get."""
        return self.workflow.arguments

    def open_node(
        self,
        name: str,
        kind: NodeType,
        *,
        boundary: Boundary,
        parent: Node | None = None,
        template: str = "",
    ) -> Node:
        """Add a node that has started; a pod starts as Pending, until it has its slots."""
        node = Node(
            id=node_id(self.workflow.name, name),
            name=name,
            type=kind,
            template=template,
            phase=Phase.PENDING if kind is NodeType.POD else Phase.RUNNING,
            boundary=boundary.node.name if boundary.node else "",
        )
        earlier = self._history.get(name)
        if earlier is not None:
            node.started = earlier.started
        self.nodes[name] = node
        parent = parent or boundary.node
        if parent is not None:
            parent.children.append(name)
        if earlier is None:
            self._observer(node)
        return node

    def close_node(self, node: Node, phase: Phase, message: str = "") -> Node:
        """End a node; one that had ended so before the run was interrupted is no news."""
        earlier = self._history.get(node.name)
        node.phase, node.message = phase, message
        if earlier is not None and earlier.phase is phase:
            node.finished = earlier.finished
            return node
        node.finished = datetime.now(UTC)
        self._observer(node)
        return node

    async def run_template(self, call: TemplateCall) -> Node:
        """Run a template to its end; the returned node is fulfilled."""
        template = self.workflow.templates[call.template]
        retried = bool(template.document.get("retryStrategy"))
        kind = NodeType.RETRY if retried else template.kind.value
        node = self.open_node(
            call.name, kind, boundary=call.boundary, parent=call.parent, template=call.template
        )
        node.hooked = call.hooked
        try:
            _check_depth(call.boundary)
            node.inputs = resolve_inputs(template.document, call.arguments)
            if retried:
                return await self._run_attempts(node, call)
            return await self._run_once(node, call, {})
        except NodeError as error:
            return self.close_node(node, Phase.ERROR, str(error))

    async def _run_workflow_hook(self, root: Node) -> None:
        self._globals = {
            **self._globals,
            "workflow.status": root.phase.value,
            # A JSON text in quotes, so that it stands in a command as one word.
            "workflow.failures": json.dumps(go_json(self._failures()), ensure_ascii=False),
        }
        given = self.workflow.exit_arguments.get("parameters")
        arguments = self.workflow.arguments
        if given:
            arguments = {
                parameter["name"]: substitute(item_text(parameter.get("value") or ""), self._globals.get)
                for parameter in given
            }
        hook = await self.run_template(
            TemplateCall(
                name=f"{self.workflow.name}.onExit",
                template=self.workflow.exit_template or "",
                arguments=arguments,
                boundary=Boundary(exit_hook=True),
                hooked=True,
            )
        )
        if hook.phase.failed and not root.phase.failed:
            self.close_node(root, hook.phase, f"exit handler: {hook.message}")

    def _failures(self) -> list[dict[str, str]]:
        """What exit handlers are told of failed nodes."""
        return [
            {
                "displayName": node.name.removeprefix(f"{node.boundary}."),
                "message": node.message,
                "templateName": node.template,
                "phase": node.phase.value,
                "podName": node.id,
                "finishedAt": (node.finished or node.started).strftime("%Y-%m-%dT%H:%M:%SZ"),
            }
            for node in self.nodes.values()
            if node.phase.failed
        ]

    async def _run_attempts(self, node: Node, call: TemplateCall) -> Node:
        attempts: list[Node] = []
        while True:
            name = f"{node.name}({len(attempts)})"
            kind = self.workflow.templates[call.template].kind.value
            attempt = self.open_node(name, kind, boundary=call.boundary, parent=node, template=call.template)
            attempt.attempt, attempt.hooked = len(attempts), node.hooked
            attempt.inputs = node.inputs
            try:
                await self._run_once(attempt, call, retry_variables(attempts))
            except NodeError as error:
                self.close_node(attempt, Phase.ERROR, str(error))
            attempts.append(attempt)
            node.outputs, node.result, node.exit_code = attempt.outputs, attempt.result, attempt.exit_code
            if f"{node.name}({len(attempts)})" in self._history:
                continue
            if not attempt.phase.failed or self._stop(call.boundary) is not None:
                return self.close_node(node, attempt.phase, attempt.message)
            decision = decide(self._retry_strategy(node), attempts, now=datetime.now(UTC))
            if not isinstance(decision, Again):
                message = ": ".join(text for text in (decision.message, attempt.message) if text)
                return self.close_node(node, attempt.phase, message)
            try:
                pause = (decision.at - datetime.now(UTC)).total_seconds()
                await self._unless_stopped(asyncio.sleep(max(pause, 0.0)), call.boundary)
            except _StoppedError:
                return self.close_node(node, attempt.phase, attempt.message)

    def _retry_strategy(self, node: Node) -> RetryStrategy:
        template = self._documents[node.template]
        values = {**self._globals, **input_values(template, node.inputs)}
        strategy = parse_retry_strategy(substitute(template["retryStrategy"], values.get))
        if strategy.max_duration == 0:
            if self._fix_retries:
                return replace(strategy, max_duration=None)
            self._warn(f"{node.name}: retry backoff maxDuration 0 disables all retries")
        return strategy

    async def _run_once(self, node: Node, call: TemplateCall, retry: Mapping[str, str]) -> Node:
        template = self.workflow.templates[call.template]
        earlier = self._history.get(node.name)
        if template.kind is not TemplateKind.DAG and earlier is not None and earlier.phase.fulfilled:
            return _as_it_ended(node, earlier)
        document = instantiate(
            template.document,
            inputs=node.inputs,
            global_values=self._globals,
            node_name=node.name,
            task_name=call.name.removeprefix(f"{node.boundary}."),
            pod_name=node.id,
        )
        if retry:
            document = substitute(document, retry.get)
        if template.kind is not TemplateKind.DAG and has_unclosed_tag(document):
            self._warn(f"{node.name}: an unclosed {{{{ is taken as text")
        if template.kind is TemplateKind.DAG:
            return await self._run_dag(node, document, call.boundary)
        try:
            work = self._run_leaf(template.kind, node, document, call.boundary)
            return await self._unless_stopped(work, call.boundary)
        except TimeoutError:
            return self.close_node(node, Phase.FAILED, _TEMPLATE_DEADLINE)
        except _StoppedError as error:
            return self.close_node(node, Phase.FAILED, str(error))

    async def _run_dag(self, node: Node, document: Mapping[str, Any], outer: Boundary) -> Node:
        async with AsyncExitStack() as held:
            if outer.slots is not None:
                await held.enter_async_context(outer.slots)
            limit = int(document.get("parallelism") or 0)
            slots = asyncio.Semaphore(limit) if limit else None
            boundary = Boundary(node=node, slots=slots, exit_hook=outer.exit_hook, depth=outer.depth + 1)
            dag = DagRun(self, document, boundary)
            phase = await dag.run()
            if phase is Phase.SUCCEEDED:
                node.outputs = dag.outputs()
            return self.close_node(node, phase)

    async def _run_leaf(
        self, kind: TemplateKind, node: Node, document: Mapping[str, Any], boundary: Boundary
    ) -> Node:
        async with asyncio.timeout(_time_limit(document)):
            if kind in (TemplateKind.PLUGIN, TemplateKind.HTTP):
                return await self._run_plugin(node, document)
            if kind is TemplateKind.SUSPEND:
                await asyncio.sleep(parse_duration(str(document["suspend"]["duration"])))
                return self.close_node(node, Phase.SUCCEEDED)
            return await self._run_pod(node, document, boundary)

    async def _run_plugin(self, node: Node, document: Mapping[str, Any]) -> Node:
        if self.workflow.templates[node.template].driver_container:
            document = as_plugin_template(document, namespace=self.workflow.namespace)
        try:
            result = await self._plugins.execute(document)
        except PluginCallError as error:
            return self.close_node(node, Phase.FAILED, str(error))
        node.outputs, node.result = dict(result.outputs), result.result
        return self.close_node(node, result.phase, result.message)

    async def _run_pod(self, node: Node, document: Mapping[str, Any], boundary: Boundary) -> Node:
        earlier = self._history.get(node.name)
        request = PodRequest(
            node=node,
            template=document,
            patches=self._patches(node, document),
            interrupted=earlier is not None and earlier.phase is Phase.RUNNING,
        )
        async with AsyncExitStack() as held:
            # The template's limit first: what the machine has must not be held while waiting for it. A slot
            # comes last, and whoever has one waits for nothing.
            if boundary.slots is not None:
                await held.enter_async_context(boundary.slots)
            if self._own_slots is not None:
                await held.enter_async_context(self._own_slots)
            await held.enter_async_context(self._pods.devices(request))
            await held.enter_async_context(self._pod_slots)
            node.phase, node.started = Phase.RUNNING, datetime.now(UTC)
            self._observer(node)
            await self._kept()
            result = await self._pods.run(request)
        node.exit_code = result.exit_code
        return self.close_node(node, result.phase, result.message)

    def _patches(self, node: Node, document: Mapping[str, Any]) -> tuple[str, ...]:
        """The patch pass: workflow patch, then template patch, each once more with globals and inputs."""
        values = {**self._globals, **input_values(self._documents[node.template], node.inputs)}
        texts = (self.workflow.spec.get("podSpecPatch"), document.get("podSpecPatch"))
        return tuple(substitute(text, values.get) for text in texts if text)

    def _stop(self, boundary: Boundary) -> Stop | None:
        if self._terminated.is_set():
            return Stop.TERMINATED
        if self._deadline.is_set() and not boundary.exit_hook:
            return Stop.DEADLINE
        return None

    async def _unless_stopped(self, work: Coroutine[Any, Any, T], boundary: Boundary) -> T:
        """Run ``work`` to its end, or cancel it when the run is stopped.

        Raises:
            _StoppedError: the run was stopped first.
        """
        reason = self._stop(boundary)
        if reason is not None:
            work.close()
            raise _StoppedError(reason)
        events = [self._terminated] if boundary.exit_hook else [self._terminated, self._deadline]
        task = asyncio.ensure_future(work)
        stops = [asyncio.ensure_future(event.wait()) for event in events]
        try:
            await asyncio.wait({task, *stops}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await _cancel(task, *stops)
        if not task.cancelled():
            return task.result()
        raise _StoppedError(self._stop(boundary) or Stop.TERMINATED)


def _check_depth(boundary: Boundary) -> None:
    if boundary.depth + 1 >= MAX_DEPTH:
        raise NodeError(f"Maximum recursion depth exceeded: {MAX_DEPTH} templates inside each other")


def _as_it_ended(node: Node, earlier: Node) -> Node:
    """``node`` with the outcome that it had before the run was interrupted."""
    node.phase, node.message, node.finished = earlier.phase, earlier.message, earlier.finished
    node.outputs, node.result, node.exit_code = earlier.outputs, earlier.result, earlier.exit_code
    return node


async def _cancel(*tasks: asyncio.Future[Any]) -> None:
    """Cancel what is not done, and wait until it has ended."""
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


def _time_limit(document: Mapping[str, Any]) -> float | None:
    """Seconds that a leaf may take, by ``activeDeadlineSeconds`` or ``timeout``."""
    limits = [document.get("activeDeadlineSeconds"), document.get("timeout")]
    try:
        seconds = [parse_duration(str(limit)) for limit in limits if limit]
    except ValueError as error:
        raise NodeError(f"template deadline: {error}") from error
    return min(seconds) if seconds else None

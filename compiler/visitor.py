"""The one walk over a pipeline's components: each once, leaves before their DAG (spec COMPILER 4)."""

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from compiler.errors import CompileError, explained
from kfp_api.ir.load import Pipeline
from kfp_api.ir.pipeline import ComponentSpec, ContainerSpec, ImporterSpec, RetryPolicy, TaskSpec

ROOT: Final = "root"

_DEEPEST_NESTING: Final = 200


class ComponentVisitor(Protocol):
    """What is told of every component, in the order in which Workflows are built."""

    def on_kubernetes_config(self, name: str, document: dict[str, Any]) -> None:
        """A component's executor has a Kubernetes config; comes right before the component."""

    def on_container(self, name: str, container: ContainerSpec) -> None:
        """A component that runs a container."""

    def on_importer(self, name: str, importer: ImporterSpec) -> None:
        """A component that imports an artifact."""

    def on_dag(self, name: str, tasks: Mapping[str, TaskSpec]) -> None:
        """A component that is a DAG, after all components of its tasks; retry policies are inherited."""


def walk(pipeline: Pipeline, visitor: ComponentVisitor, *, warn: Callable[[str], None]) -> None:
    """Tell the visitor of every component that the root reaches.

    Raises:
        CompileError: E2 to E7, E25, or what the visitor raises.
    """
    if pipeline.spec.root is None:
        raise CompileError("root component is missing")
    if pipeline.spec.root.executor_label or pipeline.spec.root.dag is None:
        raise CompileError("root component is not a DAG")
    _Walk(pipeline, visitor, warn).visit(ROOT, pipeline.spec.root, None)


class _Walk:
    def __init__(self, pipeline: Pipeline, visitor: ComponentVisitor, warn: Callable[[str], None]) -> None:
        self._spec = pipeline.spec
        self._kubernetes = pipeline.kubernetes_executors
        self._visitor = visitor
        self._warn = warn
        self._open: list[str] = []
        self._inherited: dict[str, RetryPolicy | None] = {}

    def visit(self, name: str, component: ComponentSpec, caller: TaskSpec | None) -> None:
        retry = caller.retry_policy if caller else None
        if name in self._open:
            cycle = " -> ".join([*self._open[self._open.index(name) :], name])
            raise CompileError(f"components refer to each other in a cycle: {cycle}")
        if name in self._inherited:
            self._compare_retries(name, component, retry)
            return
        if len(self._open) == _DEEPEST_NESTING:
            raise CompileError(f"components are nested deeper than {_DEEPEST_NESTING} levels")
        self._inherited[name] = retry
        if component.executor_label:
            with explained(f'error processing component name="{name}"'):
                self._visit_executor(name, component.executor_label)
        else:
            self._open.append(name)
            self._visit_dag(name, component, retry)
            self._open.pop()

    def _visit_executor(self, name: str, label: str) -> None:
        executor = self._spec.executor(label)
        if executor is None:
            raise CompileError(
                f'executor(label="{label}") not found in deployment config; '
                "compile the pipeline again with the KFP SDK"
            )
        if label in self._kubernetes:
            with explained(f"failed to add Kubernetes spec for {name}"):
                self._visitor.on_kubernetes_config(name, self._kubernetes[label] or {})
        if executor.container is not None:
            self._visitor.on_container(name, executor.container)
        elif executor.importer is not None:
            self._visitor.on_importer(name, executor.importer)
        else:
            raise CompileError(
                f'executor(label="{label}"): non-container and non-importer executor not implemented; '
                "only containers and importers run on Argo"
            )

    def _visit_dag(self, name: str, component: ComponentSpec, retry: RetryPolicy | None) -> None:
        where = f'error processing component name="{name}"'
        if component.dag is None:
            raise CompileError(f"{where}: unknown component implementation: neither executorLabel nor dag")
        tasks: dict[str, TaskSpec] = {}
        for key, given in sorted(component.dag.tasks.items()):
            reference = given.component_ref.name
            if not reference:
                raise CompileError(f'{where}: component ref name is empty for task name="{key}"')
            if reference not in self._spec.components:
                raise CompileError(f'{where}: cannot find component ref name="{reference}"')
            inherits = given.retry_policy is None and retry is not None
            task = given.model_copy(update={"retry_policy": retry}) if inherits else given
            tasks[key] = task
            self.visit(reference, self._spec.components[reference], task)
        self._visitor.on_dag(name, tasks)

    def _compare_retries(self, name: str, component: ComponentSpec, retry: RetryPolicy | None) -> None:
        """Retry policies are inherited at the first visit, as upstream does; a second caller may differ."""
        if not component.executor_label and retry != self._inherited[name]:
            self._warn(
                f'component "{name}" is used with different retry policies: the first one holds for all'
            )

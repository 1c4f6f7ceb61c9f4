"""Scope paths: where in the pipeline's tree of DAGs a task stands (spec RESOLVER 2.2).

A path is an immutable sequence of entries that starts at ``root``. It is built from the pipeline spec, so
that every step is known to exist; ``push`` returns a new path and shares nothing that could change.
"""

from dataclasses import dataclass, field
from typing import Final

from kfp_api.ir.pipeline import ComponentSpec, PipelineSpec, TaskSpec
from resolver.errors import ResolutionError

ROOT: Final = "root"
MAX_DEPTH: Final = 64
"""Deepest nesting of DAGs; component references that form a cycle end here."""


class ScopeError(ResolutionError):
    """A task key does not lead to a task of the pipeline."""


@dataclass(frozen=True)
class ScopeEntry:
    """One step of a path: the task's key, its spec (``None`` for the root) and the component that it runs."""

    key: str
    task: TaskSpec | None
    component: ComponentSpec

    @property
    def is_loop(self) -> bool:
        """Whether the task is a loop head; decided by the spec, rows may be mistyped."""
        return self.task is not None and self.task.has_iterator


@dataclass(frozen=True)
class ScopePath:
    """An immutable path of tasks through a pipeline spec."""

    spec: PipelineSpec = field(repr=False)
    entries: tuple[ScopeEntry, ...] = ()

    @classmethod
    def from_dot(cls, spec: PipelineSpec | None, dot: str) -> "ScopePath":
        """Build a path from dot notation such as ``root.for-loop-1.train``; ``""`` is the empty path.

        Raises:
            ScopeError: there is no spec, or a key of the path is not a task of its DAG.
        """
        if spec is None:
            raise ScopeError("PipelineSpec is nil")
        path = cls(spec)
        for key in dot.split(".") if dot else ():
            try:
                path = path.push(key)
            except ScopeError as error:
                raise error.within(f'failed to build scope path at task "{key}": ') from error
        return path

    def push(self, key: str) -> "ScopePath":
        """This path with one more task.

        Raises:
            ScopeError: the last component is no DAG, or has no such task, or the task's component is missing.
        """
        last = self.last
        if last is None:
            if key != ROOT:
                raise ScopeError("scope path is empty, first task should be root")
            return ScopePath(self.spec, (ScopeEntry(ROOT, None, self.spec.root or ComponentSpec()),))
        if last.component.dag is None:
            raise ScopeError("this component is not a DAG component")
        task = last.component.dag.tasks.get(key)
        if task is None:
            raise ScopeError(f"task {key} is not found")
        component = self.spec.components.get(task.component_ref.name)
        if component is None:
            raise ScopeError(f"component {task.component_ref.name} is not found")
        if len(self.entries) >= MAX_DEPTH:
            raise ScopeError(f"DAGs are nested more than {MAX_DEPTH} levels deep")
        return ScopePath(self.spec, (*self.entries, ScopeEntry(key, task, component)))

    @property
    def last(self) -> ScopeEntry | None:
        """The innermost entry; ``None`` for the empty path."""
        return self.entries[-1] if self.entries else None

    @property
    def root(self) -> ScopeEntry | None:
        """The outermost entry; ``None`` for the empty path."""
        return self.entries[0] if self.entries else None

    @property
    def parent(self) -> "ScopePath":
        """The path without its last entry; the parent of the empty path is empty."""
        return ScopePath(self.spec, self.entries[:-1])

    @property
    def size(self) -> int:
        """Number of entries."""
        return len(self.entries)

    @property
    def names(self) -> tuple[str, ...]:
        """The task keys, outermost first."""
        return tuple(entry.key for entry in self.entries)

    @property
    def dot(self) -> str:
        """Dot notation, as stored on task rows."""
        return ".".join(self.names)

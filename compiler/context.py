"""What one compilation holds while templates are made: options, names, templates and arguments so far."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from compiler.argo import Json
from compiler.errors import CompileError
from compiler.options import CompilerOptions
from compiler.templates.drivers import Identity
from kfp_api.ir.kubernetes import KubernetesExecutorConfig
from kfp_api.ir.pipeline import ContainerSpec, ImporterSpec


@dataclass(kw_only=True)
class CompileContext:
    """The state of one compilation; templates and arguments only ever grow."""

    options: CompilerOptions
    identity: Identity
    runtime_config: str
    warn: Callable[[str], None]
    templates: dict[str, Json] = field(default_factory=dict)
    arguments: dict[str, str] = field(default_factory=dict)
    kubernetes: dict[str, KubernetesExecutorConfig] = field(default_factory=dict)
    containers: dict[str, ContainerSpec] = field(default_factory=dict)
    importers: dict[str, ImporterSpec] = field(default_factory=dict)

    def add(self, template: Json) -> str:
        """Append a template; E13 where its name is taken."""
        name: str = template["name"]
        if name in self.templates:
            raise CompileError(f'template name="{name}": template already exists; rename a task or component')
        self.templates[name] = template
        return name

    def ensure(self, name: str, make: Callable[[], Json]) -> str:
        """The template of that name, made and appended when it is needed for the first time."""
        if name not in self.templates:
            self.add(make())
        return name

    def save_argument(self, name: str, value: str) -> None:
        """Add a workflow argument; the name determines the value, so the first one stays."""
        self.arguments.setdefault(name, value)

    def dag(self, name: str) -> list[dict[str, Any]] | None:
        """The tasks of a DAG template that exists already."""
        template = self.templates.get(name, {})
        tasks: list[dict[str, Any]] | None = template.get("dag", {}).get("tasks")
        return tasks

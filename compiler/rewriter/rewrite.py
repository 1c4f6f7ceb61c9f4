"""The rewriter: driver pods of a Workflow become plugin calls, all of them or none (spec COMPILER 11).

``rewrite`` is a pure function. It finds the Workflow specs of an object, converts their driver templates, and
gives every spec that then has plugin calls what Argo's agent pod needs. Rewriting a result changes nothing,
whatever the options, and a Workflow that runs already is completed but never converted.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

from compiler.argo import RUN_ID_TAG, Json
from compiler.delivery import DeliveryError, PluginDelivery, delivery_operations
from compiler.errors import CompileError
from compiler.finalize import RUN_ID_LABEL
from compiler.json_patch import Pointer, applied, operation, pointer_text
from compiler.rewriter.conversion import plugin_call
from compiler.rewriter.detection import TemplateKind, is_native_call, kind_of
from compiler.rewriter.errors import Refusal, RewriteRefused, shown
from compiler.rewriter.reading import mapping, sequence

MODE_LABEL: Final = "kfp-driver/mode"
"""``pod`` leaves a Workflow on driver pods, ``plugin`` asks for the plugin where that is not the default."""

_GROUP: Final = "argoproj.io/"
_SPEC_PATHS: Final[Mapping[str, Pointer]] = {
    "Workflow": ("spec",),
    "WorkflowTemplate": ("spec",),
    "ClusterWorkflowTemplate": ("spec",),
    "CronWorkflow": ("spec", "workflowSpec"),
}
_LISTS: Final = ("List", "WorkflowList")
_LABEL_VALUE: Final = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")


@dataclass(frozen=True, kw_only=True)
class RewriteOptions:
    """How to rewrite."""

    plugin: PluginDelivery = field(default_factory=PluginDelivery)
    """How the plugin gets to the agent pod, and which Workflows are rewritten."""
    lenient: bool = False
    """Pass unknown driver flags through instead of refusing them."""
    convert: bool = True
    """Whether driver pods are converted; otherwise only what a plugin Workflow lacks is added."""


@dataclass(frozen=True)
class Caution:
    """Something that deserves attention."""

    template: str
    """Name of the template it is about, empty for the whole object."""
    text: str

    def __str__(self) -> str:
        return f"{self.template}: {self.text}" if self.template else self.text


@dataclass(frozen=True)
class Result:
    """What became of an object."""

    original: Json
    patch: tuple[Json, ...] = ()
    """The change as RFC 6902 operations, each replaced template guarded by a test of its name."""
    templates: tuple[str, ...] = ()
    """Names of the templates that were converted."""
    warnings: tuple[Caution, ...] = ()

    @property
    def changed(self) -> bool:
        """Whether anything is different."""
        return bool(self.patch)

    @cached_property
    def obj(self) -> Json:
        """The rewritten object; it shares what did not change with the original."""
        return applied(self.original, self.patch) if self.patch else self.original


def rewrite(obj: Json, options: RewriteOptions) -> Result:
    """Rewrite a Workflow, WorkflowTemplate, ClusterWorkflowTemplate, CronWorkflow, or a List of such.

    Other objects come back as they are.

    Raises:
        RewriteRefused: a driver pod that cannot become a plugin call; nothing is changed.
    """
    work = _Rewriting(options)
    if obj.get("kind") in _LISTS:
        for index, item in enumerate(sequence(obj.get("items"), "items")):
            if isinstance(item, dict):
                work.visit(item, ("items", index))
    else:
        work.visit(obj, ())
    return Result(obj, tuple(work.patch), tuple(work.templates), tuple(work.warnings))


class _Rewriting:
    """One call of :func:`rewrite`: what it found so far."""

    def __init__(self, options: RewriteOptions) -> None:
        self._options = options
        self.patch: list[Json] = []
        self.templates: list[str] = []
        self.warnings: list[Caution] = []

    def visit(self, obj: Json, at: Pointer) -> None:
        kind = obj.get("kind")
        if not isinstance(kind, str) or kind not in _SPEC_PATHS:
            return
        version = obj.get("apiVersion")
        if not isinstance(version, str) or not version.startswith(_GROUP):
            return
        labels = mapping(mapping(obj.get("metadata"), "metadata").get("labels"), "metadata.labels")
        mode = labels.get(MODE_LABEL)
        if mode == "pod":
            return
        spec: Any = obj
        for member in _SPEC_PATHS[kind]:
            spec = mapping(spec.get(member), str(member))
        if spec.get("workflowTemplateRef") is not None and spec.get("templates") is None:
            self._warn("", "its templates stand in another object (workflowTemplateRef): nothing to rewrite")
            return
        templates = sequence(spec.get("templates"), "spec.templates")
        where = (*at, *_SPEC_PATHS[kind])
        converted = self._converts(obj, kind, mode) and self._convert_all(templates, where)
        if converted or any(is_native_call(template) for template in templates):
            self._deliver(spec, where, labels)

    def _converts(self, obj: Json, kind: str, mode: object) -> bool:
        if not self._options.convert:
            return False
        if mode != "plugin" and self._options.plugin.profile.default_mode == "pod":
            return False
        if kind == "Workflow" and mapping(obj.get("status"), "status").get("phase"):
            self._warn("", "in-progress: it runs already, so its driver pods are left as they are")
            return False
        return True

    def _convert_all(self, templates: list[Any], where: Pointer) -> bool:
        """Convert every driver template; whether there was any."""
        found = False
        for index, name, template in _named(templates):
            kind = kind_of(template, name=name)
            if kind is TemplateKind.LOOKS_LIKE_A_DRIVER:
                self._warn(name, "has a driver's flags but is not marked as one: left as it is")
            elif kind is TemplateKind.DRIVER_POD:
                found = True
                self._convert(template, name, (*where, "templates", index))
        return found

    def _convert(self, template: Json, name: str, at: Pointer) -> None:
        if not name or not isinstance(template["name"], str):
            raise RewriteRefused(Refusal.MALFORMED, f"{pointer_text(at)}: a driver template without a name")
        call = plugin_call(
            template,
            name=name,
            profile=self._options.plugin.profile,
            lenient=self._options.lenient,
            warn=lambda text: self._warn(name, text),
        )
        self.patch += [operation("test", (*at, "name"), template["name"]), operation("replace", at, call)]
        self.templates.append(name)

    def _deliver(self, spec: Json, where: Pointer, labels: Mapping[str, Any]) -> None:
        try:
            self.patch += delivery_operations(spec, where, self._options.plugin, run_id=self._run_id(labels))
        except (DeliveryError, CompileError) as error:
            raise RewriteRefused(Refusal.POD_SPEC_PATCH, f"{error}") from error

    def _run_id(self, labels: Mapping[str, Any]) -> str:
        """The id that KFP's API server has written into the object, or the tag that it will replace."""
        label = labels.get(RUN_ID_LABEL)
        if label is None:
            return RUN_ID_TAG
        if isinstance(label, str) and _LABEL_VALUE.fullmatch(label):
            return label
        raise RewriteRefused(Refusal.MALFORMED, f'label {RUN_ID_LABEL}: "{shown(label)}" is not a run id')

    def _warn(self, template: str, text: str) -> None:
        self.warnings.append(Caution(template, text))


def _named(templates: list[Any]) -> Iterator[tuple[int, str, Json]]:
    for index, one in enumerate(templates):
        template = mapping(one, f"spec.templates[{index}]")
        yield index, shown(template.get("name", "")), template

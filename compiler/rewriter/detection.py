"""Which templates are drivers, and which are plugin calls already (spec COMPILER 11.2).

By what a template is for, never by image or command: both are configurable, and wrappers are common.
"""

from collections.abc import Mapping
from enum import Enum, auto
from typing import Any, Final

from compiler.rewriter.errors import Refusal, RewriteRefused
from compiler.rewriter.flags import mentions
from compiler.rewriter.reading import mapping, sequence
from compiler.templates.drivers import CONTAINER_DRIVER, DAG_DRIVER, PLUGIN_KEY

_DRIVER_NAMES: Final = (DAG_DRIVER, CONTAINER_DRIVER)


class TemplateKind(Enum):
    """What a template is to the rewriter."""

    DRIVER_POD = auto()
    """A driver that runs as a pod."""
    DRIVER_CALL = auto()
    """A call of this project's plugin."""
    LOOKS_LIKE_A_DRIVER = auto()
    """Not a driver, but a container with a driver's flags; worth a warning."""
    OTHER = auto()


def kind_of(template: Mapping[str, Any], *, name: str) -> TemplateKind:
    """What the template is.

    Raises:
        RewriteRefused: a driver whose flags cannot be recognised, or a call of the plugin in a dialect
            that is not the native API's.
    """
    plugin = mapping(template.get("plugin"), f'template "{name}": plugin')
    if PLUGIN_KEY in plugin:
        _check_dialect(plugin[PLUGIN_KEY], name)
        return TemplateKind.DRIVER_CALL
    if template.get("container") is None:
        return TemplateKind.OTHER
    container = mapping(template["container"], f'template "{name}": container')
    arguments = sequence(container.get("args"), f'template "{name}": container.args')
    shaped = mentions(arguments, "type") and mentions(arguments, "parent_task_id", "dag_execution_id")
    if not _is_marked(template, name):
        return TemplateKind.LOOKS_LIKE_A_DRIVER if shaped else TemplateKind.OTHER
    if not shaped:
        raise RewriteRefused(
            Refusal.UNRECOGNIZED_DRIVER,
            f'template "{name}" is marked as a driver, but its arguments are not a driver\'s '
            "(--type and --parent_task_id).",
        )
    return TemplateKind.DRIVER_POD


def is_native_call(template: object) -> bool:
    """Whether this is a call of the plugin that this version serves; never refuses anything."""
    plugin = template.get("plugin") if isinstance(template, dict) else None
    call = plugin.get(PLUGIN_KEY) if isinstance(plugin, dict) else None
    arguments = call.get("args") if isinstance(call, dict) else None
    return isinstance(arguments, dict) and "parent_task_id" in arguments


def _check_dialect(call: object, name: str) -> None:
    arguments = mapping(call, f'template "{name}": plugin.{PLUGIN_KEY}').get("args")
    given = mapping(arguments, f'template "{name}": plugin.{PLUGIN_KEY}.args')
    if "parent_task_id" in given:
        return
    if "dag_execution_id" in given:
        raise RewriteRefused(
            Refusal.PLUGIN_MLMD,
            f'template "{name}" is a driver-plugin template of the ML Metadata dialect (argument '
            "dag_execution_id); it cannot be converted because component and task specs are embedded in "
            "the workflow.",
        )
    raise RewriteRefused(
        Refusal.UNRECOGNIZED_PLUGIN,
        f'template "{name}" is a driver-plugin template without the argument parent_task_id.',
    )


def _is_marked(template: Mapping[str, Any], name: str) -> bool:
    """Whether name, annotation or label say that this is a driver; releases before 2.17 only had the name."""
    metadata = mapping(template.get("metadata"), f'template "{name}": metadata')
    annotations = mapping(metadata.get("annotations"), f'template "{name}": metadata.annotations')
    labels = mapping(metadata.get("labels"), f'template "{name}": metadata.labels')
    return (
        template.get("name") in _DRIVER_NAMES
        or annotations.get("pipelines.kubeflow.org/runtime-role") == "driver"
        or labels.get("pipelines.kubeflow.org/pod-role") in ("dag-driver", "container-driver")
    )

"""TaskConfig: the parts of a pod's configuration that a component receives as data (spec PODSPEC 8).

A component may ask for a part by a *passthrough*. A part that it does not list goes to the pod only; a
listed one goes to the TaskConfig, and to the pod as well when the passthrough says so. Components that
start pods of their own (a training operator's job, say) apply the configuration there.
"""

from copy import deepcopy
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from driver_plugin.podspec.values import JsonObject
from kfp_api.ir.executor_input import ExecutorInput, ExecutorInputs
from kfp_api.ir.pipeline import ComponentSpec, ParameterType


class PodPart(StrEnum):
    """A part of the pod's configuration that can be passed through."""

    RESOURCES = "RESOURCES"
    ENV = "ENV"
    KUBERNETES_AFFINITY = "KUBERNETES_AFFINITY"
    KUBERNETES_TOLERATIONS = "KUBERNETES_TOLERATIONS"
    KUBERNETES_NODE_SELECTOR = "KUBERNETES_NODE_SELECTOR"
    KUBERNETES_VOLUMES = "KUBERNETES_VOLUMES"


class Route(NamedTuple):
    """Where a part goes."""

    to_pod: bool
    to_task_config: bool


ONLY_POD = Route(to_pod=True, to_task_config=False)


def routes(component: ComponentSpec) -> dict[PodPart, Route]:
    """Where each part goes for a task of this component."""
    chosen = dict.fromkeys(PodPart, ONLY_POD)
    for passthrough in component.task_config_passthroughs:
        if passthrough.field in PodPart.__members__:
            chosen[PodPart(passthrough.field)] = Route(passthrough.apply_to_task, to_task_config=True)
    return chosen


@dataclass
class TaskConfig:
    """What is passed through, while the patch is built; nothing in it is shared with the patch."""

    affinity: JsonObject | None = None
    tolerations: list[JsonObject] | None = None
    node_selector: dict[str, str] | None = None
    env: dict[str, JsonObject] = field(default_factory=dict)
    volumes: dict[str, JsonObject] = field(default_factory=dict)
    volume_mounts: dict[str, JsonObject] = field(default_factory=dict)
    resources: JsonObject = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The object that user code gets: every part is there, nulls are explicit."""
        return deepcopy(
            {
                "affinity": self.affinity,
                "tolerations": self.tolerations,
                "nodeSelector": self.node_selector,
                "env": list(self.env.values()) or None,
                "volumes": list(self.volumes.values()) or None,
                "volumeMounts": list(self.volume_mounts.values()) or None,
                "resources": self.resources,
            }
        )


def inject_task_config(
    executor_input: ExecutorInput, component: ComponentSpec, config: TaskConfig
) -> ExecutorInput:
    """``executor_input`` with the configuration in every parameter of type ``TASK_CONFIG``."""
    names = [
        name
        for name, declared in component.input_definitions.parameters.items()
        if declared.declared_type is ParameterType.TASK_CONFIG
    ]
    if not names:
        return executor_input
    inputs = executor_input.inputs or ExecutorInputs()
    values = {**inputs.parameter_values, **{name: config.to_json() for name in names}}
    return executor_input.model_copy(
        update={"inputs": inputs.model_copy(update={"parameter_values": values})}
    )

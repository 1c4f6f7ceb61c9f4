"""Compiled Workflows with driver pods, and changes to them, for the rewriter's tests."""

from copy import deepcopy
from functools import cache
from typing import Any

from compiler.delivery import Delivery, PluginDelivery
from compiler.finalize import finalize_workflow
from compiler.options import Mode
from compiler.profile import PluginProfile
from compiler.rewriter.rewrite import RewriteOptions
from tests.compiler.pipelines import Json, compiled, loop, pipeline, task, templates

INLINE = PluginDelivery(delivery=Delivery.INLINE)

DAG_DRIVER = "system-dag-driver"
CONTAINER_DRIVER = "system-container-driver"


@cache
def _pods() -> Json:
    return compiled(pipeline({"a": task(), "each": loop(), "in": task("comp-import")}), mode=Mode.CONTAINER)


def driver_pods() -> Json:
    """A Workflow as KFP's compiler makes it, fresh for each caller."""
    return deepcopy(_pods())


def submitted(workflow: Json) -> Json:
    """The same, as KFP's API server submits it."""
    return finalize_workflow(workflow, run_id="run-1", namespace="team-a", display_name="My run")


def driver_arguments(workflow: Json, template: str = CONTAINER_DRIVER) -> list[str]:
    """The argument list of a driver pod, to be changed in place."""
    found: list[str] = templates(workflow)[template]["container"]["args"]
    return found


def call_arguments(workflow: Json, template: str = CONTAINER_DRIVER) -> Json:
    """The arguments of a plugin call."""
    found: Json = templates(workflow)[template]["plugin"]["driver-plugin"]["args"]
    return found


def options(profile: str = "", **fields: Any) -> RewriteOptions:
    """Options with a profile given as YAML."""
    return RewriteOptions(plugin=PluginDelivery(profile=PluginProfile.parse(profile)), **fields)

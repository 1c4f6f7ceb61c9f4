"""Driver container templates of workflows compiled for driver pods, run as plugin calls (spec LAUNCHER E4).

The argument list of such a container is turned into the plugin's ``args`` map, so that unmodified
upstream workflows run on the local stack with the same driver service.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

ROLE_ANNOTATION: Final = "pipelines.kubeflow.org/runtime-role"
PLUGIN_KEY: Final = "driver-plugin"
_DRIVER_TEMPLATES: Final = ("system-dag-driver", "system-container-driver")
_BOOLEAN_FLAGS: Final = ("cache_disabled", "ml_pipeline_tls_enabled")


def is_driver_container(template: Mapping[str, Any]) -> bool:
    """Whether a container template is a KFP driver: by annotation, else by name."""
    if "container" not in template:
        return False
    annotations = (template.get("metadata") or {}).get("annotations") or {}
    role = annotations.get(ROLE_ANNOTATION)
    return role == "driver" or (role is None and template.get("name") in _DRIVER_TEMPLATES)


def as_plugin_template(template: Mapping[str, Any], *, namespace: str) -> dict[str, Any]:
    """The plugin form of a substituted driver container template."""
    container = template["container"]
    flags = parse_flags([str(argument) for argument in container.get("args") or ()])
    arguments: dict[str, Any] = {
        name: value.replace("$(NAMESPACE)", namespace)
        for name, value in flags.items()
        if not name.endswith("_path") or name == "ca_cert_path"
    }
    for name in _BOOLEAN_FLAGS:
        if name in arguments:
            arguments[name] = arguments[name] != "false"
    kept = ("name", "inputs", "outputs", "metadata", "securityContext")
    return {key: template[key] for key in kept if key in template} | {
        "plugin": {PLUGIN_KEY: {"args": arguments}}
    }


def parse_flags(arguments: Sequence[str]) -> dict[str, str]:
    """``--name value`` and ``--name=value`` as a map; a flag without value is ``true``."""
    flags: dict[str, str] = {}
    position = 0
    while position < len(arguments):
        name, equals, value = arguments[position].lstrip("-").partition("=")
        position += 1
        if equals:
            flags[name] = value
        elif name in _BOOLEAN_FLAGS or position == len(arguments):
            flags[name] = "true"
        else:
            flags[name] = arguments[position]
            position += 1
    return flags

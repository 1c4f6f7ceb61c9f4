"""One driver pod as one plugin call (spec COMPILER 11.3 to 11.5).

The flags of the driver's command line become the arguments of the call; what belongs to a pod goes. The
result equals what this project's compiler makes, so a pipeline gives the same Workflow whichever way it came.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from compiler.argo import Json
from compiler.options import GRPC_BACKOFF_VARIABLES
from compiler.profile import PluginProfile
from compiler.rewriter.errors import Refusal, RewriteRefused, shown
from compiler.rewriter.flags import Flags, boolean, parse_flags
from compiler.rewriter.reading import mapping, sequence, text
from compiler.templates.drivers import (
    OUTPUT_FLAGS,
    PLUGIN_KEY,
    call_policy,
    container_driver_outputs,
    dag_driver_outputs,
    version_argument,
)

Warn = Callable[[str], None]

_COMMON: Final = (
    "type",
    "pipeline_name",
    "run_id",
    "run_name",
    "run_display_name",
    "namespace",
    "parent_task_id",
    "task_name",
    "ml_pipeline_server_address",
    "ml_pipeline_server_port",
    "log_level",
    "publish_logs",
    "cache_disabled",
    "ml_pipeline_tls_enabled",
    "ca_cert_path",
    "iteration_index",
    "http_proxy",
    "https_proxy",
    "no_proxy",
)
_OF_DAGS: Final = "runtime_config"
_OF_CONTAINERS: Final = "kubernetes_config"
_INTEGERS: Final = frozenset({"default_run_as_user", "default_run_as_group"})
_BOOLEANS: Final = frozenset({"default_run_as_non_root", "default_host_users"})
_KNOWN: Final = frozenset({*_COMMON, _OF_DAGS, _OF_CONTAINERS, *_INTEGERS, *_BOOLEANS, *OUTPUT_FLAGS})

_MLMD: Final = (
    "dag_execution_id",
    "execution_id_path",
    "mlmd_server_address",
    "mlmd_server_port",
    "metadata_tls_enabled",
)
_EMBEDDED_SPECS: Final = ("component", "task", "container")

_NAMESPACE_OF_THE_POD: Final = "$(NAMESPACE)"
_NAMESPACE_TAG: Final = "{{workflow.namespace}}"

_KEPT: Final = (
    "name",
    "inputs",
    "outputs",
    "metadata",
    "securityContext",
    "timeout",
    "activeDeadlineSeconds",
    "retryStrategy",
    "synchronization",
    "metrics",
    "memoize",
)
_POD_OF_A_DRIVER: Final = frozenset({"container", "volumes"})

_IGNORED_ENVIRONMENT: Final = frozenset(
    {
        "KFP_POD_NAME",
        "KFP_POD_UID",
        "NAMESPACE",
        "http_proxy",
        "HTTP_PROXY",
        "https_proxy",
        "HTTPS_PROXY",
        "no_proxy",
        "NO_PROXY",
        *GRPC_BACKOFF_VARIABLES,
    }
)

_TAG: Final = re.compile(r"\{\{inputs\.parameters\.[-a-zA-Z0-9_]+\}\}")
_INT64: Final = re.compile(r"[+-]?[0-9]{1,19}")


def plugin_call(
    template: Mapping[str, Any], *, name: str, profile: PluginProfile, lenient: bool, warn: Warn
) -> Json:
    """The template with its driver pod turned into a call of the plugin.

    Args:
        template: a template that is a driver pod; it is not changed, and shares what is kept.
        name: its name, for messages.
        profile: says which version of the arguments to write, and the timeout and retries of a template that
            has none of its own.
        lenient: pass unknown flags through, and drop environment that cannot be carried.
        warn: receives one line for everything that is lost.

    Raises:
        RewriteRefused: the pod does what a call cannot do, or belongs to another dialect.
    """
    container = mapping(template.get("container"), f'template "{name}": container')
    flags = parse_flags(_arguments(container, name), template=name)
    is_container = _is_container_driver(flags, name)
    _check_flags(flags, name, is_container=is_container, lenient=lenient)
    runtime_arguments = _runtime_arguments(container, name, lenient=lenient, warn=warn)
    for field, value in template.items():
        if field not in _KEPT and field not in _POD_OF_A_DRIVER and value not in (None, {}, [], ""):
            warn(f'field "{shown(field)}" of the driver pod is dropped')
    kept = {field: template[field] for field in _KEPT if field in template}
    policy = {field: value for field, value in call_policy(profile).items() if kept.get(field) is None}
    return {
        **kept,
        **policy,
        "outputs": _outputs(template, name, is_container=is_container),
        "plugin": {
            PLUGIN_KEY: {
                "args": {
                    **_call_arguments(flags, name),
                    **({"runtime_args": runtime_arguments} if runtime_arguments else {}),
                    **version_argument(profile),
                }
            }
        },
    }


def _arguments(container: Mapping[str, Any], name: str) -> list[str]:
    where = f'template "{name}": container.args'
    return [text(item, where) for item in sequence(container.get("args"), where)]


def _is_container_driver(flags: Flags, name: str) -> bool:
    kind = str(flags.get("type", ""))
    if kind == "CONTAINER":
        return True
    if kind in {"ROOT_DAG", "DAG"} or _TAG.fullmatch(kind):
        return False
    raise RewriteRefused(
        Refusal.BAD_TYPE,
        f'template "{name}": --type is "{shown(kind)}", not CONTAINER, DAG, ROOT_DAG or an input parameter.',
    )


def _check_flags(flags: Flags, name: str, *, is_container: bool, lenient: bool) -> None:
    if mlmd := [flag for flag in flags if flag in _MLMD]:
        raise RewriteRefused(
            Refusal.MLMD,
            f'template "{name}" calls an ML Metadata driver (flags: {_listed(mlmd)}): it was compiled by a '
            "Kubeflow Pipelines backend without the native task API. The central driver cannot execute it; "
            "recompile the run with a native-API backend or leave it on driver pods.",
        )
    if any(flag in flags for flag in _EMBEDDED_SPECS):
        raise RewriteRefused(
            Refusal.HYBRID,
            f'template "{name}" mixes --parent_task_id with embedded specs (--component/--task/--container); '
            "this intermediate dialect was never released and is not supported.",
        )
    if (unknown := [flag for flag in flags if flag not in _KNOWN]) and not lenient:
        raise RewriteRefused(
            Refusal.UNKNOWN_FLAG,
            f'template "{name}" passes driver flags this version does not know: {_listed(unknown)}. '
            "Upgrade the rewriter or use --lenient to pass them through as plugin arguments.",
        )
    required = (*_COMMON, _OF_CONTAINERS if is_container else _OF_DAGS)
    if missing := [flag for flag in required if flag not in flags]:
        raise RewriteRefused(
            Refusal.MISSING_FLAG, f'template "{name}" lacks required driver flags: {_listed(missing)}.'
        )


def _listed(flags: Iterable[str]) -> str:
    return ", ".join(f"--{shown(flag)}" for flag in flags)


def _call_arguments(flags: Flags, name: str) -> Json:
    arguments: Json = {}
    for flag, value in flags.items():
        if flag in OUTPUT_FLAGS:
            continue
        if flag == "namespace" and value == _NAMESPACE_OF_THE_POD:
            arguments[flag] = _NAMESPACE_TAG
        elif flag in _INTEGERS:
            arguments[flag] = _integer(str(value), flag, name)
        elif flag in _BOOLEANS:
            arguments[flag] = boolean(str(value), flag, template=name)
        else:
            arguments[flag] = value
    return arguments


def _integer(value: str, flag: str, name: str) -> int:
    number = int(value) if _INT64.fullmatch(value) else 2**63
    if not -(2**63) <= number < 2**63:
        raise RewriteRefused(
            Refusal.BAD_VALUE, f'template "{name}": --{flag}: expected an integer, got "{shown(value)}".'
        )
    return number


def _runtime_arguments(container: Mapping[str, Any], name: str, *, lenient: bool, warn: Warn) -> str:
    """Environment that run plugins added to the driver, as JSON text; empty for none."""
    if container.get("envFrom"):
        warn("envFrom of the driver container is dropped")
    carried: dict[str, str] = {}
    where = f'template "{name}": container.env'
    for entry in sequence(container.get("env"), where):
        variable = mapping(entry, where)
        key = text(variable.get("name"), where)
        if key in _IGNORED_ENVIRONMENT:
            continue
        if variable.get("valueFrom") is None:
            carried[key] = text(variable.get("value"), where)
        elif lenient:
            warn(f'environment variable "{shown(key)}" uses valueFrom and is dropped')
        else:
            raise RewriteRefused(
                Refusal.UNSUPPORTED_ENV,
                f'template "{name}": environment variable "{shown(key)}" uses valueFrom and cannot be '
                "carried into plugin arguments.",
            )
    return json.dumps(carried, sort_keys=True, separators=(",", ":")) if carried else ""


def _outputs(template: Mapping[str, Any], name: str, *, is_container: bool) -> Json:
    where = f'template "{name}": outputs'
    outputs = mapping(template.get("outputs"), where)
    declared = [mapping(one, where) for one in sequence(outputs.get("parameters"), where)]
    names = [text(one.get("name"), where) for one in declared]
    expected = container_driver_outputs() if is_container else dag_driver_outputs()
    if sorted(names) != sorted(expected):
        raise RewriteRefused(
            Refusal.UNRECOGNIZED_DRIVER,
            f'template "{name}" has the outputs {", ".join(map(shown, names)) or "none"}; '
            f"a driver has {', '.join(expected)}.",
        )
    return {**outputs, "parameters": [_from_reply(one, where) for one in declared]}


def _from_reply(declared: Mapping[str, Any], where: str) -> Json:
    """The output with its file replaced; the plugin returns values, the path only satisfies Argo's checks."""
    source = mapping(declared.get("valueFrom"), where)
    if "path" not in source:
        return dict(declared)
    others = {key: value for key, value in source.items() if key != "path"}
    return {**declared, "valueFrom": {"jsonPath": f"$.{declared['name']}", **others}}

"""The plugin's ``args`` map as a typed :class:`DriverCall` (spec DRIVER 1.2, 15; COMPILER 9.2, 9.3).

What comes in is written by whoever may create workflows: it chooses what to compute, never where the
service sends its credentials or which file it reads. So a call is first *bound* to the namespace, run and
workflow of its caller (:class:`ForbiddenError`, HTTP 403), then typed (:class:`ArgumentError`, a failed
node that names the argument). Addresses, TLS flags and paths are compared with the service's own settings
and otherwise ignored with a warning.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from driver_plugin.argo.coercion import (
    as_boolean,
    as_integer,
    as_object,
    as_string,
    as_string_map,
    refuse_placeholder,
)
from driver_plugin.argo.driver_type import DriverType
from driver_plugin.argo.requests import WorkflowMetadata
from driver_plugin.errors import ArgumentError, ForbiddenError
from driver_plugin.settings import Settings
from driver_plugin.system_logs.redaction import redact

ARGS_VERSION: Final = "1"
"""Version of the argument table that this service speaks."""

LAUNCHER_CA_PATH: Final = "/kfp/certs/ca.crt"
"""The one CA path inside launcher pods that compilers write."""

_REQUIRED: Final = (
    "pipeline_name",
    "run_id",
    "run_name",
    "run_display_name",
    "parent_task_id",
    "task_name",
    "iteration_index",
)
_LAUNCHER_ENDPOINT: Final = (
    "ml_pipeline_server_address",
    "ml_pipeline_server_port",
    "ml_pipeline_tls_enabled",
)
_GRPC_RECONNECTING: Final = frozenset(
    {
        "ml_pipeline_grpc_backoff_base_delay",
        "ml_pipeline_grpc_backoff_multiplier",
        "ml_pipeline_grpc_backoff_jitter",
        "ml_pipeline_grpc_backoff_max_delay",
        "ml_pipeline_grpc_min_connect_timeout",
    }
)
"""How a gRPC client of the KFP API reconnects, in KFP's newer templates. This service speaks REST; launchers
get the same settings as environment, from the compiler."""
_READ: Final = frozenset(
    {
        *_REQUIRED,
        *_LAUNCHER_ENDPOINT,
        "type",
        "namespace",
        "runtime_config",
        "kubernetes_config",
        "cache_disabled",
        "publish_logs",
        "log_level",
        "ca_cert_path",
        "http_proxy",
        "https_proxy",
        "no_proxy",
        "default_run_as_user",
        "default_run_as_group",
        "default_run_as_non_root",
        "default_host_users",
        "runtime_args",
        "args_version",
        "kfp_token_audience",
    }
)
_OUTPUT_PATHS: Final = frozenset(
    {
        "parent_task_id_path",
        "iteration_count_path",
        "condition_path",
        "cached_decision_path",
        "pod_spec_patch_path",
    }
)
_METADATA_STORE: Final = frozenset(
    {
        "component",
        "task",
        "container",
        "dag_execution_id",
        "pipeline_job_create_time_utc",
        "pipeline_job_schedule_time_epoch_seconds",
        "execution_id_path",
        "mlmd_server_address",
        "mlmd_server_port",
        "metadata_tls_enabled",
    }
)
_ID: Final = re.compile(r"[A-Za-z0-9-]{1,64}", re.ASCII)
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class CallKey(NamedTuple):
    """What makes two deliveries the same call (decision 11, spec DRIVER 9.2)."""

    workflow_uid: str
    run_id: str
    type: DriverType
    parent_task_id: str
    task_name: str
    iteration_index: int | None


@dataclass(frozen=True)
class Caller:
    """The account behind a call, as Kubernetes' TokenReview names it."""

    user: str
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class DriverCall:
    """One driver call, typed and bound to its caller. Ids are well formed; nothing else is looked up yet."""

    type: DriverType
    pipeline_name: str
    """Pipeline name as compiled; may be ``namespace/<ns>/pipeline/<name>``."""
    run_id: str
    run_name: str
    """Name of the Workflow object."""
    run_display_name: str
    """May be empty: then the run's own display name counts."""
    parent_task_id: str
    """Empty only for ROOT_DAG."""
    task_name: str
    """Key in the parent's ``dag.tasks``; empty only for ROOT_DAG."""
    iteration_index: int | None
    """Position in a ParallelFor; ``None`` outside loops."""
    namespace: str
    workflow_name: str
    workflow_uid: str
    runtime_config: dict[str, Any] | None
    kubernetes_config: dict[str, Any] | None
    cache_disabled: bool
    publish_logs: bool
    log_level: str
    ca_cert_path: str
    """Path inside the launcher pod: empty or :data:`LAUNCHER_CA_PATH`."""
    http_proxy: str
    """Proxies are environment of user pods, nothing else."""
    https_proxy: str
    no_proxy: str
    default_run_as_user: int | None
    default_run_as_group: int | None
    default_run_as_non_root: bool | None
    default_host_users: bool | None
    runtime_args: Mapping[str, str]
    """Configuration of run plugins. Never logged."""
    warnings: tuple[str, ...]
    """What was ignored, one line each, without values."""

    caller: Caller | None = None
    """``None`` where the service acts with the account of the Workflow that calls it."""

    @property
    def key(self) -> CallKey:
        """Identity for joining deliveries of the same call."""
        return CallKey(
            self.workflow_uid,
            self.run_id,
            self.type,
            self.parent_task_id,
            self.task_name,
            self.iteration_index,
        )


def check_binding(args: Mapping[str, Any], *, workflow: WorkflowMetadata, settings: Settings) -> None:
    """Refuse a call that names another namespace, run or workflow than its caller's (spec DRIVER 15).

    Looks only at what is given; missing arguments are :func:`parse_driver_call`'s business.
    """
    namespace = args.get("namespace")
    if namespace not in (None, "", workflow.namespace):
        raise ForbiddenError("namespace mismatch")
    if settings.namespace and workflow.namespace != settings.namespace:
        raise ForbiddenError("namespace mismatch")
    run_id = args.get("run_id")
    if settings.run_id and run_id is not None and run_id != settings.run_id:
        raise ForbiddenError("run mismatch: this service is bound to another run")
    run_name = args.get("run_name")
    if run_name not in (None, "", workflow.name):
        raise ForbiddenError("workflow mismatch: run_name is not the name of the calling workflow")


def parse_driver_call(
    args: Mapping[str, Any], *, workflow: WorkflowMetadata, settings: Settings
) -> DriverCall:
    """Type the arguments of one call.

    Raises:
        ForbiddenError: The call is for another namespace, run or workflow than its caller's.
        ArgumentError: An argument is missing, unresolved or malformed; the message names it.
    """
    # A template that Argo did not fill in is no attempt to work for somebody else.
    for name in ("namespace", "run_id", "run_name"):
        refuse_placeholder(name, str(args.get(name)))
    check_binding(args, workflow=workflow, settings=settings)
    call_type = _call_type(args)
    _check_version(args)
    _check_required(args, call_type)
    run_id = _identifier(args, "run_id")
    warnings = _ignored(args)
    warnings += _endpoint_warnings(args, settings)
    _check_audience(args, settings.run_audience(run_id))
    ca_cert_path = as_string(args, "ca_cert_path")
    if ca_cert_path not in ("", LAUNCHER_CA_PATH):
        warnings.append(f"argument ca_cert_path is not {LAUNCHER_CA_PATH}; ignored")
        ca_cert_path = ""
    return DriverCall(
        type=call_type,
        pipeline_name=_pipeline_name(args),
        run_id=run_id,
        run_name=as_string(args, "run_name"),
        run_display_name=as_string(args, "run_display_name"),
        parent_task_id=_identifier(args, "parent_task_id"),
        task_name=_task_name(args),
        iteration_index=_not_negative(args, "iteration_index"),
        namespace=workflow.namespace,
        workflow_name=workflow.name,
        workflow_uid=workflow.uid,
        runtime_config=as_object(args, "runtime_config"),
        kubernetes_config=as_object(args, "kubernetes_config"),
        cache_disabled=as_boolean(args, "cache_disabled") or False,
        publish_logs=as_string(args, "publish_logs", "true") == "true",
        log_level=as_string(args, "log_level", "1") or "1",
        ca_cert_path=ca_cert_path,
        http_proxy=as_string(args, "http_proxy"),
        https_proxy=as_string(args, "https_proxy"),
        no_proxy=as_string(args, "no_proxy"),
        default_run_as_user=_not_negative(args, "default_run_as_user"),
        default_run_as_group=_not_negative(args, "default_run_as_group"),
        default_run_as_non_root=as_boolean(args, "default_run_as_non_root"),
        default_host_users=as_boolean(args, "default_host_users"),
        runtime_args=as_string_map(args, "runtime_args"),
        warnings=tuple(warnings),
    )


def driver_type_of(args: Mapping[str, Any]) -> DriverType | None:
    """The call's type when it is a known one: failed replies need it before anything else is valid."""
    value = args.get("type")
    return DriverType(value) if isinstance(value, str) and value in DriverType.__members__ else None


def _quoted(text: str) -> str:
    """The beginning of a text; filtered before the cut, because half a credential looks like none."""
    return redact(text)[:64]


def _call_type(args: Mapping[str, Any]) -> DriverType:
    if args.get("type") is None:
        raise ArgumentError("--type is required but was not provided")
    text = as_string(args, "type")
    known = driver_type_of({"type": text})
    if known is None:
        raise ArgumentError(
            f'unknown driver type "{_quoted(text)}", must be one of {", ".join(DriverType.__members__)}'
        )
    return known


def _check_version(args: Mapping[str, Any]) -> None:
    version = as_string(args, "args_version") or ARGS_VERSION
    if version != ARGS_VERSION:
        raise ArgumentError(
            f'unknown args_version "{_quoted(version)}": this service speaks version {ARGS_VERSION}'
        )


def _check_required(args: Mapping[str, Any], call_type: DriverType) -> None:
    for name in _REQUIRED:
        if args.get(name) is None:
            raise ArgumentError(f"--{name} is required for {call_type} but was not provided")
    configuration = "kubernetes_config" if call_type is DriverType.CONTAINER else "runtime_config"
    # Null is a value of a JSON-typed argument ("none"), so only the key counts.
    if configuration not in args:
        raise ArgumentError(f"--{configuration} is required for {call_type} but was not provided")


def _identifier(args: Mapping[str, Any], name: str) -> str:
    text = as_string(args, name)
    if text and not _ID.fullmatch(text):
        raise ArgumentError(f'invalid {name} value "{_quoted(text)}"')
    return text


def _pipeline_name(args: Mapping[str, Any]) -> str:
    text = as_string(args, "pipeline_name")
    if ".." in text.split("/") or _CONTROL.search(text):
        raise ArgumentError(f'invalid pipeline_name value "{_quoted(text)}"')
    return text


def _task_name(args: Mapping[str, Any]) -> str:
    text = as_string(args, "task_name")
    if "/" in text or ".." in text or _CONTROL.search(text):
        raise ArgumentError(f'invalid task_name value "{_quoted(text)}"')
    return text


def _not_negative(args: Mapping[str, Any], name: str) -> int | None:
    """An integer of which ``-1`` means "not set"."""
    number = as_integer(args, name)
    if number is None and name == "iteration_index":
        raise ArgumentError(f'invalid {name} value ""')
    if number == -1:
        return None
    if number is not None and number < 0:
        raise ArgumentError(f'invalid {name} value "{number}"')
    return number


def _check_audience(args: Mapping[str, Any], expected: str) -> None:
    audience = as_string(args, "kfp_token_audience")
    if audience not in ("", expected):
        raise ArgumentError("invalid kfp_token_audience value: not the audience of this run")


def _endpoint_warnings(args: Mapping[str, Any], settings: Settings) -> list[str]:
    """The launcher endpoint comes from the service's settings; arguments that differ are only reported."""
    named = [name for name in _LAUNCHER_ENDPOINT if name in args]
    differing = [name for name in named if _differs(args, name, settings)]
    if not differing:
        return []
    return [f"arguments differ from this service's launcher endpoint; ignored: {', '.join(differing)}"]


def _differs(args: Mapping[str, Any], name: str, settings: Settings) -> bool:
    if name.endswith("_tls_enabled"):
        return as_boolean(args, name) not in (None, settings.api_tls)
    own = settings.api_port if name.endswith("_port") else settings.api_address
    return as_string(args, name, own) != own


def _ignored(args: Mapping[str, Any]) -> list[str]:
    warnings = []
    old = sorted(_METADATA_STORE & args.keys())
    if old:
        warnings.append(f"arguments of the metadata store era; ignored: {', '.join(old)}")
    unknown = sorted(args.keys() - _READ - _OUTPUT_PATHS - _METADATA_STORE - _GRPC_RECONNECTING)
    if unknown:
        names = [_quoted(name) for name in unknown[:20]]
        warnings.append(f"unknown arguments; ignored: {', '.join(names)}")
    return warnings


__all__ = [
    "ARGS_VERSION",
    "LAUNCHER_CA_PATH",
    "CallKey",
    "DriverCall",
    "DriverType",
    "check_binding",
    "driver_type_of",
    "parse_driver_call",
]

"""Opens and closes the logs of invocations: names, first lines, and what may be said of a call.

Arguments are logged field by field from an allow-list; configurations that carry user data appear as size
and hash (spec DEPLOY 9.6).
"""

import asyncio
import hashlib
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import orjson

from driver_plugin.argo.arguments import DriverCall
from driver_plugin.argo.requests import WorkflowMetadata
from driver_plugin.system_logs.capture import InvocationLog
from driver_plugin.system_logs.location import new_invocation_id, object_key
from driver_plugin.system_logs.redaction import redact
from driver_plugin.system_logs.standard_output import emitter
from driver_plugin.system_logs.upload import LogUploader

_NAMED = ("run_id", "type", "parent_task_id", "task_name", "iteration_index")
_TEXT_LIMIT = 256


class InvocationLogs:
    """Makes the log of each invocation, and hands it to the uploader when the invocation ends.

    Args:
        log_root: Where logs go, as ``derive_log_root`` gives it; ``None``: standard output only.
        uploader: Uploads what :meth:`close` gives it.
        level: Least severity in logs.
    """

    def __init__(self, log_root: str | None, *, uploader: LogUploader, level: str) -> None:
        self._log_root = log_root
        self._uploader = uploader
        self._level = level
        self._version = _driver_version()

    def open(self, args: Mapping[str, Any], *, workflow: WorkflowMetadata) -> InvocationLog:
        """Begin the log of an invocation, from arguments that need not be valid."""
        invocation_id = new_invocation_id()
        key = object_key(args, invocation_id) if self._log_root is not None else None
        header = {name: _short(args[name]) for name in _NAMED if name in args}
        header |= {
            "namespace": workflow.namespace,
            "workflow": workflow.name,
            "driver_version": self._version,
        }
        return InvocationLog(
            invocation_id,
            uri=f"{self._log_root}/{key}" if key else "",
            header=header,
            level=self._level,
            emit=emitter(invocation_id),
        )

    def close(self, log: InvocationLog, outcome: str) -> "asyncio.Task[None] | None":
        """End a log and begin its upload; the task never fails, ``None`` when there is none."""
        if not log.uri or self._log_root is None:
            return None
        return self._uploader.start(log.uri.removeprefix(f"{self._log_root}/"), log.body(outcome))


def describe_call(call: DriverCall) -> dict[str, Any]:
    """What a log may say of a call's arguments."""
    return {
        "type": call.type.value,
        "pipeline_name": _short(call.pipeline_name),
        "run_id": call.run_id,
        "run_name": _short(call.run_name),
        "parent_task_id": call.parent_task_id,
        "task_name": _short(call.task_name),
        "iteration_index": call.iteration_index,
        "cache_disabled": call.cache_disabled,
        "publish_logs": call.publish_logs,
        "runtime_config": _fingerprint(call.runtime_config),
        "kubernetes_config": _fingerprint(call.kubernetes_config),
        "runtime_args": sorted(_short(name) for name in call.runtime_args),
    }


def _fingerprint(value: dict[str, Any] | None) -> str:
    """Size and SHA-256 of a configuration in canonical JSON."""
    if value is None:
        return "none"
    encoded = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    return f"{len(encoded)} bytes sha256:{hashlib.sha256(encoded).hexdigest()}"


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    return redact(text)[:_TEXT_LIMIT]


def _driver_version() -> str:
    try:
        return version("kfp-central-driver")
    except PackageNotFoundError:
        return "unknown"

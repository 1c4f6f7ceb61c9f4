"""Where the log of an invocation goes, and what it is called there (spec DEPLOY 9.2).

``<log_root>/<run_id>/<scope>/<invocation_id>.log``. Every part comes from the call's arguments, so the
name exists before the first API request, and a reader derives the prefix from a task row alone. No part
is empty, ``.`` or ``..``, whatever the arguments say.
"""

import hashlib
import re
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from driver_plugin.argo.driver_type import DriverType

DEFAULT_PIPELINE_ROOT: Final = "minio://mlpipeline/v2/artifacts"
"""KFP's default pipeline root."""

LOG_FOLDER: Final = "_driver-logs"
MAX_KEY_BYTES: Final = 1024

_IDENTIFIER: Final = re.compile(r"[A-Za-z0-9-]{1,64}", re.ASCII)
_NOT_IN_SLUG: Final = re.compile(r"[^A-Za-z0-9._-]")
_INTEGER: Final = re.compile(r"\s*[0-9]{1,18}\s*", re.ASCII)
_SLUG_LENGTH: Final = 80


def new_invocation_id(now: datetime | None = None) -> str:
    """A fresh id: UTC time to the millisecond, and 8 random hex digits. Sorts by time."""
    moment = (now or datetime.now(UTC)).astimezone(UTC)
    milliseconds = moment.microsecond // 1000
    return f"{moment:%Y%m%dT%H%M%S}{milliseconds:03d}Z-{secrets.token_hex(4)}"


def slug(task_name: str) -> str:
    """The task name as one harmless path segment; what had to change is told apart by a hash."""
    short = _NOT_IN_SLUG.sub("-", task_name)[:_SLUG_LENGTH]
    if short != task_name or short in ("", ".", ".."):
        short += "-" + hashlib.sha256(task_name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return short


def scope(*, parent_task_id: str, task_name: str, iteration_index: int | None) -> str:
    """``root`` without a parent, else ``<parent_task_id>/<slug>[.<iteration_index>]``."""
    if not parent_task_id:
        return "root"
    index = "" if iteration_index is None or iteration_index < 0 else f".{iteration_index}"
    return f"{parent_task_id}/{slug(task_name)}{index}"


def object_key(args: Mapping[str, Any], invocation_id: str) -> str | None:
    """Key below the log root, from raw arguments; ``None`` when their ids cannot be part of a name.

    Works on arguments that did not pass validation, so that a call with a bad argument is logged too.
    """
    run_id = args.get("run_id")
    if not isinstance(run_id, str) or not _IDENTIFIER.fullmatch(run_id):
        return None
    parent = args.get("parent_task_id")
    if args.get("type") == DriverType.ROOT_DAG or parent in (None, ""):
        parent = ""
    elif not isinstance(parent, str) or not _IDENTIFIER.fullmatch(parent):
        return None
    task_name = args.get("task_name")
    where = scope(
        parent_task_id=parent,
        task_name=task_name if isinstance(task_name, str) else "",
        iteration_index=_index(args.get("iteration_index")),
    )
    key = f"{run_id}/{where}/{invocation_id}.log"
    return key if len(key) <= MAX_KEY_BYTES else None


def derive_log_root(configured: str, launcher_config_dir: Path) -> str | None:
    """The log root: configured, else below the namespace's default pipeline root; ``None``: no upload.

    Only ``minio://`` and ``s3://`` are stores, and, when configured, an absolute directory. Query strings
    are dropped.
    """
    if configured.startswith("/"):
        return configured.rstrip("/") or "/"
    root = configured.partition("?")[0].rstrip("/")
    root = root or f"{_default_pipeline_root(launcher_config_dir)}/{LOG_FOLDER}"
    if not root.startswith(("minio://", "s3://")):
        return None
    segments = root.partition("://")[2].split("/")
    return None if {"", ".", ".."} & set(segments) else root


def _default_pipeline_root(launcher_config_dir: Path) -> str:
    try:
        text = (launcher_config_dir / "defaultPipelineRoot").read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        text = ""
    return (text or DEFAULT_PIPELINE_ROOT).partition("?")[0].rstrip("/")


def _index(value: Any) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        return int(value)
    return None

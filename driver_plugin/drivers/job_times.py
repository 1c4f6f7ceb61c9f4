"""Create and schedule time of a run as task inputs see them (spec DRIVER 12.3)."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from driver_plugin.errors import DriverError, is_retryable
from driver_plugin.kubernetes import KubernetesClient
from driver_plugin.system_logs.capture import InvocationLog
from kfp_api.ir.pipeline import TaskSpec
from kfp_api.messages import Run
from kfp_api.wire import EPOCH, format_timestamp

CREATE_TIME: Final = "{{$.pipeline_job_create_time_utc}}"
SCHEDULE_TIME: Final = "{{$.pipeline_job_schedule_time_utc}}"
_WORKFLOW_EPOCH_LABEL: Final = "scheduledworkflows.kubeflow.org/workflowEpoch"
_EPOCH_SECONDS: Final = re.compile(r"[0-9]{1,11}", re.ASCII)
"""Up to the year 5138."""


@dataclass(frozen=True, kw_only=True)
class JobTimes:
    """Both times as ``YYYY-MM-DDTHH:MM:SSZ``; empty where nothing names them and no input asks."""

    create: str
    schedule: str


async def job_times(
    run: Run,
    task: TaskSpec,
    *,
    workflow: tuple[str, str],
    kubernetes: KubernetesClient | None,
    log: InvocationLog,
) -> JobTimes:
    """Times of the run; the Workflow is read only when an input asks for a time that the run lacks.

    Args:
        run: the run, with ``created_at`` and ``scheduled_at`` where the server sets them.
        task: the task whose inputs may ask.
        workflow: namespace and name of the Workflow.
        kubernetes: client for the fallback, or ``None``.
        log: takes the note about a failing fallback.

    Raises:
        DriverError: an input asks for the create time and nothing knows it.
    """
    created, scheduled = _known(run.created_at), _known(run.scheduled_at)
    asked = _asked(task)
    wants_schedule = SCHEDULE_TIME in asked and scheduled is None
    if asked and (created is None or wants_schedule):
        document = await _read_workflow(kubernetes, workflow, needed=created is None, log=log)
        created = created or _creation(document)
        scheduled = scheduled or _epoch_label(document)
        if created is None:
            raise DriverError("the create time of the run is not known")
    scheduled = scheduled or created
    return JobTimes(
        create=format_timestamp(created) if created else "",
        schedule=format_timestamp(scheduled) if scheduled else "",
    )


def _asked(task: TaskSpec) -> set[str]:
    constants = (
        source.runtime_value.constant for source in task.inputs.parameters.values() if source.runtime_value
    )
    texts = [str(constant) for constant in constants]
    return {wanted for wanted in (CREATE_TIME, SCHEDULE_TIME) if any(wanted in text for text in texts)}


def _known(moment: datetime | None) -> datetime | None:
    return None if moment in (None, EPOCH) else moment


async def _read_workflow(
    kubernetes: KubernetesClient | None, workflow: tuple[str, str], *, needed: bool, log: InvocationLog
) -> dict[str, Any]:
    if kubernetes is None:
        return {}
    try:
        return await kubernetes.get_workflow(*workflow)
    except DriverError as error:
        if needed or is_retryable(error):
            raise
        log.warning("workflow not readable, schedule time falls back to create time", error=str(error))
        return {}


def _creation(document: dict[str, Any]) -> datetime | None:
    text = document.get("metadata", {}).get("creationTimestamp")
    return datetime.fromisoformat(text) if isinstance(text, str) else None


def _epoch_label(document: dict[str, Any]) -> datetime | None:
    """The moment that a label of the Workflow names; a label that names none is ignored."""
    text = (document.get("metadata", {}).get("labels") or {}).get(_WORKFLOW_EPOCH_LABEL, "")
    if not _EPOCH_SECONDS.fullmatch(text) or not int(text):
        return None
    return datetime.fromtimestamp(int(text), UTC)

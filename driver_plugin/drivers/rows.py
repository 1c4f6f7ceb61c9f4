"""The one task row that a driver call writes, and what a row found there says about the call.

CreateTask answers an existing row unchanged and does not say so. Every call therefore sends an
*attempt marker* of its own; the marker on the answer, the state and the pods decide whether this
call is the first, a repetition, or a new attempt (spec DRIVER 2.1, 4.1). Only a new attempt changes
an existing row. Updates are sparse; ``status_metadata``, which the server replaces whole, is always
sent with every property known of the row (spec DRIVER 2.2, DEPLOY 9.5).
"""

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import Enum
from typing import Final

import orjson
from pydantic import JsonValue

from driver_plugin.hooks.plugin import PROPERTY_PREFIX
from kfp_api.messages import (
    PRESERVED_STATES,
    PipelineTask,
    StatusMetadata,
    TaskPodType,
    TaskState,
)
from kfp_api.run_view import RunView

ATTEMPT_PROPERTY: Final = "kfp_driver_attempt"
"""Custom property that holds the attempt marker; its value is also the salt of the output URIs."""

_NEW_ATTEMPTS: Final = uuid.UUID("0d9d1c1e-52a4-5b7c-8a37-6f3f5f0c9a24")

LOG_PROPERTY: Final = "driver_logs_uri"
"""Custom property that names the driver log of the latest attempt."""


class Attempt(Enum):
    """What a driver call is, judged by the row that CreateTask answered."""

    FIRST = "first"
    """The row is this call's own."""

    REDELIVERED = "redelivered"
    """The row is in work under another marker: the same attempt, delivered again."""

    HANDED_OVER = "handed over"
    """The driver's part was done before; the executor or a child failed since."""

    FINISHED = "finished"
    """The work of the row is done: succeeded, cached or skipped."""

    NEW = "new attempt"
    """The driver failed before, or the server reset the row for a retry."""

    @property
    def writes(self) -> bool:
        """Whether this call decides the row's fields."""
        return self in (Attempt.FIRST, Attempt.NEW)


def decide_attempt(row: PipelineTask, marker: str) -> Attempt:
    """The table of spec DRIVER 4.1. ``row`` is hydrated: pods and children are those stored."""
    stored = row.custom_properties.get(ATTEMPT_PROPERTY)
    if stored == marker:
        return Attempt.FIRST
    if row.state in PRESERVED_STATES:
        return Attempt.FINISHED
    if row.state is TaskState.FAILED and (has_executor_pod(row) or row.child_tasks):
        return Attempt.HANDED_OVER
    if row.state is TaskState.RUNNING and stored:
        return Attempt.REDELIVERED
    return Attempt.NEW


def marker_of_new_attempt(row: PipelineTask) -> str:
    """The marker for a new attempt on an old row.

    It derives from the row as it was found: two deliveries that find the same row at the same time choose
    the same marker, and so give the same output URIs, whichever of them writes last.
    """
    found = {"task_id": row.task_id, "marker": row.custom_properties.get(ATTEMPT_PROPERTY)}
    history = [entry.to_wire() for entry in row.state_history]
    return str(uuid.uuid5(_NEW_ATTEMPTS, orjson.dumps([found, history]).decode()))


def has_executor_pod(row: PipelineTask) -> bool:
    """Whether an executor has worked on the task."""
    return any(pod.type is TaskPodType.EXECUTOR for pod in row.pods)


def now() -> datetime:
    """The current time in whole seconds, as rows store it."""
    return datetime.now(UTC).replace(microsecond=0)


class TaskRowWriter:
    """Creates, updates or fails the row of one driver call.

    ``skeleton`` holds what identifies the row (name, type, scope path, parent, iteration index) and
    what does not depend on resolution; it is fixed before any step that can fail, so that a call that
    fails early and its retry mean the same row.
    """

    def __init__(self, run: RunView, *, skeleton: PipelineTask, marker: str, log_uri: str) -> None:
        self._run = run
        self._skeleton = skeleton
        self._marker = marker
        self._log_uri = log_uri
        self._properties: dict[str, JsonValue] = {}
        self._row: PipelineTask | None = None
        self._attempt: Attempt | None = None

    @property
    def task_id(self) -> str:
        """Id of the row, ``""`` while it is not known."""
        return self._row.task_id if self._row else ""

    @property
    def row(self) -> PipelineTask:
        """The row as last answered by the server."""
        if self._row is None:
            raise RuntimeError("the task row is not written yet")
        return self._row

    @property
    def salt(self) -> str:
        """Salt of the output URIs: the marker that stands on the row.

        A launcher that replaced the row's properties also lost the marker; the task id then keeps the
        URIs the same for every repetition.
        """
        stored = self.row.custom_properties.get(ATTEMPT_PROPERTY)
        return stored if isinstance(stored, str) and stored else self.row.task_id

    def add_properties(self, properties: Mapping[str, JsonValue]) -> None:
        """Custom properties that the row gets when it is written next."""
        self._properties.update(properties)

    async def write(self, fields: PipelineTask) -> Attempt:
        """Create the row with ``fields``, or apply them to the row that is there if this is a new attempt.

        Args:
            fields: what this attempt decides: ``state``, ``inputs``, and where they apply ``outputs``,
                ``cache_fingerprint``, ``end_time`` and ``type_attributes``.
        """
        self._row, self._attempt = await self._create(fields, message="")
        if self._attempt is Attempt.NEW:
            marker = marker_of_new_attempt(self._row)
            metadata = self._metadata(self._row.custom_properties, marker=marker, message="")
            await self.update(
                fields.model_copy(update={"pods": self._skeleton.pods, "status_metadata": metadata})
            )
        return self._attempt

    async def update(self, patch: PipelineTask) -> PipelineTask:
        """Send a sparse update of the row and keep the answer."""
        self._row = await self._run.client.update_task(self._run.run_id, self.row.task_id, patch)
        self._run.remember(self._row)
        return self._row

    async def fail(self, message: str) -> PipelineTask | None:
        """Mark the row FAILED with ``message``, creating it if this call did not get that far.

        Returns:
            The FAILED row, or ``None`` when others went on with the work or it is finished: a failing
            repetition leaves that alone (spec DRIVER 9.1).
        """
        failed = PipelineTask(state=TaskState.FAILED, end_time=now())
        if self._row is None:
            self._row, self._attempt = await self._create(failed, message=message)
            if self._attempt is Attempt.FIRST:
                return self._row
        went_on = self._attempt is Attempt.REDELIVERED and self._row.child_tasks
        if self._attempt in (Attempt.FINISHED, Attempt.HANDED_OVER) or went_on or has_executor_pod(self._row):
            return None
        properties = self._row.custom_properties
        marker = properties.get(ATTEMPT_PROPERTY) or marker_of_new_attempt(self._row)
        metadata = self._metadata(properties, marker=marker, message=message)
        return await self.update(
            failed.model_copy(update={"pods": self._skeleton.pods, "status_metadata": metadata})
        )

    async def _create(self, fields: PipelineTask, *, message: str) -> tuple[PipelineTask, Attempt]:
        given = {name: getattr(fields, name) for name in fields.model_fields_set}
        metadata = self._metadata({}, marker=self._marker, message=message)
        body = self._skeleton.model_copy(update={**given, "create_time": now(), "status_metadata": metadata})
        row = await self._run.client.create_task(body)
        attempt = decide_attempt(row, self._marker)
        if attempt is not Attempt.FIRST:
            # CreateTask's answer lacks children and links of an older row (spec KFP_API 4.1).
            row = await self._run.task(row.task_id, fresh=True)
            attempt = decide_attempt(row, self._marker)
        self._run.remember(row)
        self._run.forget_parent(row.task_id)
        return row, attempt

    def _metadata(
        self, properties: Mapping[str, JsonValue], *, marker: JsonValue, message: str
    ) -> StatusMetadata:
        own: dict[str, JsonValue] = {
            **self._skeleton.custom_properties,
            **self._properties,
            ATTEMPT_PROPERTY: marker,
        }
        if self._log_uri:
            own[LOG_PROPERTY] = self._log_uri
        # Plugins go on with what they noted on the row before.
        noted = {key: value for key, value in properties.items() if key.startswith(PROPERTY_PREFIX)}
        return StatusMetadata(message=message, custom_properties={**properties, **own, **noted})

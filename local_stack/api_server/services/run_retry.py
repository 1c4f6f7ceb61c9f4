"""RetryRun: re-opens a finished run and resets what did not succeed, in one transaction (spec KFP_API 6.7).

Succeeded, cached and skipped tasks stay. Argo does not run succeeded drivers again, so the others keep
what their driver gave them (input parameters, input links and DRIVER pods), and DAG rows get the outputs
of their kept children again.
"""

from typing import Any

import orjson
from sqlalchemy import delete, select, true, update

from kfp_api.messages import PRESERVED_STATES, RuntimeState, TaskPodType, TaskState
from local_stack.api_server.errors import BadRequestError
from local_stack.api_server.services.republish import republish_kept_outputs
from local_stack.api_server.services.run_access import authorize_run
from local_stack.api_server.services.run_states import run_history
from local_stack.api_server.services.runs import set_run_columns
from local_stack.api_server.services.task_patches import appended_history
from local_stack.api_server.storage.encoding import json_text
from local_stack.api_server.storage.links import OUTPUT_NUMBERS, Wire, chunks
from local_stack.api_server.storage.run_rows import require_run
from local_stack.api_server.storage.schema import artifact_tasks, has_id, tasks
from local_stack.api_server.storage.transaction import Transaction

_RETRYABLE = frozenset({RuntimeState.FAILED, RuntimeState.CANCELED})


def retry_run(tx: Transaction, run_id: str) -> Wire:
    """Set a failed run to RUNNING again and its unfinished tasks back to their start.

    Raises:
        ResourceNotFoundError: there is none with that id.
        BadRequestError: the run did not fail.
    """
    authorize_run(tx, "retry", run_id)
    row = require_run(tx.connection, run_id)
    if RuntimeState[row.State] not in _RETRYABLE:
        raise BadRequestError(f"Run {run_id} cannot be retried: it is {row.State}, not FAILED")
    reset_ids = _reset_tasks(tx, run_id)
    set_run_columns(
        tx,
        run_id,
        State=RuntimeState.RUNNING.value,
        Conditions="Running",
        FinishedAtInSec=0,
        StateHistory=run_history(row, RuntimeState.RUNNING, tx.now),
    )
    if not tx.config.strict_upstream:
        republish_kept_outputs(tx, run_id=run_id, pipeline_spec=row.PipelineSpecManifest, reset_ids=reset_ids)
    return {}


def _reset_tasks(tx: Transaction, run_id: str) -> list[str]:
    """Reset every task whose work is not done; returns their ids."""
    preserved = [state.number for state in PRESERVED_STATES]
    rows = tx.connection.execute(
        select(tasks.c.UUID, tasks.c.Pods, tasks.c.StateHistory).where(
            tasks.c.RunUUID == run_id, tasks.c.State.not_in(preserved)
        )
    ).all()
    for row in rows:
        tx.connection.execute(
            update(tasks)
            .where(has_id(tasks, row.UUID))
            .values(
                State=TaskState.RUNNING.number,
                StartedInSec=tx.now,
                FinishedInSec=0,
                StatusMetadata=None,
                Pods="[]" if tx.config.strict_upstream else _driver_pods(row.Pods),
                OutputParameters="[]",
                StateHistory=appended_history(row.StateHistory, TaskState.RUNNING, tx.now),
            )
        )
    ids = [row.UUID for row in rows]
    forgotten = true() if tx.config.strict_upstream else artifact_tasks.c.Type.in_(OUTPUT_NUMBERS)
    for piece in chunks(ids):
        tx.connection.execute(delete(artifact_tasks).where(artifact_tasks.c.TaskID.in_(piece), forgotten))
    return ids


def _driver_pods(stored: str) -> str:
    pods: list[dict[str, Any]] = orjson.loads(stored or "[]")
    return json_text([pod for pod in pods if pod.get("type") == TaskPodType.DRIVER.value])

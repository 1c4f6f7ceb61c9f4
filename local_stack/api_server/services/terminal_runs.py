"""Finished runs are immutable: the check that every write to tasks, artifacts and links makes.

It is made where something is about to be written, after the search for what exists already: repeats of
lost answers write nothing and stay harmless (spec KFP_API 6.6).
"""

from typing import Final

from sqlalchemy import select

from kfp_api.messages import TERMINAL_RUN_STATES
from local_stack.api_server.errors import FailedPreconditionError, ResourceNotFoundError
from local_stack.api_server.storage.schema import has_id, run_details
from local_stack.api_server.storage.transaction import Transaction

_TERMINAL_NAMES: Final = frozenset(state.value for state in TERMINAL_RUN_STATES)


def refuse_update_when_terminal(tx: Transaction, run_id: str, task_id: str) -> None:
    """Before changing a task row.

    Raises:
        FailedPreconditionError: the run is finished.
        ResourceNotFoundError: there is no such run.
    """
    state = _blocking_state(tx, run_id)
    if state is not None:
        raise FailedPreconditionError(
            f"Cannot update task {task_id}: parent run {run_id} is in terminal state {state}"
        )


def refuse_create_when_terminal(tx: Transaction, run_id: str, what: str) -> None:
    """Before inserting ``what`` ("task", "artifact", "artifact-task").

    Raises:
        FailedPreconditionError: the run is finished.
        ResourceNotFoundError: there is no such run.
    """
    state = _blocking_state(tx, run_id)
    if state is not None:
        raise FailedPreconditionError(
            f"Cannot create {what} in run {run_id}: run is in terminal state {state}"
        )


def is_closed(tx: Transaction, run_id: str) -> bool:
    """Whether writes to tasks, artifacts and links of the run are refused."""
    return _blocking_state(tx, run_id) is not None


def _blocking_state(tx: Transaction, run_id: str) -> str | None:
    run = tx.connection.execute(
        select(run_details.c.State, run_details.c.FinishedAtInSec).where(has_id(run_details, run_id))
    ).one_or_none()
    if run is None:
        raise ResourceNotFoundError(f"Run {run_id} not found")
    if not tx.config.enforces_terminal_runs or run.State not in _TERMINAL_NAMES:
        return None
    grace = tx.config.terminal_run_grace_seconds
    return None if grace and tx.now < run.FinishedAtInSec + grace else str(run.State)

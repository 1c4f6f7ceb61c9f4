"""Tasks that are still RUNNING when their run ends (spec KFP_API D12).

A pod that dies without its launcher leaves its row RUNNING. In the transaction that ends the run, running
leaves become FAILED, then running DAG tasks take the state that follows from their children, bottom up.
"""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any, Final

import orjson
from sqlalchemy import select, update

from kfp_api.messages import TaskState
from local_stack.api_server.services.task_patches import appended_history
from local_stack.api_server.storage.encoding import json_text
from local_stack.api_server.storage.links import chunks
from local_stack.api_server.storage.schema import has_id, tasks
from local_stack.api_server.storage.transaction import Transaction
from propagation.state_rules import aggregate_state

MESSAGE: Final = "run ended while the task was running"


def settle_running_tasks(tx: Transaction, run_id: str) -> None:
    """Bring every RUNNING row of the run to an end; custom properties stay."""
    running: dict[str, Any] = {
        row.UUID: row
        for row in tx.connection.execute(
            select(
                tasks.c.UUID,
                tasks.c.ParentTaskUUID,
                tasks.c.StatusMetadata,
                tasks.c.StateHistory,
            ).where(tasks.c.RunUUID == run_id, tasks.c.State == TaskState.RUNNING.number)
        )
    }
    children = _child_states(tx, run_id, list(running))
    for row in _bottom_up(running):
        states = children.get(row.UUID)
        # Deeper rows were settled before this one, so none of its children runs any more.
        state = aggregate_state(states.values() if states else ()) or TaskState.FAILED
        values: dict[str, Any] = {
            "State": state.number,
            "FinishedInSec": tx.now,
            "StateHistory": appended_history(row.StateHistory, state, tx.now),
        }
        if not states:
            values["StatusMetadata"] = _with_message(row.StatusMetadata)
        tx.connection.execute(update(tasks).where(has_id(tasks, row.UUID)).values(values))
        if row.ParentTaskUUID in children:
            children[row.ParentTaskUUID][row.UUID] = state


def _child_states(tx: Transaction, run_id: str, parent_ids: list[str]) -> dict[str, dict[str, TaskState]]:
    found: dict[str, dict[str, TaskState]] = defaultdict(dict)
    for piece in chunks(parent_ids):
        rows = tx.connection.execute(
            select(tasks.c.ParentTaskUUID, tasks.c.UUID, tasks.c.State).where(
                tasks.c.RunUUID == run_id, tasks.c.ParentTaskUUID.in_(piece)
            )
        )
        for parent_id, task_id, state in rows:
            found[parent_id][task_id] = TaskState.from_number(state)
    return found


def _bottom_up(running: Mapping[str, Any]) -> list[Any]:
    """Running rows, each before its running ancestors."""
    depths: dict[str, int] = {}

    def depth(task_id: str) -> int:
        path = []
        while task_id in running and task_id not in depths:
            path.append(task_id)
            task_id = running[task_id].ParentTaskUUID
        base = depths.get(task_id, 0)
        for distance, member in enumerate(reversed(path), start=1):
            depths[member] = base + distance
        return depths[path[0]] if path else base

    return sorted(running.values(), key=lambda row: -depth(row.UUID))


def _with_message(stored: str | None) -> str:
    metadata = orjson.loads(stored) if stored else {}
    return json_text({**metadata, "message": MESSAGE})

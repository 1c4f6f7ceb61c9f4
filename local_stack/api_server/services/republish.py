"""After a retry reset: outputs of kept tasks travel up to the DAG rows that were cleared (spec KFP_API 6.7).

The drivers of those DAGs have succeeded and do not run again, so nobody else restores their outputs. The
rules are those of drivers and launchers (:mod:`propagation.output_rules`), here over rows read in the same
transaction.
"""

from collections.abc import Collection

import orjson
import structlog
from sqlalchemy import select

from kfp_api.ir.load import InvalidPipelineError, pipeline_from_struct
from kfp_api.messages import PRESERVED_STATES, PipelineTask
from local_stack.api_server.services.server_propagation import store_batch
from local_stack.api_server.storage.links import chunks
from local_stack.api_server.storage.schema import tasks
from local_stack.api_server.storage.task_rows import TaskRow, find_task, hydrated
from local_stack.api_server.storage.transaction import Transaction
from propagation.batch import WriteBatch
from propagation.errors import PropagationError
from propagation.output_rules import climb_in_memory, own_outputs

_log = structlog.get_logger(__name__)


def republish_kept_outputs(
    tx: Transaction, *, run_id: str, pipeline_spec: str, reset_ids: Collection[str]
) -> None:
    """Give the reset rows, and their ancestors, the outputs of their finished children again.

    A row that does not fit the pipeline is left out, with a warning: it must not make a run unretryable.
    """
    kept = _messages(tx, _kept_children(tx, reset_ids))
    offering = [task for task in kept if own_outputs(task)]
    if not offering:
        return
    try:
        spec = pipeline_from_struct(orjson.loads(pipeline_spec)).spec
    except (InvalidPipelineError, orjson.JSONDecodeError) as error:
        _log.warning("outputs not republished", run_id=run_id, reason=str(error))
        return
    rows = {task.task_id: task for task in _messages(tx, _ancestors(tx, offering))}
    rows |= {task.task_id: task for task in offering}
    batch = WriteBatch(run_id)
    for task in offering:
        try:
            climb_in_memory(spec, task, rows, batch)
        except PropagationError as error:
            _log.warning("outputs not republished", run_id=run_id, task_id=task.task_id, reason=str(error))
    store_batch(tx, batch)


def _kept_children(tx: Transaction, parent_ids: Collection[str]) -> list[TaskRow]:
    states = [state.number for state in PRESERVED_STATES]
    return [
        row
        for piece in chunks(sorted(parent_ids))
        for row in tx.connection.execute(
            select(tasks)
            .where(tasks.c.ParentTaskUUID.in_(piece), tasks.c.State.in_(states))
            .order_by(tasks.c.CreatedAtInSec, tasks.c.UUID)
        )
    ]


def _ancestors(tx: Transaction, children: Collection[PipelineTask]) -> list[TaskRow]:
    found: dict[str, TaskRow] = {}
    for child in children:
        ancestor = child.parent_task_id
        while ancestor is not None and ancestor not in found:
            row = find_task(tx.connection, ancestor)
            if row is None:
                break
            found[ancestor] = row
            ancestor = row.ParentTaskUUID
    return list(found.values())


def _messages(tx: Transaction, rows: list[TaskRow]) -> list[PipelineTask]:
    return [
        PipelineTask.from_wire(orjson.loads(orjson.dumps(wire)))
        for wire in hydrated(tx.connection, rows, children=False)
    ]

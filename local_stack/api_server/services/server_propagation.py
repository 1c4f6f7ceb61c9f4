"""What a finished task means for its ancestors, done by the server (spec KFP_API 10, DRIVER 4.3, 4.4).

Off unless configured. In the transaction that wrote a row, its ancestors get its outputs and the state that
follows from it: update, read, propagate. The rules are those of drivers and launchers
(:mod:`propagation.state_rules`, :mod:`propagation.output_rules`), so clients that propagate, too, write
what is there already. Siblings are counted by index, and a loop head gets its outputs when the loop ends:
what one task costs does not grow with the rows beside it while any of them runs.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

import orjson
import structlog
from sqlalchemy import func, select

from kfp_api.ir.load import InvalidPipelineError, pipeline_from_struct
from kfp_api.ir.pipeline import DagSpec, PipelineSpec
from kfp_api.messages import (
    PRESERVED_STATES,
    TERMINAL_STATES,
    IOProducer,
    PipelineTask,
    TaskState,
    TaskType,
    TypeAttributes,
)
from local_stack.api_server.services.link_rows import NewLink, find_link, insert_link
from local_stack.api_server.services.task_patches import apply_patch
from local_stack.api_server.services.terminal_runs import is_closed
from local_stack.api_server.storage.schema import has_id, run_details, tasks
from local_stack.api_server.storage.task_rows import TaskRow, hydrated, require_task
from local_stack.api_server.storage.transaction import Transaction
from propagation.batch import WriteBatch
from propagation.errors import PropagationError
from propagation.output_rules import (
    Need,
    Question,
    answer_at_once,
    climb,
    climb_from_ended_loop,
    missing_outputs,
    own_outputs,
    scope_of,
)
from propagation.republish import was_reset
from propagation.state_rules import ChildCounts, dag_of, expected_children, omitted_children
from resolver.scope import ScopeEntry

_PIPELINES_KEPT: Final = 32

_IDENTITY: Final = (
    tasks.c.UUID,
    tasks.c.RunUUID,
    tasks.c.Name,
    tasks.c.Type,
    tasks.c.State,
    tasks.c.TypeAttrs,
    tasks.c.ParentTaskUUID,
    tasks.c.ScopePath,
)

_log = structlog.get_logger(__name__)


def propagate_from(tx: Transaction, run_id: str, task_ids: Iterable[str]) -> None:
    """Bring the ancestors of rows that were just written up to date, if the server is to do that.

    A walk that fails is logged and fails nothing, as in drivers and launchers: the next row that ends
    evaluates the same ancestors. Rows of finished runs are left as they are.
    """
    if not tx.config.propagates or is_closed(tx, run_id):
        return
    for task_id in task_ids:
        try:
            _propagate(tx, _identity(tx, task_id))
        except (PropagationError, InvalidPipelineError) as error:
            _log.warning("propagation failed", run_id=run_id, task_id=task_id, reason=str(error))


def _propagate(tx: Transaction, task: PipelineTask) -> None:
    if not task.parent_task_id:
        # A root has nobody above it, and what its children make of it they have made when they ended.
        return
    parent = _identity(tx, task.parent_task_id)
    restarted = task.state is TaskState.RUNNING and parent.state is TaskState.FAILED
    if task.state not in TERMINAL_STATES and not restarted:
        return
    spec = _pipeline(tx, task.run_id)
    if task.state in PRESERVED_STATES:
        batch = WriteBatch(task.run_id)
        # A loop that runs gets its outputs at its end; one that has ended, those that come late.
        walk = climb(spec, _with_outputs(tx, task.task_id), batch, into_loops=parent.state in TERMINAL_STATES)
        answer_at_once(walk, lambda question: _answer(tx, question))
        store_batch(tx, batch)
    _walk_states(tx, spec, task)


def _walk_states(tx: Transaction, spec: PipelineSpec, task: PipelineTask) -> None:
    scope = scope_of(spec, task)
    child = task
    while child.parent_task_id:
        scope = scope.parent
        entry, parent = scope.last, _identity(tx, child.parent_task_id)
        if entry is None:
            raise PropagationError(f"parent task {parent.task_id} has no scope path")
        state = TaskState.FAILED if child.state is TaskState.FAILED else _decide(tx, spec, entry, parent)
        if state is None:
            return
        if state is not parent.state:
            if state in PRESERVED_STATES:
                _complete_outputs(tx, spec, entry, parent)
            _write_state(tx, parent.task_id, state)
        # One that has the state already is passed: an interrupted walk of a client may have ended there.
        child = parent.model_copy(update={"state": state})


def _write_state(tx: Transaction, task_id: str, state: TaskState) -> None:
    ended = datetime.fromtimestamp(tx.now, tz=UTC) if state in TERMINAL_STATES else None
    apply_patch(tx, require_task(tx.connection, task_id), PipelineTask(state=state, end_time=ended))


def _decide(tx: Transaction, spec: PipelineSpec, entry: ScopeEntry, parent: PipelineTask) -> TaskState | None:
    """The state that a row gets from its children; ``None`` where it keeps the one it has."""
    if _has_child(tx, parent, TaskState.FAILED):
        return TaskState.FAILED
    recovered = TaskState.RUNNING if parent.state is TaskState.FAILED else None
    if _has_child(tx, parent, TaskState.RUNNING):
        return recovered
    total = _count(tx, parent)
    if not total:
        return None
    dag = dag_of(entry.component, parent.task_id)
    missing = expected_children(dag, parent, is_loop=entry.is_loop) - total
    if missing > 0 and _omitted(tx, spec, dag, parent, is_loop=entry.is_loop, missing=missing) < missing:
        return recovered
    cached, skipped = (_count(tx, parent, state) for state in (TaskState.CACHED, TaskState.SKIPPED))
    return ChildCounts(total=total, cached=cached, skipped=skipped).aggregate


def _omitted(
    tx: Transaction, spec: PipelineSpec, dag: DagSpec, parent: PipelineTask, *, is_loop: bool, missing: int
) -> int:
    """How many child rows will never exist; rows are read only where they can make up for the missing."""
    if _count(tx, parent, TaskState.SKIPPED) * (len(dag.tasks) - 1) < missing:
        return 0
    rows = _children(tx, parent, TaskState.SKIPPED)
    return omitted_children(spec, dag, _messages(tx, rows, children=True), is_loop=is_loop)


def _complete_outputs(tx: Transaction, spec: PipelineSpec, entry: ScopeEntry, parent: PipelineTask) -> None:
    """See to it that a DAG that ends has what it declares: a loop has nothing yet, a retry clears it."""
    declared = entry.component.output_definitions
    if not declared.parameters and not declared.artifacts:
        return
    row = _with_outputs(tx, parent.task_id)
    if not entry.is_loop and not (was_reset(row) and missing_outputs(entry.component, row)):
        return
    batch = WriteBatch(row.run_id)
    children = [
        child
        for child in _messages(tx, _children(tx, parent, *PRESERVED_STATES), children=False)
        if own_outputs(child)
    ]
    walks = (
        [climb_from_ended_loop(spec, row, children, batch)]
        if entry.is_loop
        else [climb(spec, child, batch) for child in children]
    )
    for walk in walks:
        answer_at_once(walk, lambda question: _answer(tx, question))
    store_batch(tx, batch)


def store_batch(tx: Transaction, batch: WriteBatch) -> None:
    """Write what the rules queued; links that exist are left as they are."""
    for link in batch.links:
        producer = link.producer or IOProducer()
        new = NewLink(
            artifact_id=link.artifact_id,
            task_id=link.task_id,
            run_id=link.run_id,
            type=link.type,
            key=link.key,
            task_name=producer.task_name,
            iteration=producer.iteration,
        )
        if find_link(tx, new) is None:
            insert_link(tx, new)
    for task_id, patch in batch.patches.items():
        apply_patch(tx, require_task(tx.connection, task_id), patch)


def _answer(tx: Transaction, question: Question) -> PipelineTask:
    if question.need is Need.OUTPUTS:
        return _with_outputs(tx, question.task_id)
    return _identity(tx, question.task_id)


def _identity(tx: Transaction, task_id: str) -> PipelineTask:
    """A row without what may be large: inputs, outputs, history and children."""
    row = tx.connection.execute(select(*_IDENTITY).where(has_id(tasks, task_id))).one()
    attributes = orjson.loads(row.TypeAttrs)
    return PipelineTask(
        task_id=row.UUID,
        run_id=row.RunUUID,
        name=row.Name or "",
        type=TaskType.from_number(row.Type),
        state=TaskState.from_number(row.State),
        type_attributes=None if attributes is None else TypeAttributes.from_wire(attributes),
        parent_task_id=row.ParentTaskUUID,
        scope_path=row.ScopePath or "",
    )


def _with_outputs(tx: Transaction, task_id: str) -> PipelineTask:
    return _messages(tx, [require_task(tx.connection, task_id)], children=False)[0]


def _messages(tx: Transaction, rows: list[TaskRow], *, children: bool) -> list[PipelineTask]:
    return [
        PipelineTask.from_wire(orjson.loads(orjson.dumps(wire)))
        for wire in hydrated(tx.connection, rows, children=children)
    ]


def _children(tx: Transaction, parent: PipelineTask, *states: TaskState) -> list[TaskRow]:
    numbers = [state.number for state in states]
    return list(
        tx.connection.execute(
            select(tasks)
            .where(
                tasks.c.RunUUID == parent.run_id,
                tasks.c.ParentTaskUUID == parent.task_id,
                tasks.c.State.in_(numbers),
            )
            .order_by(tasks.c.CreatedAtInSec, tasks.c.UUID)
        )
    )


def _has_child(tx: Transaction, parent: PipelineTask, state: TaskState) -> bool:
    found = tx.connection.execute(
        select(tasks.c.State)
        .where(
            tasks.c.RunUUID == parent.run_id,
            tasks.c.State == state.number,
            tasks.c.ParentTaskUUID == parent.task_id,
        )
        .limit(1)
    )
    return found.first() is not None


def _count(tx: Transaction, parent: PipelineTask, state: TaskState | None = None) -> int:
    counted = (
        select(func.count())
        .select_from(tasks)
        .where(tasks.c.RunUUID == parent.run_id, tasks.c.ParentTaskUUID == parent.task_id)
    )
    if state is not None:
        counted = counted.where(tasks.c.State == state.number)
    return int(tx.connection.execute(counted).scalar_one())


def _pipeline(tx: Transaction, run_id: str) -> PipelineSpec:
    text = tx.connection.execute(
        select(run_details.c.PipelineSpecManifest).where(has_id(run_details, run_id))
    ).scalar_one()
    return _parsed(text)


@lru_cache(maxsize=_PIPELINES_KEPT)
def _parsed(text: str) -> PipelineSpec:
    """A pipeline, parsed once for all tasks of its runs."""
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InvalidPipelineError(str(error)) from error
    return pipeline_from_struct(document).spec

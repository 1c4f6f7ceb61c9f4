"""Link rows by their identity: artifact, task, type, iteration and key (spec KFP_API 5.5)."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, insert, select

from kfp_api.messages import IOType
from local_stack.api_server.storage.encoding import json_text
from local_stack.api_server.storage.schema import NO_ITERATION, artifact_tasks
from local_stack.api_server.storage.transaction import Transaction, new_id


@dataclass(frozen=True, kw_only=True)
class NewLink:
    """A link between an artifact and a task that exist."""

    artifact_id: str
    task_id: str
    run_id: str
    type: IOType
    key: str
    task_name: str
    iteration: int | None


def find_link(tx: Transaction, link: NewLink) -> Row[Any] | None:
    """The stored link with the identity of ``link``."""
    return tx.connection.execute(
        select(artifact_tasks).where(
            artifact_tasks.c.ArtifactID == link.artifact_id,
            artifact_tasks.c.TaskID == link.task_id,
            artifact_tasks.c.Type == link.type.number,
            artifact_tasks.c.Iteration == _stored_iteration(link),
            artifact_tasks.c.ArtifactKey == link.key,
        )
    ).one_or_none()


def insert_link(tx: Transaction, link: NewLink) -> None:
    """Store a link that is known to be new."""
    producer = {"task_name": link.task_name} if link.task_name else {}
    if link.iteration is not None:
        producer["iteration"] = str(link.iteration)
    tx.connection.execute(
        insert(artifact_tasks).values(
            UUID=new_id(),
            ArtifactID=link.artifact_id,
            TaskID=link.task_id,
            RunUUID=link.run_id,
            Type=link.type.number,
            Iteration=_stored_iteration(link),
            Producer=json_text(producer),
            ArtifactKey=link.key,
        )
    )


def _stored_iteration(link: NewLink) -> int:
    return NO_ITERATION if link.iteration is None else link.iteration

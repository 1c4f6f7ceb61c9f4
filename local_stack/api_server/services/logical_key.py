"""The logical key of a task: what makes CreateTask idempotent (spec KFP_API 4.1)."""

import hashlib
import struct

from kfp_api.messages import TaskType


def logical_key(
    *,
    run_id: str,
    parent_task_id: str,
    scope_path: str,
    name: str,
    task_type: TaskType,
    iteration_index: int | None,
) -> str | None:
    """Hex SHA-256 of a task's identity; ``None`` where the identity is incomplete."""
    if not (run_id and scope_path and name and task_type.number):
        return None
    digest = hashlib.sha256()
    for text in (run_id, parent_task_id, scope_path, name):
        encoded = text.encode()
        digest.update(struct.pack(">I", len(encoded)))
        digest.update(encoded)
    digest.update(struct.pack(">i", task_type.number))
    digest.update(b"\0" if iteration_index is None else b"\1" + struct.pack(">q", iteration_index))
    return digest.hexdigest()

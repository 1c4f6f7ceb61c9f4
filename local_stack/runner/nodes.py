"""Workflow nodes as Argo knows them: names, ids, types and phases (spec LAUNCHER E3.1).

Names and ids are Argo's, so that a local run and a cluster run of one workflow can be compared node
by node. A node is changed only by the engine, on its event loop.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

_FNV_OFFSET: Final = 0x811C9DC5
_FNV_PRIME: Final = 0x01000193
_32_BITS: Final = 0xFFFFFFFF


class Phase(StrEnum):
    """Phase of a node or workflow."""

    PENDING = "Pending"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    ERROR = "Error"
    SKIPPED = "Skipped"
    OMITTED = "Omitted"

    @property
    def completed(self) -> bool:
        """Whether the node ran and ended."""
        return self in (Phase.SUCCEEDED, Phase.FAILED, Phase.ERROR)

    @property
    def fulfilled(self) -> bool:
        """Whether nothing more will happen to the node."""
        return self.completed or self in (Phase.SKIPPED, Phase.OMITTED)

    @property
    def failed(self) -> bool:
        """Whether the node ended badly."""
        return self in (Phase.FAILED, Phase.ERROR)


class NodeType(StrEnum):
    """What a node is."""

    DAG = "DAG"
    TASK_GROUP = "TaskGroup"
    PLUGIN = "Plugin"
    HTTP = "HTTP"
    POD = "Pod"
    RETRY = "Retry"
    SUSPEND = "Suspend"
    SKIPPED = "Skipped"


@dataclass(frozen=True, kw_only=True)
class NodeResult:
    """What Argo's agent reports of a node. Outputs are text, as Argo stores them."""

    phase: Phase
    message: str = ""
    outputs: Mapping[str, str] = field(default_factory=dict)
    result: str | None = None


@dataclass(kw_only=True)
class Node:
    """One node of a running workflow.

    ``outputs`` holds output parameters as text; ``boundary`` and ``children`` are node names.
    """

    id: str
    name: str
    type: NodeType
    template: str = ""
    phase: Phase = Phase.PENDING
    message: str = ""
    inputs: dict[str, str] = field(default_factory=dict)
    outputs: dict[str, str] = field(default_factory=dict)
    result: str | None = None
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    finished: datetime | None = None
    boundary: str = ""
    children: list[str] = field(default_factory=list)
    hooked: bool = False
    attempt: int | None = None
    exit_code: int | None = None

    def to_json(self) -> dict[str, Any]:
        """What became of the node, as the journal stores it; empty members and inputs are left out."""
        document: dict[str, Any] = {
            "id": self.id,
            "name": self.name,
            "type": self.type.value,
            "templateName": self.template,
            "phase": self.phase.value,
            "message": self.message,
            "outputs": self.outputs,
            "result": self.result,
            "startedAt": self.started.isoformat(),
            "finishedAt": self.finished.isoformat() if self.finished else None,
            "boundary": self.boundary,
            "children": self.children,
            "hooked": self.hooked,
            "attempt": self.attempt,
            "exitCode": self.exit_code,
        }
        return {
            key: value
            for key, value in document.items()
            if value is not None and value is not False and value not in ("", {}, [])
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Node":
        """A node that :meth:`to_json` wrote.

        Raises:
            KeyError, ValueError: it did not.
        """
        finished = document.get("finishedAt")
        return cls(
            id=document["id"],
            name=document["name"],
            type=NodeType(document["type"]),
            template=document.get("templateName", ""),
            phase=Phase(document["phase"]),
            message=document.get("message", ""),
            outputs=dict(document.get("outputs", {})),
            result=document.get("result"),
            started=datetime.fromisoformat(document["startedAt"]),
            finished=datetime.fromisoformat(finished) if finished else None,
            boundary=document.get("boundary", ""),
            children=list(document.get("children", [])),
            hooked=document.get("hooked", False),
            attempt=document.get("attempt"),
            exit_code=document.get("exitCode"),
        )


def fnv1a_32(text: str) -> int:
    """FNV-1a hash of the UTF-8 text, 32 bits."""
    value = _FNV_OFFSET
    for byte in text.encode():
        value = ((value ^ byte) * _FNV_PRIME) & _32_BITS
    return value


def node_id(workflow_name: str, node_name: str) -> str:
    """Argo's node id: the workflow name for the root node, else name and hash of the node name."""
    if node_name == workflow_name:
        return workflow_name
    return f"{workflow_name}-{fnv1a_32(node_name)}"

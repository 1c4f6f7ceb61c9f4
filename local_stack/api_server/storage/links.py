"""Artifact links of tasks, and the artifact groups that task answers show (spec KFP_API 3.4)."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Final

import orjson
from sqlalchemy import Connection, Row, select

from kfp_api.messages import OUTPUT_LINK_TYPES, ArtifactType, IOType
from local_stack.api_server.storage.encoding import present, stored_json, timestamp
from local_stack.api_server.storage.schema import NO_ITERATION, artifact_tasks, artifacts

OUTPUT_NUMBERS: Final = frozenset(io_type.number for io_type in OUTPUT_LINK_TYPES)
"""``artifact_tasks.Type`` of output links."""

CHUNK: Final = 500
"""Ids per query; SQLite bounds the number of variables of a statement."""

Wire = dict[str, Any]


def chunks(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    """``ids`` in pieces that fit a statement."""
    for start in range(0, len(ids), CHUNK):
        yield ids[start : start + CHUNK]


def artifact_wire(row: Any) -> Wire:
    """An artifact row as the API shows it."""
    return present(
        {
            "artifact_id": row.UUID,
            "name": row.Name,
            "description": row.Description or None,
            "type": ArtifactType.from_number(row.Type).value,
            "uri": row.URI,
            "metadata": stored_json(row.Metadata, absent="{}"),
            "number_value": row.NumberValue,
            "created_at": timestamp(row.CreatedAtInSec),
            "namespace": row.Namespace or None,
        }
    )


def producer_wire(row: Any) -> Wire:
    """The producer of a link; the iteration column wins over the stored producer."""
    producer: Wire = orjson.loads(row.Producer or "{}")
    if row.Iteration != NO_ITERATION:
        producer["iteration"] = str(row.Iteration)
    return producer


def link_wire(row: Row[Any]) -> Wire:
    """A link row as the API shows it."""
    return {
        "id": row.UUID,
        "artifact_id": row.ArtifactID,
        "run_id": row.RunUUID,
        "task_id": row.TaskID,
        "type": IOType.from_number(row.Type).value,
        "producer": producer_wire(row),
        "key": row.ArtifactKey,
    }


def artifact_groups(
    connection: Connection, task_ids: Sequence[str]
) -> Mapping[str, tuple[list[Wire], list[Wire]]]:
    """Input and output artifact groups of each task that has links."""
    found: dict[str, tuple[list[Wire], list[Wire]]] = {}
    for ids in chunks(task_ids):
        links = connection.execute(select(artifact_tasks).where(artifact_tasks.c.TaskID.in_(ids))).all()
        shown = _artifacts(connection, {link.ArtifactID for link in links})
        ordered = sorted(
            links, key=lambda row: (row.TaskID, row.Type, row.ArtifactKey, row.Iteration, row.ArtifactID)
        )
        for task_id, rows in groupby(ordered, key=lambda row: row.TaskID):
            found[task_id] = _grouped(rows, shown)
    return found


def _artifacts(connection: Connection, artifact_ids: Collection[str]) -> Mapping[str, Wire]:
    found: dict[str, Wire] = {}
    for ids in chunks(sorted(artifact_ids)):
        rows = connection.execute(select(artifacts).where(artifacts.c.UUID.in_(ids)))
        found.update((row.UUID, artifact_wire(row)) for row in rows)
    return found


def _grouped(links: Iterable[Any], shown: Mapping[str, Wire]) -> tuple[list[Wire], list[Wire]]:
    """Links of one task as (input groups, output groups)."""
    groups: dict[tuple[str, int, str, int], Wire] = {}
    for link in links:
        producer = producer_wire(link)
        by_iteration = link.Type == IOType.ITERATOR_OUTPUT.number and "iteration" in producer
        iteration = int(producer["iteration"]) if by_iteration else NO_ITERATION
        identity = (link.ArtifactKey, link.Type, producer.get("task_name", ""), iteration)
        group = groups.setdefault(
            identity,
            {
                "artifacts": [],
                "type": IOType.from_number(link.Type).value,
                "artifact_key": link.ArtifactKey,
                "producer": producer,
            },
        )
        group["artifacts"].append(shown[link.ArtifactID])
    inputs: list[Wire] = []
    outputs: list[Wire] = []
    for identity in sorted(groups):
        (outputs if identity[1] in OUTPUT_NUMBERS else inputs).append(groups[identity])
    return inputs, outputs

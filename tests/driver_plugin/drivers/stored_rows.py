"""All rows of a run in a form in which two runs that did the same are equal."""

import json
from dataclasses import dataclass

from driver_plugin.invocation import Reply
from kfp_api.client import KfpApiClient
from kfp_api.messages import PipelineTask
from tests.driver_plugin.drivers.processes import Masks


@dataclass(frozen=True)
class Stored:
    """All rows of a run, masked, and the masks of their ids."""

    rows: str
    masks: Masks

    def reply(self, reply: Reply) -> str:
        """A reply of a call of that run, masked."""
        return self.masks(json.dumps(reply, indent=1))


async def stored(client: KfpApiClient, run_id: str, *, whole_history: bool = True) -> Stored:
    """The rows of a run as they are now.

    Without ``whole_history`` only the last state of each row counts: whoever tries again fails again, and the
    history of the row says how often.
    """
    rows = {row.task_id: row async for row in client.iterate_tasks(run_id)}

    def place(row: PipelineTask) -> str:
        own = row.name if row.iteration_index is None else f"{row.name}[{row.iteration_index}]"
        return f"{place(rows[row.parent_task_id])}.{own}" if row.parent_task_id else own

    places = {row.task_id: f"<{place(row)}>" for row in rows.values()}
    masks = Masks(places | {run_id: "<run>"})
    documents = [rows[task_id].to_wire() for task_id in sorted(rows, key=places.__getitem__)]
    for document in documents:
        if not whole_history:
            document["state_history"] = document["state_history"][-1:]
        # The order of parameters is the server's business; that of children follows the ids it drew.
        for entries in (
            *document.get("inputs", {}).values(),
            *document.get("outputs", {}).values(),
            document.get("child_tasks", []),
        ):
            entries.sort(key=lambda entry: masks(json.dumps(entry)))
    return Stored(rows=masks(json.dumps(documents, indent=1)), masks=masks)

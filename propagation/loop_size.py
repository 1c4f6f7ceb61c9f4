"""How often a loop iterates, for a walk that must not read the loop head (spec DRIVER 14).

The answer for a loop head carries all its items and children, so that reading it once per task would cost
the square of the loop. A driver has read it anyway, and notes its size on every row that it creates below.
"""

from typing import Final

from kfp_api.messages import PipelineTask
from kfp_api.run_view import RunView
from propagation.errors import PropagationError

LOOP_SIZE_PROPERTY: Final = "kfp_driver_loop_size"
"""Custom property of a loop head's child: how often the loop iterates."""


async def loop_size(run: RunView, loop_id: str, child: PipelineTask | None) -> int:
    """The number of iterations of the loop ``loop_id``; ``child`` is one of its rows.

    Raises:
        PropagationError: neither rows nor memory know.
    """
    noted = child.custom_properties.get(LOOP_SIZE_PROPERTY) if child is not None else None
    if isinstance(noted, (int, float)) and not isinstance(noted, bool):
        return int(noted)
    count = (await run.task_identity(loop_id)).iteration_count
    if count is None:
        raise PropagationError(f"loop task {loop_id} is missing iteration_count attribute")
    return count

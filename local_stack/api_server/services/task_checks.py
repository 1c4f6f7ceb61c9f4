"""Checks that every body with a task passes, whatever the call."""

from kfp_api.messages import PipelineTask
from local_stack.api_server.errors import InvalidInputError
from local_stack.api_server.services import limits


def check_task_body(task: PipelineTask, run_id: str) -> None:
    """The run id of a body is empty or the path's.

    Raises:
        InvalidInputError: it is another one.
    """
    if task.run_id not in ("", run_id):
        raise InvalidInputError("Task run_id in request body does not match run_id in path parameter")


def check_task_fields(task: PipelineTask) -> None:
    """Lengths of what is stored.

    Raises:
        InvalidInputError: names the field and its limit.
    """
    limits.check_length("name", task.name, limits.NAME)
    limits.check_length("display_name", task.display_name, limits.NAME)
    limits.check_length("cache_fingerprint", task.cache_fingerprint, limits.FINGERPRINT)

"""The beginning of an attempt: our row shows it, and ancestors that an earlier attempt failed run again."""

from kfp_api.errors import KfpApiError
from kfp_api.messages import PipelineTask, TaskState
from launcher.note import note
from launcher.session import TaskSession
from propagation.statuses import propagate_statuses


async def show_running(session: TaskSession) -> None:
    """Show this attempt on the row (spec LAUNCHER A4 step 0, A14).

    Raises:
        KfpApiError: our own row could not be written; a walk that fails fails nothing.
    """
    task = session.task
    if session.pod in task.pods and task.state is TaskState.RUNNING:
        return
    others = [pod for pod in task.pods if (pod.name, pod.uid) != (session.pod.name, session.pod.uid)]
    had_message = task.status_metadata is not None and task.status_metadata.message
    row = await session.write_state(
        PipelineTask(
            pods=[*others, session.pod],
            state=TaskState.RUNNING,
            status_metadata=session.with_message("") if had_message else None,
        )
    )
    if task.state is not TaskState.FAILED:
        return
    try:
        await propagate_statuses(session.view, row)
    except KfpApiError as error:
        note(f"the states of the enclosing DAGs could not be written: {error}")

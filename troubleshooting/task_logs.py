"""A task's own output: where it is, and how it ends.

A local run's executors write files below the data directory. Elsewhere the launcher may have published the
output as the ``executor-logs`` artifact; without it, only the pod has it.
"""

import asyncio
from pathlib import Path
from typing import Final

from driver_plugin.podspec.provision import EXECUTOR_LOGS
from driver_plugin.system_logs.ending import READ_BYTES, ending_of, ending_of_file
from driver_plugin.system_logs.redaction import secret_texts
from driver_plugin.system_logs.store import LogStoreError
from kfp_api.messages import PipelineTask, TaskPodType
from troubleshooting.logs import OpenRoot

_STORES: Final = ("minio://", "s3://")


class TaskLogs:
    """The output of executors.

    Args:
        open_root: opens the store that an artifact lies in.
        data_directory: the local stack's; ``None`` for any other KFP API.
    """

    def __init__(self, *, open_root: OpenRoot, data_directory: Path | None = None) -> None:
        self._open = open_root
        self._data = data_directory

    def file_of(self, row: PipelineTask, workflow: object) -> Path | None:
        """The output of the last executor of a local run's task, where there is one.

        Args:
            row: the task.
            workflow: name of the run's workflow, as the task's driver log has it.
        """
        pod = executor_pod(row)
        if self._data is None or not pod or not isinstance(workflow, str):
            return None
        # The workflow's name is text from a log: one step below the directory of all runs, or nothing.
        path = self._data / "runs" / Path(workflow).name / "pods" / Path(pod).name / "main.log"
        return path if path.is_file() else None

    async def ending(self, row: PipelineTask, workflow: object) -> tuple[str, ...]:
        """The last lines of a task's output, clean; none where no output can be read."""
        secrets = secret_texts({entry.parameter_key: entry.value for entry in row.input_parameters})
        path = self.file_of(row, workflow)
        if path is not None:
            return await asyncio.to_thread(ending_of_file, path, secrets=secrets)
        uri = _published(row)
        if not uri.startswith(_STORES):
            own = self._below_data_directory(uri)
            return await asyncio.to_thread(ending_of_file, own, secrets=secrets) if own else ()
        root, _, key = uri.rpartition("/")
        try:
            store = await self._open(root)
            data, whole = await asyncio.to_thread(store.end, key, limit=READ_BYTES)
        except LogStoreError:
            return ()  # the report says where else to look
        return ending_of(data, whole=whole, secrets=secrets)

    def _below_data_directory(self, uri: str) -> Path | None:
        """A published output that is a file of the local stack: rows never lead anywhere else."""
        if self._data is None or not uri.startswith("/"):
            return None
        path = Path(uri).resolve()
        return path if path.is_relative_to(self._data.resolve()) else None


def executor_pod(row: PipelineTask) -> str:
    """The pod of the last attempt; ``""`` where no executor was started."""
    names = [pod.name for pod in row.pods if pod.type is TaskPodType.EXECUTOR]
    return names[-1] if names else ""


def _published(row: PipelineTask) -> str:
    uris = (
        artifact.uri
        for output in row.output_artifacts
        if output.artifact_key == EXECUTOR_LOGS
        for artifact in output.artifacts
    )
    return next((uri for uri in uris if uri), "")

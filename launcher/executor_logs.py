"""The ``executor-logs`` artifact: the executor's output, kept whatever happens (spec LAUNCHER A10).

Log publishing is best effort and never changes the task's result.
"""

from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from kfp_api.ir.executor_input import ArtifactList, ExecutorInput, RuntimeArtifact
from kfp_api.messages import Artifact, ArtifactType
from launcher.outputs import EXECUTOR_LOGS, OutputArtifact
from launcher.paths import UnsupportedSchemeError, artifact_path


def qualify(executor_input: ExecutorInput, attempt_index: int) -> ExecutorInput:
    """Give every attempt its own log: append ``-<attempt>`` to the URI that all attempts share."""
    outputs = executor_input.outputs
    logs = outputs.artifacts.get(EXECUTOR_LOGS) if outputs else None
    if outputs is None or logs is None or len(logs.artifacts) != 1:
        return executor_input
    suffix = f"-{attempt_index}"
    only = logs.artifacts[0]
    update: dict[str, str] = {"uri": only.uri.removesuffix(suffix) + suffix}
    if only.custom_path:
        update["custom_path"] = only.custom_path.removesuffix(suffix) + suffix
    qualified = ArtifactList(artifacts=[only.model_copy(update=update)])
    artifacts = {**outputs.artifacts, EXECUTOR_LOGS: qualified}
    return executor_input.model_copy(update={"outputs": outputs.model_copy(update={"artifacts": artifacts})})


class ExecutorLog:
    """The log file of one attempt; without a declared output or a writable path there is none."""

    def __init__(self, executor_input: ExecutorInput, *, workspace: str, enabled: bool) -> None:
        outputs = executor_input.outputs
        declared = outputs.artifacts.get(EXECUTOR_LOGS) if outputs else None
        self._artifact: RuntimeArtifact | None = None
        self.path: Path | None = None
        if enabled and declared is not None and declared.artifacts:
            self._artifact = declared.artifacts[0]
            try:
                self.path = Path(artifact_path(self._artifact, workspace))
            except UnsupportedSchemeError:
                self.path = None

    def open(self) -> AbstractContextManager[BinaryIO | None]:
        """The file to write to; ``None`` in place of it where it cannot be opened."""
        if self.path is None:
            return nullcontext(None)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            return self.path.open("wb")
        except OSError:
            return nullcontext(None)

    def output(self, namespace: str) -> OutputArtifact | None:
        """The artifact to publish, if the command got so far that a log exists."""
        if self._artifact is None or self.path is None or not self.path.is_file():
            return None
        artifact = Artifact(
            name=self._artifact.name or EXECUTOR_LOGS,
            type=ArtifactType.Artifact,
            uri=self._artifact.uri,
            namespace=namespace,
            created_at=datetime.now(UTC).replace(microsecond=0),
        )
        return OutputArtifact(EXECUTOR_LOGS, artifact, str(self.path))

"""The ``executor-logs`` artifact: the executor's output, kept whatever happens (spec LAUNCHER A10).

Log publishing is best effort and never changes the task's result.
"""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Final

from kfp_api.errors import KfpApiError
from kfp_api.ir.executor_input import ExecutorInput, RuntimeArtifact
from kfp_api.messages import Artifact, ArtifactType
from launcher.errors import LauncherError
from launcher.executor_input import EXECUTOR_LOGS
from launcher.note import note
from launcher.outputs import OutputArtifact
from launcher.paths import UnsupportedSchemeError, artifact_path
from launcher.publisher import create_artifacts
from launcher.session import TaskSession
from launcher.termination import Termination

_HURRIED_SECONDS: Final = 5.0
"""How long publishing may take from the signal on that tells the launcher to stop."""


class ExecutorLog:
    """The log of one attempt; without a declared output or a writable path there is none."""

    def __init__(self, session: TaskSession, executor_input: ExecutorInput, *, enabled: bool) -> None:
        outputs = executor_input.outputs
        declared = outputs.artifacts.get(EXECUTOR_LOGS) if outputs else None
        self._session = session
        self._artifact: RuntimeArtifact | None = None
        self._path: Path | None = None
        self._storing = threading.Lock()
        self.registered = False
        """Whether the row has the log; whoever creates its artifact says so."""
        if enabled and declared is not None and declared.artifacts:
            self._artifact = declared.artifacts[0]
            try:
                self._path = Path(artifact_path(self._artifact, session.workspace))
            except UnsupportedSchemeError as error:
                note(f"executor log not published: {error}")

    def open(self) -> AbstractContextManager[BinaryIO | None]:
        """The file to write to; ``None`` in place of it where it cannot be opened."""
        if self._path is None:
            return nullcontext(None)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            return self._path.open("wb")
        except OSError as error:
            note(f"executor log not published: {self._path}: {error.strerror}")
            return nullcontext(None)

    @asynccontextmanager
    async def growing(self, seconds: float) -> AsyncIterator[None]:
        """Upload a growing copy every so many seconds while the command runs; 0 does not."""
        if not seconds:
            yield
            return
        uploads = asyncio.create_task(self._upload_every(seconds))
        try:
            yield
        finally:
            uploads.cancel()
            await asyncio.wait({uploads})

    async def upload(self) -> OutputArtifact | None:
        """Upload the log; the artifact to register, ``None`` where there is none or no store takes it."""
        output = self._output()
        if output is None:
            return None
        try:
            await asyncio.to_thread(self._store, output)
        except (LauncherError, OSError) as error:
            note(f"executor log not published: {error}")
            return None
        return output

    async def publish(self, termination: Termination) -> None:
        """Upload and register the log of a task that failed, unless it is registered."""
        if self.registered:
            return
        try:
            await termination.hurry(self._publish(), seconds=_HURRIED_SECONDS)
        except (KfpApiError, TimeoutError) as error:
            note(f"executor log not published: {error}")

    async def _publish(self) -> None:
        output = await self.upload()
        if output is not None:
            await create_artifacts(self._session, [output])

    async def _upload_every(self, seconds: float) -> None:
        while True:
            await asyncio.sleep(seconds)
            await self.upload()

    def _store(self, output: OutputArtifact) -> None:
        assert output.path is not None
        assert output.artifact.uri is not None
        # An upload of the growing log that is under way ends first: it must not replace the whole log.
        with self._storing:
            self._session.stores.upload(output.path, output.artifact.uri)

    def _output(self) -> OutputArtifact | None:
        """The artifact to publish, if the command got so far that a log exists."""
        if self._artifact is None or self._path is None or not self._path.is_file():
            return None
        artifact = Artifact(
            name=self._artifact.name or EXECUTOR_LOGS,
            type=ArtifactType.Artifact,
            uri=self._artifact.uri,
            namespace=self._session.namespace,
            created_at=datetime.now(UTC).replace(microsecond=0),
        )
        return OutputArtifact(EXECUTOR_LOGS, artifact, str(self._path))

"""Creating artifacts and links when the answer may be lost: look before sending again.

Neither creation is idempotent upstream: a repeated link is a 500 that aborts its whole batch, a repeated
artifact becomes a second one under the same key. So nothing is sent again unseen: after a failure that
leaves the outcome open, what is there is read first, only the missing part is sent, and what is there
counts as success (spec KFP_API 11 rules 4 to 6, 5.5).
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Protocol

from tenacity import AsyncRetrying, RetryCallState, stop_before_delay

from kfp_api.errors import ApiConflictError, ApiServerError, KfpApiError
from kfp_api.messages import Artifact, ArtifactTask, CreateArtifactRequest, IOArtifact, IOType, PipelineTask
from kfp_api.transport import Backoff

_CREATED_LINK_TYPES = frozenset({IOType.OUTPUT, IOType.ITERATOR_OUTPUT})


class Creation(Protocol):
    """A batch of things to create, which knows what of it is still missing."""

    async def send(self) -> None:
        """Send what is missing; everything is stored when this returns."""
        ...

    async def look(self) -> bool:
        """Read what is stored; whether nothing is missing any more."""
        ...


async def create_checked(creation: Creation, *, deadline_seconds: float, backoff: Backoff) -> None:
    """Send ``creation`` until everything is stored, looking before every repetition.

    Args:
        creation: what to create.
        deadline_seconds: no attempt begins after that many seconds.
        backoff: pauses between attempts.

    Raises:
        KfpApiError: the creation was refused, or the deadline passed; a 500 or 409 is followed by one
            more attempt at most.
    """
    must_look = False
    server_errors = 0

    async def attempt() -> None:
        nonlocal must_look
        if must_look and await creation.look():
            return
        try:
            await creation.send()
        except KfpApiError as error:
            if not error.may_have_been_processed:
                raise
            must_look = True
            if not await creation.look():
                raise

    def wants_another(state: RetryCallState) -> bool:
        nonlocal server_errors
        error = state.outcome.exception() if state.outcome else None
        # What the server did not process has been repeated below, by the transport.
        if not isinstance(error, KfpApiError) or not error.may_have_been_processed:
            return False
        if isinstance(error, ApiServerError | ApiConflictError):
            server_errors += 1
            return server_errors == 1
        return error.retryable

    retrying = AsyncRetrying(
        stop=stop_before_delay(deadline_seconds), wait=backoff.seconds, retry=wants_another, reraise=True
    )
    await retrying(attempt)


class LinkCreation:
    """Links of one run, at most one bulk call's worth."""

    def __init__(
        self,
        links: Iterable[ArtifactTask],
        *,
        create: Callable[[Sequence[ArtifactTask]], Awaitable[list[ArtifactTask]]],
        list_of_tasks: Callable[[Sequence[str]], Awaitable[list[ArtifactTask]]],
    ) -> None:
        self._missing = {link.identity: link for link in links}
        self._create = create
        self._list = list_of_tasks
        self.stored: dict[tuple[str, str, IOType, int, str], ArtifactTask] = {}

    async def send(self) -> None:
        """Create the missing links in one call."""
        sent = list(self._missing)
        answered = await self._create(list(self._missing.values()))
        self.stored.update(zip(sent, answered, strict=False))
        self._missing.clear()

    async def look(self) -> bool:
        """Read the links of all tasks that still miss one."""
        tasks = sorted({link.task_id for link in self._missing.values()})
        for link in await self._list(tasks):
            if self._missing.pop(link.identity, None) is not None:
                self.stored[link.identity] = link
        return not self._missing


class ArtifactCreation:
    """Artifacts with their output links, of one bulk call or a single one."""

    def __init__(
        self,
        requests: Sequence[CreateArtifactRequest],
        *,
        create: Callable[[Sequence[CreateArtifactRequest]], Awaitable[list[Artifact]]],
        get_task: Callable[[str, str], Awaitable[PipelineTask]],
    ) -> None:
        self._requests = requests
        self._create = create
        self._get_task = get_task
        self._stored: dict[int, Artifact] = {}

    @property
    def artifacts(self) -> list[Artifact]:
        """The stored artifacts, in the order of the requests."""
        return [self._stored[index] for index in range(len(self._requests))]

    async def send(self) -> None:
        """Create the missing artifacts in one call."""
        missing = [index for index in range(len(self._requests)) if index not in self._stored]
        answered = await self._create([self._requests[index] for index in missing])
        if len(answered) != len(missing):
            raise ApiServerError(f"KFP API created {len(answered)} artifacts where {len(missing)} were sent")
        self._stored.update(zip(missing, answered, strict=True))

    async def look(self) -> bool:
        """Find the missing artifacts among the outputs of their tasks: same key, iteration and URI."""
        taken = Counter(artifact.artifact_id for artifact in self._stored.values())
        tasks: dict[str, PipelineTask] = {}
        for index, request in enumerate(self._requests):
            if index in self._stored:
                continue
            if request.task_id not in tasks:
                tasks[request.task_id] = await self._get_task(request.run_id, request.task_id)
            for artifact in stored_artifacts(tasks[request.task_id].output_artifacts, request):
                if not taken[artifact.artifact_id]:
                    taken[artifact.artifact_id] += 1
                    self._stored[index] = artifact
                    break
        return len(self._stored) == len(self._requests)


def stored_artifacts(outputs: Iterable[IOArtifact], request: CreateArtifactRequest) -> list[Artifact]:
    """Artifacts among a task's outputs that a publisher of ``request`` need not create again.

    Same key, iteration and URI; metrics have no URI, they are equal by name and number (spec KFP_API 11
    rule 5).
    """
    wanted = request.artifact or Artifact()
    return [
        artifact
        for output in outputs
        if output.artifact_key == request.producer_key
        and output.type in _CREATED_LINK_TYPES
        and (output.producer.iteration if output.producer else None) == request.iteration_index
        for artifact in output.artifacts
        if _same_content(artifact, wanted)
    ]


def _same_content(artifact: Artifact, wanted: Artifact) -> bool:
    if artifact.uri or wanted.uri:
        return artifact.uri == wanted.uri and artifact.name == wanted.name
    return (artifact.name, artifact.number_value) == (wanted.name, wanted.number_value)

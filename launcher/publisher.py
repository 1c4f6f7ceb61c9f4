"""Publishing outputs: upload, artifact rows with their links, output parameters (spec LAUNCHER A9 to A12).

Order matters: artifacts, then parameters, then the final state, so that a terminal state is never visible
before its outputs. A repeated attempt skips what its row already has.
"""

import asyncio
import math
from collections.abc import Mapping, Sequence

from pydantic import JsonValue

from kfp_api.errors import ApiServerError, ApiUnavailableError
from kfp_api.messages import Artifact, CreateArtifactRequest, InputOutputs, IOParameter, PipelineTask
from launcher import object_store
from launcher.outputs import OutputArtifact
from launcher.session import TaskSession
from propagation.output_identity import output_type_and_producer

_CREATE_ATTEMPTS = 3


async def publish(
    session: TaskSession, parameters: Mapping[str, JsonValue], artifacts: Sequence[OutputArtifact]
) -> None:
    """Upload the artifacts, then record them and the parameters on our row.

    Raises:
        LauncherError: an upload failed; nothing was recorded then.
        KfpApiError: the API refused or stayed out of reach.
    """
    for output in artifacts:
        if output.path is not None and output.artifact.uri is not None:
            await asyncio.to_thread(object_store.upload, output.path, output.artifact.uri)
    await create_artifacts(session, artifacts)
    if not parameters:
        return
    kind, producer = output_type_and_producer(session.task_name, session.iteration_index)
    recorded = [
        IOParameter(parameter_key=name, value=value, type=kind, producer=producer)
        for name, value in sorted(parameters.items())
    ]
    await session.update(PipelineTask(outputs=InputOutputs(parameters=recorded)))


async def create_artifacts(session: TaskSession, artifacts: Sequence[OutputArtifact]) -> None:
    """Create the artifact rows and their output links; those that our row already has are skipped.

    Creation is not idempotent on the server. After an answer that was lost or failed, the row is read
    again before the rest is sent once more (spec KFP_API 11 rule 5).
    """
    missing = list(artifacts)
    for attempt in range(_CREATE_ATTEMPTS):
        if attempt or session.attempt_index:
            missing = [
                output for output in missing if not _is_present(output, await _current_outputs(session))
            ]
        if not missing:
            return
        try:
            await session.client.create_artifacts([_request(session, output) for output in missing])
        except (ApiUnavailableError, ApiServerError):
            if attempt == _CREATE_ATTEMPTS - 1:
                raise
        else:
            return


async def _current_outputs(session: TaskSession) -> list[tuple[str, Artifact]]:
    task = await session.view.task(session.task.task_id, fresh=True)
    return [(group.artifact_key, artifact) for group in task.output_artifacts for artifact in group.artifacts]


def _is_present(output: OutputArtifact, current: Sequence[tuple[str, Artifact]]) -> bool:
    wanted = output.artifact
    for key, artifact in current:
        if key != output.key:
            continue
        if wanted.uri is not None and artifact.uri == wanted.uri:
            return True
        same_number = (
            wanted.number_value is not None
            and artifact.number_value is not None
            and math.isclose(wanted.number_value, artifact.number_value, rel_tol=0.0)
        )
        if (
            wanted.uri is None
            and artifact.name == wanted.name
            and (same_number or wanted.number_value is None)
        ):
            return True
    return False


def _request(session: TaskSession, output: OutputArtifact) -> CreateArtifactRequest:
    return CreateArtifactRequest(
        artifact=output.artifact,
        run_id=session.run_id,
        task_id=session.task.task_id,
        producer_key=output.key,
        iteration_index=session.iteration_index,
    )

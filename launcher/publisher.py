"""Publishing outputs: upload, artifact rows with their links, output parameters (spec LAUNCHER A9 to A12).

Order matters: artifacts, then parameters, then the final state, so that a terminal state is never visible
before its outputs. A repeated attempt skips what its row already has.
"""

import asyncio
from collections.abc import Mapping, Sequence

from pydantic import JsonValue

from kfp_api.checked_creation import stored_artifacts
from kfp_api.messages import CreateArtifactRequest, InputOutputs, IOParameter, PipelineTask
from launcher import object_store
from launcher.outputs import OutputArtifact
from launcher.session import TaskSession
from propagation.output_identity import output_type_and_producer


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
    """Create the artifact rows and their output links.

    A repeated attempt of the pod skips what the row has from an earlier one (spec KFP_API 11 rule 5).
    """
    requests = [_request(session, output) for output in artifacts]
    if session.attempt_index:
        outputs = (await session.view.task(session.task.task_id, fresh=True)).output_artifacts
        requests = [request for request in requests if not stored_artifacts(outputs, request)]
    if requests:
        await session.client.create_artifacts(requests)


def _request(session: TaskSession, output: OutputArtifact) -> CreateArtifactRequest:
    return CreateArtifactRequest(
        artifact=output.artifact,
        run_id=session.run_id,
        task_id=session.task.task_id,
        producer_key=output.key,
        iteration_index=session.iteration_index,
    )

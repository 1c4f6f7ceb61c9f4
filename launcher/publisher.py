"""Publishing outputs: upload, artifact rows with their links, output parameters (spec LAUNCHER A9 to A12).

Order matters: artifacts, then parameters, then the final state, so that a terminal state is never visible
before its outputs. A repeated attempt skips what its row already has.
"""

import asyncio
from collections.abc import Mapping, Sequence

from pydantic import JsonValue

from kfp_api.checked_creation import stored_artifacts
from kfp_api.messages import CreateArtifactRequest, InputOutputs, IOParameter, PipelineTask
from launcher.outputs import OutputArtifact
from launcher.session import TaskSession
from propagation.output_identity import output_type_and_producer


async def upload_artifacts(session: TaskSession, artifacts: Sequence[OutputArtifact]) -> None:
    """Bring everything that has a local path to its URI.

    Raises:
        LauncherError: an upload failed.
    """
    pairs = [
        (output.path, output.artifact.uri)
        for output in artifacts
        if output.path is not None and output.artifact.uri is not None
    ]
    await asyncio.to_thread(session.stores.upload_all, pairs)


async def create_artifacts(session: TaskSession, artifacts: Sequence[OutputArtifact]) -> None:
    """Create the artifact rows and their output links.

    What the row has from an earlier attempt of the pod is skipped (spec KFP_API 11 rule 5).
    """
    present = session.task.output_artifacts
    requests = [
        request
        for request in (_request(session, output) for output in artifacts)
        if not stored_artifacts(present, request)
    ]
    if requests:
        await session.client.create_artifacts(requests)


async def record_parameters(session: TaskSession, parameters: Mapping[str, JsonValue]) -> PipelineTask:
    """Record the output parameters on our row; the row with all its outputs."""
    if not parameters:
        return await session.view.task(session.task.task_id, fresh=True)
    kind, producer = output_type_and_producer(session.task_name, session.iteration_index)
    recorded = [
        IOParameter(parameter_key=name, value=value, type=kind, producer=producer)
        for name, value in sorted(parameters.items())
    ]
    return await session.update(PipelineTask(outputs=InputOutputs(parameters=recorded)))


def _request(session: TaskSession, output: OutputArtifact) -> CreateArtifactRequest:
    return CreateArtifactRequest(
        artifact=output.artifact,
        run_id=session.run_id,
        task_id=session.task.task_id,
        producer_key=output.key,
        iteration_index=session.iteration_index,
    )

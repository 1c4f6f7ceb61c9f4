"""Publishing outputs: upload, artifact rows with their links, output parameters (spec LAUNCHER A9 to A12).

Order matters: artifacts, then parameters, then the final state, so that a terminal state is never visible
before its outputs. A repeated attempt skips what its row already has.
"""

import asyncio
from collections.abc import Mapping, Sequence

from pydantic import JsonValue

from kfp_api.checked_creation import stored_artifacts
from kfp_api.messages import (
    Artifact,
    CreateArtifactRequest,
    InputOutputs,
    IOArtifact,
    IOParameter,
    PipelineTask,
)
from launcher.outputs import OutputArtifact
from launcher.session import TaskSession
from propagation.batch import merged_parameters
from propagation.output_identity import output_type_and_producer
from propagation.outputs import propagate_outputs


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


async def create_artifacts(session: TaskSession, artifacts: Sequence[OutputArtifact]) -> list[IOArtifact]:
    """Create the artifact rows and their output links; what our row has on top of what it had.

    What the row has from an earlier attempt of the pod is skipped (spec KFP_API 11 rule 5).
    """
    present = session.task.output_artifacts
    requests = [
        request
        for request in (_request(session, output) for output in artifacts)
        if not stored_artifacts(present, request)
    ]
    created = await session.client.create_artifacts(requests)
    return [
        own_artifact(session, request.producer_key, artifact)
        for request, artifact in zip(requests, created, strict=True)
    ]


def own_artifact(session: TaskSession, key: str, artifact: Artifact) -> IOArtifact:
    """An output of our row, as the server shows it."""
    kind, producer = output_type_and_producer(session.task_name, session.iteration_index)
    return IOArtifact(artifacts=[artifact], type=kind, artifact_key=key, producer=producer)


async def record_parameters(session: TaskSession, parameters: Mapping[str, JsonValue]) -> list[IOParameter]:
    """Record the output parameters on our row; they are the answer."""
    kind, producer = output_type_and_producer(session.task_name, session.iteration_index)
    recorded = [
        IOParameter(parameter_key=name, value=value, type=kind, producer=producer)
        for name, value in sorted(parameters.items())
    ]
    if recorded:
        await session.write(PipelineTask(outputs=InputOutputs(parameters=recorded)))
    return recorded


async def pass_on_outputs(
    session: TaskSession, artifacts: Sequence[IOArtifact], parameters: Sequence[IOParameter] = ()
) -> None:
    """Give enclosing DAGs what they take of our outputs: these, and what an earlier attempt recorded.

    A loop head gets its outputs when the loop ends: the walk that ends it sees to that.
    """
    outputs = InputOutputs(
        parameters=merged_parameters(session.task.output_parameters, parameters),
        artifacts=[*session.task.output_artifacts, *artifacts],
    )
    await propagate_outputs(
        session.view, session.task.model_copy(update={"outputs": outputs}), into_loops=False
    )


def _request(session: TaskSession, output: OutputArtifact) -> CreateArtifactRequest:
    return CreateArtifactRequest(
        artifact=output.artifact,
        run_id=session.run_id,
        task_id=session.task.task_id,
        producer_key=output.key,
        iteration_index=session.iteration_index,
    )

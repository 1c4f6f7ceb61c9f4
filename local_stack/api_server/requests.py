"""Request bodies that wrap messages: they exist on the wire of one call each."""

from pydantic import Field

from kfp_api.messages import ArtifactTask, CreateArtifactRequest, PipelineTask
from kfp_api.wire import WireMessage


class UpdateTasksBulkRequest(WireMessage):
    """Body of ``tasks:batchUpdate``: patches by task id."""

    tasks: dict[str, PipelineTask] = Field(default_factory=dict)
    run_id: str = ""


class FindCachedTaskRequest(WireMessage):
    """Body of ``tasks:findCached``."""

    namespace: str = ""
    cache_fingerprint: str = ""


class CreateArtifactsBulkRequest(WireMessage):
    """Body of ``artifacts:batchCreate``."""

    artifacts: list[CreateArtifactRequest] = Field(default_factory=list)


class CreateArtifactTaskRequest(WireMessage):
    """Body of ``artifact_tasks``."""

    artifact_task: ArtifactTask | None = None


class CreateArtifactTasksBulkRequest(WireMessage):
    """Body of ``artifact_tasks:batchCreate``."""

    artifact_tasks: list[ArtifactTask] = Field(default_factory=list)

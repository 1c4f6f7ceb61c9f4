"""The calls of the server as its OpenAPI document lists them: names, paths, query, body and answer."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import Field

from kfp_api import messages, pages
from kfp_api.wire import WireMessage
from local_stack.api_server import requests

Json = dict[str, Any]


class Empty(WireMessage):
    """``google.protobuf.Empty``."""


class FindCachedTaskResponse(WireMessage):
    """The task that a cache lookup found, if any."""

    task: messages.PipelineTask | None = None


class CreateArtifactsBulkResponse(WireMessage):
    """Artifacts in the order of the request."""

    artifacts: list[messages.Artifact] = Field(default_factory=list)


class CreateArtifactTasksBulkResponse(WireMessage):
    """Links in the order of the request."""

    artifact_tasks: list[messages.ArtifactTask] = Field(default_factory=list)


class UpdateTasksBulkResponse(WireMessage):
    """Updated tasks by id."""

    tasks: dict[str, messages.PipelineTask] = Field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Call:
    """One operation. ``query`` maps parameters to their schemas.

    ``may_be_minimal`` and ``has_child_view``: what it heeds in ``Prefer``.
    """

    id: str
    method: str
    path: str
    answer: type[WireMessage] = Empty
    body: type[WireMessage] | None = None
    query: Mapping[str, Json] = field(default_factory=dict)
    uploads: bool = False
    may_be_minimal: bool = False
    has_child_view: bool = False


TEXT: Final[Json] = {"type": "string"}
_TEXTS: Final[Json] = {"type": "array", "items": TEXT}
_PAGE: Final[Mapping[str, Json]] = {
    "page_size": {"type": "integer", "format": "int32", "minimum": 0},
    "page_token": TEXT,
    "sort_by": TEXT,
    "filter": TEXT,
}
_TASK_PAGE: Final = {**{name: _PAGE[name] for name in _PAGE if name != "sort_by"}, "order_by": TEXT}
_NAMESPACE: Final[Mapping[str, Json]] = {"namespace": TEXT}
_VIEW: Final[Mapping[str, Json]] = {"view": {"enum": [view.value for view in messages.ViewMode]}}
_LINKS: Final[Mapping[str, Json]] = {
    "task_ids": _TEXTS,
    "run_ids": _TEXTS,
    "artifact_ids": _TEXTS,
    "type": {"enum": [io_type.value for io_type in messages.IOType]},
}
_UPLOAD: Final[Mapping[str, Json]] = dict.fromkeys(("name", "display_name", "description", "tags"), TEXT)

_RUN: Final = "/runs/{run_id}"
_TASKS: Final = f"{_RUN}/tasks"
_EXPERIMENT: Final = "/experiments/{experiment_id}"
_PIPELINE: Final = "/pipelines/{pipeline_id}"
_VERSION: Final = f"{_PIPELINE}/versions/{{version_id}}"

CALLS: Final = (
    Call(id="create_run", method="POST", path="/runs", body=messages.Run, answer=messages.Run),
    Call(
        id="list_runs",
        method="GET",
        path="/runs",
        answer=pages.RunPage,
        query={**_NAMESPACE, "experiment_id": TEXT, **_VIEW, **_PAGE},
    ),
    Call(id="get_run", method="GET", path=_RUN, answer=messages.Run, query=_VIEW),
    Call(id="delete_run", method="DELETE", path=_RUN),
    *(
        Call(id=f"{verb}_run", method="POST", path=f"{_RUN}:{verb}")
        for verb in ("archive", "unarchive", "terminate", "retry")
    ),
    Call(
        id="create_task", method="POST", path=_TASKS, body=messages.PipelineTask, answer=messages.PipelineTask
    ),
    Call(
        id="list_tasks",
        method="GET",
        path=_TASKS,
        answer=pages.TaskPage,
        query={"parent_id": TEXT, **_TASK_PAGE},
        may_be_minimal=True,
    ),
    Call(
        id="batch_update_tasks",
        method="POST",
        path=f"{_TASKS}:batchUpdate",
        body=requests.UpdateTasksBulkRequest,
        answer=UpdateTasksBulkResponse,
        may_be_minimal=True,
    ),
    Call(
        id="get_task",
        method="GET",
        path=f"{_TASKS}/{{task_id}}",
        answer=messages.PipelineTask,
        has_child_view=True,
    ),
    Call(
        id="update_task",
        method="PATCH",
        path=f"{_TASKS}/{{task_id}}",
        body=messages.PipelineTask,
        answer=messages.PipelineTask,
        may_be_minimal=True,
    ),
    Call(
        id="find_cached_task",
        method="POST",
        path="/tasks:findCached",
        body=requests.FindCachedTaskRequest,
        answer=FindCachedTaskResponse,
    ),
    Call(
        id="create_artifact",
        method="POST",
        path="/artifacts",
        body=messages.CreateArtifactRequest,
        answer=messages.Artifact,
    ),
    Call(
        id="list_artifacts",
        method="GET",
        path="/artifacts",
        answer=pages.ArtifactPage,
        query={**_NAMESPACE, **_PAGE},
    ),
    Call(
        id="batch_create_artifacts",
        method="POST",
        path="/artifacts:batchCreate",
        body=requests.CreateArtifactsBulkRequest,
        answer=CreateArtifactsBulkResponse,
    ),
    Call(id="get_artifact", method="GET", path="/artifacts/{artifact_id}", answer=messages.Artifact),
    Call(
        id="create_artifact_task",
        method="POST",
        path="/artifact_tasks",
        body=requests.CreateArtifactTaskRequest,
        answer=messages.ArtifactTask,
    ),
    Call(
        id="list_artifact_tasks",
        method="GET",
        path="/artifact_tasks",
        answer=pages.ArtifactTaskPage,
        query={**_LINKS, **_PAGE},
    ),
    Call(
        id="batch_create_artifact_tasks",
        method="POST",
        path="/artifact_tasks:batchCreate",
        body=requests.CreateArtifactTasksBulkRequest,
        answer=CreateArtifactTasksBulkResponse,
    ),
    Call(
        id="create_experiment",
        method="POST",
        path="/experiments",
        body=messages.Experiment,
        answer=messages.Experiment,
    ),
    Call(
        id="list_experiments",
        method="GET",
        path="/experiments",
        answer=pages.ExperimentPage,
        query={**_NAMESPACE, **_PAGE},
    ),
    Call(id="get_experiment", method="GET", path=_EXPERIMENT, answer=messages.Experiment),
    Call(id="delete_experiment", method="DELETE", path=_EXPERIMENT),
    *(
        Call(id=f"{verb}_experiment", method="POST", path=f"{_EXPERIMENT}:{verb}")
        for verb in ("archive", "unarchive")
    ),
    Call(
        id="upload_pipeline",
        method="POST",
        path="/pipelines/upload",
        answer=messages.Pipeline,
        query={**_UPLOAD, **_NAMESPACE},
        uploads=True,
    ),
    Call(
        id="upload_pipeline_version",
        method="POST",
        path="/pipelines/upload_version",
        answer=messages.PipelineVersion,
        query={**_UPLOAD, "pipelineid": TEXT},
        uploads=True,
    ),
    Call(
        id="list_pipelines",
        method="GET",
        path="/pipelines",
        answer=pages.PipelinePage,
        query={**_NAMESPACE, **_PAGE},
    ),
    Call(
        id="get_pipeline_by_name",
        method="GET",
        path="/pipelines/names/{name}",
        answer=messages.Pipeline,
        query=_NAMESPACE,
    ),
    Call(id="get_pipeline", method="GET", path=_PIPELINE, answer=messages.Pipeline),
    Call(id="delete_pipeline", method="DELETE", path=_PIPELINE, query={"cascade": {"type": "boolean"}}),
    Call(
        id="list_pipeline_versions",
        method="GET",
        path=f"{_PIPELINE}/versions",
        answer=pages.PipelineVersionPage,
        query=_PAGE,
    ),
    Call(id="get_pipeline_version", method="GET", path=_VERSION, answer=messages.PipelineVersion),
    Call(id="delete_pipeline_version", method="DELETE", path=_VERSION),
)

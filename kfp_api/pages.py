"""Pages of the list calls: some rows, the token of the next page, and the number of all matches."""

from typing import Final

from pydantic import Field

from kfp_api.messages import (
    Artifact,
    ArtifactTask,
    Experiment,
    Pipeline,
    PipelineTask,
    PipelineVersion,
    Run,
)
from kfp_api.wire import WireMessage

PAGE_SIZE: Final = 200
"""Rows of a page, at most: what the server gives."""


class _Page(WireMessage):
    next_page_token: str = ""
    total_size: int = 0


class TaskPage(_Page):
    """One page of ListTasks."""

    tasks: list[PipelineTask] = Field(default_factory=list)


class ArtifactPage(_Page):
    """One page of ListArtifacts."""

    artifacts: list[Artifact] = Field(default_factory=list)


class ArtifactTaskPage(_Page):
    """One page of ListArtifactTasks."""

    artifact_tasks: list[ArtifactTask] = Field(default_factory=list)


class RunPage(_Page):
    """One page of ListRuns."""

    runs: list[Run] = Field(default_factory=list)


class ExperimentPage(_Page):
    """One page of ListExperiments."""

    experiments: list[Experiment] = Field(default_factory=list)


class PipelinePage(_Page):
    """One page of ListPipelines."""

    pipelines: list[Pipeline] = Field(default_factory=list)


class PipelineVersionPage(_Page):
    """One page of ListPipelineVersions."""

    pipeline_versions: list[PipelineVersion] = Field(default_factory=list)

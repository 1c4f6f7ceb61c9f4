"""What ancestors get from a task's end, collected and sent in the order that readers rely on (LAUNCHER A12).

Links first, then one bulk update of task rows: nobody may see a terminal state before the outputs that belong
to it. A part that was sent leaves the batch, so a failed flush can be repeated.
"""

from collections.abc import Iterable, Sequence

from kfp_api.client import KfpApiClient
from kfp_api.messages import (
    ArtifactTask,
    InputOutputs,
    IOParameter,
    IOType,
    PipelineTask,
)

ParameterIdentity = tuple[IOType, str, str, int | None]
LinkIdentity = tuple[str, str, IOType, int, str]


def parameter_identity(parameter: IOParameter) -> ParameterIdentity:
    """What makes two recorded parameters the same one: type, key, producing task, iteration; no value."""
    producer = parameter.producer
    return (
        parameter.type,
        parameter.parameter_key,
        producer.task_name if producer else "",
        producer.iteration if producer else None,
    )


def merged_parameters(*lists: Iterable[IOParameter]) -> list[IOParameter]:
    """The parameters of all lists in order; of equal identities the later value, at the first one's place."""
    merged: dict[ParameterIdentity, IOParameter] = {}
    for parameters in lists:
        merged.update((parameter_identity(parameter), parameter) for parameter in parameters)
    return list(merged.values())


class WriteBatch:
    """Queued links and sparse task patches of one run."""

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        self._links: dict[LinkIdentity, ArtifactTask] = {}
        self._patches: dict[str, PipelineTask] = {}

    @property
    def links(self) -> list[ArtifactTask]:
        """The queued links."""
        return list(self._links.values())

    @property
    def patches(self) -> dict[str, PipelineTask]:
        """The queued sparse patches by task id."""
        return dict(self._patches)

    def link(self, link: ArtifactTask) -> None:
        """Queue a link, unless an equal one is queued."""
        self._links.setdefault(link.identity, link)

    def update(self, task_id: str, patch: PipelineTask) -> None:
        """Queue a sparse patch; what is queued for the task already is merged with it, the later wins."""
        queued = self._patches.get(task_id)
        self._patches[task_id] = patch if queued is None else _merged_patch(queued, patch)

    def outputs_of(self, task_id: str) -> list[IOParameter]:
        """Output parameters queued for a task."""
        patch = self._patches.get(task_id)
        return patch.output_parameters if patch else []

    def drop_links(self, present: Iterable[LinkIdentity]) -> None:
        """Take links out that are stored already."""
        for identity in present:
            self._links.pop(identity, None)

    async def flush(self, client: KfpApiClient) -> None:
        """Send everything; each part leaves the batch once it is stored.

        Raises:
            KfpApiError: a part could not be stored; it and the later parts stay queued.
        """
        if self._links:
            await client.create_artifact_tasks(list(self._links.values()))
            self._links = {}
        if self._patches:
            await client.write_tasks(self._run_id, self._patches)
            self._patches = {}


def _merged_patch(queued: PipelineTask, later: PipelineTask) -> PipelineTask:
    """Both patches as one: fields that ``later`` gives win, parameters merge as on the server."""
    changes = {name: getattr(later, name) for name in _given_fields(later)}
    for name, first, second in (
        ("inputs", queued.input_parameters, later.input_parameters),
        ("outputs", queued.output_parameters, later.output_parameters),
    ):
        if first or second:
            changes[name] = InputOutputs(parameters=merged_parameters(first, second))
    return queued.model_copy(update=changes)


def _given_fields(patch: PipelineTask) -> Sequence[str]:
    return list(patch.to_wire())

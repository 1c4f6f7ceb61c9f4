"""The resolver's rows from a list, for tests."""

from collections import Counter
from collections.abc import Hashable, Iterable

from kfp_api.messages import PipelineTask, TaskType


class ListedRows:
    """:class:`TaskRows` over a list in memory; counts the questions it was asked."""

    def __init__(self, rows: Iterable[PipelineTask]) -> None:
        self.rows = list(rows)
        self.questions: Counter[tuple[Hashable, ...]] = Counter()

    async def children(
        self, parent_task_id: str, name: str, iteration_index: int | None = None
    ) -> list[PipelineTask]:
        """Children with that key, of that iteration if one is given."""
        self.questions["children", parent_task_id, name, iteration_index] += 1
        return [
            row
            for row in self.rows
            if row.parent_task_id == parent_task_id
            and row.name == name
            and iteration_index in (None, row.iteration_index)
        ]

    async def has_children(self, parent_task_id: str) -> bool:
        """Whether any row names that parent."""
        self.questions["has_children", parent_task_id] += 1
        return any(row.parent_task_id == parent_task_id for row in self.rows)

    async def workspace_importers(self) -> list[PipelineTask]:
        """Importer rows with ``download_to_workspace``."""
        self.questions["workspace_importers",] += 1
        return [
            row
            for row in self.rows
            if row.type is TaskType.IMPORTER
            and row.type_attributes is not None
            and row.type_attributes.download_to_workspace
        ]

"""From what a person types to a task row.

A task is named by its name (with its iteration as ``train.2``), its display name, its scope path, or its
row's id. No question asks for all tasks of a run.
"""

import re
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final

from driver_plugin.errors import UsageError
from kfp_api.client import KfpApiClient
from kfp_api.errors import ApiNotFoundError
from kfp_api.filters import Filter, Predicate, PredicateOperation
from kfp_api.ir.pipeline import PipelineSpec
from kfp_api.messages import PipelineTask, Run, TaskState
from resolver.scope import ROOT

_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_INDEXED: Final = re.compile(r"(?P<name>.+?)(?:\.(?P<dotted>\d+)|\[(?P<bracketed>\d+)\])")
_SHOWN: Final = 8


@dataclass(frozen=True, kw_only=True)
class FoundTask:
    """A task of a run. ``row`` is ``None`` when no driver made one; ``scope_path`` is known anyway."""

    scope_path: str
    row: PipelineTask | None
    iteration_index: int | None = None

    @property
    def name(self) -> str:
        """The task's key in its DAG; ``ROOT`` for the run's own row."""
        return "ROOT" if self.scope_path == ROOT else self.scope_path.rpartition(".")[2]


async def find_task(client: KfpApiClient, run: Run, spec: PipelineSpec, text: str) -> FoundTask:
    """The task that ``text`` names.

    Of several rows, as in a loop, the first that failed, else the first.

    Raises:
        UsageError: the pipeline has no such task, or the name means tasks in different DAGs.
    """
    if _UUID.fullmatch(text):
        try:
            row = await client.get_task(run.run_id, text)
        except ApiNotFoundError:
            raise UsageError(f"run {run.run_id} has no task row {text}") from None
        return FoundTask(scope_path=row.scope_path, row=row, iteration_index=row.iteration_index)
    paths = scope_paths(spec)
    name, index = text, None
    matching = _matching(paths, name)
    indexed = _INDEXED.fullmatch(text)
    if not matching and indexed:
        name, index = indexed["name"], int(indexed["dotted"] or indexed["bracketed"])
        matching = _matching(paths, name)
    if not matching:
        close = get_close_matches(name, [path.rpartition(".")[2] for path in paths], n=_SHOWN, cutoff=0.3)
        listed = ", ".join(dict.fromkeys(close or [path.rpartition(".")[2] for path in list(paths)[:_SHOWN]]))
        raise UsageError(
            f"the pipeline has no task {name!r}; {'the closest are' if close else 'it has'} {listed}"
        )
    if len(matching) > 1:
        raise UsageError(f"{name!r} means several tasks, give one's path: {', '.join(matching)}")
    (path,) = matching
    found = await row_at(client, run.run_id, path, index)
    return FoundTask(
        scope_path=path, row=found, iteration_index=index if found is None else found.iteration_index
    )


async def row_at(
    client: KfpApiClient, run_id: str, scope_path: str, iteration_index: int | None = None
) -> PipelineTask | None:
    """One row of a task of the pipeline: that of the iteration, else the first that failed, else the first.

    A loop's body has one row for each iteration; not more than one of them is read.
    """
    at = Predicate(operation=PredicateOperation.EQUALS, key="scope_path", string_value=scope_path)
    if iteration_index is not None:
        wanted = Predicate(
            operation=PredicateOperation.EQUALS, key="iteration_index", int_value=iteration_index
        )
        rows = client.iterate_tasks(run_id, filter=Filter(predicates=[at, wanted]))
        async with aclosing(rows):
            return await anext(rows, None)
    failed = Predicate(operation=PredicateOperation.EQUALS, key="status", int_value=TaskState.FAILED.number)
    for predicates in ([at, failed], [at]):
        page = await client.list_tasks(run_id, filter=Filter(predicates=predicates), page_size=1)
        if page.tasks:
            return page.tasks[0]
    return None


def scope_paths(spec: PipelineSpec) -> dict[str, str]:
    """Display name by scope path, for every task of the pipeline; a component that nests itself is cut."""
    found = {ROOT: spec.pipeline_info.name}

    def walk(prefix: str, component_name: str, above: tuple[str, ...]) -> None:
        component = spec.root if not above else spec.components.get(component_name)
        if component is None or component.dag is None or component_name in above:
            return
        for key, task in component.dag.tasks.items():
            found[f"{prefix}.{key}"] = task.task_info.name
            walk(f"{prefix}.{key}", task.component_ref.name, (*above, component_name))

    walk(ROOT, "", ())
    return found


def _matching(paths: dict[str, str], name: str) -> Sequence[str]:
    """The scope paths that a name means: the most exact reading that means any."""
    readings = (
        [path for path in paths if name in (path, f"{ROOT}.{path}")],
        [path for path in paths if path.rpartition(".")[2] == name or (name == "ROOT" and path == ROOT)],
        [path for path, display_name in paths.items() if display_name == name],
    )
    return next((matching for matching in readings if matching), [])

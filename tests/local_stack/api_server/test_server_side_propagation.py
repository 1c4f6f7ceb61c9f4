"""Rows end the same whether clients or the server propagate.

Oracle: the same story told to a server that leaves it to the clients (:mod:`propagation`, which has tests of
its own against the tables of spec DRIVER 4.3 and 4.4), and the states in those tables.
"""

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event

from kfp_api.client import KfpApiClient
from kfp_api.messages import (
    Artifact,
    ArtifactTask,
    ArtifactType,
    CreateArtifactRequest,
    IOArtifact,
    IOParameter,
    IOProducer,
    PipelineTask,
    Run,
    TaskState,
    TaskType,
    ViewMode,
)
from kfp_api.transport import ApiCall
from propagation.output_identity import output_type_and_producer
from propagation.outputs import propagate_outputs
from propagation.statuses import propagate_statuses
from tests.embedded_api import Rows, embedded_api
from tests.propagation.specs import Document, condition, dag, leaf, loop, pipeline, task

RUNNING, SUCCEEDED, SKIPPED, FAILED, CACHED = (
    TaskState.RUNNING,
    TaskState.SUCCEEDED,
    TaskState.SKIPPED,
    TaskState.FAILED,
    TaskState.CACHED,
)
COMP = {"comp": leaf(outputs={"out": "NUMBER_DOUBLE"}, artifacts=("model",))}


@dataclass
class Clients:
    """Drivers and launchers of one run, which propagate or leave it to the server."""

    rows: Rows
    propagate: bool

    async def finish(
        self,
        row: PipelineTask,
        state: TaskState = SUCCEEDED,
        *,
        out: float | None = None,
        model: str = "",
    ) -> None:
        """A task's end as a launcher writes it: outputs, their way up, state, its way up."""
        if out is not None:
            row = await self.rows.output(row, "out", out)
        if model:
            await self._artifact(row, model)
            row = await self.rows.read(row)
        if self.propagate and (out is not None or model):
            await propagate_outputs(self.rows.view(), row, into_loops=False)
        await self.written(await self.rows.end(row, state))

    async def written(self, row: PipelineTask) -> None:
        """A state was written; its way up."""
        if self.propagate:
            await propagate_statuses(self.rows.view(), row)

    async def hit(self, scope: str, parent: PipelineTask, *, index: int | None = None, of: str) -> None:
        """A cache hit as a driver writes it: the row in its final state, then a link, then the ways up."""
        row = await self.rows.add(scope, parent=parent, index=index, state=CACHED)
        kind, producer = output_type_and_producer(row.name, index)
        link = ArtifactTask(
            artifact_id=of,
            run_id=self.rows.run_id,
            task_id=row.task_id,
            type=kind,
            producer=producer,
            key="model",
        )
        await self.rows.client.create_artifact_tasks([link])
        if self.propagate:
            await propagate_outputs(self.rows.view(), await self.rows.read(row))
            await propagate_statuses(self.rows.view(), row)

    async def _artifact(self, row: PipelineTask, name: str) -> None:
        artifact = Artifact(name=name, type=ArtifactType.Model, uri=f"s3://b/{name}", namespace="ns")
        await self.rows.client.create_artifact(
            CreateArtifactRequest(
                artifact=artifact,
                run_id=self.rows.run_id,
                task_id=row.task_id,
                producer_key="model",
                iteration_index=row.iteration_index,
            )
        )

    async def artifact_of_another_run(self) -> str:
        """An artifact that a cache hit finds."""
        run = await self.rows.client.create_run(
            Run(display_name="earlier", pipeline_spec=pipeline(dag({"t": task("comp")}), COMP))
        )
        earlier = Clients(Rows(self.rows.client, run.run_id, []), propagate=False)
        root = await earlier.rows.add("root")
        row = await earlier.rows.add("root.t", parent=root)
        await earlier._artifact(row, "cached")
        return (await earlier.rows.read(row)).output_artifacts[0].artifacts[0].artifact_id


Story = Callable[[Clients], Awaitable[None]]


@dataclass(frozen=True)
class Case:
    """A pipeline, what happens in it, and how its root ends."""

    spec: Document
    story: Story
    root: TaskState
    outputs: int = 0
    """How many output entries the root has."""


def one_dag(outputs: bool = True) -> Document:
    inner = dag(
        {"a": task("comp"), "b": task("comp")},
        outputs={"x": ("NUMBER_DOUBLE", [("a", "out")])} if outputs else None,
        artifacts={"m": [("b", "model")]} if outputs else None,
    )
    root = dag(
        {"part": task("part")},
        outputs={"X": ("NUMBER_DOUBLE", [("part", "x")])} if outputs else None,
        artifacts={"M": [("part", "m")]} if outputs else None,
    )
    return pipeline(root, {"part": inner, **COMP})


async def nested_dag(clients: Clients) -> None:
    rows = clients.rows
    root = await rows.add("root")
    part = await rows.add("root.part", parent=root, kind=TaskType.DAG)
    for key in ("a", "b"):
        row = await rows.add(f"root.part.{key}", parent=part)
        await clients.finish(row, out=0.5, model=f"m-{key}")


def two_states(first: TaskState | None, second: TaskState) -> Story:
    async def story(clients: Clients) -> None:
        root = await clients.rows.add("root")
        part = await clients.rows.add("root.part", parent=root, kind=TaskType.DAG)
        for key, state in (("a", first), ("b", second)):
            if state is not None:
                row = await clients.rows.add(f"root.part.{key}", parent=part, state=state)
                await clients.written(row)

    return story


async def recovery(clients: Clients) -> None:
    rows = clients.rows
    root = await rows.add("root")
    part = await rows.add("root.part", parent=root, kind=TaskType.DAG)
    attempt = await rows.add("root.part.a", parent=part)
    await clients.finish(attempt, FAILED)
    await clients.written(await rows.end(attempt, RUNNING))
    assert [await rows.state(row) for row in (part, root)] == [RUNNING, RUNNING]
    await clients.finish(attempt, out=2)
    await clients.finish(await rows.add("root.part.b", parent=part), model="m")


def branches() -> Document:
    branch = dag({"flip": task("comp")}, outputs={"h": ("NUMBER_DOUBLE", [("flip", "out")])})
    wrapper = dag(
        {"condition-2": condition("branch"), "condition-3": condition("branch")},
        outputs={"one": ("NUMBER_DOUBLE", [("condition-2", "h"), ("condition-3", "h")])},
    )
    root = dag({"branches": task("branches")}, outputs={"Output": ("NUMBER_DOUBLE", [("branches", "one")])})
    return pipeline(root, {"branches": wrapper, "branch": branch, **COMP})


async def one_of(clients: Clients) -> None:
    rows, kind = clients.rows, TaskType.CONDITION_BRANCH
    root = await rows.add("root")
    wrapper = await rows.add("root.branches", parent=root, kind=TaskType.DAG)
    skipped = await rows.add("root.branches.condition-2", parent=wrapper, kind=kind, state=SKIPPED)
    await clients.written(skipped)
    chosen = await rows.add("root.branches.condition-3", parent=wrapper, kind=kind)
    await clients.finish(await rows.add("root.branches.condition-3.flip", parent=chosen), out=1.5)


def loops(depth: int) -> Document:
    """``depth`` loops in one another, whose values and models the root collects."""
    components: Document = dict(COMP)
    key, value, models, inside = "train", "out", "model", task("comp")
    for level in range(depth, 0, -1):
        components[f"comp-{level}"] = dag(
            {key: inside},
            outputs={f"v{level}": ("LIST", [(key, value)])},
            artifacts={f"m{level}": [(key, models)]},
            is_artifact_list=True,
        )
        key, value, models, inside = f"loop-{level}", f"v{level}", f"m{level}", loop(f"comp-{level}")
    root = dag(
        {key: inside},
        outputs={"V": ("LIST", [(key, value)])},
        artifacts={"M": [(key, models)]},
        is_artifact_list=True,
    )
    return pipeline(root, components)


async def collected_loop(clients: Clients) -> None:
    rows = clients.rows
    root = await rows.add("root")
    head = await rows.add("root.loop-1", parent=root, kind=TaskType.LOOP, count=3)
    for index in (1, 0, 2):
        row = await rows.add("root.loop-1.train", parent=head, index=index)
        await clients.finish(row, out=index / 4, model=f"m{index}")


async def nested_loops(clients: Clients) -> None:
    rows = clients.rows
    root = await rows.add("root")
    outer = await rows.add("root.loop-1", parent=root, kind=TaskType.LOOP, count=2)
    for i in range(2):
        head = await rows.add("root.loop-1.loop-2", parent=outer, kind=TaskType.LOOP, index=i, count=2)
        for j in (1, 0):
            row = await rows.add("root.loop-1.loop-2.train", parent=head, index=j)
            await clients.finish(row, out=10 * i + j, model=f"m{i}{j}")


async def cached_loop(clients: Clients) -> None:
    artifact = await clients.artifact_of_another_run()
    root = await clients.rows.add("root")
    head = await clients.rows.add("root.loop-1", parent=root, kind=TaskType.LOOP, count=2)
    for index in range(2):
        await clients.hit("root.loop-1.train", head, index=index, of=artifact)


async def empty_loop(clients: Clients) -> None:
    root = await clients.rows.add("root")
    head = await clients.rows.add("root.loop-1", parent=root, kind=TaskType.LOOP, count=0, state=SKIPPED)
    await clients.written(head)


async def failed_iteration(clients: Clients) -> None:
    rows = clients.rows
    root = await rows.add("root")
    head = await rows.add("root.loop-1", parent=root, kind=TaskType.LOOP, count=3)
    await clients.finish(await rows.add("root.loop-1.train", parent=head, index=0), out=1)
    await clients.finish(await rows.add("root.loop-1.train", parent=head, index=1), FAILED)


def gated() -> Document:
    tasks = {
        "gate": task("comp"),
        "branch": condition("comp-branch", after=("gate",)),
        "after": task("comp", after=("branch",)),
        "last": task("comp", uses={"after": "out"}),
    }
    root = dag(tasks, outputs={"Gate": ("NUMBER_DOUBLE", [("gate", "out")])})
    return pipeline(root, {"comp-branch": dag({"x": task("comp")}), **COMP})


async def omitted_tasks(clients: Clients) -> None:
    rows = clients.rows
    root = await rows.add("root")
    await clients.finish(await rows.add("root.gate", parent=root), out=1)
    kind = TaskType.CONDITION_BRANCH
    await clients.written(await rows.add("root.branch", parent=root, kind=kind, state=SKIPPED))


async def unfinished(clients: Clients) -> None:
    rows = clients.rows
    root = await rows.add("root")
    await clients.finish(await rows.add("root.gate", parent=root), out=1)


CASES = {
    "parameters and artifacts through a nested DAG": Case(one_dag(), nested_dag, SUCCEEDED, 2),
    "failed, second not created": Case(one_dag(), two_states(None, FAILED), FAILED),
    "failed and running": Case(one_dag(), two_states(FAILED, RUNNING), FAILED),
    "running and failed": Case(one_dag(), two_states(RUNNING, FAILED), FAILED),
    "succeeded and running": Case(one_dag(), two_states(SUCCEEDED, RUNNING), RUNNING),
    "all cached": Case(one_dag(), two_states(CACHED, CACHED), CACHED),
    "all skipped": Case(one_dag(), two_states(SKIPPED, SKIPPED), SKIPPED),
    "cached and skipped": Case(one_dag(), two_states(CACHED, SKIPPED), SUCCEEDED),
    "a retried executor": Case(one_dag(), recovery, SUCCEEDED, 2),
    "one of two branches": Case(branches(), one_of, SUCCEEDED, 1),
    "a collected loop": Case(loops(1), collected_loop, SUCCEEDED, 6),
    "a loop in a loop": Case(loops(2), nested_loops, SUCCEEDED, 4),
    "a loop of cache hits": Case(loops(1), cached_loop, CACHED, 2),
    "a loop without items": Case(loops(1), empty_loop, SKIPPED),
    "a failed iteration": Case(loops(1), failed_iteration, FAILED),
    "tasks that Argo omits": Case(gated(), omitted_tasks, SUCCEEDED, 1),
    "an unfinished run": Case(gated(), unfinished, RUNNING, 1),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
async def test_rows_end_the_same_whoever_propagates(case: Case, tmp_path: Path) -> None:
    by_clients = await told(case, tmp_path / "clients", clients=True, server=False)
    by_server = await told(case, tmp_path / "server", clients=False, server=True)
    by_both = await told(case, tmp_path / "both", clients=True, server=True)
    assert by_server == by_clients
    assert by_both == by_clients
    root = by_server["root", None, None]
    assert (root["state"], len(root["outputs"])) == (case.root, case.outputs)


async def test_off_by_default(tmp_path: Path) -> None:
    rows = await told(CASES["a collected loop"], tmp_path, clients=False, server=False)
    assert (rows["root", None, None]["state"], rows["root", None, None]["outputs"]) == (RUNNING, [])


async def test_rows_that_do_not_fit_the_pipeline_fail_no_write(tmp_path: Path) -> None:
    async def lost(clients: Clients) -> None:
        root = await clients.rows.add("root")
        await clients.finish(await clients.rows.add("root.gone", parent=root))

    rows = await told(Case(gated(), lost, RUNNING), tmp_path, clients=False, server=True)
    assert rows["root.gone", None, None]["state"] is SUCCEEDED


@pytest.fixture
def statements() -> Iterator[list[str]]:
    """The SQL that this process runs."""
    seen: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        seen.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    yield seen
    event.remove(Engine, "before_cursor_execute", note)


async def test_statements_of_one_end_do_not_grow_with_the_loop(tmp_path: Path, statements: list[str]) -> None:
    counted = []
    for size in (3, 30):

        async def story(clients: Clients, size: int = size) -> None:
            root = await clients.rows.add("root")
            head = await clients.rows.add("root.loop-1", parent=root, kind=TaskType.LOOP, count=size)
            started = [await clients.rows.add("root.loop-1.train", parent=head, index=i) for i in range(size)]
            for row in started[1:]:
                statements.clear()
                await clients.finish(row, out=1)
            counted.append(len(statements))

        await told(Case(loops(1), story, RUNNING), tmp_path / str(size), clients=False, server=True)
    assert counted[0] == counted[1] > 0


async def told(case: Case, folder: Path, *, clients: bool, server: bool) -> dict[Any, Any]:
    """All rows after the story."""
    calls: list[ApiCall] = []
    async with (
        embedded_api(made(folder), server_side_propagation=server) as url,
        KfpApiClient(url, observer=calls.append) as client,
    ):
        rows = await Rows.of(client, case.spec, calls)
        await case.story(Clients(rows, clients))
        listed = (await client.get_run(rows.run_id, view=ViewMode.FULL)).tasks
    by_id = {row.task_id: row for row in listed}
    return {
        (
            row.scope_path,
            row.iteration_index,
            by_id[row.parent_task_id].iteration_index if row.parent_task_id else None,
        ): shown(row)
        for row in listed
    }


def made(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder


def shown(row: PipelineTask) -> dict[str, Any]:
    """What propagation may change of a row, without ids and times."""
    parameters = [(one.parameter_key, one.type, *produced(one), one.value) for one in row.output_parameters]
    artifacts = [
        (one.artifact_key, one.type, *produced(one), tuple(sorted(each.name for each in one.artifacts)))
        for one in row.output_artifacts
    ]
    return {
        "state": row.state,
        "history": [entry.state for entry in row.state_history],
        "ended": row.end_time is not None,
        "outputs": sorted([*parameters, *artifacts], key=str),
    }


def produced(output: IOParameter | IOArtifact) -> tuple[str, int | None]:
    producer = output.producer or IOProducer()
    return producer.task_name, producer.iteration

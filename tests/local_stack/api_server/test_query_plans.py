"""What the server reads does not grow with the run. Oracle: SQLite's own EXPLAIN QUERY PLAN.

Every statement is explained as it was executed; none may scan a table, and the lists that drivers page
through may not sort either: their order is that of an index.
"""

import json
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Engine, event

from local_stack.api_server.storage import listing

from .conftest import Api, artifact_request

Plan = tuple[str, list[str]]
Call = Callable[[Api, "Ids"], Awaitable[Any]]


class Ids:
    """One of everything."""

    def __init__(self, run: str, parent: str, task: str, artifact: str) -> None:
        self.run, self.parent, self.task, self.artifact = run, parent, task, artifact


@contextmanager
def statements() -> Iterator[list[tuple[str, Any]]]:
    """The SELECT, UPDATE and DELETE statements that any engine executes meanwhile."""
    seen: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_rest: Any) -> None:
        if statement.split(maxsplit=1)[0] in {"SELECT", "UPDATE", "DELETE"}:
            seen.append((statement, parameters))

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(Engine, "before_cursor_execute", note)


def explain(api: Api, executed: list[tuple[str, Any]]) -> list[Plan]:
    connection = sqlite3.connect(api.database)
    plans = []
    for statement, parameters in executed:
        rows = connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters).fetchall()
        plans.append((statement, [row[3] for row in rows]))
    connection.close()
    return plans


def _filter(key: str, **value: object) -> str:
    return json.dumps({"predicates": [{"key": key, "operation": "EQUALS", **value}]})


def _tasks(**params: Any) -> Call:
    async def call(api: Api, ids: Ids) -> Any:
        filled: dict[str, Any] = {
            key: ids.parent if value == "PARENT" else value for key, value in params.items()
        }
        return await api.get(f"/runs/{ids.run}/tasks", **filled)

    return call


async def _second_page(api: Api, ids: Ids) -> Any:
    first = await api.get(f"/runs/{ids.run}/tasks", parent_id=ids.parent, page_size="1")
    return await api.get(f"/runs/{ids.run}/tasks", parent_id=ids.parent, page_token=first["next_page_token"])


async def _retry(api: Api, ids: Ids) -> Any:
    await api.report(ids.run, "Failed")
    return await api.post(f"/runs/{ids.run}:retry")


IN_INDEX_ORDER: dict[str, Call] = {
    "tasks of a run": _tasks(),
    "children": _tasks(parent_id="PARENT"),
    "second page of children": _second_page,
    "count of children": _tasks(parent_id="PARENT", page_size="1"),
    "get task": lambda api, ids: api.get(f"/runs/{ids.run}/tasks/{ids.parent}"),
    "get artifact": lambda api, ids: api.get(f"/artifacts/{ids.artifact}"),
    "get run": lambda api, ids: api.get(f"/runs/{ids.run}"),
    "get run full": lambda api, ids: api.get(f"/runs/{ids.run}", view="FULL"),
    "update task": lambda api, ids: api.patch(f"/runs/{ids.run}/tasks/{ids.task}", {"state": "SUCCEEDED"}),
    "create artifact": lambda api, ids: api.post("/artifacts", artifact_request(ids.run, ids.task)),
}

SEARCHED: dict[str, Call] = {
    "children by name": _tasks(parent_id="PARENT", filter=_filter("name", string_value="a")),
    "children by state": _tasks(parent_id="PARENT", filter=_filter("status", int_value=4)),
    "importers of a run": _tasks(filter=_filter("type", int_value=7)),
    "links of a task": lambda api, ids: api.get("/artifact_tasks", task_ids=ids.task),
    "links of an artifact": lambda api, ids: api.get("/artifact_tasks", artifact_ids=ids.artifact),
    "cached task": lambda api, _: api.post("/tasks:findCached", {"cache_fingerprint": "f"}),
    "reuse artifact": lambda api, ids: api.post(
        "/artifacts", artifact_request(ids.run, ids.task, "new", reuse_if_exists=True)
    ),
    "retry": _retry,
    "exact uri": lambda api, _: api.get("/artifacts", filter=_filter("uri", string_value="s3://x")),
}


@pytest.fixture
async def ids(api: Api) -> Ids:
    run = await api.run()
    parent = await api.task(run, "parent", type="DAG")
    task = await api.task(run, "a", parent_task_id=parent)
    await api.task(run, "b", parent_task_id=parent, state="FAILED")
    return Ids(run, parent, task, await api.artifact(run, task))


@pytest.mark.parametrize("few", [-1, listing.FEW])
@pytest.mark.parametrize("name", [*IN_INDEX_ORDER, *SEARCHED])
async def test_no_statement_scans_a_table(
    api: Api, ids: Ids, name: str, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "FEW", few)
    with statements() as executed:
        await {**IN_INDEX_ORDER, **SEARCHED}[name](api, ids)
    assert executed
    for statement, steps in explain(api, executed):
        for step in steps:
            assert not step.startswith("SCAN") or step == "SCAN CONSTANT ROW", f"{step}: {statement}"
            assert name in SEARCHED or "TEMP B-TREE" not in step, f"{step}: {statement}"


@pytest.mark.parametrize(
    ("filters", "index"),
    [
        ([("name", {"string_value": "a"})], "RunUUID=? AND ParentTaskUUID=? AND Name=?"),
        (
            [("name", {"string_value": "a"}), ("iteration_index", {"int_value": 0})],
            "RunUUID=? AND ParentTaskUUID=? AND Name=? AND IterationIndex=?",
        ),
        ([("status", {"int_value": 4})], "RunUUID=? AND State=? AND ParentTaskUUID=?"),
    ],
)
async def test_what_drivers_ask_of_siblings_is_found_by_index(
    api: Api, ids: Ids, filters: list[tuple[str, dict[str, Any]]], index: str
) -> None:
    predicates = [{"key": key, "operation": "EQUALS", **value} for key, value in filters]
    text = json.dumps({"predicates": predicates})
    with statements() as executed:
        await api.get(f"/runs/{ids.run}/tasks", parent_id=ids.parent, filter=text)
    by_filter = [plan for plan in explain(api, executed) if "IN (" not in plan[0]]
    found = [step for _, steps in by_filter for step in steps if "RunUUID" in step]
    # The number of matches, and the matches.
    assert len(found) == 2
    for step in found:
        assert f"({index})" in step


@pytest.mark.parametrize("name", ["get task", "update task", "create artifact", "children by name"])
async def test_the_number_of_statements_does_not_grow_with_the_run(api: Api, ids: Ids, name: str) -> None:
    call = {**IN_INDEX_ORDER, **SEARCHED}[name]
    with statements() as few:
        await call(api, ids)
    for i in range(30):
        sibling = await api.task(ids.run, f"sibling-{i}", parent_task_id=ids.parent)
        await api.artifact(ids.run, sibling)
    with statements() as many:
        await call(api, ids)
    assert len(many) <= len(few)

"""Finding sibling rows. Oracle: spec RESOLVER 4 and its example rows."""

import pytest

from kfp_api.messages import PipelineTask
from resolver.errors import ResolutionError
from resolver.rows import JoinedRows, find_child, unique_name
from tests.resolver.builders import row
from tests.resolver.listed_rows import ListedRows

LOOP = row("L", "loop", count=2)
T1, T2 = row("t1", "a", "L", iteration=0), row("t2", "a", "L", iteration=1)
T3 = row("t3", "nested", "L", iteration=1)
T4 = row("t4", "b", "t3", iteration=1)
ROWS = [LOOP, T1, T2, T3, T4]


async def find(
    parent: PipelineTask, name: str, iteration: int | None, rows: list[PipelineTask], *, loop: bool
) -> str | None:
    found = await find_child(ListedRows(rows), parent, name, under_loop=loop, iteration_index=iteration)
    return found.task_id if found else None


async def test_below_a_loop_head_the_iteration_decides() -> None:
    assert await find(LOOP, "a", 0, ROWS, loop=True) == "t1"
    assert await find(LOOP, "a", 1, ROWS, loop=True) == "t2"
    assert await find(LOOP, "a", 2, ROWS, loop=True) is None
    assert await find(LOOP, "b", 1, ROWS, loop=True) is None


async def test_below_a_nested_dag_the_parent_decides() -> None:
    """D21: exit hooks inside loops may come without an iteration index."""
    assert await find(T3, "b", 1, ROWS, loop=False) == "t4"
    assert await find(T3, "b", None, ROWS, loop=False) == "t4"


async def test_a_loop_head_needs_an_iteration_and_a_sibling_a_name() -> None:
    with pytest.raises(ResolutionError, match="needs an iteration index"):
        await find(LOOP, "a", None, ROWS, loop=True)
    with pytest.raises(ResolutionError, match="producerTask task cannot be empty"):
        await find(LOOP, "", 0, ROWS, loop=True)


async def test_of_several_rows_the_iteration_wins_then_the_latest() -> None:
    twins = [
        row("z", "a", "D", iteration=0, create_time="2026-01-01T00:00:00Z"),
        row("m", "a", "D", iteration=1, create_time="2026-01-01T00:00:00Z"),
        row("k", "a", "D", iteration=1, create_time="2026-01-02T00:00:00Z"),
        row("l", "a", "D", iteration=1, create_time="2026-01-02T00:00:00Z"),
    ]
    dag = row("D", "dag")
    for listing in (twins, twins[::-1]):
        assert await find(dag, "a", 0, listing, loop=False) == "z"
        assert await find(dag, "a", 1, listing, loop=False) == "l"
        assert await find(dag, "a", 7, listing, loop=False) == "l"


def test_siblings_are_named_in_texts_as_kfp_names_them() -> None:
    assert unique_name("produce", "9f1c", 2) == "produce_9f1c_idx_2"
    assert unique_name("produce", "9f1c", 0) == "produce_9f1c_idx_0"
    assert unique_name("produce", "9f1c", None) == "produce_9f1c"


async def test_a_question_is_asked_once_per_resolution() -> None:
    listed = ListedRows(ROWS)
    joined = JoinedRows(listed)
    for _ in range(3):
        assert len(await joined.children("L", "a")) == 2
        assert await joined.has_children("L")
        assert await joined.workspace_importers() == []
    assert set(listed.questions.values()) == {1}

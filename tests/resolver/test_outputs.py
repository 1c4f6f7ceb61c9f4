"""Following output selectors. Oracle: the examples A to D and the fallback contract of spec RESOLVER 7."""

import asyncio
import random
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kfp_api.messages import PipelineTask
from resolver.errors import ResolutionError
from resolver.inputs import ResolvedInputs, resolve_inputs
from tests.resolver.builders import (
    artifact,
    artifact_source,
    artifacts,
    context_of,
    dag,
    each,
    entry_of,
    from_one,
    leaf,
    one_of,
    parameter,
    root_row,
    row,
    selectors,
    shown,
    source,
    spec_of,
    task_of,
)
from tests.resolver.listed_rows import ListedRows


def made(value: Any, **producer: Any) -> list[dict[str, Any]]:
    return [parameter("Output", value, **producer)]


async def consume(
    components: dict[str, Any],
    tasks: dict[str, Any],
    rows: Iterable[PipelineTask] | ListedRows,
    wired: dict[str, Any] | None = None,
    wired_artifacts: dict[str, Any] | None = None,
) -> ResolvedInputs:
    """Resolve a root task that takes those outputs."""
    declared: dict[str, Any] = {key: {"isOptional": False} for key in wired_artifacts or {}}
    consumer = task_of("consumer", wired, wired_artifacts)
    spec = spec_of(
        {"work": leaf(), "consumer": leaf(artifacts=declared), **components}, {"consumer": consumer, **tasks}
    )
    return await resolve_inputs(context_of(spec, "consumer", rows=rows, parent=root_row()))


LOOP = {"loop": dag({"work": task_of("work")}, {"ys": from_one("work", "Output")})}
LOOP_TASK = {"for-loop-1": task_of("loop", **each())}


def loop_rows(values: dict[int, Any], count: int | None) -> list[PipelineTask]:
    return [
        row("L", "for-loop-1", count=count, type="LOOP", scope_path="root.for-loop-1"),
        *(row(f"w{index}", "work", "L", iteration=index, outputs=made(v)) for index, v in values.items()),
    ]


async def test_a_loops_output_is_a_list_in_iteration_order() -> None:
    rows = ListedRows(loop_rows({0: "x", 2: "z", 1: "x"}, 3))
    resolved = await consume(LOOP, LOOP_TASK, rows, {"vals": source("for-loop-1", "ys")})
    assert entry_of(resolved, "vals") == {
        "parameter_key": "vals",
        "value": ["x", "x", "z"],
        "type": "COLLECTED_INPUTS",
        "producer": {"task_name": "for-loop-1"},
    }
    assert dict(rows.questions) == {
        ("children", "P", "for-loop-1", None): 1,
        ("children", "L", "work", None): 1,
    }


@pytest.mark.parametrize("size", [0, 1, 40])
async def test_collecting_asks_no_more_for_more_iterations(size: int) -> None:
    rows = ListedRows(loop_rows({index: index for index in range(size)}, size))
    resolved = await consume(
        LOOP, LOOP_TASK, rows, {key: source("for-loop-1", "ys") for key in ("a", "b", "c")}
    )
    assert shown(resolved)["b"] == list(range(size))
    assert sum(rows.questions.values()) <= 3


async def test_iterations_without_output_leave_no_hole() -> None:
    rows = [*loop_rows({0: "a", 2: "c"}, 4), row("w1", "work", "L", iteration=1)]
    resolved = await consume(LOOP, LOOP_TASK, rows, {"vals": source("for-loop-1", "ys")})
    assert shown(resolved) == {"vals": ["a", "c"]}


async def test_rows_of_an_earlier_longer_attempt_do_not_count() -> None:
    resolved = await consume(
        LOOP, LOOP_TASK, loop_rows({0: "a", 1: "b", 2: "stale"}, 2), {"vals": source("for-loop-1", "ys")}
    )
    assert shown(resolved) == {"vals": ["a", "b"]}


@pytest.mark.parametrize("count", [0, None])
async def test_collected_empty(count: int | None) -> None:
    resolved = await consume(LOOP, LOOP_TASK, loop_rows({}, count), {"vals": source("for-loop-1", "ys")})
    assert entry_of(resolved, "vals")["value"] == []
    assert entry_of(resolved, "vals")["type"] == "COLLECTED_INPUTS"


async def test_collected_singleton() -> None:
    resolved = await consume(LOOP, LOOP_TASK, loop_rows({0: "x"}, 1), {"vals": source("for-loop-1", "ys")})
    assert shown(resolved) == {"vals": ["x"]}


async def test_a_loop_skipped_by_its_own_condition_has_no_output() -> None:
    with pytest.raises(ResolutionError, match="parameter with producer key ys not found"):
        await consume(LOOP, LOOP_TASK, loop_rows({}, 3), {"vals": source("for-loop-1", "ys")})


async def test_collected_empty_through_dag() -> None:
    """D6: upstream does not find the output."""
    components = {
        **LOOP,
        "outer": dag(LOOP_TASK, {"up": from_one("for-loop-1", "ys")}),
    }
    rows = [
        row("D", "outer", type="DAG", state="SKIPPED"),
        row("L", "for-loop-1", "D", count=0, type="LOOP", state="SKIPPED"),
    ]
    resolved = await consume(components, {"outer": task_of("outer")}, rows, {"vals": source("outer", "up")})
    assert entry_of(resolved, "vals")["value"] == []
    assert entry_of(resolved, "vals")["type"] == "COLLECTED_INPUTS"


async def test_a_one_of_output_is_that_of_the_branch_taken() -> None:
    components = {
        "core": dag(
            {"condition-branches-1": task_of("branches")}, {"Output": from_one("condition-branches-1", "one")}
        ),
        "branches": dag(
            {"condition-2": task_of("heads"), "condition-3": task_of("tails")},
            {"one": one_of(("condition-2", "h"), ("condition-3", "t"))},
        ),
        "heads": dag({"heads": task_of("work")}, {"h": from_one("heads", "Output")}),
        "tails": dag({"tails": task_of("work")}, {"t": from_one("tails", "Output")}),
    }
    rows = [
        row("t1", "core", type="DAG"),
        row("t2", "condition-branches-1", "t1", type="DAG"),
        row("t3", "condition-2", "t2", type="CONDITION_BRANCH", state="SKIPPED"),
        row("t4", "condition-3", "t2", type="CONDITION_BRANCH"),
        row("t5", "tails", "t4", outputs=made("Got tails!")),
    ]
    resolved = await consume(components, {"core": task_of("core")}, rows, {"x": source("core", "Output")})
    assert entry_of(resolved, "x") == {
        "parameter_key": "x",
        "value": "Got tails!",
        "type": "TASK_OUTPUT_INPUT",
        "producer": {"task_name": "core"},
    }


NESTED = {
    "outer": dag(
        {
            "for-loop-4": task_of("inner", **each()),
            "inside": task_of("consumer", {"ys": source("for-loop-4", "ys")}),
        },
        {"ys": from_one("for-loop-4", "ys")},
    ),
    "inner": dag({"double": task_of("work")}, {"ys": from_one("double", "Output")}),
}


def nested_rows(*, head_type: str = "LOOP") -> list[PipelineTask]:
    rows = [row("O", "for-loop-2", count=3, type="LOOP", scope_path="root.for-loop-2")]
    for outer in range(3):
        rows.append(row(f"I{outer}", "for-loop-4", "O", iteration=outer, count=3, type=head_type))
        rows += [
            row(f"d{outer}{inner}", "double", f"I{outer}", iteration=inner, outputs=made(2 * (inner + 4)))
            for inner in range(3)
        ]
    return rows


@pytest.mark.parametrize("head_type", ["LOOP", "DAG"])
async def test_nested_loops_give_nested_lists(head_type: str) -> None:
    """D5, D6: upstream types the inner head DAG, flattens the lists and drops equal values."""
    tasks = {"for-loop-2": task_of("outer", **each())}
    rows = ListedRows(nested_rows(head_type=head_type))
    resolved = await consume(NESTED, tasks, rows, {"nums": source("for-loop-2", "ys")})
    assert shown(resolved) == {"nums": [[8, 10, 12]] * 3}
    assert sum(rows.questions.values()) == 1 + 1 + 3


async def test_inside_the_outer_loop_the_inner_loop_gives_its_own_list() -> None:
    spec = spec_of({"work": leaf(), "consumer": leaf(), **NESTED}, {"for-loop-2": task_of("outer", **each())})
    rows = nested_rows()
    context = context_of(spec, "for-loop-2.inside", rows=rows, parent=rows[0], iteration=0)
    entry = entry_of(await resolve_inputs(context), "ys")
    assert entry["value"] == [8, 10, 12]
    assert entry["type"] == "COLLECTED_INPUTS"
    assert entry["producer"] == {"task_name": "for-loop-4", "iteration": "0"}


CONDITIONAL = {
    "loop": dag({"condition-1": task_of("branch")}, {"ys": from_one("condition-1", "y")}),
    "branch": dag({"double": task_of("work")}, {"y": from_one("double", "Output")}),
}


@pytest.mark.parametrize(("threshold", "expected"), [(2, [4, 6]), (9, [])])
async def test_collected_conditional(threshold: int, expected: list[int]) -> None:
    rows = [row("L", "for-loop-1", count=3, type="LOOP")]
    for index, value in enumerate([1, 2, 3]):
        taken = value >= threshold
        rows.append(
            row(f"c{index}", "condition-1", "L", iteration=index, state="SUCCEEDED" if taken else "SKIPPED")
        )
        if taken:
            rows.append(row(f"d{index}", "double", f"c{index}", iteration=index, outputs=made(2 * value)))
    resolved = await consume(CONDITIONAL, LOOP_TASK, rows, {"vals": source("for-loop-1", "ys")})
    assert shown(resolved) == {"vals": expected}


async def test_collected_artifacts_are_flat_in_outer_then_inner_order() -> None:
    components = {
        "outer": dag(
            {"for-loop-4": task_of("inner", **each())}, {}, {"all": selectors(("for-loop-4", "all"))}
        ),
        "inner": dag({"condition-5": task_of("branch")}, {}, {"all": selectors(("condition-5", "one"))}),
        "branch": dag({"make": task_of("work")}, {}, {"one": selectors(("make", "data"))}),
    }
    rows = [row("O", "for-loop-2", count=3, type="LOOP")]
    for outer in range(3):
        rows.append(row(f"I{outer}", "for-loop-4", "O", iteration=outer, count=3, type="LOOP"))
        for inner in range(3):
            branch = f"c{outer}{inner}"
            rows.append(row(branch, "condition-5", f"I{outer}", iteration=inner))
            if inner:
                data = artifacts("data", [artifact(f"z{9 - outer}{9 - inner}", name=f"{outer}{inner}")])
                rows.append(row(f"m{branch}", "make", branch, iteration=inner, outputs=[data]))
    random.Random(1).shuffle(rows)
    resolved = await consume(
        components,
        {"for-loop-2": task_of("outer", **each())},
        rows,
        wired_artifacts={"all": artifact_source("for-loop-2", "all")},
    )
    (entry,) = resolved.artifacts
    assert [one.name for one in entry.artifacts] == ["01", "02", "11", "12", "21", "22"]
    assert entry.type.value == "COLLECTED_INPUTS"
    assert entry.groups == (1,) * 6


@pytest.mark.parametrize(("is_list", "expected"), [(False, ["h"]), (True, ["h", "t"])])
async def test_several_present_branches_are_joined_for_a_list_only(
    is_list: bool, expected: list[str]
) -> None:
    components = {
        "both": dag(
            {"heads": task_of("work"), "tails": task_of("work")},
            {},
            {"one": selectors(("heads", "data"), ("tails", "data"))},
            outputDefinitions={"artifacts": {"one": {"isArtifactList": is_list}}},
        )
    }
    rows = [
        row("D", "both"),
        row("a", "heads", "D", outputs=[artifacts("data", [artifact("h")])]),
        row("b", "tails", "D", outputs=[artifacts("data", [artifact("t")])]),
    ]
    resolved = await consume(
        components, {"both": task_of("both")}, rows, wired_artifacts={"x": artifact_source("both", "one")}
    )
    assert [one.artifact_id for one in resolved.artifacts[0].artifacts] == expected


async def test_of_several_own_entries_that_of_the_rows_iteration_counts() -> None:
    entries = [
        parameter("Output", "first", "OUTPUT", task_name="work", iteration="0"),
        parameter("Output", "second", "OUTPUT", task_name="work", iteration="1"),
        parameter("Output", "third", "OUTPUT", task_name="work", iteration="2"),
    ]
    for iteration, expected in ((1, "second"), (7, "third"), (None, "third")):
        rows = [row("w", "work", iteration=iteration, outputs=entries)]
        resolved = await consume({}, {"work": task_of("work")}, rows, {"x": source("work", "Output")})
        assert shown(resolved) == {"x": expected}


def propagated(*entries: tuple[Any, str, int | None]) -> list[dict[str, Any]]:
    return [
        parameter(
            "up", value, io_type, **({} if index is None else {"task_name": "w", "iteration": str(index)})
        )
        for value, io_type, index in entries
    ]


@pytest.mark.parametrize(
    ("entries", "value"),
    [
        (propagated(("a", "OUTPUT", None)), "a"),
        (propagated(("a", "ONE_OF_OUTPUT", None)), "a"),
        (propagated(("a", "ITERATOR_OUTPUT", 0)), ["a"]),
        (propagated(("b", "ITERATOR_OUTPUT", 1), ("a", "ITERATOR_OUTPUT", 0)), ["a", "b"]),
        (propagated(("b", "ITERATOR_OUTPUT", 1), ("a", "ITERATOR_OUTPUT", None)), ["b", "a"]),
    ],
)
async def test_propagated_fallback_contract(entries: list[dict[str, Any]], value: Any) -> None:
    rows = [row("D", "group", type="DAG", outputs=entries)]
    resolved = await consume(
        {"group": dag({})}, {"group": task_of("group")}, rows, {"x": source("group", "up")}
    )
    assert shown(resolved) == {"x": value}


@pytest.mark.parametrize(
    ("entries", "text"),
    [
        (
            propagated(("a", "ITERATOR_OUTPUT", 0), ("b", "OUTPUT", None)),
            r"encountered a non iterator output that has the same producer key \(up\)",
        ),
        (
            propagated(("a", "ITERATOR_OUTPUT", 1), ("b", "ITERATOR_OUTPUT", 1)),
            "iterator outputs with producer key up have duplicate iteration index 1",
        ),
        ([], "parameter with producer key up not found"),
    ],
)
async def test_propagated_fallback_contract_errors(entries: list[dict[str, Any]], text: str) -> None:
    rows = [row("D", "group", type="DAG", outputs=entries)]
    with pytest.raises(ResolutionError, match=text):
        await consume({"group": dag({})}, {"group": task_of("group")}, rows, {"x": source("group", "up")})


@pytest.mark.parametrize(
    ("entries", "groups"),
    [
        ([artifacts("up", [artifact("a")])], (1,)),
        (
            [
                artifacts("up", [artifact("b")], "ITERATOR_OUTPUT", task_name="w", iteration="1"),
                artifacts(
                    "up", [artifact("a"), artifact("c")], "ITERATOR_OUTPUT", task_name="w", iteration="0"
                ),
            ],
            (2, 1),
        ),
    ],
)
async def test_propagated_fallback_contract_of_artifacts(
    entries: list[dict[str, Any]], groups: tuple[int, ...]
) -> None:
    rows = [row("D", "group", type="DAG", outputs=entries)]
    resolved = await consume(
        {"group": dag({})},
        {"group": task_of("group")},
        rows,
        wired_artifacts={"x": artifact_source("group", "up")},
    )
    assert resolved.artifacts[0].groups == groups
    assert [one.artifact_id for one in resolved.artifacts[0].artifacts] == ["a", "c", "b"][: sum(groups)]


async def test_children_win_over_what_was_propagated() -> None:
    components = {"group": dag({"work": task_of("work")}, {"up": from_one("work", "Output")})}
    head = row("D", "group", type="DAG", outputs=propagated(("stale", "OUTPUT", None)))
    tasks = {"group": task_of("group")}
    wired = {"x": source("group", "up")}
    child = row("w", "work", "D", outputs=made("fresh"))
    assert shown(await consume(components, tasks, [head, child], wired)) == {"x": "fresh"}
    assert shown(await consume(components, tasks, [head], wired)) == {"x": "stale"}


async def test_a_loop_head_without_rows_below_falls_back_to_what_was_propagated() -> None:
    head = row(
        "L",
        "for-loop-1",
        count=2,
        type="LOOP",
        outputs=[
            parameter("ys", v, "ITERATOR_OUTPUT", task_name="work", iteration=str(i))
            for i, v in ((1, "b"), (0, "a"))
        ],
    )
    assert shown(await consume(LOOP, LOOP_TASK, [head], {"x": source("for-loop-1", "ys")})) == {
        "x": ["a", "b"]
    }


async def test_rows_that_nest_without_end_are_an_error() -> None:
    components = {"again": dag({"again": task_of("again")}, {"up": from_one("again", "up")})}
    rows = [row("a", "again", "P")] + [row(f"{'a' * n}", "again", "a" * (n - 1)) for n in range(2, 80)]
    with pytest.raises(ResolutionError, match="nested more than 64 levels"):
        await consume(components, {"again": task_of("again")}, rows, {"x": source("again", "up")})


@settings(max_examples=40, deadline=None)
@given(st.randoms(use_true_random=False))
def test_the_order_in_which_rows_are_listed_never_matters(shuffler: random.Random) -> None:

    rows = nested_rows()
    before = [one.to_wire() for one in rows]
    shuffled = list(rows)
    shuffler.shuffle(shuffled)
    tasks = {"for-loop-2": task_of("outer", **each())}
    resolved = asyncio.run(consume(NESTED, tasks, shuffled, {"nums": source("for-loop-2", "ys")}))
    assert shown(resolved) == {"nums": [[8, 10, 12]] * 3}
    assert [one.to_wire() for one in rows] == before

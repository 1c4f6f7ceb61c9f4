"""What the resolver asks for, case by case. Oracle: spec RESOLVER 3.1 and DRIVER 14.

Questions follow from the pipeline alone: however many tasks a run has, a task asks for its producers and,
where these are DAGs, for what their selectors lead to. The parent row is given, nothing is asked about it.
"""

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest

from kfp_api.messages import PipelineTask
from resolver.concurrency import AT_ONCE
from resolver.executor_input import build_executor_inputs
from resolver.inputs import resolve_inputs
from tests.resolver.builders import (
    artifact,
    artifact_source,
    artifacts,
    context_of,
    dag,
    each,
    from_one,
    leaf,
    one_of,
    parameter,
    root_row,
    row,
    selectors,
    source,
    spec_of,
    task_of,
)
from tests.resolver.listed_rows import ListedRows

ITERATIONS = 4


def made(task_id: str, name: str, parent: str = "P", **more: Any) -> PipelineTask:
    outputs = [parameter("Output", "x"), artifacts("data", [artifact(f"a-{task_id}")])]
    return row(task_id, name, parent, outputs=outputs, **more)


COMPONENTS: dict[str, Any] = {
    "work": leaf(),
    "group": dag({"work": task_of("work")}, {"up": from_one("work")}, {"up": selectors(("work", "data"))}),
    "deep": dag({"group": task_of("group")}, {"up": from_one("group", "up")}),
    "branches": dag(
        {"yes": task_of("group"), "no": task_of("group")}, {"up": one_of(("yes", "up"), ("no", "up"))}
    ),
    "loop": dag({"work": task_of("work")}, {"up": from_one("work")}, {"up": selectors(("work", "data"))}),
    "loop-of-groups": dag({"group": task_of("group")}, {"up": from_one("group", "up")}),
}
SIBLINGS: dict[str, Any] = {
    "make": task_of("work"),
    "other": task_of("work"),
    "group": task_of("group"),
    "deep": task_of("deep"),
    "branches": task_of("branches"),
    "loop": task_of("loop", **each()),
    "empty": task_of("loop", **each()),
    "loop-of-groups": task_of("loop-of-groups", **each()),
    "importer": task_of("work"),
}
ROWS = [
    made("m", "make"),
    made("o", "other"),
    row("g", "group"),
    made("gw", "work", "g"),
    row("d", "deep"),
    row("dg", "group", "d"),
    made("dgw", "work", "dg"),
    row("b", "branches"),
    row("by", "yes", "b"),
    row("bn", "no", "b"),
    made("bnw", "work", "bn"),
    row("l", "loop", count=ITERATIONS),
    *(made(f"l{index}", "work", "l", iteration=index) for index in range(ITERATIONS)),
    row("e", "empty", count=0),
    row("n", "loop-of-groups", count=ITERATIONS),
    *(row(f"n{index}", "group", "n", iteration=index) for index in range(ITERATIONS)),
    *(made(f"n{index}w", "work", f"n{index}", iteration=index) for index in range(ITERATIONS)),
    row(
        "i",
        "importer",
        type="IMPORTER",
        type_attributes={"download_to_workspace": True},
        outputs=[artifacts("data", [artifact("a-i")])],
    ),
]
STATUS = {"taskFinalStatus": {"producerTask": "group"}}
CHANNEL = "{{$.inputs.parameters['pipelinechannel--x']}}"


def children(parent: str, name: str) -> tuple[Any, ...]:
    return ("children", parent, name, None)


@pytest.mark.parametrize(
    ("wired", "asked"),
    [
        ({}, []),
        ({"x": {"runtimeValue": {"constant": "k"}}}, []),
        ({"x": {"componentInputParameter": "given"}}, []),
        ({"x": source("make")}, [children("P", "make")]),
        (
            {"x": source("make"), "y": source("make"), "z": source("other")},
            [children("P", "make"), children("P", "other")],
        ),
        (
            {
                "pipelinechannel--x": source("make"),
                "x": {"runtimeValue": {"constant": f"{CHANNEL} and {CHANNEL}"}},
                "y": {"runtimeValue": {"constant": CHANNEL}},
            },
            [children("P", "make")],
        ),
        ({"x": source("group", "up")}, [children("P", "group"), children("g", "work")]),
        (
            {"x": source("deep", "up")},
            [children("P", "deep"), children("d", "group"), children("dg", "work")],
        ),
        (
            {"x": source("branches", "up")},
            [
                children("P", "branches"),
                children("b", "yes"),
                children("b", "no"),
                children("by", "work"),
                children("bn", "work"),
            ],
        ),
        ({"x": source("loop", "up")}, [children("P", "loop"), children("l", "work")]),
        (
            {"x": source("empty", "up")},
            [children("P", "empty"), children("e", "work"), ("has_children", "e")],
        ),
        (
            {"x": source("loop-of-groups", "up")},
            [
                children("P", "loop-of-groups"),
                children("n", "group"),
                *(children(f"n{index}", "work") for index in range(ITERATIONS)),
            ],
        ),
        ({"x": STATUS}, [children("P", "group")]),
    ],
    ids=[
        "nothing",
        "constant",
        "component input",
        "output",
        "outputs of one producer",
        "channels",
        "output of a DAG",
        "output of a DAG in a DAG",
        "one of two branches",
        "collected",
        "collected from no iteration",
        "collected from DAGs",
        "final status",
    ],
)
async def test_questions_of_a_task_with_these_parameters(wired: dict[str, Any], asked: list[Any]) -> None:
    assert await questions(task_of("c", wired, dependentTasks=["group"])) == dict.fromkeys(asked, 1)


@pytest.mark.parametrize(
    ("producer", "key", "asked"),
    [
        ("make", "data", [children("P", "make")]),
        ("group", "up", [children("P", "group"), children("g", "work")]),
        ("loop", "up", [children("P", "loop"), children("l", "work")]),
    ],
)
async def test_questions_of_a_task_with_an_artifact(producer: str, key: str, asked: list[Any]) -> None:
    task = task_of("c", artifacts={"a": artifact_source(producer, key)})
    assert await questions(task) == dict.fromkeys(asked, 1)
    marked = {"executors": {"i": {"importer": {"downloadToWorkspace": True}}}}
    importers = ("workspace_importers",)
    assert await questions(task, deploymentSpec=marked) == dict.fromkeys((*asked, importers), 1)


async def test_parameter_and_artifact_of_one_producer_are_one_question() -> None:
    task = task_of("c", {"x": source("make")}, {"a": artifact_source("make", "data")})
    assert await questions(task) == {children("P", "make"): 1}


async def test_a_task_in_a_loop_asks_for_its_own_iteration_only() -> None:
    body = dag({"work": task_of("work"), "t": task_of("c", {"x": source("work")})})
    spec = spec_of({"work": leaf(), "c": leaf(), "body": body}, {"loop": task_of("body", **each())})
    head = row("l", "loop", count=ITERATIONS)
    rows = ListedRows(ROWS)
    await resolve_inputs(context_of(spec, "loop.t", rows=rows, parent=head, iteration=2))
    assert dict(rows.questions) == {("children", "l", "work", 2): 1}


async def test_a_large_loop_does_not_ask_everything_at_once() -> None:
    size = 5 * AT_ONCE
    rows = BusyRows(
        [
            row("n", "loop-of-groups", count=size),
            *(row(f"n{index}", "group", "n", iteration=index) for index in range(size)),
            *(made(f"n{index}w", "work", f"n{index}", iteration=index) for index in range(size)),
        ]
    )
    spec = spec_of(
        {"c": leaf(), **COMPONENTS}, {"t": task_of("c", {"x": source("loop-of-groups", "up")}), **SIBLINGS}
    )
    resolved = await resolve_inputs(context_of(spec, "t", rows=rows))
    assert resolved.parameters[0].value == ["x"] * size
    assert sum(rows.questions.values()) == size + 2
    assert rows.most == AT_ONCE


class BusyRows(ListedRows):
    """Counts how many questions wait for their answer at the same time."""

    waiting = most = 0

    async def children(
        self, parent_task_id: str, name: str, iteration_index: int | None = None
    ) -> list[PipelineTask]:
        self.waiting += 1
        self.most = max(self.most, self.waiting)
        for _ in range(3):
            await asyncio.sleep(0)
        self.waiting -= 1
        return await super().children(parent_task_id, name, iteration_index)


@pytest.mark.parametrize("strangers", [0, 500])
async def test_other_tasks_of_the_run_change_nothing(strangers: int) -> None:
    more = [made(f"s{index}", f"stranger-{index}") for index in range(strangers)]
    more += [made(f"t{index}", "make", "elsewhere", iteration=index) for index in range(strangers)]
    task = task_of("c", {"x": source("loop-of-groups", "up"), "y": source("make")})
    assert sum((await questions(task, rows=more)).values()) == 3 + ITERATIONS


async def questions(
    task: dict[str, Any], *, rows: Iterable[PipelineTask] = (), **pipeline: Any
) -> dict[Any, int]:
    """What resolving ``task`` and building its executor input asks, and how often."""
    spec = spec_of({"c": leaf(), **COMPONENTS}, {"t": task, **SIBLINGS}, **pipeline)
    listed = ListedRows([*ROWS, *rows])
    context = context_of(spec, "t", rows=listed, parent=root_row([parameter("given", 1)]))
    await build_executor_inputs(context, await resolve_inputs(context))
    return dict(listed.questions)

"""Parameter loops. Oracle: the rules and examples of spec RESOLVER 8."""

from typing import Any

import pytest

from resolver.errors import ResolutionError
from resolver.inputs import resolve_inputs
from tests.resolver.builders import (
    context_of,
    leaf,
    parameter,
    resolve_task,
    row,
    shown,
    spec_of,
    task_of,
)

BODY = {"dag": {"tasks": {}}, "inputDefinitions": {"parameters": {"item": {"parameterType": "STRING"}}}}


def over(**items: Any) -> dict[str, Any]:
    return {"parameterIterator": {"items": items, "itemInput": "item"}}


async def test_iterator_input() -> None:
    task = task_of(
        "c",
        {"pipelinechannel--xs": {"componentInputParameter": "xs"}},
        parameterIterator={
            "items": {"inputParameter": "pipelinechannel--xs"},
            "itemInput": "pipelinechannel--xs-loop-item",
        },
    )
    resolved = await resolve_task(
        task, {"dag": {"tasks": {}}}, inputs=[parameter("xs", ["a", "b"], task_name="ROOT")]
    )
    assert resolved.iteration_count == 2
    item = {"parameter_key": "pipelinechannel--xs-loop-item", "type": "ITERATOR_INPUT"}
    assert [entry.to_wire() for entry in resolved.parameters] == [
        {
            "parameter_key": "pipelinechannel--xs",
            "value": ["a", "b"],
            "type": "COMPONENT_INPUT",
            "producer": {"task_name": "ROOT"},
        },
        {**item, "value": "a", "producer": {"task_name": "t", "iteration": "0"}},
        {**item, "value": "b", "producer": {"task_name": "t", "iteration": "1"}},
    ]


@pytest.mark.parametrize(
    ("raw", "items"),
    [
        ('["{{$.pipeline_job_name}}"]', ["{{$.pipeline_job_name}}"]),
        ('[{"a": 1}, 2, null, "x"]', [{"a": 1}, 2, None, "x"]),
        ('"[1, 2]"', [1, 2]),
    ],
)
async def test_iterator_raw(raw: str, items: list[Any]) -> None:
    resolved = await resolve_task(task_of("c", **over(raw=raw)), BODY)
    assert resolved.iteration_count == len(items)
    assert [entry.value for entry in resolved.parameters] == items


@pytest.mark.parametrize("items", [{"raw": "[]"}, {"inputParameter": "list"}, {"inputParameter": "text"}])
async def test_iterator_empty(items: dict[str, str]) -> None:
    wired = {key: {"componentInputParameter": key} for key in ("list", "text")}
    resolved = await resolve_task(
        task_of("c", wired, **over(**items)), BODY, inputs=[parameter("list", []), parameter("text", "[]")]
    )
    assert resolved.iteration_count == 0
    assert [entry.parameter_key for entry in resolved.parameters] == ["list", "text"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ('{"a": 1}', "value of type struct cannot be iterated"),
        ("5", "value of type number cannot be iterated"),
        ("null", "value of type null cannot be iterated"),
        ("no json", "value of type string cannot be iterated"),
        (5, "value of type number cannot be iterated"),
        ({"a": 1}, "value of type struct cannot be iterated"),
        (True, "value of type bool cannot be iterated"),
    ],
)
async def test_iterator_bad_values(value: Any, text: str) -> None:
    """D14: upstream iterates JSON text of other kinds zero times."""
    task = task_of("c", {"xs": {"componentInputParameter": "xs"}}, **over(inputParameter="xs"))
    with pytest.raises(ResolutionError, match=text):
        await resolve_task(task, BODY, inputs=[parameter("xs", value)])


@pytest.mark.parametrize(
    ("loop", "text"),
    [
        (over(inputParameter="nobody"), 'parameter not found: the task has no input "nobody"'),
        (over(), "cannot find parameter iterator"),
        (over(raw="{"), 'error unmarshall raw string: "'),
        (
            {**over(raw="[]"), "artifactIterator": {"itemInput": "a"}},
            "cannot have both parameter and artifact iterators",
        ),
    ],
)
async def test_a_broken_iterator_is_explained(loop: dict[str, Any], text: str) -> None:
    with pytest.raises(ResolutionError, match=text):
        await resolve_task(task_of("c", **loop), BODY)


async def test_a_task_that_is_no_loop_has_no_iteration_count() -> None:
    assert (await resolve_task(task_of("c"), leaf())).iteration_count is None


NESTED_SPEC = spec_of(
    {
        "outer": {
            "dag": {
                "tasks": {
                    "for-loop-6": task_of(
                        "inner",
                        {"param-3": {"componentInputParameter": "param-3"}},
                        parameterIterator={"items": {"raw": '["100", "200"]'}, "itemInput": "param-5"},
                    )
                }
            }
        },
        "inner": {
            "dag": {
                "tasks": {
                    "print": task_of(
                        "p",
                        {
                            "msg": {"componentInputParameter": "param-3"},
                            "msg2": {"componentInputParameter": "param-5"},
                        },
                    )
                }
            },
            "inputDefinitions": {
                "parameters": {
                    "param-3": {"parameterType": "STRING"},
                    "param-5": {"parameterType": "STRING"},
                }
            },
        },
        "p": leaf({"msg": "STRING", "msg2": "STRING"}),
    },
    {
        "for-loop-4": task_of(
            "outer", parameterIterator={"items": {"raw": '["1", "2"]'}, "itemInput": "param-3"}
        )
    },
)


async def test_nested_loop_items() -> None:
    outer = row(
        "O",
        "for-loop-4",
        count=2,
        inputs=[
            parameter("param-3", value, "ITERATOR_INPUT", task_name="for-loop-4", iteration=str(index))
            for index, value in enumerate(["1", "2"])
        ],
    )
    inner = await resolve_inputs(context_of(NESTED_SPEC, "for-loop-4.for-loop-6", parent=outer, iteration=1))
    assert [
        (entry.parameter_key, entry.value, entry.type.value, entry.producer and entry.producer.iteration)
        for entry in inner.parameters
    ] == [
        ("param-3", "2", "COMPONENT_INPUT", 1),
        ("param-5", "100", "ITERATOR_INPUT", 0),
        ("param-5", "200", "ITERATOR_INPUT", 1),
    ]
    head = row(
        "I",
        "for-loop-6",
        "O",
        iteration=1,
        count=2,
        inputs=[entry.to_wire() for entry in inner.parameters],
    )
    body = context_of(NESTED_SPEC, "for-loop-4.for-loop-6.print", parent=head, iteration=0)
    assert shown(await resolve_inputs(body)) == {"msg": "2", "msg2": "100"}

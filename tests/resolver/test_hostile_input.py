"""What whoever may create workflows could send to keep a shared service busy. Oracle: spec DRIVER 15.

Nothing here is timed: where a bound is missing, each of these inputs takes minutes or all memory, and the
suite does not end.
"""

import json
from typing import Any

import pytest

from resolver.errors import ExpressionError, ResolutionError
from resolver.expressions import MAX_EXPRESSION_BYTES, ExpressionEngine
from resolver.scope import MAX_DEPTH
from tests.resolver.builders import (
    artifact,
    artifact_source,
    artifacts,
    each,
    leaf,
    one_of,
    parameter,
    resolve_task,
    row,
    selectors,
    shown,
    source,
    task_of,
)

ENGINE = ExpressionEngine()
ITEMS: list[Any] = list(range(20_000))


def repeated(term: str, operator: str) -> str:
    """The longest expression that joins ``term`` with itself."""
    return operator.join([term] * (MAX_EXPRESSION_BYTES // (len(term) + len(operator))))


def tree_of_sums(term: str, size: int) -> str:
    """A sum of so many terms, nested as little as possible."""
    if size == 1:
        return term
    return f"({tree_of_sums(term, size // 2)}+{tree_of_sums(term, size - size // 2)})"


TOO_LONG = "the expression is too long for values of this size"


@pytest.mark.parametrize(
    ("selector", "value", "text"),
    [
        (repeated("list_value == list_value", "&&"), ITEMS, TOO_LONG),
        (repeated("!(-1.0 in list_value)", "&&"), ITEMS, TOO_LONG),
        (tree_of_sums("list_value", 3000), ITEMS[:2000], TOO_LONG),
        (tree_of_sums("string_value", 3000), "x" * 100_000, TOO_LONG),
        (repeated("size(parseJson('[' + string_value + ']')) == 1", "||"), "x", "evaluation error"),
        (
            "||".join(["size(parseJson(string_value)) == 1"] * 60),
            json.dumps(ITEMS),
            "parseJson is asked to read too much text",
        ),
        ("string_value.matches('(x|xy){1000}z')", "xy" * 50_000, "matches is asked to read too much text"),
        (repeated("''.matches('(x|xy){1000}z')", "||"), "", "matches is asked to read too much text"),
        ("string_value.matches // all\n ('x')", "x" * 100_000, "matches is asked to read too much text"),
        ("[" * 30_000 + "]" * 30_000, "", "nested more than 32 levels deep"),
        (f"struct_value{'.a' * 30_000}", {}, "nested more than 32 levels deep"),
        (repeated("'", ""), "", "Syntax error"),
    ],
    ids=lambda one: one[:24] if isinstance(one, str) else "",
)
def test_the_longest_expressions_over_large_values_end_in_an_error(
    selector: str, value: Any, text: str
) -> None:
    with pytest.raises(ExpressionError) as caught:
        ENGINE.select(selector, value)
    assert text in str(caught.value)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    ("selector", "value", "result"),
    [
        (repeated("true", "&&"), "x", True),
        ("!" * 60_000 + "true", "", True),
        ('parseJson(string_value)["a"]', json.dumps({"a": ITEMS}), ITEMS),
        ("size(list_value)", list(range(200_000)), 200_000),
        ("string_value.matches('^x+$')", "x" * 50_000, True),
    ],
    ids=["conjunction", "negations", "parsed", "list", "match"],
)
def test_long_expressions_and_large_values_alone_are_fine(selector: str, value: Any, result: Any) -> None:
    assert ENGINE.select(selector, value) == result


def test_one_evaluation_does_not_use_up_what_the_next_may_read() -> None:
    text = json.dumps(["x" * 3_000_000])
    for _ in range(3):
        assert ENGINE.select("size(parseJson(string_value))", text) == 1


def nested(levels: int) -> Any:
    value: Any = "x"
    for _ in range(levels):
        value = [value]
    return value


TEXT_INPUT = (task_of("c", {"x": {"componentInputParameter": "k"}}), leaf({"x": "STRING"}))


@pytest.mark.parametrize(
    "source",
    [
        {"runtimeValue": {"constant": nested(200)}},
        {"componentInputParameter": "deep"},
        {"componentInputParameter": "text", "parameterExpressionSelector": "parseJson(string_value)"},
    ],
)
async def test_deep_values_are_refused(source: dict[str, Any]) -> None:
    inputs = [parameter("deep", nested(200)), parameter("text", "[" * 100_000)]
    with pytest.raises(ResolutionError, match="nested more than 64 levels"):
        await resolve_task(task_of("c", {"x": source}), leaf({"x": "STRING"}), inputs=inputs)


@pytest.mark.parametrize("raw", ["[" * 500_000, '{"a":' * 500_000, f"[{'9' * 5000}]", f"[1e{'9' * 400}]"])
async def test_items_that_are_no_sensible_json_are_refused(raw: str) -> None:
    loop = task_of("c", **each(raw))
    with pytest.raises(ResolutionError, match="error unmarshall raw string"):
        await resolve_task(loop, {"dag": {"tasks": {}}})


async def test_giant_lists_pass_through() -> None:
    items: list[Any] = [{"n": index} for index in range(30_000)]
    inputs = [parameter("k", items)]
    assert len(shown(await resolve_task(*TEXT_INPUT, inputs=inputs))["x"]) == len(
        json.dumps(items, separators=(",", ":"))
    )
    loop = task_of(
        "c",
        {"xs": {"componentInputParameter": "k"}},
        parameterIterator={"items": {"inputParameter": "xs"}, "itemInput": "i"},
    )
    resolved = await resolve_task(loop, {"dag": {"tasks": {}}}, inputs=inputs)
    assert resolved.iteration_count == len(items)


def cyclic_rows() -> list[Any]:
    """Rows of a component that contains itself, as deep as anybody could make them."""
    ids = ["P", *(f"a{level}" for level in range(100))]
    return [row(ids[level + 1], "again", ids[level]) for level in range(100)]


def cyclic(outputs: dict[str, Any]) -> dict[str, Any]:
    return {"again": {"dag": {"tasks": {"again": task_of("again")}, "outputs": {"parameters": outputs}}}}


def selecting(keys: list[str]) -> dict[str, Any]:
    return one_of(*(("again", key) for key in keys))


@pytest.mark.parametrize("keys", [["k0"], [f"k{index}" for index in range(20)]], ids=["chain", "power"])
async def test_components_that_contain_themselves_end_in_an_error(keys: list[str]) -> None:
    """Twenty alternatives at each of 64 levels would be 20 to the power of 64 readings."""
    wired = {"x": source("again", "k0")}
    with pytest.raises(ResolutionError, match=f"nested more than {MAX_DEPTH} levels deep"):
        await resolve_task(
            task_of("c", wired),
            leaf(),
            siblings={"again": task_of("again")},
            components=cyclic({key: selecting(keys) for key in keys}),
            rows=cyclic_rows(),
        )


DEPTH = 30
KEYS = [f"k{index}" for index in range(8)]


def levels(kind: str, selected: dict[str, Any], **more: Any) -> dict[str, Any]:
    """DAGs in DAGs, each with outputs that may come from every output of the next one."""
    outputs = {"outputs": {kind: dict.fromkeys(KEYS, selected)}}
    return {
        f"d{level}": {
            "dag": {"tasks": {"again": task_of(f"d{level + 1}" if level + 1 < DEPTH else "work")}, **outputs},
            **more,
        }
        for level in range(DEPTH)
    }


async def test_alternatives_of_alternatives_are_read_once_each() -> None:
    """Where nothing is found at the bottom, every path through the selectors would be tried."""
    wired = {"x": source("again", "k0")}
    with pytest.raises(ResolutionError, match="parameter with producer key k0 not found"):
        await resolve_task(
            task_of("c", wired),
            leaf(),
            siblings={"again": task_of("d0")},
            components={**levels("parameters", selecting(KEYS)), "work": leaf()},
            rows=cyclic_rows()[: DEPTH + 1],
        )


async def test_alternatives_that_are_joined_again_and_again_are_refused() -> None:
    """One artifact would arrive 8 to the power of 30 times."""
    lists = {"outputDefinitions": {"artifacts": {key: {"isArtifactList": True} for key in KEYS}}}
    components = levels("artifacts", selectors(*(("again", key) for key in KEYS)), **lists)
    *dags, last = cyclic_rows()[: DEPTH + 1]
    made = row(last.task_id, "again", f"a{DEPTH - 1}", outputs=[artifacts("k0", [artifact("a")])])
    with pytest.raises(ResolutionError, match="an output has more than 100000 artifacts"):
        await resolve_task(
            task_of("c", artifacts={"x": artifact_source("again", "k0")}),
            leaf(artifacts={"x": {"isArtifactList": True}}),
            siblings={"again": task_of("d0")},
            components={**components, "work": leaf()},
            rows=[*dags, made],
        )


async def test_constants_that_grow_are_refused() -> None:
    wired = {"x": {"runtimeValue": {"constant": "{{$.workspace_path}}" * 400_000}}}
    with pytest.raises(ResolutionError, match="constants become longer than"):
        await resolve_task(task_of("c", wired), leaf())

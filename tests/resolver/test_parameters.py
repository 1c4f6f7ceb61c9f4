"""Input parameters. Oracle: the examples and tables of spec RESOLVER 5.1, 5.2, 5.5 to 5.7 and 10."""

from dataclasses import replace
from typing import Any

import pytest

from kfp_api.messages import IOType
from resolver.errors import NullInputError, ResolutionError
from resolver.inputs import resolve_inputs
from resolver.parameters import (
    resolve_input_parameter,
    resolve_input_parameter_str,
    resolve_k8s_json_parameter,
    resolve_parameter_or_pipeline_channel,
)
from resolver.scope import ScopePath
from tests.resolver.builders import (
    context_of,
    each,
    entry_of,
    input_spec,
    leaf,
    parameter,
    resolve_task,
    root_row,
    row,
    shown,
    source,
    spec_of,
    task_of,
)

ITEM = "pipelinechannel--loop-item-param-1"


def component_input(key: str, **more: Any) -> dict[str, Any]:
    return {"componentInputParameter": key, **more}


def items(*values: Any) -> list[dict[str, Any]]:
    return [
        parameter(ITEM, value, "ITERATOR_INPUT", task_name="for-loop-2", iteration=str(index))
        for index, value in enumerate(values)
    ]


async def test_loop_item_by_index() -> None:
    resolved = await resolve_task(
        task_of("c", {"num": component_input(ITEM)}),
        leaf({"num": "NUMBER_INTEGER"}),
        inputs=items(4, 5),
        iteration=1,
    )
    assert entry_of(resolved, "num") == {
        "parameter_key": "num",
        "value": 5,
        "type": "COMPONENT_INPUT",
        "producer": {"task_name": "for-loop-2", "iteration": "1"},
    }


async def test_iteration_zero_is_an_iteration() -> None:
    resolved = await resolve_task(
        task_of("c", {"num": component_input(ITEM)}), leaf(), inputs=items(4, 5), iteration=0
    )
    assert shown(resolved) == {"num": 4}


@pytest.mark.parametrize("inputs", [items(4), items(4, 5)])
async def test_loop_wrong_index(inputs: list[dict[str, Any]]) -> None:
    """D10: upstream silently takes the first item."""
    with pytest.raises(ResolutionError, match=f"no value for iteration 7 of input parameter {ITEM}"):
        await resolve_task(task_of("c", {"num": component_input(ITEM)}), leaf(), inputs=inputs, iteration=7)


@pytest.mark.parametrize("values", [(None,), (None, 1)])
async def test_loop_null_item(values: tuple[Any, ...]) -> None:
    """D11: upstream looks for null only where there is one item."""
    with pytest.raises(NullInputError, match="the resolved input is null"):
        await resolve_task(
            task_of("c", {"num": component_input(ITEM)}),
            leaf({"num": "NUMBER_INTEGER"}),
            inputs=items(*values),
            iteration=0,
        )


async def test_loop_named_input_not_iterator() -> None:
    outer = parameter("outer", "2", "COMPONENT_INPUT", task_name="for-loop-2", iteration="1")
    for iteration in (None, 0, 3):
        resolved = await resolve_task(
            task_of("c", {"x": component_input("outer")}), leaf(), inputs=[outer], iteration=iteration
        )
        assert shown(resolved) == {"x": "2"}


async def test_of_stale_entries_the_given_value_wins_over_the_default_then_the_last() -> None:
    entries = [
        parameter("k", "old", "COMPONENT_INPUT", task_name="a"),
        parameter("k", "new", "RUNTIME_VALUE_INPUT", task_name="b"),
        parameter("k", "default", "COMPONENT_DEFAULT_INPUT", task_name="ROOT"),
    ]
    resolved = await resolve_task(task_of("c", {"x": component_input("k")}), leaf(), inputs=entries)
    assert shown(resolved) == {"x": "new"}


async def test_an_entry_without_producer_counts_as_the_parents_own() -> None:
    """D20: upstream fails, although the API calls the producer optional."""
    resolved = await resolve_task(
        task_of("c", {"x": component_input("k")}), leaf(), inputs=[parameter("k", 1)], iteration=2
    )
    assert entry_of(resolved, "x")["producer"] == {"task_name": "ROOT", "iteration": "2"}


async def test_constants_and_component_inputs_keep_their_kinds() -> None:
    given = {"s": "text", "n": 1.5, "b": True, "l": [1, {"a": None}], "o": {"k": []}}
    resolved = await resolve_task(
        task_of("c", {key: component_input(key) for key in given}),
        leaf(),
        inputs=[
            parameter(key, value, "RUNTIME_VALUE_INPUT", task_name="ROOT") for key, value in given.items()
        ],
    )
    assert shown(resolved) == given
    assert {entry.type for entry in resolved.parameters} == {IOType.COMPONENT_INPUT}


async def test_a_task_output_reaches_its_consumer_typed() -> None:
    made = row("t7", "make", outputs=[parameter("Output", "hi", task_name="make")])
    resolved = await resolve_task(
        task_of("c", {"text": source("make")}),
        leaf({"text": "STRING"}),
        siblings={"make": task_of("c")},
        rows=[made],
    )
    assert entry_of(resolved, "text") == {
        "parameter_key": "text",
        "value": "hi",
        "type": "TASK_OUTPUT_INPUT",
        "producer": {"task_name": "make"},
    }


LOOP = {
    "dag": {
        "tasks": {
            "prepend-id": task_of("leaf"),
            "t": task_of("consumer", {"x": source("prepend-id")}),
        }
    }
}


@pytest.mark.parametrize(("value", "declared"), [("s3", "STRING"), (3, "NUMBER_INTEGER")])
async def test_loop_sibling_param(value: Any, declared: str) -> None:
    """D1: upstream wraps the output in a list."""
    spec = spec_of(
        {"loop": LOOP, "leaf": leaf(), "consumer": leaf({"x": declared})},
        {"for-loop-1": task_of("loop", parameterIterator={"items": {"raw": "[1,2,3]"}, "itemInput": "i"})},
    )
    head = row("L", "for-loop-1", count=3, scope_path="root.for-loop-1")
    siblings = [
        row(
            f"t{index}",
            "prepend-id",
            "L",
            iteration=index,
            outputs=[parameter("Output", v, "ITERATOR_OUTPUT", task_name="prepend-id", iteration=str(index))],
        )
        for index, v in enumerate(["no", "no", value])
    ]
    context = context_of(spec, "for-loop-1.t", rows=siblings, parent=head, iteration=2)
    entry = entry_of(await resolve_inputs(context), "x")
    assert entry["value"] == value
    assert entry["type"] == "TASK_OUTPUT_INPUT"
    assert entry["producer"] == {"task_name": "prepend-id", "iteration": "2"}


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        ([], "producerTask task make_P not found"),
        ([row("t7", "make")], "parameter with producer key Output not found"),
    ],
)
async def test_a_missing_output_is_an_error_that_names_it(rows: list[Any], text: str) -> None:
    """D22: upstream does not say which input."""
    with pytest.raises(ResolutionError) as caught:
        await resolve_task(
            task_of("c", {"text": source("make")}),
            leaf({"text": "STRING"}),
            siblings={"make": task_of("c")},
            rows=rows,
        )
    assert text in str(caught.value)
    assert str(caught.value).startswith('task "t": resolving parameter "text": ')


async def test_a_missing_producer_in_a_loop_is_named_with_its_iteration() -> None:
    spec = spec_of(
        {"loop": LOOP, "leaf": leaf(), "consumer": leaf()},
        {"for-loop-1": task_of("loop", **each("[1, 2, 3]"))},
    )
    made = [row(f"t{index}", "prepend-id", "L", iteration=index) for index in (0, 1)]
    head = row("L", "for-loop-1", count=3)
    with pytest.raises(ResolutionError, match="producerTask task prepend-id_L_idx_2 not found"):
        await resolve_inputs(context_of(spec, "for-loop-1.t", rows=made, parent=head, iteration=2))


def test_a_context_needs_a_parent_row_and_a_possible_iteration() -> None:
    spec = spec_of({"c": leaf()}, {"t": task_of("c")})
    with pytest.raises(ResolutionError, match="parent task is required"):
        context_of(spec, "t", parent=row("", "nobody"))
    with pytest.raises(ResolutionError, match="iteration index -1 is negative"):
        context_of(spec, "t", iteration=-1)
    with pytest.raises(ResolutionError, match="the root DAG has no inputs to resolve"):
        _ = replace(context_of(spec, "t"), scope=ScopePath.from_dot(spec, "root")).task_key


@pytest.mark.parametrize("rows", [[], [row("t7", "make", state="FAILED")]])
async def test_ignore_upstream_failure(rows: list[Any]) -> None:
    """D12: upstream fails although the input has a default."""
    policy = {"triggerPolicy": {"strategy": "ALL_UPSTREAM_TASKS_COMPLETED"}}
    wired = {"text": source("make"), "more": source("make")}
    declared = {
        "text": {"parameterType": "STRING", "isOptional": True, "defaultValue": "fallback"},
        "more": {"parameterType": "STRING", "isOptional": True},
    }
    resolved = await resolve_task(
        task_of("c", wired, **policy), leaf(declared), siblings={"make": task_of("c")}, rows=rows
    )
    assert shown(resolved) == {"text": "fallback"}
    assert resolved.parameters[0].type is IOType.COMPONENT_DEFAULT_INPUT


NULL_SOURCES: dict[str, dict[str, Any]] = {
    "absent input": component_input("nobody"),
    "null input": component_input("null"),
    "null constant": {"runtimeValue": {"constant": None}},
    "null output": source("make"),
}


@pytest.mark.parametrize("null", NULL_SOURCES)
@pytest.mark.parametrize(
    ("declared", "expected", "of_output"),
    [
        ({"parameterType": "STRING", "isOptional": True, "defaultValue": "d"}, "d", "d"),
        ({"parameterType": "STRING", "isOptional": True}, "omitted", "omitted"),
        ({"parameterType": "STRING"}, NullInputError, ""),
        ({"parameterType": "LIST"}, NullInputError, 'got null for input parameter "x"'),
        (None, NullInputError, None),
    ],
)
async def test_required_null(null: str, declared: Any, expected: Any, of_output: Any) -> None:
    wanted = of_output if null == "null output" else expected
    resolving = resolve_task(
        task_of("c", {"x": NULL_SOURCES[null]}),
        leaf({} if declared is None else {"x": declared}),
        inputs=[parameter("null", None, "RUNTIME_VALUE_INPUT")],
        siblings={"make": task_of("c")},
        rows=[row("t7", "make", outputs=[parameter("Output", None)])],
    )
    if wanted is NullInputError:
        with pytest.raises(NullInputError, match='resolving parameter "x": the resolved input is null'):
            await resolving
    elif isinstance(wanted, str) and wanted.startswith("got null"):
        with pytest.raises(ResolutionError, match=wanted):
            await resolving
    else:
        assert shown(await resolving) == ({} if wanted == "omitted" else {"x": wanted})


async def test_absent_is_null_like_an_explicit_null() -> None:
    unset = {"parameter_key": "k", "type": "RUNTIME_VALUE_INPUT"}
    with pytest.raises(NullInputError):
        await resolve_task(task_of("c", {"x": component_input("k")}), leaf({"x": "STRING"}), inputs=[unset])


async def test_optional_null_default_omit() -> None:
    component = leaf(
        {
            "a": "STRING",
            "b": {"parameterType": "STRING", "isOptional": True, "defaultValue": "B"},
            "c": {"parameterType": "NUMBER_INTEGER", "isOptional": True},
            "d": {"parameterType": "LIST", "defaultValue": [1]},
        }
    )
    wired = {"a": component_input("x"), "b": component_input("y"), "c": component_input("y")}
    resolved = await resolve_task(
        task_of("c", wired), component, inputs=[parameter("x", 1.5), parameter("y", None)]
    )
    assert [(entry.parameter_key, entry.value, entry.type.value) for entry in resolved.parameters] == [
        ("a", "1.5", "COMPONENT_INPUT"),
        ("b", "B", "COMPONENT_DEFAULT_INPUT"),
        ("d", [1], "COMPONENT_DEFAULT_INPUT"),
    ]


async def test_a_default_is_used_verbatim() -> None:
    declared = {"x": {"parameterType": "STRING", "defaultValue": 5, "literals": ["a"], "isOptional": True}}
    resolved = await resolve_task(
        task_of("c", {"x": component_input("nobody", parameterExpressionSelector="broken(")}), leaf(declared)
    )
    assert shown(resolved) == {"x": 5}


async def test_required_missing() -> None:
    with pytest.raises(
        ResolutionError, match='neither value nor default value provided for non-optional parameter "x"'
    ):
        await resolve_task(task_of("c"), leaf({"x": "STRING"}))


async def test_task_config_inputs_are_skipped_wired_or_not() -> None:
    component = leaf({"wired": "TASK_CONFIG", "unwired": "TASK_CONFIG"})
    resolved = await resolve_task(task_of("c", {"wired": component_input("nobody")}), component)
    assert resolved.parameters == ()


async def test_deprecated_types_are_types() -> None:
    """D17: upstream rejects every value of such an input."""
    component = leaf({"i": {"type": "INT"}, "d": {"type": "DOUBLE"}, "s": {"type": "STRING"}})
    inputs = [parameter("n", 3)]
    wired = {key: component_input("n") for key in "ids"}
    assert shown(await resolve_task(task_of("c", wired), component, inputs=inputs)) == {
        "i": 3,
        "d": 3,
        "s": "3",
    }


@pytest.mark.parametrize(
    ("item", "selector", "declared", "value"),
    [
        ({"A_a": "1", "B_b": 2}, 'parseJson(string_value)["A_a"]', "STRING", "1"),
        ({"A_a": "1", "B_b": 2}, 'parseJson(string_value)["B_b"]', "STRING", "2"),
        ({"p_a": [{"q_a": "1"}]}, 'parseJson(string_value)["p_a"]', "STRING", '[{"q_a":"1"}]'),
        ('{"p_a":[{"q_a":"1"}],"p_b":"x"}', 'parseJson(string_value)["p_a"]', "LIST", [{"q_a": "1"}]),
        ({"p_a": [{"q_a": "1"}], "p_b": "x"}, "", "STRING", '{"p_a":[{"q_a":"1"}],"p_b":"x"}'),
    ],
)
async def test_loop_sub_variables_are_selected_before_the_type_counts(
    item: Any, selector: str, declared: str, value: Any
) -> None:
    wired = {"x": component_input("item", parameterExpressionSelector=selector)}
    resolved = await resolve_task(
        task_of("c", wired), leaf({"x": declared}), inputs=[parameter("item", item)]
    )
    assert shown(resolved) == {"x": value}


async def test_selector_null() -> None:
    """D29: upstream cannot convert it."""
    wired = {"x": component_input("item", parameterExpressionSelector='parseJson(string_value)["a"]')}
    inputs = [parameter("item", {"a": None})]
    optional = {"parameterType": "STRING", "isOptional": True, "defaultValue": "d"}
    assert shown(await resolve_task(task_of("c", wired), leaf({"x": optional}), inputs=inputs)) == {"x": "d"}
    with pytest.raises(NullInputError):
        await resolve_task(task_of("c", wired), leaf({"x": "STRING"}), inputs=inputs)


async def test_a_failing_selector_names_input_and_selector() -> None:
    wired = {"x": component_input("item", parameterExpressionSelector="struct_value.c")}
    with pytest.raises(ResolutionError) as caught:
        await resolve_task(task_of("c", wired), leaf({"x": "STRING"}), inputs=[parameter("item", {"a": 1})])
    assert (
        'resolving parameter "x": evaluation of parameter expression selector "struct_value.c" failed: '
        "evaluation error: no such key: c"
    ) in str(caught.value)


async def test_literals_are_checked_after_the_type() -> None:
    component = leaf({"x": {"parameterType": "STRING", "literals": ["1", "2"]}})
    task = task_of("c", {"x": component_input("k")})
    assert shown(await resolve_task(task, component, inputs=[parameter("k", 1)])) == {"x": "1"}
    with pytest.raises(ResolutionError, match='validating parameter "x": input parameter "x" value "3"'):
        await resolve_task(task, component, inputs=[parameter("k", 3)])


async def test_an_input_of_unknown_kind_is_refused() -> None:
    sources: tuple[dict[str, Any], ...] = ({}, {"runtimeValue": {}})
    for unknown in sources:
        with pytest.raises(ResolutionError, match=r"parameter spec of type .* not implemented yet"):
            await resolve_task(task_of("c", {"x": unknown}), leaf())
    with pytest.raises(ResolutionError, match="empty component input"):
        await resolve_task(task_of("c", {"x": component_input("")}), leaf())


async def test_the_first_failing_input_in_key_order_is_reported() -> None:
    wired = {key: component_input("nobody") for key in ("b", "a", "c")}
    declared = dict.fromkeys(wired, "STRING")
    for _ in range(3):
        with pytest.raises(NullInputError, match='resolving parameter "a"'):
            await resolve_task(task_of("c", wired), leaf(declared))


async def test_k8s_optional_inputs() -> None:
    context = context_of(
        spec_of({"c": leaf({"k": "LIST"})}, {"t": task_of("c")}),
        "t",
        parent=root_row([parameter("k", 5), parameter("null", None), parameter("o", {"key": "x"})]),
    )
    assert await resolve_input_parameter(context, input_spec(componentInputParameter="k")) == 5
    assert await resolve_input_parameter_str(context, input_spec(runtimeValue={"constant": "name"})) == "name"
    with pytest.raises(NullInputError):
        await resolve_input_parameter(context, input_spec(runtimeValue={"constant": None}))
    with pytest.raises(
        NullInputError, match=r"failed to resolve input parameter\. Error: the resolved input is"
    ):
        await resolve_input_parameter_str(context, input_spec(componentInputParameter="null"))
    with pytest.raises(ResolutionError, match="Expected a string but got: number"):
        await resolve_input_parameter_str(context, input_spec(componentInputParameter="k"))
    with pytest.raises(ResolutionError, match="Expected a non-empty string"):
        await resolve_input_parameter_str(context, input_spec(runtimeValue={"constant": ""}))
    assert await resolve_k8s_json_parameter(context, input_spec(componentInputParameter="o")) == {"key": "x"}
    with pytest.raises(ResolutionError, match="resolved k8s parameter is nil"):
        await resolve_k8s_json_parameter(context, input_spec(componentInputParameter="k"))
    with pytest.raises(NullInputError, match="failed to resolve k8s parameter: "):
        await resolve_k8s_json_parameter(context, input_spec(componentInputParameter="nobody"))


def test_resource_texts_take_numbers_in_place() -> None:
    """D28: upstream makes a number an empty text."""
    values: dict[str, Any] = {"pipelinechannel--gpus": 2.0, "tag": "v1", "nothing": None}
    replace = resolve_parameter_or_pipeline_channel
    assert replace("{{$.inputs.parameters['pipelinechannel--gpus']}}", values) == "2"
    assert replace("repo/app:{{$.inputs.parameters['tag']}}-x", values) == "repo/app:v1-x"
    assert replace("{{$.inputs.parameters['nothing']}}", values) == ""
    assert replace("plain {{$.other}}", values) == "plain {{$.other}}"
    with pytest.raises(ResolutionError, match="not found in executorinput"):
        replace("{{$.inputs.parameters['absent']}}", values)

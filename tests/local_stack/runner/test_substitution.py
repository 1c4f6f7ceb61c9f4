"""Oracle: the passes of spec LAUNCHER E3.2 and COMPILER 10."""

import time

import pytest

from local_stack.runner.errors import NodeError, SubstitutionError
from local_stack.runner.expansion import loop_items
from local_stack.runner.substitution import (
    has_unclosed_tag,
    instantiate,
    item_lookup,
    only_tag,
    resolve_inputs,
    strict,
    substitute,
)


def test_every_string_is_covered_map_keys_included() -> None:
    value = {"{{a}}": ["x{{ b }}y", {"k": "{{a}}"}], "n": 3}
    assert substitute(value, {"a": "A", "b": "B"}.get) == {"A": ["xBy", {"k": "A"}], "n": 3}


def test_inserted_text_is_not_scanned_again_in_the_same_pass() -> None:
    assert substitute("{{a}}", {"a": "{{b}}", "b": "!"}.get) == "{{b}}"


def test_unknown_tags_and_kfps_own_placeholders_stay() -> None:
    text = "{{$.inputs.parameters['x']}} {{x}}"
    nothing: dict[str, str] = {}
    assert substitute(text, nothing.get) == text


def test_an_unclosed_tag_is_literal_text() -> None:
    value = {"a": "{{open", "b": "{{x}}"}
    assert substitute(value, {"x": "1"}.get) == {"a": "{{open", "b": "1"}
    assert has_unclosed_tag(value)
    assert not has_unclosed_tag({"b": ["{{x}}"]})


def test_many_unclosed_tags_are_read_once() -> None:
    nothing: dict[str, str] = {}
    text = "{{" * 500_000
    started = time.monotonic()
    assert substitute(text, nothing.get) == text
    assert substitute(text + "}}", nothing.get) == text + "}}"
    assert only_tag(text) is None
    assert time.monotonic() - started < 2


@pytest.mark.parametrize(
    ("text", "tag"), [("{{ a.b }}", "a.b"), (" {{a}} ", "a"), ("x{{a}}", None), ("{{a}}{{b}}", None)]
)
def test_a_text_that_is_one_tag_is_recognised(text: str, tag: str | None) -> None:
    assert only_tag(text) == tag


def test_inputs_come_from_argument_then_value_then_default_and_foreign_arguments_are_dropped() -> None:
    template = {
        "inputs": {
            "parameters": [
                {"name": "a", "default": "da"},
                {"name": "b", "value": "vb", "default": "db"},
                {"name": "c", "default": ""},
            ]
        }
    }
    assert resolve_inputs(template, {"a": "1", "z": "9"}) == {"a": "1", "b": "vb", "c": ""}


def test_a_missing_input_names_itself() -> None:
    with pytest.raises(SubstitutionError, match=r"inputs\.parameters\.a was not supplied"):
        resolve_inputs({"inputs": {"parameters": [{"name": "a"}]}}, {})


def test_the_template_pass_inserts_globals_before_inputs() -> None:
    template = {
        "name": "t",
        "inputs": {"parameters": [{"name": "p"}]},
        "outputs": {"parameters": [{"name": "o", "valueFrom": {"path": "/tmp/o"}}]},
        "plugin": {"k": ["{{inputs.parameters.p}}", "{{outputs.parameters.o.path}}", "{{pod.name}}"]},
    }
    document = instantiate(
        template,
        inputs={"p": "{{workflow.name}}"},
        global_values={"workflow.name": "wf"},
        node_name="wf.t",
        task_name="t",
        pod_name="wf-1",
    )
    assert document["plugin"]["k"] == ["{{workflow.name}}", "/tmp/o", "wf-1"]
    assert document["inputs"]["parameters"] == [{"name": "p", "value": "{{workflow.name}}"}]


def test_expansion_refuses_tags_that_it_cannot_resolve() -> None:
    lookup = strict(item_lookup({"a": 1, "b": "x"}))
    assert substitute("{{item.a}}-{{item.b}}-{{item}}", lookup) == '1-x-{"a":1,"b":"x"}'
    with pytest.raises(SubstitutionError, match=r"item\.c"):
        substitute("{{item.c}}", lookup)


@pytest.mark.parametrize(
    ("task", "items"),
    [
        ({}, None),
        ({"withSequence": {"count": "3"}}, ["0", "1", "2"]),
        ({"withSequence": {"count": 0}}, []),
        ({"withSequence": {"start": "5", "count": "2"}}, ["5", "6"]),
        ({"withSequence": {"start": "1", "end": "3"}}, ["1", "2", "3"]),
        ({"withSequence": {"start": "3", "end": "1"}}, ["3", "2", "1"]),
        ({"withSequence": {"count": "2", "format": "n%02d"}}, ["n00", "n01"]),
        ({"withItems": ["a", {"k": 1}]}, ["a", {"k": 1}]),
        ({"withParam": '["a", 2]'}, ["a", 2]),
    ],
)
def test_loop_items(task: dict[str, object], items: object) -> None:
    assert loop_items(task) == items


@pytest.mark.parametrize(
    "task",
    [
        *({"withSequence": {"count": count}} for count in ("x", "1_0", " 1", "1.0", "9" * 30, "1000000")),
        *({"withSequence": {"count": "1", "format": text}} for text in ("n", "%s", "%d%d", "%999999d")),
        {"withSequence": {}},
        *({"withParam": text} for text in ("{}", "nope", "[" * 100_000)),
    ],
)
def test_a_loop_without_a_list_is_an_error(task: dict[str, object]) -> None:
    with pytest.raises(NodeError):
        loop_items(task)

"""Placeholders in commands: rules of spec PODSPEC 5.1. ``upstream`` is KFP's value where it differs."""

import json
from typing import Any

import pytest
from kfp.dsl.placeholders import ConcatPlaceholder, IfPresentPlaceholder

from driver_plugin.podspec.errors import PodSpecError
from driver_plugin.podspec.placeholders import resolve_command_line
from kfp_api.ir.executor_input import ExecutorInput
from kfp_api.ir.pipeline import ComponentSpec

INPUTS = {
    "parameterValues": {
        "s": "text",
        "quote": 'a "b" \\ c',
        "n": 3,
        "tiny": 0.00001,
        "big": 1234567.5,
        "yes": True,
        "null": None,
        "list": [1, "a<b"],
        "struct": {"b": 1, "a": [0.5]},
        "money": "$5 $(HOME) $$",
        "sneaky": "{{$.inputs.parameters['s']}}",
    },
    "artifacts": {"data": {"artifacts": [{"uri": "s3://b/x"}]}, "none": {}},
}
COMPONENT = ComponentSpec.parse(
    {"inputDefinitions": {"parameters": {"maybe": {"parameterType": "STRING", "isOptional": True}}}}
)


def resolve(*elements: str) -> list[str]:
    return resolve_command_line(
        [], elements, executor_input=ExecutorInput.parse({"inputs": INPUTS}), component=COMPONENT
    )


def parameter(name: str) -> str:
    return f"{{{{$.inputs.parameters['{name}']}}}}"


def if_present(name: str, then: Any, otherwise: Any = None) -> str:
    choice = {"InputName": name, "Then": then} | ({} if otherwise is None else {"Else": otherwise})
    return json.dumps({"IfPresent": choice})


@pytest.mark.parametrize(
    ("element", "expected"),
    [
        ("plain", "plain"),
        (parameter("s"), "text"),
        (f"--s={parameter('s')}/{parameter('n')}!", "--s=text/3!"),
        (parameter("n"), "3"),
        (parameter("yes"), "true"),
        (parameter("null"), ""),
        (parameter("list"), '[1,"a\\u003cb"]'),
        (parameter("struct"), '{"a":[0.5],"b":1}'),
        (parameter("maybe"), ""),
        (parameter("sneaky"), "{{$$.inputs.parameters['s']}}"),
        (parameter("money"), "$$5 $$(HOME) $$$$"),
        ("literal $(HOME) $$", "literal $(HOME) $$"),
        ("{{$}}", "{{$}}"),
        ("{{$.inputs.artifacts['data'].path}}", "{{$.inputs.artifacts['data'].path}}"),
        (
            f"{parameter('s')} {{{{$.outputs.parameters['o'].output_file}}}}",
            f"{parameter('s')} {{{{$.outputs.parameters['o'].output_file}}}}",
        ),
    ],
)
def test_text_when_it_holds_placeholders(element: str, expected: str) -> None:
    assert resolve(element) == [expected]


@pytest.mark.parametrize(
    ("name", "ours", "upstream"), [("tiny", "0.00001", "1e-05"), ("big", "1234567.5", "1.2345675e+06")]
)
def test_numbers_have_no_exponent_where_upstream_prints_one(name: str, ours: str, upstream: str) -> None:
    assert resolve(parameter(name)) == [ours]
    assert float(ours) == float(upstream)


@pytest.mark.parametrize(
    ("element", "expected"),
    [
        (if_present("s", "yes", "no"), ["yes"]),
        (if_present("null", "yes", "no"), ["no"]),
        (if_present("missing", "yes", "no"), ["no"]),
        (if_present("missing", "yes"), []),
        (if_present("s", None, "no"), []),
        (if_present("s", ["--s", parameter("s")]), ["--s", "text"]),
        (if_present("s", []), []),
        (if_present("data", "yes", "no"), ["yes"]),
        (if_present("none", "yes", "no"), ["no"]),
        (
            if_present("s", ["--o", "{{$.outputs.artifacts['o'].path}}"]),
            ["--o", "{{$.outputs.artifacts['o'].path}}"],
        ),
        (if_present("s", [{"Concat": ["a=", parameter("quote")]}]), ['a=a "b" \\ c']),
        (if_present("s", {"IfPresent": {"InputName": "n", "Then": ["x", "y"]}}), ["x", "y"]),
        ("  " + if_present("s", "yes") + "\n", ["yes"]),
    ],
)
def test_if_present_chooses_by_the_input(element: str, expected: list[str]) -> None:
    assert resolve(element) == expected


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        (["a", "b"], "ab"),
        (["a=", parameter("s"), "!"], "a=text!"),
        (["a=", parameter("quote")], 'a=a "b" \\ c'),
        (["a=", {"IfPresent": {"InputName": "s", "Then": parameter("s"), "Else": "no"}}], "a=text"),
        (["a=", {"IfPresent": {"InputName": "missing", "Then": "yes"}}], "a="),
        (["a=", {"Concat": ["b", parameter("n")]}], "a=b3"),
        (
            ["a=", "{{$.outputs.parameters['o'].output_file}}"],
            "a={{$.outputs.parameters['o'].output_file}}",
        ),
        ([], ""),
    ],
)
def test_concat_joins_its_parts(items: list[Any], expected: str) -> None:
    element = json.dumps({"Concat": items})
    assert resolve(element) == [expected]
    assert element != expected, "upstream hands the JSON text to user code"


def test_placeholders_of_the_sdk_are_understood() -> None:
    concat = ConcatPlaceholder(["--x=", IfPresentPlaceholder("s", then="yes", else_="no")])
    assert resolve(concat._to_string()) == ["--x=yes"]
    nested = IfPresentPlaceholder(
        "missing", then=["a"], else_=["--y", ConcatPlaceholder(["b", parameter("n")])]
    )
    assert resolve(nested._to_string()) == ["--y", "b3"]


@pytest.mark.parametrize(
    ("element", "message"),
    [
        (parameter("missing"), 'parameter "missing" not found in executor input'),
        ('{"IfPresent": {"InputName"', "failed to parse IfPresent JSON: "),
        (if_present("s", [1]), "non-string item in IfPresent Then/Else array: 1"),
        (if_present("s", 7), "unexpected type in IfPresent Then/Else: int"),
        (json.dumps({"Concat": ["a", json.loads(if_present("s", ["x", "y"]))]}), "cannot be joined"),
    ],
)
def test_error_names_the_part_of_the_command_line(element: str, message: str) -> None:
    executor_input = ExecutorInput.parse({"inputs": INPUTS})
    for part, command, args in (("command", [element], []), ("args", [], [element])):
        with pytest.raises(PodSpecError) as caught:
            resolve_command_line(command, args, executor_input=executor_input, component=COMPONENT)
        assert str(caught.value).startswith(f"failed to resolve container {part}: ")
        assert message in str(caught.value)


@pytest.mark.parametrize("element", ['{"Concat": [broken', '{"IfPresent": {"x": $.outputs', '{"Other": []}'])
def test_text_that_only_looks_like_a_structure_stays(element: str) -> None:
    assert resolve(element) == [element]


@pytest.mark.parametrize("value", ["a\0b", ["\0"]])
def test_nul_cannot_be_an_argument(value: Any) -> None:
    given = ExecutorInput.parse({"inputs": {"parameterValues": {"v": value}}})
    if isinstance(value, list):
        # In JSON it is an escape sequence, which is no problem.
        assert resolve_command_line([], [parameter("v")], executor_input=given, component=COMPONENT) == [
            '["\\u0000"]'
        ]
    else:
        with pytest.raises(PodSpecError, match='container args: parameter "v" holds a NUL character'):
            resolve_command_line([], [parameter("v")], executor_input=given, component=COMPONENT)

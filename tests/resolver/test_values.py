"""Value rules. Oracle: the rows of spec RESOLVER 11 and DRIVER 11.4, 11.5; round trips through json."""

import json
import math
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kfp_api.ir.pipeline import ParameterType
from kfp_api.wire import UNSET
from resolver.errors import ResolutionError
from resolver.types import check_literals, normalise
from resolver.values import MAX_NESTING, InvalidValueError, equal, go_json, kind_of, parse_json, value_to_text

JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (UNSET, ""),
        (None, ""),
        ("as is", "as is"),
        (True, "true"),
        (False, "false"),
        (1.0, "1"),
        (1, "1"),
        (0.1, "0.1"),
        (1e21, "1000000000000000000000"),
        (1e-7, "0.0000001"),
        (-0.0, "-0"),
        (0.00001, "0.00001"),
        (1234567.5, "1234567.5"),
        (100, "100"),
        (2**53 + 1, "9007199254740992"),
        ([1.0, "a", None, True], '[1,"a",null,true]'),
        ({"b": 1, "a": [{}]}, '{"a":[{}],"b":1}'),
        ({"p_a": [{"q_a": "1"}], "p_b": "x"}, '{"p_a":[{"q_a":"1"}],"p_b":"x"}'),
        (
            [1e-7, 1e21, 1e16, -0.0, 0.000001, 1e20],
            "[1e-7,1e+21,10000000000000000,-0,0.000001,100000000000000000000]",
        ),
        ("<&>", "<&>"),
        (["<&>\u2028\u2029é😀"], '["\\u003c\\u0026\\u003e\\u2028\\u2029é😀"]'),
    ],
)
def test_number_text_table(value: Any, text: str) -> None:
    assert value_to_text(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (3.0, "3"),
        (-0.0, "-0"),
        (2.5e-07, "2.5e-7"),
        (5e-324, "5e-324"),
        (1.7976931348623157e308, "1.7976931348623157e+308"),
        (0.000001, "0.000001"),
        (9.99e-7, "9.99e-7"),
        (999999999999999900000.0, "999999999999999900000"),
        (1e21, "1e+21"),
        (1.5e300, "1.5e+300"),
        (-1e-9, "-1e-9"),
        ('\n\r\t\b\f\x01\x1f\x7f/"\\', '"\\n\\r\\t\\b\\f\\u0001\\u001f\x7f/\\"\\\\"'),
        ("a\ud800b", '"a\ufffdb"'),
        ({"é": 1, "z": 2, "😀": 3, "\uffff": 4}, '{"z":2,"é":1,"\uffff":4,"😀":3}'),
    ],
)
def test_json_text_is_written_byte_for_byte_as_go_writes_it(value: Any, text: str) -> None:
    assert go_json(value) == text


def test_the_worked_fingerprint_inputs_have_their_bytes() -> None:
    value: Any = {"epochs": 3, "lr": 2.5e-07, "names": ["a<b", "c&d"], "note": None}
    assert go_json(value) == '{"epochs":3,"lr":2.5e-7,"names":["a\\u003cb","c\\u0026d"],"note":null}'


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, 10**400])
def test_json_text_refuses_what_is_no_double(number: float) -> None:
    with pytest.raises(InvalidValueError):
        go_json([number])


@given(JSON)
def test_json_text_reads_back_as_the_same_value(value: Any) -> None:
    assert equal(json.loads(go_json(value)), value)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_number_text_has_no_exponent_and_keeps_every_digit(number: float) -> None:
    text = value_to_text(number)
    assert "e" not in text
    assert float(Decimal(text)) == number


def test_values_nested_too_deep_are_refused() -> None:
    fine: Any = None
    for _ in range(MAX_NESTING):
        fine = [fine]
    assert go_json(fine)
    assert parse_json(go_json(fine)) == fine
    with pytest.raises(InvalidValueError, match="nested more than 64 levels"):
        go_json([fine])
    with pytest.raises(InvalidValueError, match="nested more than 64 levels"):
        parse_json("[" * 65 + "]" * 65)
    with pytest.raises(InvalidValueError):
        parse_json("[" * 200_000)


@pytest.mark.parametrize("text", ["NaN", "[Infinity]", "-Infinity", "1e999", "{", "", "{'a': 1}"])
def test_text_that_is_not_strict_json_is_refused(text: str) -> None:
    with pytest.raises(InvalidValueError):
        parse_json(text)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (None, "null"),
        (UNSET, "null"),
        ("", "string"),
        (0, "number"),
        (0.5, "number"),
        (True, "bool"),
        ([], "list"),
        ({}, "struct"),
    ],
)
def test_kinds_tell_bool_from_number(value: Any, kind: str) -> None:
    assert kind_of(value) == kind


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        (1, 1.0, True),
        (True, 1, False),
        ([True], [1], False),
        ({"a": [1]}, {"a": [1.0]}, True),
        ({"a": 1}, {"a": 1, "b": None}, False),
        (None, None, True),
        (None, False, False),
        ("a", "A", False),
        ([], {}, False),
        ([1], [1, 2], False),
    ],
)
def test_equality_compares_kinds_first(left: Any, right: Any, same: bool) -> None:
    assert equal(left, right) is same


KINDS: dict[str, Any] = {"string": "s", "number": 1.5, "bool": True, "list": [1], "struct": {"a": 1}}
ACCEPTED = {
    ParameterType.NUMBER_INTEGER: "number",
    ParameterType.NUMBER_DOUBLE: "number",
    ParameterType.BOOLEAN: "bool",
    ParameterType.LIST: "list",
    ParameterType.STRUCT: "struct",
    ParameterType.TASK_FINAL_STATUS: "struct",
    ParameterType.TASK_CONFIG: "struct",
}


@pytest.mark.parametrize("declared", ACCEPTED)
@pytest.mark.parametrize("kind", KINDS)
def test_normalise_matrix(declared: ParameterType, kind: str) -> None:
    if ACCEPTED[declared] == kind:
        assert normalise(KINDS[kind], declared, "x") is KINDS[kind]
        return
    with pytest.raises(ResolutionError) as caught:
        normalise(KINDS[kind], declared, "x")
    assert str(caught.value) == f'input parameter "x" type mismatch: expect {declared.value}, got {kind}'


@pytest.mark.parametrize(
    ("value", "text"),
    [("s", "s"), (1.0, "1"), (True, "true"), ([1, "a"], '[1,"a"]'), ({"a": None}, '{"a":null}'), (None, "")],
)
def test_normalise_json_text(value: Any, text: str) -> None:
    assert normalise(value, ParameterType.STRING, "x") == text


def test_null_is_no_value_of_other_types() -> None:
    with pytest.raises(ResolutionError, match='got null for input parameter "x"'):
        normalise(None, ParameterType.LIST, "x")


@pytest.mark.parametrize(
    ("value", "literals", "allowed"),
    [
        ("a", ["a", "b"], True),
        ("A", ["a"], False),
        (1, [1.0, 2], True),
        (True, [1], False),
        (1, [True], False),
        ("anything", [], True),
        (False, [False], True),
    ],
)
def test_literals_ok_and_rejected(value: Any, literals: list[Any], allowed: bool) -> None:
    if allowed:
        check_literals(value, literals, "x")
        return
    with pytest.raises(ResolutionError) as caught:
        check_literals(value, literals, "x")
    assert str(caught.value).startswith('validating parameter "x": input parameter "x" value ')
    assert "does not match any of the allowed literal values: [" in str(caught.value)

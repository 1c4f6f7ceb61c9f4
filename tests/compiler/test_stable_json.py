"""Embedded JSON.

Oracle: Go's ``encoding/json`` and ``fmt`` documentation, as spec COMPILER 5 restates it, and Python's own
JSON reader for the meaning.
"""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from compiler.errors import CompileError
from compiler.stable_json import go_text_number, stable_json

NUMBERS = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
VALUES: st.SearchStrategy[JsonValue] = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=10,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (0, "0"),
        (-0.0, "-0"),
        (3.0, "3"),
        (0.25, "0.25"),
        (0.000001, "0.000001"),
        (0.0000001, "1e-7"),
        (1.5e-10, "1.5e-10"),
        (100000000000000000000.0, "100000000000000000000"),
        (1e21, "1e+21"),
        (1.5e300, "1.5e+300"),
        (2**53 + 1, "9007199254740992"),
        ({"b": 1, "a": [], "Z": {}}, '{"Z":{},"a":[],"b":1}'),
        ("<&>\u2028\u2029", '"\\u003c\\u0026\\u003e\\u2028\\u2029"'),
        ("é\U0001f600\x7f", '"é\U0001f600\x7f"'),
        ('"\\\n\x01', '"\\"\\\\\\n\\u0001"'),
        ("{{x}}", '"{{x}}"'),
        ("\ud800", '"\N{REPLACEMENT CHARACTER}"'),
    ],
)
def test_plain_encoding_is_gos(value: JsonValue, text: str) -> None:
    assert stable_json(value, hardened=False) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("<é\x7f>", '"<\\u00e9\\u007f>"'),
        ("{{x}}", '"\\u007b\\u007bx}}"'),
        ("{{{", '"\\u007b\\u007b{"'),
        (2**53 + 1, "9007199254740993"),
        (3.0, "3"),
    ],
)
def test_hardened_encoding_is_ascii_without_tags(value: JsonValue, text: str) -> None:
    assert stable_json(value, hardened=True) == text


@given(VALUES)
def test_both_encodings_mean_the_value(value: JsonValue) -> None:
    hardened = stable_json(value, hardened=True)
    for text in (stable_json(value, hardened=False), hardened):
        assert json.loads(text, parse_int=float) == value
    assert hardened.isascii()
    assert "{{" not in hardened
    assert "\x7f" not in hardened


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 10**400])
@pytest.mark.parametrize("hardened", [True, False])
def test_numbers_that_json_cannot_hold_are_refused(value: float, *, hardened: bool) -> None:
    with pytest.raises(CompileError):
        stable_json([value], hardened=hardened)


@pytest.mark.parametrize(
    ("number", "text"), [(2.0, "2"), (1.5, "1.5"), (0.0001, "0.0001"), (0.00001, "1e-05"), (1e21, "1e+21")]
)
def test_printed_number_is_gos(number: float, text: str) -> None:
    assert go_text_number(number) == text

"""Expressions. Oracle: the tables of spec DRIVER 10.3, 10.4 and RESOLVER 12.1."""

import subprocess
import sys
from typing import Any

import pytest

from kfp_api.ir.executor_input import ExecutorInputs
from resolver.errors import ExpressionError, ResolutionError
from resolver.expressions import (
    CACHED_EXPRESSION_BYTES,
    CACHED_EXPRESSIONS,
    MAX_EXPRESSION_BYTES,
    ExpressionEngine,
)

INPUTS = ExecutorInputs.parse(
    {
        "parameterValues": {
            "type": "foo",
            "num": 1,
            "s": "7",
            "b": True,
            "d": 2.5,
            "l": [1, 2],
            "o": {"k": "v"},
            "n": None,
            "quote": "it's \\ fine",
        },
        "artifacts": {
            "model": {"artifacts": [{"name": "model", "uri": "gs://r/m", "metadata": {"accuracy": 0.95}}]}
        },
    }
)
ENGINE = ExpressionEngine()
V = "inputs.parameter_values"
ACCURACY = "inputs.artifacts['model'].artifacts[0].metadata['accuracy']"


@pytest.mark.parametrize(
    ("expression", "holds"),
    [
        (f"{V}['type'] == 'foo'", True),
        (f"{V}['type'] == 'foo2'", False),
        (f"{V}['num'] == 1", True),
        (f"{V}['type']=='foo' && {V}['num'] == 1.0", True),
        (f"{ACCURACY}*100.0 > 90.0", True),
        (f"{ACCURACY}*100.0 <= 90.0", False),
        (f"int({V}['num']) >= 1", True),
        (f"int({V}['s']) == 7", True),
        (f"{V}['s'] == 7", False),
        (f"{V}['b'] == true", True),
        (f"{V}['b'] == 1", False),
        (f"{V}['num'] == true", False),
        (f"!({V}['b'] == true) && int({V}['type']) > 1", False),
        (f"int({V}['type']) > 1 && !({V}['b'] == true)", False),
        (f"int({V}['type']) > 1 || {V}['b'] == true", True),
        (f"double(int({V}['d'])) == 2.0", True),
        (f"{V}['d'] > 2", True),
        (f"'missing' in {V}", False),
        (f"has({V}.num)", True),
        (f"has({V}.missing)", False),
        (f"{V}['n'] == null", True),
        (f"{V}['num'] == null", False),
        (f"size({V}['l']) == 2", True),
        (f"{V}['o']['k'] == 'v'", True),
        (f"{V}.o.k == 'v'", True),
        (f"parseJson({V}['s']) == 7", True),
        ("true", True),
        ("false", False),
        ("int(3.9) == 3 && int(-3.9) == -3", True),
        ("-7 / 2 == -3 && -7 % 2 == -1", True),
        ("1.0 / 0.0 > 1e308", True),
        ("0.0/0.0 == 0.0/0.0", False),
        ("double('1.5') == 1.5", True),
        ("string(1.0) == '1' && string(true) == 'true'", True),
        ("bool('T') && bool('1') && !bool('F')", True),
        (f"{V}['l'][1.0] == 2", True),
        (f"{V}['l'][{V}['num']] == 2", True),
        (f"{V}['quote'] == 'it\\'s \\\\ fine'", True),
        ("'int(1) // no comment' == \"int(1) // no comment\"", True),
        ("int('5') == 5 // int('x')", True),
        ("int ('5') == 5", True),
        ("int // of a text\n ('5') == 5 && 'a' . // whose\n matches // what\n ('a')", True),
        ("'b' > 'a' && true > false", True),
        ("inputs.artifacts['model'].artifacts[0].uri.startsWith('gs://')", True),
        ("inputs.artifacts['model'].artifacts[0].type.schema_title == ''", True),
        ("size(inputs.parameters) == 0", True),
        (f"{V}['type'].matches('^f.o$') && {V}['type'].contains('o')", True),
        (f"matches({V}['type'], 'o+') && !'matches('.matches('x')", True),
        (f"({V}['num'] > 0.5 ? 'yes' : 'no') == 'yes'", True),
        (f"bool({V}['b'])", True),
        ("uint(3) == 3u && dyn(1) == 1.0 && type(1) == int && type(1.0) != int", True),
        ("1 in [1, 2] && !(3 in [1, 2]) && 'a' in {'a': 1} && {'a': 1}['a'] == 1", True),
        ("'abc'.startsWith('a') && 'abc'.endsWith('c') && size('aé😀') == 3", True),
        ("-1 < 0 && 7 % 3 == 1 && 2 * 3 + 1 == 7 && 1 - 2 == -1", True),
        (r"'\x41\u0042\103' == 'ABC' && r'\n' == '\\n'", True),
        ("'''it's''' == \"it's\" && \"int('x')\" != ''", True),
        ("has({'a': {'b': null}}.a.b) && false || true", True),
    ],
)
def test_a_condition_holds_as_in_the_table(expression: str, holds: bool) -> None:
    assert ENGINE.condition(expression, INPUTS) is holds


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        (f"{V}['missing'] == 'x'", "evaluation error: no such key: missing"),
        (f"{ACCURACY}*100 > 90", "evaluation error: no such overload"),
        (f"int({V}['type']) > 1", "evaluation error: type conversion error from 'string' to 'int'"),
        ("int('5.0') == 5", "type conversion error from 'string' to 'int'"),
        ("int(' 5') == 5", "type conversion error from 'string' to 'int'"),
        ("int('') == 5", "type conversion error from 'string' to 'int'"),
        ("int('9223372036854775808') == 5", "type conversion error from 'string' to 'int'"),
        (f"int({V}['b']) == 1", "no such overload: int(bool)"),
        (f"int({V}['n']) == 1", "no such overload: int("),
        (f"int({V}['l']) == 1", "no such overload: int("),
        ("int(1e30) == 1", "evaluation error: integer overflow"),
        ("int(0.0/0.0) == 1", "evaluation error: integer overflow"),
        ("bool('yes')", "type conversion error from 'string' to 'bool'"),
        (f"{V}['type'] < 3", "evaluation error: no such overload"),
        (f"{V}['b'] < 3", "evaluation error: no such overload"),
        ("9223372036854775807 + 1 > 0", "evaluation error: "),
        ("1 / 0 == 1", "evaluation error: "),
        (f"{V}['l'][7] == 1", "evaluation error: index out of bounds: 7"),
        (f"{V}['type'] && true", "evaluation error: no such overload"),
        ("parseJson('{') == 1", "evaluation error: failed to unmarshal JSON: "),
        ("parseJson('NaN') == 1", "evaluation error: failed to unmarshal JSON: "),
        (f"{V}.type.x == 1", "evaluation error: no such overload"),
        (f"{V}['num'].matches('1')", "evaluation error: no such overload: (double).matches(string)"),
        ("'a'.matches('(')", "evaluation error: invalid regular expression: missing ): ("),
        ("1 + 1", "evaluation error: return type is not bool, got 2"),
        (f"{V}['type']", "evaluation error: return type is not bool, got foo"),
        (f"{V}['n']", "evaluation error: return type is not bool, got null"),
    ],
)
def test_a_condition_fails_as_in_the_table(expression: str, text: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        ENGINE.condition(expression, INPUTS)
    assert text in str(caught.value)


def test_a_missing_key_of_an_empty_executor_input_is_an_error() -> None:
    with pytest.raises(ExpressionError, match="no such key: type"):
        ENGINE.condition(f"{V}['type'] == 'foo'", ExecutorInputs())


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("nobody == 1", "undeclared reference to 'nobody'"),
        ("1 ==", "Syntax error"),
        (f"{V}['type'] == 'it's'", "Syntax error"),
        ("int(", "Syntax error"),
        ("", "Syntax error"),
        (f"{V}['l'].all(x, x > 0)", "unsupported expression feature: all"),
        (f"{V}['l'].exists(x, x == 1)", "unsupported expression feature: exists"),
        (f"{V}['l'].exists_one(x, x == 1)", "unsupported expression feature: exists_one"),
        (f"{V}['l'].filter(x, x == 1) == []", "unsupported expression feature: filter"),
        ("[1, 2] . map (x, x)", "unsupported expression feature: map"),
        ("true || " * 9000 + "true", "longer than 65536 bytes"),
        ("(" * 5000 + "true" + ")" * 5000, "expression is nested more than 32 levels deep"),
        (" + ".join(["1"] * 500) + " > 1", "expression is nested more than 32 levels deep"),
    ],
)
def test_what_does_not_compile_is_no_evaluation_error(expression: str, text: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        ENGINE.condition(expression, INPUTS)
    assert text in str(caught.value)
    assert not str(caught.value).startswith("evaluation error")


STRUCT = {"a": "A", "b": "B", "list": [1, 2], "nested": {"b": "B"}, "nothing": None}


@pytest.mark.parametrize(
    ("selector", "value", "result"),
    [
        ("string_value", "Hello,World!", "Hello,World!"),
        ("string_value", None, ""),
        ("string_value", True, "true"),
        ("string_value", 1e21, "1000000000000000000000"),
        ("string_value", 5.0, "5"),
        ("string_value", {"b": "<", "a": 1}, '{"a":1,"b":"\\u003c"}'),
        ("parseJson(string_value)[0]", "[1.1,1.2,1.3]", 1.1),
        ("parseJson(string_value)", "[1, 2]", [1, 2]),
        ("struct_value.a", STRUCT, "A"),
        ("struct_value.list", STRUCT, [1, 2]),
        ("struct_value.nested", STRUCT, {"b": "B"}),
        ("struct_value.nested.b", STRUCT, "B"),
        ("struct_value.nothing", STRUCT, None),
        ("null_value", None, None),
        ("number_value * 2.0", 4, 8),
        ("bool_value", True, True),
        ("list_value[1]", ["x", "y"], "y"),
        ('parseJson(string_value)["A_a"]', {"A_a": "heads"}, "heads"),
        ('parseJson(string_value)["A_a"]', '{"A_a": null}', None),
        ('parseJson(string_value)["n"]', '{"n": 9007199254740993}', 9007199254740992),
    ],
)
def test_selector_table(selector: str, value: Any, result: Any) -> None:
    selected = ENGINE.select(selector, value)
    assert selected == result
    assert type(selected) is type(result)


@pytest.mark.parametrize(
    ("selector", "value", "text"),
    [
        ("struct_value", "Hello", "no such attribute(s): struct_value"),
        ("struct_value.c", {"a": "A"}, "no such key: c"),
        ("parseJson(string_value)", "invalidjson", "failed to unmarshal JSON"),
        ('parseJson(string_value)["x"]', "[1]", "evaluation error: "),
        ("b'bytes'", "", "failed to convert result"),
        ("timestamp('2026-01-01T00:00:00Z')", "", "failed to convert result"),
        ("0.0 / 0.0", "", "failed to convert result"),
        ("{1: 2}", "", "failed to convert result"),
        ("number_value", 10**400, "out of the range of a double"),
    ],
)
def test_a_selector_fails_as_in_the_table(selector: str, value: Any, text: str) -> None:
    with pytest.raises(ResolutionError) as caught:
        ENGINE.select(selector, value)
    assert text in str(caught.value)


def test_values_nested_too_deep_are_refused() -> None:
    with pytest.raises(ResolutionError, match="nested more than 64 levels"):
        ENGINE.select("parseJson(string_value)", "[" * 65 + "]" * 65)


def test_compiled_expressions_are_kept_up_to_a_bound_and_the_oldest_dropped() -> None:
    engine = ExpressionEngine()
    for number in range(CACHED_EXPRESSIONS + 700):
        assert engine.condition(f"int('{number}') == {number}", ExecutorInputs())
    assert len(engine._compiled) == CACHED_EXPRESSIONS
    assert engine.condition("int('0') == 0", ExecutorInputs())
    long = f"{' ' * CACHED_EXPRESSION_BYTES}true"
    assert engine.condition(long, ExecutorInputs())
    assert len(engine._compiled) == CACHED_EXPRESSIONS
    assert ("condition", long) not in engine._compiled


def test_the_longest_expression_is_accepted() -> None:
    padding = " " * (MAX_EXPRESSION_BYTES - len("true"))
    assert ENGINE.condition(f"{padding}true", ExecutorInputs())


def test_importing_the_engine_does_not_import_the_library() -> None:
    script = "import sys, resolver.expressions; sys.exit('cel_expr_python' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0

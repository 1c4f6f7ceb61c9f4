"""Pipeline parameters from the command line and from a request.

Oracle: the parameter checks of spec KFP_API 6.1 and the types of the KFP SDK.
"""

import re

import pytest
from pydantic import JsonValue

from compiler.errors import ParameterError
from compiler.parameters import check_parameters, parse_parameters
from kfp_api.ir.pipeline import PipelineSpec
from tests.compiler.pipelines import Json, pipeline, task


def spec(**inputs: Json) -> PipelineSpec:
    return pipeline({"a": task()}, inputs=inputs).spec


def of(kind: str, **fields: JsonValue) -> Json:
    return {"parameterType": kind, **fields}


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("STRING", "", ""),
        ("STRING", ' a=b, "c" ', ' a=b, "c" '),
        ("STRING", "3", "3"),
        ("STRING", "null", "null"),
        ("NUMBER_INTEGER", "3", 3),
        ("NUMBER_INTEGER", "-07", -7),
        ("NUMBER_DOUBLE", "3", 3),
        ("NUMBER_DOUBLE", "1e-3", 0.001),
        ("BOOLEAN", "true", True),
        ("BOOLEAN", "False", False),
        ("LIST", '[1, "x", null]', [1, "x", None]),
        ("STRUCT", '{"a": {"b": []}}', {"a": {"b": []}}),
    ],
)
def test_value_is_read_by_its_declared_type(kind: str, text: str, value: JsonValue) -> None:
    parsed = parse_parameters([f"p={text}"], spec(p=of(kind)))
    assert parsed == {"p": value}
    assert type(parsed["p"]) is type(value)
    check_parameters(spec(p=of(kind)), parsed)


def test_deprecated_type_is_understood() -> None:
    assert parse_parameters(["p=3"], spec(p={"type": "INT"})) == {"p": 3}


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("NUMBER_INTEGER", "3.0", "an integer such as 3 (NUMBER_INTEGER)"),
        ("NUMBER_INTEGER", "", "an integer such as 3"),
        ("NUMBER_INTEGER", "1_000", "an integer such as 3"),
        ("NUMBER_INTEGER", "٣", "an integer such as 3"),
        ("NUMBER_DOUBLE", "nan", "a number such as 0.5"),
        ("NUMBER_DOUBLE", "inf", "a number such as 0.5"),
        ("NUMBER_DOUBLE", "1_0.5", "a number such as 0.5"),
        ("NUMBER_DOUBLE", "half", "a number such as 0.5"),
        ("BOOLEAN", "yes", "true or false"),
        ("BOOLEAN", "1", "true or false"),
        ("LIST", '{"a": 1}', "a JSON list"),
        ("LIST", "[1,", "a JSON list"),
        ("LIST", "[NaN]", "a JSON list"),
        ("STRUCT", "[1]", "a JSON object"),
        ("STRUCT", "null", "a JSON object"),
    ],
)
def test_value_of_another_type_says_what_was_expected(kind: str, text: str, expected: str) -> None:
    message = f'parameter "p": expected {expected}'
    with pytest.raises(ParameterError, match=re.escape(message)) as refused:
        parse_parameters([f"p={text}"], spec(p=of(kind)))
    assert str(refused.value).endswith(f'got "{text}"')
    assert refused.value.exit_code == 2


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["p"], '"p": expected NAME=VALUE'),
        (["=3"], '"=3": expected NAME=VALUE'),
        (["q=3"], 'unknown parameter "q"; the pipeline\'s parameters: p, other'),
        (["p=a", "p=b"], 'parameter "p" is given twice'),
        (["other=x"], 'parameter "other" has type TASK_FINAL_STATUS, which a run cannot set'),
    ],
)
def test_argument_that_fits_no_parameter_is_refused(texts: list[str], message: str) -> None:
    with pytest.raises(ParameterError, match=re.escape(message)):
        parse_parameters(texts, spec(p=of("STRING"), other=of("TASK_FINAL_STATUS")))


def test_unknown_parameter_of_a_pipeline_without_any_says_so() -> None:
    with pytest.raises(ParameterError, match="the pipeline's parameters: none"):
        parse_parameters(["p=1"], spec())


def test_missing_required_parameters_are_all_listed() -> None:
    declared = spec(
        a=of("STRING"),
        b=of("NUMBER_INTEGER"),
        c=of("STRING", defaultValue=""),
        d=of("STRING", isOptional=True),
    )
    message = "missing required parameters: a (STRING), b (NUMBER_INTEGER)"
    with pytest.raises(ParameterError, match=re.escape(message)):
        check_parameters(declared, {})
    check_parameters(declared, {"a": "x", "b": 1})


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("STRING", 1),
        ("STRING", None),
        ("NUMBER_INTEGER", "1"),
        ("NUMBER_INTEGER", True),
        ("NUMBER_DOUBLE", "0.5"),
        ("BOOLEAN", 1),
        ("LIST", {}),
        ("STRUCT", []),
    ],
)
def test_given_value_of_another_kind_is_refused(kind: str, value: JsonValue) -> None:
    with pytest.raises(ParameterError, match='parameter "p": expected '):
        check_parameters(spec(p=of(kind)), {"p": value})


def test_extra_parameters_are_refused() -> None:
    with pytest.raises(ParameterError, match='unknown parameters "x", "y"; the pipeline\'s parameters: p'):
        check_parameters(spec(p=of("STRING")), {"p": "a", "x": 1, "y": 2})


def test_value_outside_of_the_literals_is_refused() -> None:
    declared = spec(p=of("NUMBER_INTEGER", literals=[1, 2]))
    assert parse_parameters(["p=2"], declared) == {"p": 2}
    message = 'parameter "p": expected one of 1, 2, got 3'
    with pytest.raises(ParameterError, match=message):
        parse_parameters(["p=3"], declared)
    with pytest.raises(ParameterError, match=message):
        check_parameters(declared, {"p": 3})


def test_parameter_without_a_type_cannot_be_given() -> None:
    with pytest.raises(ParameterError, match="PARAMETER_TYPE_ENUM_UNSPECIFIED"):
        check_parameters(spec(p={}), {"p": "x"})

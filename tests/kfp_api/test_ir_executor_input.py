"""ExecutorInput as user code receives it.

Oracle: the published ``kfp-pipeline-spec`` package (``ExecutorInput``, ``ExecutorOutput``), and the number
form of spec PODSPEC 2.6.
"""

import json
import math
from typing import Any

import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st
from kfp.pipeline_spec import pipeline_spec_pb2

from kfp_api.ir.executor_input import (
    ArtifactList,
    ExecutorInput,
    ExecutorInputs,
    ExecutorOutput,
    executor_input_text,
    executor_input_to_json,
    integral,
)

DOCUMENT: dict[str, Any] = {
    "inputs": {
        "parameterValues": {"n": 3, "x": 0.5, "none": None, "deep": {"k_e_y": [1, "ü"]}, "empty": ""},
        "artifacts": {
            "data": {
                "artifacts": [
                    {
                        "name": "data",
                        "type": {"schemaTitle": "system.Dataset", "schemaVersion": "0.0.1"},
                        "uri": "s3://b/data",
                        "metadata": {"rows": 10, "nested": {"a": 1.5}},
                    }
                ]
            },
            "none": {},
        },
    },
    "outputs": {
        "parameters": {"Output": {"outputFile": "/tmp/kfp/outputs/Output"}},
        "artifacts": {"model": {"artifacts": [{"name": "model", "uri": "s3://b/model"}]}},
        "outputFile": "/tmp/kfp_outputs/output_metadata.json",
    },
}


def official(document: dict[str, Any]) -> Any:
    message = pipeline_spec_pb2.ExecutorInput()
    return json_format.ParseDict(document, message, ignore_unknown_fields=True)


def test_executor_input_is_the_official_one() -> None:
    written = executor_input_to_json(ExecutorInput.parse(DOCUMENT))
    assert official(written) == official(DOCUMENT)
    assert written == DOCUMENT


def test_both_spellings_of_field_names_are_read() -> None:
    snake = {"inputs": {"parameter_values": {"a_b": 1}}, "outputs": {"output_file": "/o"}}
    camel = {"inputs": {"parameterValues": {"a_b": 1}}, "outputs": {"outputFile": "/o"}}
    assert ExecutorInput.parse(snake) == ExecutorInput.parse(camel)


def test_empty_members_are_left_out_but_an_empty_artifact_list_stays() -> None:
    empty = ExecutorInput(inputs=ExecutorInputs(artifacts={"a": ArtifactList()}))
    assert executor_input_to_json(empty) == {"inputs": {"artifacts": {"a": {}}}}
    assert executor_input_to_json(ExecutorInput()) == {}
    assert executor_input_to_json(ExecutorInput(inputs=ExecutorInputs())) == {"inputs": {}}


def test_text_is_compact_sorted_and_keeps_non_ascii() -> None:
    text = executor_input_text(ExecutorInput.parse({"inputs": {"parameterValues": {"z": "ü<&>", "a": 1.0}}}))
    assert text == '{"inputs":{"parameterValues":{"a":1,"z":"ü<&>"}}}'


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (3.0, "3"),
        (-0.5, "-0.5"),
        ([1.0, {"x": 2.0}], '[1, {"x": 2}]'),
        (True, "true"),
        (10.0**15, str(10**15)),
    ],
)
def test_integral_numbers_have_no_fraction(value: Any, text: str) -> None:
    assert json.dumps(integral(value)) == text


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_number_that_json_lacks_is_refused(number: float) -> None:
    with pytest.raises(ValueError, match="is not a JSON number"):
        integral({"x": [number]})


def test_negative_zero_reaches_user_code_as_the_integer_that_upstreams_text_gives() -> None:
    text = executor_input_text(ExecutorInput.parse({"inputs": {"parameterValues": {"x": -0.0}}}))
    read, upstream = json.loads(text)["inputs"]["parameterValues"]["x"], json.loads("-0")
    assert (read, type(read)) == (upstream, type(upstream))


def is_negative_zero(number: float) -> bool:
    return number == 0 and math.copysign(1, number) < 0


# The sign of zero is not kept (the test above says why that is right); everything else is.
numbers = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False).filter(
    lambda number: not is_negative_zero(number)
)
values = st.recursive(
    st.none() | st.booleans() | numbers | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(min_size=1), values, max_size=4))
def test_any_parameters_keep_their_values(parameters: dict[str, Any]) -> None:
    document = {"inputs": {"parameterValues": parameters}}
    text = executor_input_text(ExecutorInput.parse(document))
    assert official(json.loads(text)) == official(document)


def test_executor_output_is_the_official_one() -> None:
    document = {
        "parameterValues": {"Output": [1, None, {"a": "b"}]},
        "artifacts": {"m": {"artifacts": [{"name": "m", "uri": "s3://b", "metadata": {"k": 1}}]}},
    }
    message = pipeline_spec_pb2.ExecutorOutput
    written = ExecutorOutput.parse(document).to_json()
    assert json_format.ParseDict(written, message()) == json_format.ParseDict(document, message())

"""The JSON form of API messages: presence, scalars, enums, nulls.

Oracle: the rules of spec KFP_API 1.2 to 1.4 and its "Encoding" checks (section 18); scalar forms are compared
with protobuf's own JSON library where that has the type.
"""

import math
from datetime import UTC, datetime
from typing import Any

import pytest
from google.protobuf import json_format, struct_pb2, timestamp_pb2
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from kfp_api.filters import Predicate, PredicateOperation
from kfp_api.messages import (
    Artifact,
    IOParameter,
    IOType,
    PipelineTask,
    Run,
    RuntimeState,
    TaskState,
    TypeAttributes,
)
from kfp_api.pages import TaskPage
from kfp_api.wire import UNSET, format_timestamp


@pytest.mark.parametrize(
    ("message", "wire"),
    [
        (TaskPage(), {}),
        (TaskPage(total_size=0, tasks=[]), {}),
        (PipelineTask(name="", state=TaskState.RUNTIME_STATE_UNSPECIFIED), {}),
        (PipelineTask(state=TaskState.RUNNING), {"state": "RUNNING"}),
        (TypeAttributes(iteration_index=0), {"iteration_index": "0"}),
        (TypeAttributes(download_to_workspace=False), {"download_to_workspace": False}),
        (PipelineTask(type_attributes=TypeAttributes()), {"type_attributes": {}}),
        (Artifact(number_value=0.0), {"number_value": 0.0}),
        (Artifact(uri=""), {"uri": ""}),
        (Artifact(metadata={}), {}),
        (PipelineTask(parent_task_id=""), {"parent_task_id": ""}),
        (
            PipelineTask.from_wire({"inputs": {}, "status_metadata": {}}),
            {"status_metadata": {}, "inputs": {}},
        ),
        (IOParameter(value=None), {"value": None}),
        (IOParameter(), {}),
        (IOParameter(value=False), {"value": False}),
        (IOParameter(value=0), {"value": 0}),
        (IOParameter(value=""), {"value": ""}),
    ],
)
def test_zero_is_absent_for_plain_fields_and_present_where_presence_is_kept(message: Any, wire: Any) -> None:
    assert message.to_wire() == wire
    assert type(message).from_wire(wire) == message


def test_both_spellings_of_a_request_are_read() -> None:
    snake = {"parent_task_id": "p", "type_attributes": {"iteration_index": "3"}}
    camel = {"parentTaskId": "p", "typeAttributes": {"iterationIndex": 3}}
    assert PipelineTask.parse_strict(snake) == PipelineTask.parse_strict(camel)
    assert PipelineTask.parse_strict(camel).to_wire() == snake


def test_unknown_field_is_refused_in_requests_and_ignored_in_answers() -> None:
    data = {"name": "a", "start_time": "2026-01-01T00:00:00Z"}
    assert PipelineTask.from_wire(data).name == "a"
    with pytest.raises(ValidationError) as caught:
        PipelineTask.parse_strict(data)
    assert caught.value.errors()[0]["type"] == "extra_forbidden"
    with pytest.raises(ValidationError):
        PipelineTask.parse_strict({"type_attributes": {"foo": 1}})


@pytest.mark.parametrize("state", ["RUNNING", 1])
def test_enum_is_read_by_name_and_by_number(state: object) -> None:
    assert PipelineTask.from_wire({"state": state}).state is TaskState.RUNNING


@pytest.mark.parametrize("state", ["PENDING", "running", 99, True])
def test_unknown_enum_is_refused(state: object) -> None:
    with pytest.raises(ValidationError):
        PipelineTask.from_wire({"state": state})


def test_enum_numbers_are_those_of_the_api() -> None:
    assert [state.number for state in TaskState] == [0, 1, 2, 3, 4, 5]
    assert RuntimeState.SUCCEEDED.number == 3
    assert [kind.number for kind in IOType] == list(range(12))
    assert [operation.number for operation in PredicateOperation] == [0, 1, 2, 3, 5, 6, 7, 8, 9]
    assert TaskState.from_number(4) is TaskState.FAILED
    with pytest.raises(ValueError, match="unknown TaskState number 9"):
        TaskState.from_number(9)


def test_wire_null_vs_absent() -> None:
    task = PipelineTask.from_wire(
        {"name": None, "state": None, "inputs": None, "pods": None, "endTime": None}
    )
    assert task == PipelineTask()
    parameter = IOParameter.from_wire({"value": None, "type": None, "producer": None})
    assert parameter.value is None
    assert IOParameter.from_wire({}).value is UNSET


@pytest.mark.parametrize(
    "value", ["1.5", "", "x", "0x10", "1_000", " 1", "9223372036854775808", 2**63, 1.5, True, [1], "٣"]
)
def test_what_is_no_64_bit_integer_is_refused(value: object) -> None:
    with pytest.raises(ValidationError):
        TypeAttributes.from_wire({"iteration_index": value})


@pytest.mark.parametrize(
    ("value", "expected"),
    [("-1", -1), ("0", 0), (0, 0), (7, 7), (7.0, 7), ("9223372036854775807", 2**63 - 1)],
)
def test_wire_int64_strings(value: object, expected: int) -> None:
    attributes = TypeAttributes.from_wire({"iteration_index": value})
    assert attributes.iteration_index == expected
    assert attributes.to_wire() == {"iteration_index": str(expected)}


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity"])
def test_doubles_that_json_lacks_are_read_from_text(text: str) -> None:
    number = Artifact.from_wire({"number_value": text}).number_value
    assert number is not None
    assert not math.isfinite(number)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z"),
        ("2026-01-02T03:04:05.999999Z", "2026-01-02T03:04:05Z"),
        ("2026-01-02T03:04:05.123456789Z", "2026-01-02T03:04:05Z"),
        ("2026-01-02T03:04:05+02:00", "2026-01-02T01:04:05Z"),
        ("1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
    ],
)
def test_time_is_kept_in_whole_utc_seconds(text: str, expected: str) -> None:
    assert PipelineTask.from_wire({"end_time": text}).to_wire() == {"end_time": expected}
    reference = timestamp_pb2.Timestamp()
    reference.FromJsonString(text)
    reference.nanos = 0
    assert reference.ToJsonString() == expected


@pytest.mark.parametrize("text", ["2026-01-02T03:04:05", "yesterday", 5, "2026-01-02"])
def test_time_without_zone_is_refused(text: object) -> None:
    with pytest.raises(ValidationError):
        PipelineTask.from_wire({"end_time": text})


def test_epoch_says_that_a_run_has_not_finished() -> None:
    assert not Run.from_wire({"finished_at": "1970-01-01T00:00:00Z", "state": "RUNNING"}).is_finished
    assert Run.from_wire({"finished_at": "2026-01-01T00:00:00Z", "state": "RUNNING"}).is_finished


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3),
    max_leaves=8,
)


@given(json_values)
def test_value_round_trips_and_means_what_protobuf_says(value: Any) -> None:
    parameter = IOParameter(value=value, parameter_key="k")
    wire = parameter.to_wire()
    assert IOParameter.from_wire(wire) == parameter
    reference = json_format.ParseDict(wire["value"], struct_pb2.Value())
    assert json_format.MessageToDict(reference) == value


@given(st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)))  # noqa: DTZ001 (a zone is added below)
def test_formatted_time_is_protobufs(moment: datetime) -> None:
    aware = moment.replace(tzinfo=UTC, microsecond=0)
    reference = timestamp_pb2.Timestamp()
    reference.FromDatetime(aware.replace(tzinfo=None))
    assert format_timestamp(aware) == reference.ToJsonString()


def test_predicate_long_value_travels_as_text() -> None:
    predicate = Predicate(key="x", long_value=5, operation=PredicateOperation.EQUALS)
    assert predicate.to_wire() == {"operation": "EQUALS", "key": "x", "long_value": "5"}

"""The messages of runs, tasks and artifacts.

Oracle: field lists, enums and worked examples of spec KFP_API 1.5, 3, 5.5 and 17.
"""

from typing import Any

import pytest

from kfp_api.filters import Filter, Predicate, PredicateOperation
from kfp_api.messages import (
    OUTPUT_LINK_TYPES,
    TERMINAL_RUN_STATES,
    TERMINAL_STATES,
    Artifact,
    ArtifactTask,
    ArtifactType,
    CreateArtifactRequest,
    IOProducer,
    IOType,
    PipelineTask,
    Run,
    RuntimeState,
    StorageState,
    TaskPodType,
    TaskState,
    TaskType,
    ViewMode,
)
from kfp_api.wire import WireEnum, WireMessage

ROOT_TASK = {
    "name": "ROOT",
    "task_id": "5d2d6c1e-8f4e-4d0c-9a55-1c2d3e4f5a6b",
    "run_id": "R",
    "pods": [{"name": "wf-root-driver", "uid": "u1", "type": "DRIVER"}],
    "create_time": "2026-01-01T00:00:05Z",
    "state": "RUNNING",
    "state_history": [{"update_time": "2026-01-01T00:00:05Z", "state": "RUNNING"}],
    "type": "ROOT",
    "inputs": {
        "parameters": [
            {
                "value": 0.1,
                "type": "RUNTIME_VALUE_INPUT",
                "parameter_key": "lr",
                "producer": {"task_name": "ROOT"},
            }
        ]
    },
    "outputs": {},
    "scope_path": "root",
}
ITERATION_TASK = {
    "name": "train",
    "task_id": "T",
    "type": "RUNTIME",
    "type_attributes": {"iteration_index": "0"},
    "parent_task_id": "P",
    "child_tasks": [{"task_id": "C", "name": "c"}],
    "status_metadata": {"message": "m", "custom_properties": {"k": None, "n": 1}},
    "inputs": {},
    "outputs": {
        "artifacts": [
            {
                "artifacts": [{"artifact_id": "A", "name": "model", "type": "Model", "uri": "s3://b"}],
                "type": "ITERATOR_OUTPUT",
                "artifact_key": "model",
                "producer": {"task_name": "train", "iteration": "0"},
            }
        ]
    },
}
RUN = {
    "experiment_id": "e1",
    "run_id": "R",
    "display_name": "demo",
    "storage_state": "AVAILABLE",
    "pipeline_spec": {"schemaVersion": "2.1.0", "root": {"dag": {"tasks": {}}}},
    "runtime_config": {"pipeline_root": "s3://mlpipeline/root"},
    "service_account": "pipeline-runner",
    "created_at": "2026-01-01T00:00:00Z",
    "scheduled_at": "2026-01-01T00:00:00Z",
    "finished_at": "1970-01-01T00:00:00Z",
    "state": "PENDING",
    "state_history": [{"update_time": "2026-01-01T00:00:00Z", "state": "PENDING"}],
    "task_count": 2,
}
METRIC = {"artifact_id": "A", "name": "acc", "type": "Metric", "number_value": 0.0, "metadata": {"x": [1]}}
REQUEST = {
    "artifact": {"name": "m", "type": "Model", "uri": "s3://b", "namespace": "ns"},
    "run_id": "R",
    "task_id": "T",
    "producer_key": "model",
    "iteration_index": "0",
    "reuse_if_exists": True,
}
LINK = {
    "artifact_id": "A",
    "run_id": "R",
    "task_id": "T",
    "type": "OUTPUT",
    "producer": {},
    "key": "model",
}
IN_FILTER = {"predicates": [{"operation": "IN", "key": "status", "int_values": {"values": [1, 4]}}]}


@pytest.mark.parametrize(
    ("message", "document"),
    [
        (PipelineTask, ROOT_TASK),
        (PipelineTask, ITERATION_TASK),
        (Run, RUN),
        (Artifact, METRIC),
        (CreateArtifactRequest, REQUEST),
        (ArtifactTask, LINK),
        (Filter, IN_FILTER),
    ],
)
def test_document_of_the_api_round_trips(message: type[WireMessage], document: dict[str, Any]) -> None:
    assert message.parse_strict(document).to_wire() == document


@pytest.mark.parametrize(
    ("enum", "numbers"),
    [
        (TaskState, "RUNTIME_STATE_UNSPECIFIED RUNNING SUCCEEDED SKIPPED FAILED CACHED"),
        (
            TaskType,
            "TASK_TYPE_UNSPECIFIED ROOT RUNTIME CONDITION_BRANCH CONDITION LOOP EXIT_HANDLER IMPORTER DAG",
        ),
        (TaskPodType, "UNSPECIFIED DRIVER EXECUTOR"),
        (
            IOType,
            (
                "UNSPECIFIED COMPONENT_DEFAULT_INPUT TASK_OUTPUT_INPUT COMPONENT_INPUT RUNTIME_VALUE_INPUT "
                "COLLECTED_INPUTS ITERATOR_INPUT ITERATOR_INPUT_RAW ITERATOR_OUTPUT OUTPUT ONE_OF_OUTPUT "
                "TASK_FINAL_STATUS_OUTPUT"
            ),
        ),
        (
            ArtifactType,
            (
                "TYPE_UNSPECIFIED Artifact Model Dataset HTML Markdown Metric ClassificationMetric "
                "SlicedClassificationMetric"
            ),
        ),
        (
            RuntimeState,
            "RUNTIME_STATE_UNSPECIFIED PENDING RUNNING SUCCEEDED SKIPPED FAILED CANCELING CANCELED PAUSED",
        ),
        (StorageState, "STORAGE_STATE_UNSPECIFIED AVAILABLE ARCHIVED"),
        (ViewMode, "DEFAULT FULL"),
        (
            PredicateOperation,
            (
                "OPERATION_UNSPECIFIED EQUALS NOT_EQUALS GREATER_THAN - GREATER_THAN_EQUALS LESS_THAN "
                "LESS_THAN_EQUALS IN IS_SUBSTRING"
            ),
        ),
    ],
)
def test_enum_has_the_names_and_numbers_of_the_api(enum: type[WireEnum], numbers: str) -> None:
    expected = {name: number for number, name in enumerate(numbers.split()) if name != "-"}
    assert {member.value: member.number for member in enum} == expected


def test_output_kinds_of_links_are_four() -> None:
    inputs = {kind for kind in IOType if kind not in OUTPUT_LINK_TYPES and kind.number}
    assert {kind.number for kind in OUTPUT_LINK_TYPES} == {8, 9, 10, 11}
    assert {kind.number for kind in inputs} == {1, 2, 3, 4, 5, 6, 7}


def test_terminal_states_are_all_that_have_ended() -> None:
    assert {state for state in TaskState if state.number} - TERMINAL_STATES == {TaskState.RUNNING}
    ended = {RuntimeState.SUCCEEDED, RuntimeState.FAILED, RuntimeState.CANCELED, RuntimeState.SKIPPED}
    assert ended == TERMINAL_RUN_STATES


@pytest.mark.parametrize(
    ("producer", "iteration"),
    [(None, -1), (IOProducer(task_name="a"), -1), (IOProducer(iteration=0), 0), (IOProducer(iteration=2), 2)],
)
def test_link_identity_has_the_iteration_or_minus_one(producer: IOProducer | None, iteration: int) -> None:
    link = ArtifactTask(
        artifact_id="A", task_id="T", type=IOType.OUTPUT, key="k", producer=producer, run_id="R"
    )
    assert link.identity == ("A", "T", IOType.OUTPUT, iteration, "k")


def test_row_without_attributes_has_no_iteration_and_no_io() -> None:
    row = PipelineTask()
    assert (row.iteration_index, row.iteration_count) == (None, None)
    assert (row.input_parameters, row.output_artifacts, row.custom_properties) == ([], [], {})
    looped = PipelineTask.from_wire(ITERATION_TASK)
    assert looped.iteration_index == 0
    assert looped.custom_properties == {"k": None, "n": 1}


def test_task_has_no_field_that_the_server_would_refuse() -> None:
    assert not {"start_time", "namespace", "error", "executor_detail"} & PipelineTask.model_fields.keys()


def test_numeric_operation_of_the_kfp_client_is_read() -> None:
    predicate = Predicate.parse_strict({"operation": 1, "key": "display_name", "stringValue": "x"})
    assert predicate.to_wire() == {"operation": "EQUALS", "key": "display_name", "string_value": "x"}

"""KFP's own fixture pipelines run through the command line to the end that KFP reaches.

Oracle: the fixtures of kubeflow/pipelines and what they compute or are meant to do (``failing/``).
"""

from pathlib import Path

import pytest

from kfp_api.messages import RuntimeState, TaskState
from tests.e2e.conftest import PROJECT, kfp_driver
from tests.e2e.stored import StoredRun, stored_runs

FIXTURES = PROJECT.parent / "shared/conformance/pipelines"
pytestmark = [pytest.mark.conformance, pytest.mark.slow]

SUCCEEDING: dict[str, tuple[str, ...]] = {
    "hello_world": (),
    "arguments_parameters": ("-p", "param1=hi", "-p", "param2=there"),
    "artifacts_complex": (),
    "cross_loop_after_topology": (),
    "if_elif_else_with_oneof_parameters": (),
    "parameters_complex": (),
    "pipeline_with_dynamic_importer_metadata": (),
    "pipeline_with_loops_and_conditions": (),
    "critical/add_numbers": ("-p", "a=1", "-p", "b=2"),
    "critical/artifact_cache": (),
    "critical/collected_parameters": (),
    "critical/flip_coin": (),
    "critical/multiple_artifacts_namedtuple": (),
    "critical/parallel_for_after_dependency": (),
    "critical/pipeline_with_artifact_custom_path": (),
    "critical/pipeline_with_placeholders": (),
    "critical/pipeline_with_retry": (),
    "critical/producer_consumer_param_pipeline": (),
    "critical/pythonic_artifacts_test_pipeline": (),
    "essential/dict_input": ("-p", 'struct={"a": 1}'),
    "essential/lightweight_python_functions_with_outputs": (
        *("-p", "first_message=a", "-p", "second_message=b"),
        *("-p", "first_number=3", "-p", "second_number=4"),
    ),
    "essential/pipeline_with_nested_conditions": (),
    "local_execution/pipeline_with_collected_artifacts": (),
    "parallel_and_nested/loop_consume_upstream": (),
    "parallel_and_nested/pipeline_in_pipeline_complex": (),
}
FAILING = ("failing/fail_v2", "failing/pipeline_with_exit_handler")


def run(name: str, arguments: tuple[str, ...], tmp_path: Path) -> tuple[int, str, StoredRun]:
    file = FIXTURES / f"{name}.yaml"
    if not file.exists():
        pytest.skip(f"no fixture {name}.yaml beside the project")
    data = tmp_path / "data"
    command: tuple[str | Path, ...] = (
        "local",
        "run",
        file,
        "--data-dir",
        data,
        "--pip-install",
        "never",
        *arguments,
    )
    finished = kfp_driver(*command, cwd=tmp_path)
    (stored,) = stored_runs(data)
    return finished.returncode, finished.stdout + finished.stderr, stored


@pytest.mark.parametrize("name", SUCCEEDING)
def test_pipeline_succeeds(name: str, tmp_path: Path) -> None:
    status, output, stored = run(name, SUCCEEDING[name], tmp_path)
    assert status == 0, output
    assert stored.run.state is RuntimeState.SUCCEEDED
    states = {task.state for task in stored.tasks}
    assert states <= {TaskState.SUCCEEDED, TaskState.CACHED, TaskState.SKIPPED}


@pytest.mark.parametrize("name", FAILING)
def test_pipeline_that_is_meant_to_fail_fails(name: str, tmp_path: Path) -> None:
    status, output, stored = run(name, (), tmp_path)
    assert status == 1, output
    assert stored.run.state is RuntimeState.FAILED
    assert TaskState.RUNNING not in {task.state for task in stored.tasks}


def test_sum_is_computed(tmp_path: Path) -> None:
    _, _, stored = run("critical/add_numbers", ("-p", "a=20", "-p", "b=22"), tmp_path)
    assert stored.output("ROOT") == 42


def test_nested_loops_collect_in_order(tmp_path: Path) -> None:
    _, _, stored = run("parameters_complex", (), tmp_path)
    collected = [
        parameter.value
        for task in stored.tasks
        for parameter in task.input_parameters
        if parameter.parameter_key == "nums" and isinstance(parameter.value, list)
    ]
    assert [[8, 10, 12]] * 3 in collected
    assert [2, 4, 6] in collected

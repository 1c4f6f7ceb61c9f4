"""Every fixture pipeline of KFP that one machine can run ends as in KFP.

Oracle: the fixtures of kubeflow/pipelines and what they are meant to do; the tables in
:mod:`tests.conformance.cases` say which are meant to fail and which cannot run on one machine, and why.
"""

import pytest

from kfp_api.messages import TaskState
from local_stack.executor_options import ExecutorMode
from tests.conformance import cases
from tests.conformance.sweep import DOCUMENT, Result, sweep, sweep_sandboxed
from tests.executor_modes import working_mode

pytestmark = [pytest.mark.conformance, pytest.mark.slow, pytest.mark.xdist_group("conformance")]


@pytest.fixture(scope="module", params=[sweep, sweep_sandboxed], ids=["as documented", "in sandboxes"])
def results(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Result]:
    if not cases.PIPELINES.is_dir():
        pytest.skip("no fixture pipelines beside the project")
    working_mode(ExecutorMode.SANDBOX)
    found: dict[str, Result] = request.param(tmp_path_factory.mktemp("sweep"))
    return found


def test_every_pipeline_that_can_run_ends_as_in_kfp(results: dict[str, Result]) -> None:
    different = {
        name: f"{result.state.value}: {result.failure}"
        for name, result in results.items()
        if result.state is not cases.expected_state(name)
    }
    assert different == {}


def test_no_task_is_left_running_and_succeeded_runs_have_no_failed_task(results: dict[str, Result]) -> None:
    for name, result in results.items():
        states = {task.state for task in result.tasks}
        assert TaskState.RUNNING not in states, name
        if name not in cases.FAILS and "retry" not in name and "exit" not in name:
            assert TaskState.FAILED not in states, name


def test_the_tables_name_pipelines_that_exist() -> None:
    if not cases.PIPELINES.is_dir():
        pytest.skip("no fixture pipelines beside the project")
    assert (cases.CANNOT_RUN.keys() | cases.FAILS.keys() | cases.IN_SANDBOX.keys()) <= set(cases.names())


def test_the_document_lists_every_pipeline() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert [name for name in cases.names() if f"| {name} |" not in text] == []

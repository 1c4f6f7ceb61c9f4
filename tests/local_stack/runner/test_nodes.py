"""Oracle: node ids of the worked example and the vectors of spec LAUNCHER E8 and G, taken from Argo."""

import pytest

from local_stack.runner.nodes import Phase, node_id


@pytest.mark.parametrize(
    ("workflow", "node", "expected"),
    [
        ("echo-abc12", "echo-abc12", "echo-abc12"),
        ("echo-abc12", "echo-abc12.root-driver", "echo-abc12-3105445345"),
        ("echo-abc12", "echo-abc12.root", "echo-abc12-3286313516"),
        ("echo-abc12", "echo-abc12.root.echo-driver", "echo-abc12-1422557184"),
        ("echo-abc12", "echo-abc12.root.echo.executor", "echo-abc12-3897287462"),
        ("echo-abc12", "echo-abc12.root.echo.executor(0)", "echo-abc12-3121179173"),
        ("loop-x", "loop-x.root.for-loop-2.iteration-iterations(0:0)", "loop-x-2960836484"),
    ],
)
def test_a_node_id_is_argos(workflow: str, node: str, expected: str) -> None:
    assert node_id(workflow, node) == expected


@pytest.mark.parametrize(
    ("phase", "completed", "fulfilled"),
    [
        (Phase.PENDING, False, False),
        (Phase.RUNNING, False, False),
        (Phase.SUCCEEDED, True, True),
        (Phase.FAILED, True, True),
        (Phase.ERROR, True, True),
        (Phase.SKIPPED, False, True),
        (Phase.OMITTED, False, True),
    ],
)
def test_a_phase_knows_whether_the_node_ran_and_whether_it_is_over(
    phase: Phase, *, completed: bool, fulfilled: bool
) -> None:
    assert (phase.completed, phase.fulfilled) == (completed, fulfilled)

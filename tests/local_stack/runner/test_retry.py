"""Oracle: the decision list of spec LAUNCHER E3.6."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest

from local_stack.runner.errors import NodeError
from local_stack.runner.nodes import Node, NodeType, Phase
from local_stack.runner.retry import Again, GiveUp, decide, parse_retry_strategy, retry_variables

_START = datetime(2026, 1, 1, tzinfo=UTC)


def _attempts(*phases: Phase, seconds: float = 1.0, message: str = "") -> list[Node]:
    return [
        Node(
            id=str(index),
            name=f"n({index})",
            type=NodeType.POD,
            phase=phase,
            message=message,
            started=_START + timedelta(seconds=index * seconds),
            finished=_START + timedelta(seconds=(index + 1) * seconds),
        )
        for index, phase in enumerate(phases)
    ]


def _decide(document: Mapping[str, object], attempts: list[Node]) -> Again | GiveUp:
    now = attempts[-1].finished
    assert now is not None
    return decide(parse_retry_strategy(document), attempts, now=now)


def test_the_limit_counts_retries_not_attempts() -> None:
    strategy = {"limit": "1"}
    assert isinstance(_decide(strategy, _attempts(Phase.FAILED)), Again)
    assert _decide(strategy, _attempts(Phase.FAILED, Phase.FAILED)) == GiveUp("No more retries left")


def test_the_pause_doubles_and_is_capped() -> None:
    strategy = {"backoff": {"duration": "2", "factor": "2", "cap": "5s"}}
    for failures, pause in ((1, 2), (2, 4), (3, 5)):
        attempts = _attempts(*[Phase.FAILED] * failures)
        decision = _decide(strategy, attempts)
        assert attempts[-1].finished is not None
        assert decision == Again(attempts[-1].finished + timedelta(seconds=pause))


def test_max_duration_zero_disables_retries() -> None:
    strategy = {"limit": "3", "backoff": {"duration": "1", "maxDuration": "0"}}
    assert _decide(strategy, _attempts(Phase.FAILED)) == GiveUp("Max duration limit exceeded")


def test_a_pause_beyond_the_max_duration_ends_the_retries() -> None:
    strategy = {"backoff": {"duration": "10", "maxDuration": "5"}}
    decision = _decide(strategy, _attempts(Phase.FAILED))
    assert decision == GiveUp("Backoff would exceed max duration limit")


@pytest.mark.parametrize(
    ("policy", "phase", "again"),
    [
        (None, Phase.FAILED, True),
        (None, Phase.ERROR, False),
        ("OnError", Phase.FAILED, False),
        ("OnError", Phase.ERROR, True),
        ("Always", Phase.ERROR, True),
        ("OnTransientError", Phase.FAILED, False),
    ],
)
def test_the_policy_chooses_which_phases_are_retried(
    policy: str | None, phase: Phase, *, again: bool
) -> None:
    decision = _decide({"limit": 5, "retryPolicy": policy}, _attempts(phase))
    assert isinstance(decision, Again) is again


_OURS = "lastRetry.status == 'Error' || !(lastRetry.message startsWith 'kfp-driver: ')"


@pytest.mark.parametrize(
    ("phase", "message", "again"),
    [
        (Phase.FAILED, "kfp-driver: bad argument", False),
        (Phase.ERROR, "kfp-driver: bad argument", True),
        (Phase.FAILED, "503: busy", True),
    ],
)
def test_the_drivers_retry_expression_spares_its_own_failures(
    phase: Phase, message: str, *, again: bool
) -> None:
    decision = _decide({"limit": 5, "expression": _OURS}, _attempts(phase, message=message))
    assert isinstance(decision, Again) is again


def test_an_expression_may_compare_the_exit_code() -> None:
    attempts = _attempts(Phase.FAILED)
    attempts[0].exit_code = 137
    assert isinstance(_decide({"expression": "asInt(lastRetry.exitCode) == 137"}, attempts), Again)


def test_the_retry_pass_knows_the_last_attempt() -> None:
    attempts = _attempts(Phase.FAILED, message="m", seconds=3)
    attempts[0].exit_code = 2
    assert retry_variables(attempts) == {
        "retries": "1",
        "lastRetry.exitCode": "2",
        "lastRetry.status": "Failed",
        "lastRetry.duration": "3",
        "lastRetry.message": "m",
    }
    assert retry_variables([])["retries"] == "0"


@pytest.mark.parametrize(
    "document",
    [
        {"limit": "x"},
        {"backoff": {"factor": "1.5"}},
        {"backoff": {"duration": "soon"}},
        {"retryPolicy": "No"},
    ],
)
def test_a_strategy_that_argo_refuses_is_an_error(document: dict[str, object]) -> None:
    with pytest.raises(NodeError, match="retryStrategy"):
        parse_retry_strategy(document)


def test_a_pause_beyond_all_measure_is_the_longest_that_go_knows() -> None:
    strategy = {"backoff": {"duration": "1h", "factor": "1000000"}}
    decision = _decide(strategy, _attempts(*[Phase.FAILED] * 300))
    assert isinstance(decision, Again)
    assert decision.at.year - _START.year == 292

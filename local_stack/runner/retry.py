"""Whether and when a failed attempt is repeated (spec LAUNCHER E3.6).

Pure decisions on a finished attempt; the engine waits and starts the next one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from local_stack.runner.agent_errors import is_transient
from local_stack.runner.durations import parse_duration
from local_stack.runner.errors import ExpressionSyntaxError, NodeError
from local_stack.runner.expressions import Operand, evaluate
from local_stack.runner.nodes import Node, Phase

_LONGEST_PAUSE: Final = (2**63 - 1) / 1e9
POLICIES: Final = ("Always", "OnFailure", "OnError", "OnTransientError")


@dataclass(frozen=True, kw_only=True)
class RetryStrategy:
    """A template's ``retryStrategy`` with its tags substituted; times are seconds."""

    limit: int | None = None
    policy: str = "OnFailure"
    duration: float = 0.0
    factor: int = 1
    cap: float | None = None
    max_duration: float | None = None
    expression: str = ""


@dataclass(frozen=True)
class Again:
    """Start another attempt at this time."""

    at: datetime


@dataclass(frozen=True)
class GiveUp:
    """No further attempt; the message joins the attempt's own, when there is one."""

    message: str = ""


def parse_retry_strategy(document: Mapping[str, Any]) -> RetryStrategy:
    """Read a ``retryStrategy``.

    Raises:
        NodeError: a number, duration or policy that Argo would refuse, a fractional factor included.
    """
    backoff = document.get("backoff") or {}
    expression = str(document.get("expression") or "")
    policy = str(document.get("retryPolicy") or ("Always" if expression else "OnFailure"))
    if policy not in POLICIES:
        raise NodeError(f"retryStrategy.retryPolicy {policy!r} is not one of {', '.join(POLICIES)}")
    if document.get("backoff") and backoff.get("duration") in (None, ""):
        raise NodeError("retryStrategy.backoff: no base duration specified")
    return RetryStrategy(
        limit=_integer(document.get("limit"), "limit"),
        policy=policy,
        duration=_seconds(backoff.get("duration"), "backoff.duration") or 0.0,
        factor=max(_integer(backoff.get("factor"), "backoff.factor") or 1, 1),
        cap=_seconds(backoff.get("cap"), "backoff.cap"),
        max_duration=_seconds(backoff.get("maxDuration"), "backoff.maxDuration"),
        expression=expression,
    )


def decide(strategy: RetryStrategy, attempts: Sequence[Node], *, now: datetime) -> Again | GiveUp:
    """What follows the last of ``attempts``, which ended Failed or Error."""
    last = attempts[-1]
    deadline = None
    if strategy.max_duration is not None:
        deadline = attempts[0].started + timedelta(seconds=strategy.max_duration)
        if now > deadline:
            return GiveUp("Max duration limit exceeded")
    wait = _pause(strategy, repetition=len(attempts) - 1)
    if strategy.cap is not None:
        wait = min(wait, strategy.cap)
    at = (last.finished or now) + timedelta(seconds=wait)
    if deadline is not None and at > deadline:
        return GiveUp("Backoff would exceed max duration limit")
    if not _policy_allows(strategy.policy, last):
        return GiveUp()
    if strategy.limit is not None and len(attempts) > strategy.limit:
        return GiveUp("No more retries left")
    if strategy.expression and not _expression_holds(strategy.expression, attempts):
        return GiveUp("retryStrategy.expression evaluated to false")
    return Again(at)


def _pause(strategy: RetryStrategy, *, repetition: int) -> float:
    """Seconds before a repetition: growing by the factor, up to what Go's durations hold."""
    try:
        return min(strategy.duration * float(strategy.factor) ** repetition, _LONGEST_PAUSE)
    except OverflowError:
        return _LONGEST_PAUSE if strategy.duration else 0.0


def retry_variables(attempts: Sequence[Node]) -> dict[str, str]:
    """Variables of the retry pass for the attempt that follows ``attempts``."""
    last = attempts[-1] if attempts else None
    code = last.exit_code if last and last.exit_code is not None else (-1 if last else 0)
    seconds = int((last.finished - last.started).total_seconds()) if last and last.finished else 0
    return {
        "retries": str(len(attempts)),
        "lastRetry.exitCode": str(code),
        "lastRetry.status": last.phase.value if last else "",
        "lastRetry.duration": str(seconds),
        "lastRetry.message": last.message if last else "",
    }


def _policy_allows(policy: str, last: Node) -> bool:
    if policy == "OnFailure":
        return last.phase is Phase.FAILED
    if policy == "OnError":
        return last.phase is Phase.ERROR
    if policy == "OnTransientError":
        return is_transient(last.message)
    return True


def _expression_holds(expression: str, attempts: Sequence[Node]) -> bool:
    variables = retry_variables(attempts)
    variables["retries"] = str(len(attempts) - 1)

    def word(name: str) -> Operand:
        if name not in variables:
            raise ExpressionSyntaxError(f"retryStrategy.expression: unknown variable {name}")
        return variables[name]

    return evaluate(expression, word=word, functions={"asInt": _as_number, "asFloat": _as_number})


def _as_number(value: Operand) -> Operand:
    try:
        return float(value)
    except ValueError:
        raise ExpressionSyntaxError(f"retryStrategy.expression: {value!r} is not a number") from None


def _integer(value: object, field: str) -> int | None:
    if value in (None, ""):
        return None
    try:
        return int(str(value))
    except ValueError:
        raise NodeError(f"retryStrategy.{field} {str(value)!r} is not an integer") from None


def _seconds(value: object, field: str) -> float | None:
    if value in (None, ""):
        return None
    try:
        return parse_duration(str(value))
    except ValueError as error:
        raise NodeError(f"retryStrategy.{field}: {error}") from error

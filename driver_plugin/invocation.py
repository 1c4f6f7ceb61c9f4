"""One driver call from its arrival to its reply: identity, joining, deadline, outage budget, log.

Promises (decision 11, spec DRIVER 9.2, LAUNCHER D8):

* Work is detached from the HTTP request. A client that goes away cancels nothing.
* A delivery of a call that is at work joins it and gets its reply. Nothing else is remembered: once a call
  has ended, the next delivery runs the driver again, which answers from the stored task row.
* A delivery waits 25 s from its own arrival, then the agent is told to call again.
* While the KFP API or Kubernetes is down the driver is run again, behind those requeue answers, until the
  outage budget is spent. Calls for which there is no room then are put off in the same way: the agent fails a
  node after a few answers 503, and calls again after a requeue however often.
* This is the one place that turns errors into Argo's answers. The stack of a bug stands in the log only.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from driver_plugin.argo.arguments import CallKey, DriverCall, driver_type_of, parse_driver_call
from driver_plugin.argo.driver_type import DriverType
from driver_plugin.argo.replies import REQUEUE, DriverResult, failed, succeeded
from driver_plugin.argo.requests import ExecuteTemplateRequest, WorkflowMetadata
from driver_plugin.errors import (
    ArgumentError,
    DriverError,
    DriverFailure,
    ForbiddenError,
    OverloadedError,
    is_retryable,
)
from driver_plugin.metrics import Metrics
from driver_plugin.settings import Settings
from driver_plugin.system_logs.capture import InvocationLog, current_log
from driver_plugin.system_logs.records import InvocationLogs, describe_call
from kfp_api.errors import KfpApiError
from resolver.errors import ResolutionError

CALL_SECONDS: Final = 25.0
"""How long one delivery waits, from its arrival: below the agent's time-out of 30 s."""

FIRST_OUTAGE_PAUSE: Final = 1.0
LONGEST_OUTAGE_PAUSE: Final = 15.0

Reply = Mapping[str, Any]
Drive = Callable[[DriverCall, InvocationLog], Awaitable[DriverResult]]
"""Runs the driver once. Raises DriverError, ResolutionError or KfpApiError; anything else is a bug."""
GiveUp = Callable[[DriverCall, InvocationLog, str], Awaitable[None]]
"""Marks the call's row FAILED, as far as that can be done, when an outage outlasted its budget."""


@dataclass(frozen=True, kw_only=True)
class Timing:
    """The clock of the calls; tests give a faster one. Seconds."""

    call_seconds: float = CALL_SECONDS
    first_outage_pause: float = FIRST_OUTAGE_PAUSE
    longest_outage_pause: float = LONGEST_OUTAGE_PAUSE
    clock: Callable[[], float] = time.monotonic


@dataclass(frozen=True, kw_only=True)
class _Ended:
    """The end of a call's work."""

    reply: Reply
    upload: asyncio.Task[None] | None
    """The upload of its log, for which a reply waits a moment."""


class Invocations:
    """All driver calls of one process.

    Args:
        drive: Runs the driver.
        give_up: Called when an outage outlasted its budget; nothing by default.
        settings: Binding, limits, outage budget, upload wait.
        logs: Opens and closes the logs of calls.
        metrics: Counters.
        timing: Deadlines and the clock.
    """

    def __init__(
        self,
        drive: Drive,
        *,
        give_up: GiveUp | None = None,
        settings: Settings,
        logs: InvocationLogs,
        metrics: Metrics,
        timing: Timing | None = None,
    ) -> None:
        self._drive = drive
        self._give_up = give_up
        self._settings = settings
        self._logs = logs
        self._metrics = metrics
        self._timing = timing or Timing()
        self._in_flight: dict[CallKey, asyncio.Task[_Ended]] = {}
        self._at_work: dict[str, int] = {}
        self._interrupted: set[CallKey] = set()
        """Calls at work that found the KFP API or Kubernetes down."""
        self._draining = asyncio.Event()

    @property
    def draining(self) -> bool:
        """Whether new calls are refused because the service is stopping."""
        return self._draining.is_set()

    async def execute(self, request: ExecuteTemplateRequest) -> Reply:
        """Answer one delivery of a call of ours.

        Raises:
            ForbiddenError: The call is for another namespace, run or workflow than its caller's.
            OverloadedError: Draining, or too many calls at work; nothing was done.
        """
        arrived = self._timing.clock()
        if request.arguments is None:
            missing = ArgumentError("template.plugin.driver-plugin has no args object")
            return await self._refuse({}, request.workflow, missing, arrived)
        args = request.arguments
        try:
            call = parse_driver_call(args, workflow=request.workflow, settings=self._settings)
        except ForbiddenError:
            raise
        except Exception as error:  # noqa: BLE001 (a bug in here fails the node like any other)
            return await self._refuse(args, request.workflow, error, arrived)
        task = self._in_flight.get(call.key)
        if task is not None:
            self._metrics.joined.labels(call.type).inc()
        elif self._interrupted and not self.draining and not self._has_room(call.namespace):
            self._metrics.requeues.labels(call.type).inc()
            return REQUEUE
        else:
            task = self._admit(call, args)
        return await self._wait(task, call.type, arrived)

    async def drain(self, seconds: float) -> None:
        """Refuse new calls, let those at work end, at most that long; then stop them.

        Calls that only wait for an outage to end are given back to the agent at once.
        """
        self._draining.set()
        tasks = set(self._in_flight.values())
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _admit(self, call: DriverCall, args: Mapping[str, Any]) -> asyncio.Task[_Ended]:
        if self.draining:
            raise OverloadedError("the driver service is stopping")
        if not self._has_room(call.namespace):
            raise OverloadedError("the driver service has too many calls at work")
        task = asyncio.create_task(self._work(call, args), name=f"driver call {call.type}")
        self._in_flight[call.key] = task
        self._at_work[call.namespace] = self._at_work.get(call.namespace, 0) + 1
        self._metrics.in_flight.inc()
        task.add_done_callback(lambda _: self._leave(call))
        return task

    def _has_room(self, namespace: str) -> bool:
        limit = self._settings.max_per_namespace
        return len(self._in_flight) < self._settings.max_concurrency and (
            limit is None or self._at_work.get(namespace, 0) < limit
        )

    def _leave(self, call: DriverCall) -> None:
        del self._in_flight[call.key]
        self._interrupted.discard(call.key)
        self._at_work[call.namespace] -= 1
        if not self._at_work[call.namespace]:
            del self._at_work[call.namespace]
        self._metrics.in_flight.dec()

    async def _wait(self, task: asyncio.Task[_Ended], call_type: DriverType, arrived: float) -> Reply:
        deadline = arrived + self._timing.call_seconds
        await asyncio.wait({task}, timeout=max(0.0, deadline - self._timing.clock()))
        if not task.done() or task.cancelled():
            self._metrics.requeues.labels(call_type).inc()
            return REQUEUE
        ended = task.result()
        if ended.upload is not None:
            left = deadline - self._timing.clock()
            await asyncio.wait({ended.upload}, timeout=max(0.0, min(self._settings.log_upload_wait, left)))
        return ended.reply

    async def _work(self, call: DriverCall, args: Mapping[str, Any]) -> _Ended:
        log = self._logs.open(args, workflow=_workflow_of(call))
        current_log.set(log)
        log.info("driver call", **describe_call(call))
        for warning in call.warnings:
            log.warning(warning)
        outcome = "running"
        reply: Reply
        started = self._timing.clock()
        try:
            result = await self._run(call, log)
            if result is None:
                log.info("given back to the agent, the service is stopping")
                return self._end(log, REQUEUE, outcome)
            reply = _success(call, result, log)
            outcome = "succeeded"
            log.info("driver succeeded", **_describe_result(result))
        except asyncio.CancelledError:
            log.warning("stopped, the service does not wait longer")
            self._logs.close(log, outcome)
            raise
        except Exception as error:  # noqa: BLE001 (the one place where any error becomes an answer)
            outcome = "failed"
            reply = self._failed(call.type, error, log)
        finally:
            self._metrics.calls.labels(call.type, outcome).inc()
            self._metrics.call_seconds.labels(call.type).observe(self._timing.clock() - started)
        return self._end(log, reply, outcome)

    async def _run(self, call: DriverCall, log: InvocationLog) -> DriverResult | None:
        """Run the driver until it ends otherwise than by an outage; ``None`` when draining cut it short."""
        pause = self._timing.first_outage_pause
        down_since: float | None = None
        while True:
            began = self._timing.clock()
            try:
                return await self._drive(call, log)
            except Exception as error:
                cause = _plain(error)
                # The API client has tried for a while before it gave up; that time was outage too.
                down_since = began if down_since is None else down_since
                budget_left = self._settings.outage_budget - (self._timing.clock() - down_since)
                if not is_retryable(cause):
                    raise
                if budget_left <= 0:
                    if self._give_up is not None:
                        await self._give_up(call, log, str(cause))
                    raise
                if self.draining:
                    return None
                log.warning("not available, trying again", error=str(cause), pause_seconds=pause)
                self._metrics.outage_retries.labels(call.type).inc()
                self._interrupted.add(call.key)
            if await self._drained_within(min(pause, budget_left)):
                return None
            pause = min(2 * pause, self._timing.longest_outage_pause)

    async def _drained_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._draining.wait()
        except TimeoutError:
            return False
        return True

    async def _refuse(
        self, args: Mapping[str, Any], workflow: WorkflowMetadata, error: Exception, arrived: float
    ) -> Reply:
        """The failed node for arguments that are no call; logged like any other failure."""
        call_type = driver_type_of(args)
        log = self._logs.open(args, workflow=workflow)
        ended = self._end(log, self._failed(call_type, error, log), "failed")
        self._metrics.calls.labels(call_type or "unknown", "failed").inc()
        if ended.upload is not None:
            left = self._timing.call_seconds - (self._timing.clock() - arrived)
            await asyncio.wait({ended.upload}, timeout=min(self._settings.log_upload_wait, left))
        return ended.reply

    def _failed(self, call_type: DriverType | None, raised: Exception, log: InvocationLog) -> Reply:
        error = _plain(raised)
        expected = isinstance(error, (DriverError, ResolutionError, KfpApiError))
        text = str(error) or type(error).__name__
        if not expected:
            text = "internal error of the driver; its log has the details"
        log.failure("driver failed", error, stack=not expected)
        return failed(
            call_type,
            log.redact(text),
            invocation_id=log.invocation_id,
            result=error.partial if isinstance(error, DriverFailure) else DriverResult(),
            driver_log_uri=log.uri,
        )

    def _end(self, log: InvocationLog, reply: Reply, outcome: str) -> _Ended:
        return _Ended(reply=reply, upload=self._logs.close(log, outcome))


def _plain(error: Exception) -> Exception:
    """The error that counts in an exception group of concurrent reads: one that no retry mends, if any."""
    while isinstance(error, ExceptionGroup):
        error = next((one for one in error.exceptions if not is_retryable(one)), error.exceptions[0])
    return error


def _success(call: DriverCall, result: DriverResult, log: InvocationLog) -> Reply:
    if not result.task_id:
        raise DriverError("execution.TaskID is empty")
    message = f"driver log: {log.uri or f'{log.invocation_id} (not uploaded)'}"
    return succeeded(call.type, result, message=message, driver_log_uri=log.uri)


def _describe_result(result: DriverResult) -> dict[str, Any]:
    return {
        "task_id": result.task_id,
        "iteration_count": result.iteration_count,
        "condition": result.condition,
        "cached": result.cached,
        "pod_spec_patch_bytes": len(result.pod_spec_patch),
    }


def _workflow_of(call: DriverCall) -> WorkflowMetadata:
    return WorkflowMetadata(name=call.workflow_name, namespace=call.namespace, uid=call.workflow_uid)

"""Why a task is as it is: the facts, gathered from its row, its run's pipeline and its driver's log.

The row is the truth about state and inputs. The log adds what no row has: what failed before there was a row,
where a cache hit came from, what was ignored. Nothing here reads all tasks of a run.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from driver_plugin.drivers.facts import shown_value, source_text
from driver_plugin.system_logs.redaction import hide_secret_values, is_secret_key
from driver_plugin.system_logs.store import LogStoreError, StoredLog
from kfp_api.filters import Filter, Predicate, PredicateOperation
from kfp_api.ir.load import Pipeline
from kfp_api.ir.pipeline import TaskSpec
from kfp_api.messages import PipelineTask, Run, TaskPodType, TaskState, TaskType
from kfp_api.wire import UNSET
from propagation.state_rules import dependencies_of
from resolver.scope import ROOT, ScopeError, ScopePath
from troubleshooting.cache_history import Miss, explain_miss
from troubleshooting.finding import FoundTask, row_at
from troubleshooting.reading import DriverLog, read_driver_log
from troubleshooting.remedies import remedy_for
from troubleshooting.source import Source
from troubleshooting.task_logs import executor_pod

_MAX_DEPTH: Final = 64
_LOGS_READ: Final = 20
_LEAVES: Final = (TaskType.RUNTIME, TaskType.IMPORTER)
NOT_STARTED: Final = "NOT STARTED"


@dataclass(frozen=True, kw_only=True)
class Cause:
    """The first thing that went wrong: where, what, and the way out (``""`` when nobody knows one).

    ``output`` are the last lines of what the failed task printed, where its own code failed.
    """

    task: str
    message: str
    advice: str
    output: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class InputFact:
    """One input: its value as it may be shown, and where it came from."""

    name: str
    value: Any
    source: str


@dataclass(frozen=True, kw_only=True)
class CacheFact:
    """The cache decision in words; ``miss`` where there is something to compare."""

    decision: str
    miss: Miss | None = None


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """Everything that ``explain`` tells about one task. Texts are as found; whoever prints cleans them."""

    run: Run
    task: FoundTask
    state: str
    reason: str
    cause: Cause | None = None
    inputs: tuple[InputFact, ...] = ()
    condition: str = ""
    cache: CacheFact | None = None
    driver_log: StoredLog | None = None
    driver_log_missing: str = ""
    task_log: Path | None = None
    """Output of a local run's executor."""
    warnings: tuple[str, ...] = field(default=())


def label(name: str, index: int | None) -> str:
    """A task as people name it: ``train`` or ``train[2]``."""
    return name if index is None else f"{name}[{index}]"


class Explainer:
    """Explains tasks of one run."""

    def __init__(self, source: Source, *, run: Run, pipeline: Pipeline, namespace: str = "") -> None:
        self._client = source.client
        self._logs = source.logs
        self._task_logs = source.task_logs
        self._interrupted = source.interrupted
        self._run = run
        self._pipeline = pipeline
        self._namespace = namespace

    async def first_failure(self) -> FoundTask:
        """The task that failed first; the root where nothing did, or where the root has no row."""
        root = await row_at(self._client, self._run.run_id, ROOT)
        if root is None:
            return FoundTask(scope_path=ROOT, row=None)
        if root.state is not TaskState.FAILED:
            return await self._failed_without_row(root) or FoundTask(scope_path=ROOT, row=root)
        row = await self._deepest_failure(root)
        return FoundTask(scope_path=row.scope_path, row=row, iteration_index=row.iteration_index)

    async def explain(self, task: FoundTask) -> Explanation:
        """All facts about one task."""
        if task.row is not None:
            self._logs.learn_from(task.row)
        elif task.scope_path != ROOT:
            root = await row_at(self._client, self._run.run_id, ROOT)
            if root is not None:
                self._logs.learn_from(root)
        stored, log, missing = await self._log_of(task)
        if task.row is None:
            told = await self._without_row(task, log)
        else:
            told = await self._with_row(task, task.row, log)
        warnings = tuple(_sentence(record.event, record.fields) for record in log.warnings) if log else ()
        return replace(
            told,
            driver_log=stored,
            driver_log_missing=missing,
            task_log=self._task_logs.file_of(task.row, _workflow(log)) if task.row else None,
            warnings=tuple(dict.fromkeys(warnings)),
        )

    async def _failed_without_row(self, root: PipelineTask) -> FoundTask | None:
        """A task whose driver failed before there was a row: only its log tells, and the latest are read."""
        self._logs.learn_from(root)
        try:
            for stored in reversed((await self._logs.of_run(self._run.run_id)).logs[-_LOGS_READ:]):
                log = read_driver_log(await self._logs.read(stored))
                if log.outcome == "failed" and log.header.get("parent_task_id"):
                    found = await self._task_of(log)
                    if found.row is None:
                        return found
        except LogStoreError:
            return None
        return None

    async def _task_of(self, log: DriverLog) -> FoundTask:
        parent = await self._client.get_task(self._run.run_id, str(log.header["parent_task_id"]))
        path = f"{parent.scope_path}.{log.header.get('task_name', '')}"
        number = str(log.header.get("iteration_index", ""))
        index = int(number) if number.isdecimal() else None
        row = await row_at(self._client, self._run.run_id, path, index)
        return FoundTask(scope_path=path, row=row, iteration_index=index)

    async def _with_row(self, task: FoundTask, row: PipelineTask, log: DriverLog | None) -> Explanation:
        cause = await self._cause(row) if row.state is TaskState.FAILED else None
        spec = self._task_spec(row.scope_path)
        return Explanation(
            run=self._run,
            task=task,
            state=row.state.value,
            reason=(row.state is TaskState.RUNNING and self._interrupted) or _reason(row, spec, self._run),
            cause=cause,
            inputs=_inputs(row),
            condition=_condition(row, spec, cause),
            cache=await self._cache(row, spec, log),
        )

    async def _without_row(self, task: FoundTask, log: DriverLog | None) -> Explanation:
        """A task that no driver made a row for: its driver failed early, or was never called."""
        cause: Cause | None = None
        if log is not None and log.error:
            reason = "its driver failed before it could make the task's row"
            cause = _cause_of(label(task.name, task.iteration_index), log.error)
        elif task.scope_path == ROOT:
            reason = f"no driver was called for this run, which is {self._run.state.value}"
            told = (self._run.state_history[-1].error or {}).get("message") if self._run.state_history else ""
            if told:
                cause = _cause_of(self._run.display_name, str(told))
        else:
            reason, cause = await self._not_started(task)
        return Explanation(
            run=self._run,
            task=task,
            state=TaskState.FAILED.value if log is not None and log.error else NOT_STARTED,
            reason=reason,
            cause=cause,
        )

    async def _not_started(self, task: FoundTask) -> tuple[str, Cause | None]:
        parent_path = task.scope_path.rpartition(".")[0]
        parent = await row_at(self._client, self._run.run_id, parent_path)
        if parent is None:
            above = await self.explain(FoundTask(scope_path=parent_path, row=None))
            return f"the enclosing {above.task.name} was not started: {above.reason}", above.cause
        spec = self._task_spec(task.scope_path)
        for name in sorted(dependencies_of(spec)) if spec else ():
            row = await row_at(self._client, self._run.run_id, f"{parent_path}.{name}", task.iteration_index)
            if row is not None and row.state is TaskState.FAILED:
                return f"it waits for {name}, which failed", await self._cause(row)
            if row is None or row.state is not TaskState.SUCCEEDED:
                state = row.state.value if row is not None else NOT_STARTED
                if state not in (TaskState.CACHED.value, TaskState.SKIPPED.value):
                    return f"it waits for {name}, which is {state}", None
        if parent.state is TaskState.FAILED:
            return f"the enclosing {parent.name} failed before", await self._cause(parent)
        return "nothing holds it back: Argo has not called its driver (yet)", None

    async def _cause(self, row: PipelineTask) -> Cause:
        """The first failure below a failed row, or its own."""
        first = await self._deepest_failure(row)
        message = first.status_metadata.message if first.status_metadata else ""
        started = bool(executor_pod(first))
        log: DriverLog | None = None
        if started or not message:
            self._logs.learn_from(first)
            found = FoundTask(scope_path=first.scope_path, row=first, iteration_index=first.iteration_index)
            _, log, _ = await self._log_of(found)
        if not message and log is not None:
            message = log.error
        cause = _cause_of(
            label(first.name, first.iteration_index),
            message or "no message was recorded: the executor's pod ended without a word (evicted, killed?)",
        )
        if not started:
            return cause
        return replace(cause, output=await self._task_logs.ending(first, _workflow(log)))

    async def _deepest_failure(self, row: PipelineTask) -> PipelineTask:
        failed = Predicate(
            operation=PredicateOperation.EQUALS, key="status", int_value=TaskState.FAILED.number
        )
        for _ in range(_MAX_DEPTH):
            if row.type in _LEAVES:
                break
            page = await self._client.list_tasks(
                row.run_id, parent_id=row.task_id, filter=Filter(predicates=[failed])
            )
            if not page.tasks:
                break
            row = min(page.tasks, key=lambda one: (one.end_time is None, one.end_time, one.create_time))
        return row

    async def _log_of(self, task: FoundTask) -> tuple[StoredLog | None, DriverLog | None, str]:
        """The latest log of a task, and why there is none."""
        try:
            parent = await self._parent_id(task)
            if parent is None:
                return None, None, ""
            listing = await self._logs.of_task(
                self._run.run_id,
                parent_task_id=parent,
                name=task.name,
                iteration_index=task.iteration_index,
            )
            if not listing.logs:
                return None, None, self._no_log(task)
            stored = listing.logs[-1]
            return stored, read_driver_log(await self._logs.read(stored)), ""
        except LogStoreError as error:
            return None, None, str(error)

    def _no_log(self, task: FoundTask) -> str:
        if task.row is None:
            return "no driver was called for it, or its log did not arrive"
        return (
            "the log did not arrive (yet): uploads are tried for a minute; the service's standard output has "
            "the same records, and kfp_driver_log_upload_failures_total counts what was given up. Check that "
            f"{self._logs.root} has space and that the service may write there"
        )

    async def _parent_id(self, task: FoundTask) -> str | None:
        """Id of the enclosing row, ``""`` for the root; ``None`` when that row was never made."""
        if task.row is not None:
            return task.row.parent_task_id or ""
        if task.scope_path == ROOT:
            return ""
        parent = await row_at(self._client, self._run.run_id, task.scope_path.rpartition(".")[0])
        return parent.task_id if parent is not None else None

    async def _cache(
        self, row: PipelineTask, spec: TaskSpec | None, log: DriverLog | None
    ) -> CacheFact | None:
        if row.type is not TaskType.RUNTIME or spec is None or row.state is TaskState.SKIPPED:
            return None
        fingerprint = row.cache_fingerprint
        decided = (log.last("cache decision") if log else None) or {}
        if row.state is TaskState.CACHED:
            source = decided.get("source_task_id")
            origin = f" of task {source} in run {decided.get('source_run_id')}" if source else ""
            return CacheFact(decision=f"hit: the outputs{origin} were taken over (fingerprint {fingerprint})")
        if not fingerprint:
            not_used = (log.last("cache not used") if log else None) or {}
            enabled = spec.caching_options.enable_cache
            guess = "the driver did not get that far" if enabled else "caching is not enabled for the task"
            return CacheFact(decision=f"not used: {not_used.get('reason', guess)}")
        namespace = str(log.header.get("namespace", "")) if log else ""
        miss = await explain_miss(
            self._client, self._run, row, self._pipeline, namespace=namespace or self._namespace
        )
        return CacheFact(decision=f"miss (fingerprint {fingerprint})", miss=miss)

    def _task_spec(self, scope_path: str) -> TaskSpec | None:
        try:
            last = ScopePath.from_dot(self._pipeline.spec, scope_path).last
        except ScopeError:
            return None  # a task of another version of the pipeline
        return last.task if last else None


def _workflow(log: DriverLog | None) -> object:
    """Name of the workflow that the log's call belongs to."""
    return log.header.get("workflow") if log is not None else None


def _cause_of(task: str, message: str) -> Cause:
    return Cause(task=task, message=message, advice=remedy_for(message))


def _reason(row: PipelineTask, spec: TaskSpec | None, run: Run) -> str:
    match row.state:
        case TaskState.SUCCEEDED:
            return "it did its work"
        case TaskState.CACHED:
            return "the same work was done before"
        case TaskState.SKIPPED:
            condition = spec.trigger_policy.condition if spec else ""
            if condition:
                return "its condition is false"
            return "it had nothing to do: a loop without items, or everything in it was skipped"
        case TaskState.FAILED:
            return "it failed" if row.type in _LEAVES else "something in it failed"
    if row.type not in _LEAVES:
        return "its tasks are at work"
    if any(pod.type is TaskPodType.EXECUTOR for pod in row.pods):
        return "its executor is at work" if not run.is_finished else "its executor ended without saying how"
    return (
        "its driver is done and its executor has not reported yet: if that lasts, the pod cannot start. "
        "Look at it: kubectl describe pod -l pipeline/runid="
        f"{run.run_id} (unknown image, no node with the resources, missing ConfigMap or Secret)"
    )


def _inputs(row: PipelineTask) -> tuple[InputFact, ...]:
    facts = {
        entry.parameter_key: InputFact(
            name=entry.parameter_key,
            value=shown_value(hide_secret_values({entry.parameter_key: entry.value})[entry.parameter_key]),
            source="parameter of the run"
            if row.type is TaskType.ROOT
            else source_text(entry.type, entry.producer),
        )
        for entry in row.input_parameters
        if entry.value is not UNSET
    }
    for artifact in row.input_artifacts:
        uris = [one.uri or one.name for one in artifact.artifacts]
        facts[artifact.artifact_key] = InputFact(
            name=artifact.artifact_key,
            value=", ".join(uris[:3]) + (f", … ({len(uris)} in all)" if len(uris) > 3 else ""),  # noqa: PLR2004
            source=source_text(artifact.type, artifact.producer),
        )
    return tuple(facts.values())


def _condition(row: PipelineTask, spec: TaskSpec | None, cause: Cause | None) -> str:
    expression = spec.trigger_policy.condition if spec else ""
    if not expression:
        return ""
    if any(
        is_secret_key(entry.parameter_key) and entry.parameter_key in expression
        for entry in row.input_parameters
    ):
        expression = "(compares a secret input)"
    if row.state is TaskState.SKIPPED:
        return f"{expression} is false"
    if cause is not None and "evaluation error" in cause.message:
        return f"{expression} could not be evaluated"
    return expression if row.state is TaskState.FAILED else f"{expression} is true"


def _sentence(event: str, fields: Any) -> str:
    details = ", ".join(f"{key} {value}" for key, value in fields.items() if key != "invocation_id")
    return f"{event} ({details})" if details else event

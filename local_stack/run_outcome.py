"""How a local run ended, and how that is told: tree of tasks, the failure, one line that sums up."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from driver_plugin.system_logs.ending import ending_of_file
from driver_plugin.system_logs.redaction import secret_texts
from kfp_api.messages import PipelineTask
from local_stack.data_directory import DataDirectory
from local_stack.run_logs import link_logs
from local_stack.run_report import show_tasks, shown_path
from local_stack.runner.nodes import Node, NodeType, Phase
from local_stack.runner.pod_process import LocalPods
from local_stack.terminal import Screen, duration_text, task_path


@dataclass(frozen=True, kw_only=True)
class RunOutcome:
    """A finished run. ``cached`` counts tasks that the driver served from the cache."""

    data: DataDirectory
    workflow_name: str
    root: Node
    nodes: Mapping[str, Node]
    tasks: Sequence[PipelineTask]
    pods: LocalPods
    cached: int
    seconds: float

    @property
    def directory(self) -> Path:
        """The run's own directory."""
        return self.data.run(self.workflow_name)


def show_outcome(screen: Screen, outcome: RunOutcome, *, stopped_by: str = "") -> None:
    """Print everything; ``stopped_by`` is the name of the signal that stopped the run, if one did."""
    logs = outcome.directory / "logs"
    driver_logs = link_logs(
        outcome.tasks, logs, driver_logs=outcome.data.driver_logs, task_log=outcome.pods.log_file
    )
    screen.line()
    show_tasks(screen, outcome.tasks, driver_logs=driver_logs)
    screen.line()
    succeeded = outcome.root.phase is Phase.SUCCEEDED
    if not succeeded and not stopped_by:
        _show_failure(screen, outcome, driver_logs)
    verdict = "succeeded" if succeeded else f"stopped by {stopped_by}" if stopped_by else "failed"
    executors = _counted(outcome.pods.started, "executor")
    cached = _counted(outcome.cached, "task")
    screen.line(
        f"run {screen.paint(verdict, 'succeeded' if succeeded else 'failed')} in "
        f"{duration_text(outcome.seconds)}: {executors} started, {cached} served from the cache"
    )
    screen.line(screen.paint(f"logs of drivers and tasks: {shown_path(logs)}", "dim"))


def first_failure(nodes: Mapping[str, Node]) -> Node | None:
    """The pod or plugin call that failed first; attempts that were repeated with success do not count."""
    repaired = {
        child
        for node in nodes.values()
        if node.type is NodeType.RETRY and not node.phase.failed
        for child in node.children
    }
    failed = [
        node
        for node in nodes.values()
        if node.phase.failed
        and node.type not in (NodeType.DAG, NodeType.TASK_GROUP, NodeType.RETRY)
        and node.name not in repaired
    ]
    return min(failed, key=lambda node: node.finished or node.started, default=None)


def _show_failure(screen: Screen, outcome: RunOutcome, driver_logs: Mapping[str, Path]) -> None:
    node = first_failure(outcome.nodes)
    if node is None:
        screen.line(screen.paint(f"failed: {outcome.root.message}", "failed"))
        return
    row = next((task for task in outcome.tasks if any(pod.name == node.id for pod in task.pods)), None)
    name = task_path(outcome.workflow_name, node.name)
    screen.line(screen.paint(f"task {name} failed: {_message(node, row)}", "failed"))
    log = outcome.pods.log_file(node.id)
    if log.exists():
        for line in ending_of_file(log, secrets=_secrets(row)):
            screen.line(screen.paint(f"  | {line}", "dim"))
        screen.line(f"  task log    {shown_path(log)}")
    driver_log = node.outputs.get("driver-log-uri") or (driver_logs.get(row.task_id) if row else None)
    if driver_log:
        screen.line(f"  driver log  {shown_path(driver_log)}")
    screen.line()


def _message(node: Node, row: PipelineTask | None) -> str:
    """What went wrong: in the words of the row where the task ended by itself, else in the runner's."""
    told = row.status_metadata.message if row is not None and row.status_metadata is not None else ""
    ended_by_itself = node.exit_code is not None and "not found on this machine" not in node.message
    return told if told and ended_by_itself else node.message


def _secrets(row: PipelineTask | None) -> frozenset[str]:
    """What a task's inputs hold under secret-sounding names."""
    inputs = row.input_parameters if row is not None else []
    return secret_texts({entry.parameter_key: entry.value for entry in inputs})


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"

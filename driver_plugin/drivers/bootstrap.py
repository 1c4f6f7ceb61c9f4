"""From a driver call to the place it means: pipeline, parent row, scope path, task and component.

What every driver needs before it may resolve or write anything (spec DRIVER 3), read as spec DRIVER 14
says: the pipeline once per run, the parent row once, never the rows of the whole run. Specs and rows
found here are shared with other calls and never changed.
"""

from dataclasses import dataclass, field, replace

from driver_plugin.argo.arguments import DriverCall
from driver_plugin.argo.driver_type import DriverType
from driver_plugin.argo.replies import DriverResult
from driver_plugin.drivers.rows import TaskRowWriter
from driver_plugin.drivers.services import DriverServices
from driver_plugin.errors import DriverError
from driver_plugin.hooks.task_plugins import TaskPlugins
from driver_plugin.system_logs.capture import InvocationLog
from kfp_api.ir.pipeline import ComponentSpec, ContainerSpec, PipelineSpec, TaskSpec
from kfp_api.messages import PipelineTask
from kfp_api.run_view import RunView
from resolver.scope import ScopePath


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where in the pipeline a call stands. ``task`` and ``parent`` are ``None`` for the root driver only."""

    spec: PipelineSpec
    scope: ScopePath
    component: ComponentSpec
    task: TaskSpec | None
    parent: PipelineTask | None


@dataclass(kw_only=True)
class Invocation:
    """One driver at work: what it was asked, what it may use, and what it knows so far.

    ``known`` grows while the driver runs; a failing driver still publishes it.
    """

    call: DriverCall
    services: DriverServices
    log: InvocationLog
    run: RunView
    place: Place
    writer: TaskRowWriter
    plugins: TaskPlugins
    known: DriverResult = field(default_factory=DriverResult)

    @property
    def partial(self) -> DriverResult:
        """What is known, with the row's id as soon as there is one."""
        return replace(self.known, task_id=self.writer.task_id)

    def learn(self, *, condition: bool | None = None, iteration_count: int | None = None) -> None:
        """Note what the node may publish even if a later step fails."""
        if condition is not None:
            self.known = replace(self.known, condition=condition)
        if iteration_count is not None:
            self.known = replace(self.known, iteration_count=iteration_count)


async def locate(call: DriverCall, run: RunView) -> Place:
    """The place of a call.

    Raises:
        DriverError: the call names no task, a task that the parent's DAG does not have, or an
            iteration driver of an older workflow.
        ResolutionError: the scope path cannot be followed.
    """
    if call.type is DriverType.ROOT_DAG:
        pipeline = await run.pipeline(full_view=True)
        if pipeline.spec.root is None:
            raise DriverError("pipeline spec is empty")
        return Place(
            spec=pipeline.spec,
            scope=ScopePath.from_dot(pipeline.spec, "root"),
            component=pipeline.spec.root,
            task=None,
            parent=None,
        )
    if not call.task_name:
        raise DriverError("task name for non Root dag could not be resolved")
    if not call.parent_task_id:
        raise DriverError("scope path is empty, first task should be root")
    parent = await run.parent(call.parent_task_id, call.iteration_index)
    spec = (await run.pipeline()).spec
    enclosing = ScopePath.from_dot(spec, parent.scope_path)
    _refuse_iteration_driver(call, parent, enclosing)
    scope = enclosing.push(call.task_name)
    last = scope.last
    if last is None:
        raise DriverError("scope path is empty, first task should be root")
    return Place(spec=spec, scope=scope, component=last.component, task=last.task, parent=parent)


def _refuse_iteration_driver(call: DriverCall, parent: PipelineTask, enclosing: ScopePath) -> None:
    """Older workflows drive a loop once more per iteration, with the loop itself as parent (6.6)."""
    if call.type is not DriverType.DAG or call.iteration_index is None or parent.name != call.task_name:
        return
    dag = enclosing.last.component.dag if enclosing.last else None
    if dag is None or call.task_name not in dag.tasks:
        raise DriverError(
            "iteration drivers are not supported by the native task API; recompile or rewrite the workflow"
        )


def with_pipeline_name_of_spec(call: DriverCall, spec: PipelineSpec, log: InvocationLog) -> DriverCall:
    """The call with the pipeline name of the run's own spec where the argument says something else.

    The name goes into object keys and cache keys, and arguments are written by whoever may create
    workflows (15). ``namespace/<namespace>/pipeline/<name>`` is the server's spelling of the same name.
    """
    own = spec.pipeline_info.name
    given = call.pipeline_name
    if not own or given in (own, f"namespace/{call.namespace}/pipeline/{own.rpartition('/')[2]}"):
        return call
    log.warning("pipeline name differs from the run's spec", argument=given, used=own)
    return replace(call, pipeline_name=own)


def check_call(call: DriverCall, place: Place) -> None:
    """The driver functions' own validation (spec DRIVER 3.1) and the kind of component (3, step 7)."""
    match call.type:
        case DriverType.ROOT_DAG:
            _check_root(call, place)
        case DriverType.DAG:
            _check_dag(call, place)
        case DriverType.CONTAINER:
            if not place.component.executor_label:
                raise DriverError("container driver requires an executor-label component")


def _check_root(call: DriverCall, place: Place) -> None:
    if place.component.dag is None:
        raise DriverError("root driver requires a DAG root component")
    _require(call.pipeline_name, "pipeline name is required")
    _require(call.run_id, "KFP run ID is required")
    if call.runtime_config is None:
        raise DriverError("runtime config is required")
    _require(call.namespace, "namespace is required")
    if call.task_name:
        raise DriverError("task spec is unnecessary")
    if call.iteration_index is not None:
        raise DriverError("iteration index is unnecessary")


def _check_dag(call: DriverCall, place: Place) -> None:
    if place.component.dag is None:
        raise DriverError("dag driver requires a DAG component")
    _require(call.pipeline_name, "pipeline name is required")
    _require(call.run_id, "KFP run ID is required")
    if place.task is None or not place.task.task_info.name:
        raise DriverError("task spec is required")
    if call.runtime_config:
        raise DriverError("runtime config is unnecessary")


def _require(text: str, message: str) -> None:
    if not text:
        raise DriverError(message)


def container_of(place: Place) -> ContainerSpec:
    """The container of the place's executor (3, step 7)."""
    label = place.component.executor_label
    if place.spec.deployment_spec is None:
        raise DriverError("pipeline deployment spec is missing")
    executor = place.spec.executor(label)
    if executor is None:
        raise DriverError(f'container executor "{label}" not found in deployment spec')
    if executor.container is None:
        raise DriverError(f'executor "{label}" does not contain a container spec')
    return executor.container

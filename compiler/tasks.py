"""One KFP task as Argo tasks: its driver, and what the driver's answer releases (spec COMPILER 6.9)."""

from dataclasses import dataclass
from typing import Final

from compiler.argo import (
    PARENT_TASK_ID,
    PARENT_TASK_ID_OUTPUT,
    Json,
    dag_task,
    input_tag,
    parameter,
    parameters,
    succeeded,
    task_output_tag,
    workflow_parameter_tag,
)
from compiler.context import CompileContext
from compiler.errors import CompileError, explained
from compiler.iteration import iterator_template, propagate_iteration_index
from compiler.templates.drivers import (
    CONTAINER_DRIVER,
    DAG_DRIVER,
    container_driver_template,
    dag_driver_template,
)
from compiler.templates.executor import (
    CACHED_DECISION,
    POD_SPEC_PATCH,
    Variant,
    executor_template,
    impl_template,
    metadata_arguments,
    retry_arguments,
)
from compiler.templates.importer import IMPORTER, WORKSPACE_IMPORTER, importer_template
from kfp_api.ir.pipeline import TaskSpec

_DUMMY_IMAGES: Final = frozenset({"argostub/createpvc", "argostub/deletepvc"})


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Where a task stands in its DAG: what it waits for, and the exit task that follows it."""

    dependencies: tuple[str, ...] = ()
    exit_hook: str | None = None


def is_driver_only(context: CompileContext, task: TaskSpec) -> bool:
    """Whether the driver does all the work of the task (PVC creation and deletion)."""
    container = context.containers.get(task.component_ref.name)
    return container is not None and container.image in _DUMMY_IMAGES


def compile_task(context: CompileContext, name: str, task: TaskSpec, placement: Placement) -> list[Json]:
    """The Argo tasks of one KFP task; templates that they need are added on the way.

    Raises:
        CompileError: E14, E24, or a template name that is taken.
    """
    component = task.component_ref.name
    with explained(f'compiling task "{name}"'):
        executes = component in context.containers or component in context.importers
        if task.parameter_iterator is not None:
            if executes:
                raise CompileError(
                    f'iterator on component "{component}", which is not a DAG; use dsl.ParallelFor'
                )
            with explained("iterator task"):
                return [_iterator_task(context, name, task, placement)]
        if component in context.importers:
            return [_importer_task(context, name, task, placement)]
        if component in context.containers:
            return _container_tasks(context, name, task, placement)
        return _dag_tasks(context, name, task, placement)


def dag_driver(context: CompileContext) -> str:
    """Name of the DAG driver's template, which exists afterwards."""
    return context.ensure(DAG_DRIVER, lambda: dag_driver_template(context.identity, context.options))


def _condition(task: TaskSpec, driver: str) -> str:
    return f"{task_output_tag(driver, 'condition')} != false" if task.trigger_policy.condition else ""


def _parent() -> Json:
    return parameter(PARENT_TASK_ID, value=input_tag(PARENT_TASK_ID))


def _with_hook(argo_task: Json, placement: Placement) -> Json:
    """Attach the exit task to the Argo task that does the work, not to its driver."""
    if placement.exit_hook:
        hook = {"template": placement.exit_hook, "arguments": parameters([_parent()])}
        argo_task["hooks"] = {"exit": hook}
    return argo_task


def _dag_tasks(context: CompileContext, name: str, task: TaskSpec, placement: Placement) -> list[Json]:
    driver_name = f"{name}-driver"
    driver = dag_task(
        driver_name,
        template=dag_driver(context),
        depends=succeeded(placement.dependencies),
        arguments=[_parent(), parameter("task-name", value=name)],
    )
    work = dag_task(
        name,
        template=task.component_ref.name,
        depends=succeeded([driver_name]),
        when=_condition(task, driver_name),
        arguments=[
            parameter(PARENT_TASK_ID, value=task_output_tag(driver_name, PARENT_TASK_ID_OUTPUT)),
            parameter("condition", value=task_output_tag(driver_name, "condition")),
        ],
    )
    return [driver, _with_hook(work, placement)]


def _container_tasks(context: CompileContext, name: str, task: TaskSpec, placement: Placement) -> list[Json]:
    component = task.component_ref.name
    arguments = [parameter("task-name", value=name), _parent()]
    if component in context.kubernetes:
        config = workflow_parameter_tag(f"kubernetes-{component}")
        arguments.append(parameter("kubernetes-config", value=config))
    driver_only = is_driver_only(context, task)
    driver_name = name if driver_only else f"{name}-driver"
    driver = dag_task(
        driver_name,
        template=context.ensure(
            CONTAINER_DRIVER, lambda: container_driver_template(context.identity, context.options)
        ),
        depends=succeeded(placement.dependencies),
        arguments=arguments,
    )
    if driver_only:
        if task.trigger_policy.condition:
            context.warn(
                f'task "{name}" only runs in the driver: dependents run even if its condition is false'
            )
        return [driver]
    return [driver, _with_hook(_executor_task(context, name, task, driver_name), placement)]


def _executor_task(context: CompileContext, name: str, task: TaskSpec, driver_name: str) -> Json:
    config = context.kubernetes.get(task.component_ref.name)
    metadata = config.pod_metadata if config else None
    variant = Variant(
        annotations=len(metadata.annotations) if metadata else 0,
        labels=len(metadata.labels) if metadata else 0,
        has_metadata=metadata is not None,
        has_retry=task.retry_policy is not None,
    )
    context.ensure(variant.executor, lambda: executor_template(variant))
    context.ensure(variant.impl, lambda: impl_template(variant, context.options))
    cached = parameter(CACHED_DECISION, value=task_output_tag(driver_name, CACHED_DECISION), default="false")
    arguments = [parameter(POD_SPEC_PATCH, value=task_output_tag(driver_name, POD_SPEC_PATCH)), cached]
    if metadata:
        arguments += metadata_arguments(metadata)
    if task.retry_policy:
        arguments += retry_arguments(
            task.retry_policy,
            parity=context.options.parity,
            warn=lambda text: context.warn(f'task "{name}": {text}'),
        )
    return dag_task(
        name,
        template=variant.executor,
        depends=succeeded([driver_name]),
        when=_condition(task, driver_name),
        arguments=arguments,
    )


def _importer_task(context: CompileContext, name: str, task: TaskSpec, placement: Placement) -> Json:
    if task.trigger_policy.condition:
        raise CompileError(
            "triggerPolicy.condition on importer task is not supported; import outside of the condition"
        )
    component = task.component_ref.name
    workspace = context.importers[component].download_to_workspace
    template = context.ensure(
        WORKSPACE_IMPORTER if workspace else IMPORTER,
        lambda: importer_template(context.identity.pipeline_name, context.options, workspace=workspace),
    )
    # Upstream lets importers start before the tasks that provide their inputs (C-9).
    dependencies = () if context.options.parity else placement.dependencies
    return dag_task(
        name,
        template=template,
        depends=succeeded(dependencies),
        arguments=[
            parameter("task-name", value=name),
            parameter("importer", value=workflow_parameter_tag(f"implementations-{component}")),
            _parent(),
        ],
    )


def _iterator_task(context: CompileContext, name: str, task: TaskSpec, placement: Placement) -> Json:
    component = task.component_ref.name
    dag_driver(context)
    propagate_iteration_index(context, component)
    template = context.add(
        iterator_template(
            f"{component}-{name}-iterator",
            task=name,
            component=component,
            parallelism=task.iterator_policy.parallelism_limit,
            has_condition=bool(task.trigger_policy.condition),
        )
    )
    loop = dag_task(name, template=template, depends=succeeded(placement.dependencies), arguments=[_parent()])
    # Upstream never attaches the hook to a loop, so that its exit task would never run (C-10 c).
    return loop if context.options.parity else _with_hook(loop, placement)

"""The CONTAINER driver: skip, serve from the cache, or hand over to an executor pod (spec DRIVER 7)."""

from dataclasses import replace

from driver_plugin.argo.replies import DriverResult
from driver_plugin.drivers.bootstrap import Invocation, container_of
from driver_plugin.drivers.cache_lookup import CacheDecision, adopted_outputs, look_up, may_use_cache
from driver_plugin.drivers.completion import adopt_outputs, publish, walk_statuses
from driver_plugin.drivers.inputs import TaskInputs, link_inputs, resolve_task_inputs
from driver_plugin.drivers.pipeline_root import pipeline_root
from driver_plugin.drivers.platform_operations import PLATFORM_IMAGES, drive_platform_operation
from driver_plugin.drivers.plugin_steps import end_plugins, write_row
from driver_plugin.drivers.rows import Attempt, now
from driver_plugin.errors import DriverError
from driver_plugin.podspec.names import pvc_names
from driver_plugin.podspec.patch import PatchRequest, build_pod_spec_patch
from driver_plugin.podspec.provision import provision_outputs
from driver_plugin.podspec.workspace import uses_workspace
from kfp_api.ir.executor_input import ExecutorInput
from kfp_api.ir.kubernetes import KubernetesExecutorConfig
from kfp_api.ir.pipeline import ContainerSpec
from kfp_api.messages import InputOutputs, PipelineTask, TaskState
from kfp_api.wire import ValidationError


async def drive_container(work: Invocation) -> DriverResult:
    """Create the row of a container task and decide what Argo does next.

    The row stays RUNNING when an executor follows: its launcher takes over.
    """
    container = container_of(work.place)
    inputs = await resolve_task_inputs(work)
    if container.image in PLATFORM_IMAGES:
        result = await drive_platform_operation(work, container, inputs)
        await end_plugins(work, work.writer.row.state, inputs=inputs)
        return result
    kubernetes_config = _kubernetes_config(work)
    decision = CacheDecision()
    if may_use_cache(work, inputs):
        claims = await pvc_names(
            inputs.context,
            kubernetes_config,
            uses_workspace=uses_workspace(inputs.executor_inputs, work.services.settings.workspace_path),
            run_name=work.call.run_name,
        )
        decision = await look_up(work, inputs, container, claims)
    attempt = await write_row(work, _fields(work, inputs, decision))
    row = work.writer.row
    if attempt is not Attempt.HANDED_OVER:
        await link_inputs(work, inputs)
    if attempt is Attempt.FINISHED:
        return await _answer_from_row(work, inputs, decision)
    result = DriverResult(task_id=row.task_id, condition=inputs.condition)
    if not inputs.triggered:
        await walk_statuses(work.run, row, work.log)
        await end_plugins(work, TaskState.SKIPPED, inputs=inputs)
        return result
    if attempt.writes and decision.hit is not None:
        await publish(work, await adopt_outputs(work, decision.hit))
        await end_plugins(work, TaskState.CACHED, inputs=inputs, outputs=decision.hit.output_artifacts)
        return replace(result, cached=True)
    return replace(
        result,
        pod_spec_patch=await _patch(work, container, inputs, kubernetes_config, decision.fingerprint),
    )


def _fields(work: Invocation, inputs: TaskInputs, decision: CacheDecision) -> PipelineTask:
    if not inputs.triggered:
        return PipelineTask(state=TaskState.SKIPPED, end_time=now(), inputs=inputs.recorded)
    if decision.hit is None:
        return PipelineTask(
            state=TaskState.RUNNING, inputs=inputs.recorded, cache_fingerprint=decision.fingerprint
        )
    outputs = adopted_outputs(
        decision.hit, task_name=work.call.task_name, iteration_index=work.call.iteration_index
    )
    return PipelineTask(
        state=TaskState.CACHED,
        end_time=now(),
        inputs=inputs.recorded,
        outputs=InputOutputs(parameters=outputs.parameters),
        cache_fingerprint=decision.fingerprint,
    )


async def _answer_from_row(work: Invocation, inputs: TaskInputs, decision: CacheDecision) -> DriverResult:
    """The work was done before: repeat what a stop may have left out, answer from the row."""
    row = work.writer.row
    if row.state is TaskState.SKIPPED:
        await walk_statuses(work.run, row, work.log)
        await end_plugins(work, TaskState.SKIPPED, inputs=inputs)
        return DriverResult(task_id=row.task_id, condition=False)
    if row.state is TaskState.CACHED:
        if decision.hit is not None and not row.output_artifacts:
            row = await adopt_outputs(work, decision.hit)
        await publish(work, row)
        await end_plugins(work, TaskState.CACHED, inputs=inputs, outputs=row.output_artifacts)
    return DriverResult(task_id=row.task_id, condition=inputs.condition, cached=True)


async def _patch(
    work: Invocation,
    container: ContainerSpec,
    inputs: TaskInputs,
    kubernetes_config: KubernetesExecutorConfig | None,
    fingerprint: str,
) -> str:
    call, settings = work.call, work.services.settings
    root = await pipeline_root(
        await work.run.facts(),
        pipeline_name=call.pipeline_name,
        run_id=call.run_id,
        namespace=call.namespace,
        launcher_config=work.services.launcher_config,
        log=work.log,
    )
    outputs = provision_outputs(
        pipeline_root=root,
        task_name=call.task_name,
        salt=work.writer.salt,
        component=work.place.component,
        publish_logs=call.publish_logs,
    )
    request = PatchRequest(
        call=call,
        task_id=work.writer.row.task_id,
        container=container,
        component=work.place.component,
        executor_input=ExecutorInput(inputs=inputs.executor_inputs, outputs=outputs),
        fingerprint=fingerprint,
        context=inputs.context,
        kubernetes_config=kubernetes_config,
        launcher_address=settings.api_address,
        launcher_port=settings.api_port,
        launcher_tls=settings.api_tls,
        plugin_env=work.plugins.user_variables(),
        log=work.log,
    )
    return await build_pod_spec_patch(request, settings=settings)


def _kubernetes_config(work: Invocation) -> KubernetesExecutorConfig | None:
    document = work.call.kubernetes_config
    if document is None:
        return None
    try:
        return KubernetesExecutorConfig.parse(document)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise DriverError(
            f'task "{work.call.task_name}": failed to unmarshal Kubernetes config: {where}: {first["msg"]}'
        ) from error

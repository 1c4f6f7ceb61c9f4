"""Creating and deleting volume claims: tasks that the driver itself performs (spec DRIVER 8, PODSPEC 9).

No executor follows, so every step can be repeated: the row comes first, the claim's name derives from run
and task, a claim that exists already or is gone already is success. A claim that is being deleted counts as
gone where a cached one is looked for, and is waited for where its name is needed.

The service acts with its own account. Where it serves callers of many accounts, each write is preceded by the
question whether the caller himself may do it.
"""

import uuid
from typing import Any, Final

from driver_plugin.argo.replies import DriverResult
from driver_plugin.drivers.bootstrap import Invocation
from driver_plugin.drivers.cache_lookup import adopted_outputs, find_hit, may_use_cache
from driver_plugin.drivers.completion import publish, walk_statuses
from driver_plugin.drivers.fingerprint import fingerprint
from driver_plugin.drivers.inputs import TaskInputs, link_inputs
from driver_plugin.drivers.plugin_steps import write_row
from driver_plugin.drivers.rows import Attempt, now
from driver_plugin.errors import DriverError, UnavailableError
from driver_plugin.kubernetes import KubernetesClient, KubernetesConflictError, KubernetesNotFoundError
from driver_plugin.podspec.claim import Values, claim_body, claim_name_inputs, text_input
from kfp_api.ir.pipeline import ComponentSpec, ContainerSpec
from kfp_api.messages import InputOutputs, IOParameter, PipelineTask, TaskState
from kfp_api.wire import UNSET
from propagation.output_identity import output_type_and_producer

CREATE_IMAGE: Final = "argostub/createpvc"
DELETE_IMAGE: Final = "argostub/deletepvc"
PLATFORM_IMAGES: Final = frozenset({CREATE_IMAGE, DELETE_IMAGE})

RUN_LABEL: Final = "pipelines.kubeflow.org/run-id"
TASK_LABEL: Final = "pipelines.kubeflow.org/task-id"

_NAMES: Final = uuid.UUID("6f0b6b0e-5f1e-5c39-9d3f-8f7f0d5f2c11")


async def drive_platform_operation(
    work: Invocation, container: ContainerSpec, inputs: TaskInputs
) -> DriverResult:
    """Perform the operation and end its row; ``cached`` is true only when nothing had to be done."""
    attempt = await write_row(work, PipelineTask(state=TaskState.RUNNING, inputs=inputs.recorded))
    await link_inputs(work, inputs)
    if attempt is not Attempt.FINISHED:
        await work.writer.update(await _perform(work, container, inputs))
    row = work.writer.row
    if container.image == CREATE_IMAGE and row.state is not TaskState.SKIPPED:
        await publish(work, row)
    else:
        await walk_statuses(work.run, row, work.log)
    condition = False if row.state is TaskState.SKIPPED else inputs.condition
    return DriverResult(task_id=row.task_id, condition=condition, cached=row.state is TaskState.CACHED)


async def _perform(work: Invocation, container: ContainerSpec, inputs: TaskInputs) -> PipelineTask:
    """Do what is asked; the final fields of the row."""
    if not inputs.triggered:
        return PipelineTask(state=TaskState.SKIPPED, end_time=now())
    kubernetes = work.services.kubernetes
    if kubernetes is None:
        raise DriverError("volume claims need a Kubernetes cluster, and this driver runs outside one")
    values: Values = {
        key: value
        for key, value in inputs.executor_inputs.parameter_values.items()
        if value is not None and value is not UNSET
    }
    try:
        if container.image == CREATE_IMAGE:
            return await _create(work, kubernetes, container, inputs, values)
        return await _delete(work, kubernetes, values)
    except DriverError as error:
        raise DriverError(f'task "{work.call.task_name}": {error}') from error


async def _create(
    work: Invocation,
    kubernetes: KubernetesClient,
    container: ContainerSpec,
    inputs: TaskInputs,
    values: Values,
) -> PipelineTask:
    explicit, suffix = claim_name_inputs(values)
    name = explicit or _generated_name(work, suffix)
    body = claim_body(
        name,
        values,
        labels={RUN_LABEL: work.call.run_id, TASK_LABEL: work.writer.task_id},
        default_storage_class=work.services.settings.pvc_storage_class,
    )
    key = ""
    # A generated name is this task's own: no other task can have made the same claim.
    if explicit and may_use_cache(work, inputs):
        key = _fingerprint(work, container, inputs)
        hit = await find_hit(work, key)
        if hit is not None and await _exists(work, kubernetes, explicit):
            outputs = adopted_outputs(
                hit, task_name=work.call.task_name, iteration_index=work.call.iteration_index
            )
            return PipelineTask(
                state=TaskState.CACHED, end_time=now(), outputs=outputs, cache_fingerprint=key
            )
    try:
        await _check_caller(work, kubernetes, "create")
        try:
            await kubernetes.create_pvc(work.call.namespace, body)
            work.log.info("claim created", name=name)
        except KubernetesConflictError:
            await _adopt_existing(work, kubernetes, body, explicit=bool(explicit))
    except DriverError as error:
        raise DriverError(f"failed to create pvc: {error}") from error
    return PipelineTask(
        state=TaskState.SUCCEEDED,
        end_time=now(),
        outputs=_name_output(work, name),
        cache_fingerprint=key,
    )


async def _delete(work: Invocation, kubernetes: KubernetesClient, values: Values) -> PipelineTask:
    """Delete the claim. Never from the cache: a second run's claim of that name would stay behind."""
    name = text_input(values, "pvc_name")
    if not name:
        raise DriverError("failed to delete pvc: required parameter pvc_name not provided")
    try:
        await _check_caller(work, kubernetes, "delete", name)
        existed = await kubernetes.delete_pvc(work.call.namespace, name)
    except DriverError as error:
        raise DriverError(f"failed to delete pvc {name}: {error}") from error
    work.log.info("claim deleted", name=name, existed=existed)
    return PipelineTask(state=TaskState.SUCCEEDED, end_time=now())


def _generated_name(work: Invocation, suffix: str) -> str:
    """The same name on every attempt, so that a retry finds the claim of the attempt before."""
    own = uuid.uuid5(_NAMES, f"{work.call.run_id}/{work.writer.task_id}")
    return f"{own}{suffix}"


async def _adopt_existing(
    work: Invocation, kubernetes: KubernetesClient, body: dict[str, Any], *, explicit: bool
) -> None:
    """A claim of that name exists: success if it is this task's, or if the author chose the name."""
    name = body["metadata"]["name"]
    try:
        found = await kubernetes.get_pvc(work.call.namespace, name)
    except KubernetesNotFoundError as error:
        raise UnavailableError(f"{name} existed and was deleted meanwhile") from error
    if _is_terminating(found):
        raise UnavailableError(f"{name} exists and is being deleted; it goes when no pod uses it any more")
    labels = found.get("metadata", {}).get("labels") or {}
    if labels.get(TASK_LABEL) == work.writer.task_id:
        work.log.info("claim exists, made by an earlier attempt", name=name)
        return
    if not explicit:
        raise DriverError(f"{name} exists and belongs to something else")
    there = found.get("spec", {})
    differences = sorted(key for key, value in body["spec"].items() if there.get(key) != value)
    work.log.warning("claim exists and is used as it is", name=name, differences=differences)


async def _exists(work: Invocation, kubernetes: KubernetesClient, name: str) -> bool:
    try:
        found = await kubernetes.get_pvc(work.call.namespace, name)
    except KubernetesNotFoundError:
        found = None
    if found is None or _is_terminating(found):
        work.log.info("cached claim is gone, counted as a miss", name=name)
        return False
    return True


def _is_terminating(claim: dict[str, Any]) -> bool:
    return bool(claim.get("metadata", {}).get("deletionTimestamp"))


async def _check_caller(work: Invocation, kubernetes: KubernetesClient, verb: str, name: str = "") -> None:
    """Whether the caller may do what the service is about to do for him (spec DEPLOY 3.4).

    Raises:
        DriverError: he may not, or it is not known who he is.
    """
    caller = work.call.caller
    if caller is None:
        if work.services.settings.caller_auth == "token-review":
            raise DriverError("the caller is not known")
        # The sidecar acts with the account of the Workflow that calls it.
        return
    review = await kubernetes.review_access(
        caller.user,
        caller.groups,
        verb=verb,
        resource="persistentvolumeclaims",
        namespace=work.call.namespace,
        name=name,
    )
    if not review.allowed:
        raise DriverError(
            f'{caller.user} may not {verb} persistentvolumeclaims in namespace "{work.call.namespace}"'
            f"{': ' if review.reason else ''}{review.reason}"
        )


def _fingerprint(work: Invocation, container: ContainerSpec, inputs: TaskInputs) -> str:
    """The task's fingerprint, made of inputs and container only."""
    assert work.place.task is not None
    return fingerprint(
        task=work.place.task,
        component=ComponentSpec(),
        container=container,
        inputs=inputs.executor_inputs,
        pipeline_name=work.call.pipeline_name,
        pvc_names=(),
        publish_logs=False,
    )


def _name_output(work: Invocation, name: str) -> InputOutputs:
    kind, producer = output_type_and_producer(work.call.task_name, work.call.iteration_index)
    return InputOutputs(
        parameters=[IOParameter(parameter_key="name", value=name, type=kind, producer=producer)]
    )

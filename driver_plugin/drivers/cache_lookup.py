"""Whether a task's work was done before, and a hit's outputs as the task's own (spec DRIVER 7.4, 11.1)."""

from collections.abc import Iterable
from dataclasses import dataclass

from driver_plugin.drivers.bootstrap import Invocation
from driver_plugin.drivers.fingerprint import fingerprint
from driver_plugin.drivers.inputs import TaskInputs
from driver_plugin.errors import DriverError
from driver_plugin.metrics import CacheOutcome
from kfp_api.errors import ApiCredentialError, ApiServerError, ApiUnavailableError, KfpApiError
from kfp_api.ir.pipeline import ContainerSpec
from kfp_api.messages import ArtifactTask, InputOutputs, PipelineTask
from propagation.output_identity import output_type_and_producer


@dataclass(frozen=True, kw_only=True)
class CacheDecision:
    """Fingerprint to record, ``""`` for an uncached task, and the row whose outputs are taken over."""

    fingerprint: str = ""
    hit: PipelineTask | None = None


def may_use_cache(work: Invocation, inputs: TaskInputs) -> bool:
    """Whether the task has a fingerprint at all."""
    task = work.place.task
    if not inputs.triggered:
        return False
    if work.call.cache_disabled:
        decision = CacheOutcome.DISABLED
    elif task is None or not task.caching_options.enable_cache:
        decision = CacheOutcome.NOT_ENABLED
    else:
        return True
    work.services.metrics.cache_decisions.labels(decision).inc()
    work.log.info("cache not used", reason=f"caching is {decision}")
    return False


async def look_up(
    work: Invocation, inputs: TaskInputs, container: ContainerSpec, pvc_names: Iterable[str]
) -> CacheDecision:
    """Fingerprint of the task and the newest succeeded row that has it.

    A lookup that keeps failing is a miss, because caching is an optimisation; a refused credential is a
    mistake of configuration.

    Raises:
        DriverError: the credential is refused (unless the operator made lookups optional), or the
            server does not accept the request.
    """
    place, call = work.place, work.call
    assert place.task is not None
    key = fingerprint(
        task=place.task,
        component=place.component,
        container=container,
        inputs=inputs.executor_inputs,
        pipeline_name=call.pipeline_name,
        pvc_names=pvc_names,
        publish_logs=call.publish_logs,
    )
    return CacheDecision(fingerprint=key, hit=await find_hit(work, key))


async def find_hit(work: Invocation, key: str) -> PipelineTask | None:
    """The newest succeeded row with that fingerprint; raises as :func:`look_up` does."""
    outcome, hit = await _find_tolerantly(work, key)
    work.services.metrics.cache_decisions.labels(outcome).inc()
    if hit is None:
        reason = "no task that succeeded has this fingerprint" if outcome is CacheOutcome.MISS else outcome
        work.log.info("cache decision", hit=False, fingerprint=key, reason=reason)
    else:
        work.log.info(
            "cache decision", hit=True, fingerprint=key, source_run_id=hit.run_id, source_task_id=hit.task_id
        )
    return hit


async def _find_tolerantly(work: Invocation, key: str) -> tuple[CacheOutcome, PipelineTask | None]:
    call = work.call
    try:
        hit = await work.run.client.find_cached_task(
            namespace=call.namespace, cache_fingerprint=key, run_id=call.run_id
        )
    except ApiCredentialError as error:
        if not work.services.settings.cache_lookup_optional:
            raise DriverError(f"failure while finding cached task: {error}") from error
        work.log.warning("cache lookup refused, counted as a miss", error=str(error))
        return CacheOutcome.REFUSED, None
    except (ApiUnavailableError, ApiServerError) as error:
        work.log.warning("cache lookup failed, counted as a miss", error=str(error))
        return CacheOutcome.LOOKUP_FAILED, None
    except KfpApiError as error:
        raise DriverError(f"failure while finding cached task: {error}") from error
    return (CacheOutcome.HIT if hit else CacheOutcome.MISS), hit


def adopted_outputs(source: PipelineTask, *, task_name: str, iteration_index: int | None) -> InputOutputs:
    """The outputs of ``source``, stamped as this task's own; ``source`` stays as it is."""
    kind, producer = output_type_and_producer(task_name, iteration_index)
    stamp = {"type": kind, "producer": producer}
    return InputOutputs(
        parameters=[entry.model_copy(update=stamp) for entry in source.output_parameters],
        artifacts=[entry.model_copy(update=stamp) for entry in source.output_artifacts],
    )


def output_links(outputs: InputOutputs, *, run_id: str, task_id: str) -> list[ArtifactTask]:
    """Links that make the artifacts of ``outputs`` a row's own; artifacts are shared, not copied."""
    return [
        ArtifactTask(
            artifact_id=artifact.artifact_id,
            run_id=run_id,
            task_id=task_id,
            type=entry.type,
            producer=entry.producer,
            key=entry.artifact_key,
        )
        for entry in outputs.artifacts
        for artifact in entry.artifacts
    ]

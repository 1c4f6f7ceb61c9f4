"""The ROOT_DAG driver: the row that stands for the whole run (spec DRIVER 5)."""

from driver_plugin.argo.replies import DriverResult
from driver_plugin.drivers.bootstrap import Invocation
from driver_plugin.drivers.plugin_steps import write_row
from driver_plugin.drivers.republish import republish
from driver_plugin.drivers.rows import Attempt
from driver_plugin.drivers.skeleton import ROOT_NAME
from kfp_api.messages import InputOutputs, IOParameter, IOProducer, IOType, PipelineTask, TaskState


async def drive_root_dag(work: Invocation) -> DriverResult:
    """Create the root row with the run's parameters as they were given; nothing is resolved or checked."""
    call = work.call
    display_name = call.run_display_name or (await work.run.facts()).display_name
    fields = PipelineTask(
        display_name=display_name, state=TaskState.RUNNING, inputs=_inputs(call.runtime_config or {})
    )
    attempt = await write_row(work, fields)
    if attempt in (Attempt.NEW, Attempt.REDELIVERED):
        await republish(work)
    return DriverResult(task_id=work.writer.task_id)


def _inputs(runtime_config: dict[str, object]) -> InputOutputs | None:
    values = runtime_config.get("parameterValues", runtime_config.get("parameter_values"))
    if not isinstance(values, dict):
        return None
    producer = IOProducer(task_name=ROOT_NAME)
    return InputOutputs(
        parameters=[
            IOParameter(
                parameter_key=key, value=values[key], type=IOType.RUNTIME_VALUE_INPUT, producer=producer
            )
            for key in sorted(values)
        ]
    )

"""``kfp.local`` of the published SDK, with the one function repaired in which it fails loops.

When it makes the task of one iteration, ``kfp.local`` of kfp 2.17 replaces more than the iteration's item:
every input that comes from another task's output, and every input that is an outer loop's item, becomes this
loop's item too.
"""

from typing import Any, Final

from kfp.compiler.pipeline_spec_builder import to_protobuf_value
from kfp.local.orchestrator.task_spec_utils import create_parameter_loop_iteration_task_spec
from kfp.pipeline_spec.pipeline_spec_pb2 import PipelineTaskSpec

PUBLISHED: Final = create_parameter_loop_iteration_task_spec


def iteration_task(original_task_spec: Any, loop_item: Any, loop_task_name: str) -> Any:
    """In place of ``create_parameter_loop_iteration_task_spec``: the task of one iteration."""
    del loop_task_name
    task = PipelineTaskSpec()
    task.CopyFrom(original_task_spec)
    item_input = task.parameter_iterator.item_input
    task.ClearField("parameter_iterator")
    task.inputs.parameters[item_input].runtime_value.constant.CopyFrom(to_protobuf_value(loop_item))
    return task

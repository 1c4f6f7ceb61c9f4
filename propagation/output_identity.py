"""Under which type and producer a task records its own outputs (spec DRIVER 7.3, KFP_API 5.1)."""

from kfp_api.messages import IOProducer, IOType


def output_type_and_producer(task_name: str, iteration_index: int | None) -> tuple[IOType, IOProducer]:
    """Type and producer of an output of a leaf task.

    Args:
        task_name: key of the task in its DAG.
        iteration_index: index of the loop iteration that the task belongs to; ``None`` outside loops.
    """
    if iteration_index is None:
        return IOType.OUTPUT, IOProducer(task_name=task_name)
    return IOType.ITERATOR_OUTPUT, IOProducer(task_name=task_name, iteration=iteration_index)

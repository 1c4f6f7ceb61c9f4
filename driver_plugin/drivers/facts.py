"""What a driver's log says of its decisions: where inputs came from, and what a condition compared.

Sources are told at INFO, values only at DEBUG, shortened (spec DEPLOY 9.6). ``kfp-driver explain`` shows the
same facts from the stored rows; the words for sources are in one place, here.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from driver_plugin.system_logs.redaction import redact
from kfp_api.messages import IOProducer, IOType
from kfp_api.wire import UNSET
from resolver.inputs import ResolvedInputs
from resolver.values import go_json

VALUE_LIMIT: Final = 256
"""Characters of a parameter value in a log."""

_SOURCES: Final[Mapping[IOType, str]] = {
    IOType.COMPONENT_DEFAULT_INPUT: "default of the component",
    IOType.TASK_OUTPUT_INPUT: "output of {task}",
    IOType.COMPONENT_INPUT: "input of the enclosing DAG",
    IOType.RUNTIME_VALUE_INPUT: "constant",
    IOType.COLLECTED_INPUTS: "outputs of all iterations of {task}",
    IOType.ITERATOR_INPUT: "item of the loop",
    IOType.ITERATOR_INPUT_RAW: "item of the loop's constant list",
    IOType.TASK_FINAL_STATUS_OUTPUT: "final status of {task}",
}


def source_text(kind: IOType, producer: IOProducer | None) -> str:
    """Where an input came from, in words."""
    task = producer.task_name if producer else ""
    return _SOURCES.get(kind, kind.value).format(task=task or "another task")


def sources(resolved: ResolvedInputs) -> dict[str, Any]:
    """The fields of the record about resolved inputs: source by input, and the number of loop items."""
    # The items of a loop head are many entries of one input; one source stands for all.
    return {
        "parameters": {
            entry.parameter_key: source_text(entry.type, entry.producer) for entry in resolved.parameters
        },
        "artifacts": {
            entry.key: f"{source_text(entry.type, entry.producer)}: {_ids(entry.artifacts)}"
            for entry in resolved.artifacts
        },
        "iteration_count": resolved.iteration_count,
    }


def shown_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Parameter values as a log may show them: long ones shortened; what has no value is left out."""
    return {key: shown_value(value) for key, value in values.items() if value is not UNSET}


def shown_value(value: Any) -> Any:
    """One value; text that says how much is missing where it is longer than the limit."""
    text = value if isinstance(value, str) else go_json(value)
    if len(text) <= VALUE_LIMIT:
        return value
    # Filtered before the cut: half a credential looks like none.
    return f"{redact(text)[:VALUE_LIMIT]}… ({len(text)} characters)"


def _ids(artifacts: Iterable[Any]) -> str:
    ids = [artifact.artifact_id or artifact.name for artifact in artifacts]
    shown = ", ".join(ids[:3])
    return shown if len(ids) <= 3 else f"{shown}, … ({len(ids)} in all)"  # noqa: PLR2004 (a few, then the number)

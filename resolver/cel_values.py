"""JSON data as the CEL library takes it, and its results as JSON data.

Numbers of values are doubles, as in the Go driver, and ``bool`` is never a number. Executor inputs appear
under the names of their protobuf message, with the defaults of members that are not set.
"""

import math
from typing import Any, Final

from pydantic import JsonValue

from kfp_api.ir.executor_input import ArtifactList, ExecutorInputs, RuntimeArtifact, integral
from kfp_api.wire import UNSET, Value
from resolver.errors import ExpressionError
from resolver.values import MAX_NESTING, as_double, next_level, well_formed

_CHARACTERS_PER_ITEM: Final = 16
"""Characters of text that cost an operation on a value about as much as one item of a list."""


class CelConversion:
    """Converts the values of one evaluation; ``weight`` is their size in items of lists and structs."""

    def __init__(self) -> None:
        self.weight = 0

    def value(self, value: Value, levels: int = MAX_NESTING) -> Any:
        """One value.

        Raises:
            InvalidValueError: a number is no double, or nesting is too deep.
        """
        if isinstance(value, bool) or value is None:
            return value
        if value is UNSET:
            return None
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, (int, float)):
            return as_double(value)
        deeper = next_level(levels)
        self.weight += len(value)
        if isinstance(value, list):
            return [self.value(item, deeper) for item in value]
        return {self.text(key): self.value(item, deeper) for key, item in value.items()}

    def text(self, text: str) -> str:
        """A text; lone surrogates are replaced, the library knows characters only."""
        self.weight += len(text) // _CHARACTERS_PER_ITEM
        return well_formed(text)

    def executor_inputs(self, inputs: ExecutorInputs) -> dict[str, Any]:
        """``ExecutorInput.inputs`` as conditions see it."""
        values = {key: value for key, value in inputs.parameter_values.items() if value is not UNSET}
        return {
            "parameters": {},
            "parameter_values": self.value(values, MAX_NESTING + 1),
            "artifacts": {self.text(key): self._artifacts(value) for key, value in inputs.artifacts.items()},
        }

    def _artifacts(self, artifacts: ArtifactList) -> dict[str, Any]:
        return {"artifacts": [self._artifact(artifact) for artifact in artifacts.artifacts]}

    def _artifact(self, artifact: RuntimeArtifact) -> dict[str, Any]:
        schema = artifact.type
        return {
            "name": self.text(artifact.name),
            "type": {
                "schema_title": (schema.schema_title if schema else None) or "",
                "schema_uri": (schema.schema_uri if schema else None) or "",
                "instance_schema": (schema.instance_schema if schema else None) or "",
                "schema_version": schema.schema_version if schema else "",
            },
            "uri": self.text(artifact.uri),
            "metadata": {self.text(key): self.value(value) for key, value in artifact.metadata.items()},
            "custom_path": artifact.custom_path or "",
            "artifact_id": artifact.artifact_id,
        }


def json_result(result: Any, levels: int = MAX_NESTING) -> JsonValue:
    """What CEL yields, as JSON data with integral numbers as ``int``.

    Raises:
        ExpressionError: it is no JSON value.
    """
    if result is None or isinstance(result, (bool, str)):
        return result
    if isinstance(result, (int, float)):
        if not math.isfinite(result):
            raise ExpressionError(f"failed to convert result: {result} is not a JSON number")
        number: int | float = integral(result)
        return number
    deeper = next_level(levels)
    if isinstance(result, list):
        return [json_result(item, deeper) for item in result]
    if isinstance(result, dict) and all(isinstance(key, str) for key in result):
        return {key: json_result(item, deeper) for key, item in result.items()}
    raise ExpressionError(f"failed to convert result: {type(result).__name__} is not a JSON value")

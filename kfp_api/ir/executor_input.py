"""ExecutorInput and ExecutorOutput: what launcher and user code exchange as JSON.

Written in lowerCamelCase with empty members left out. Numbers are doubles on the wire; integral ones
are written without a fraction, because user code tells ``int`` from ``float`` by it (spec PODSPEC 2.6).
"""

import json
import math
from typing import Any, Final

from pydantic import Field, JsonValue

from kfp_api.ir.base import IrModel
from kfp_api.ir.pipeline import ArtifactTypeSchema
from kfp_api.wire import UNSET, Value

DEFAULT_WORKSPACE_PATH: Final = "/kfp-workspace"
"""Where the SDK, in user code, looks for the workspace."""

_INTEGRAL_BELOW: Final = 1e21


class RuntimeArtifact(IrModel):
    """An artifact as user code sees it."""

    name: str = ""
    type: ArtifactTypeSchema | None = None
    uri: str = ""
    metadata: dict[str, Value] = Field(default_factory=dict)
    custom_path: str | None = None
    artifact_id: str = ""


class ArtifactList(IrModel):
    """The artifacts under one key."""

    artifacts: list[RuntimeArtifact] = Field(default_factory=list)


class ExecutorInputs(IrModel):
    """Resolved inputs."""

    parameter_values: dict[str, Value] = Field(default_factory=dict)
    artifacts: dict[str, ArtifactList] = Field(default_factory=dict)


class OutputParameterFile(IrModel):
    """The file that an output parameter is written to."""

    output_file: str = ""


class ExecutorOutputs(IrModel):
    """Provisioned outputs."""

    parameters: dict[str, OutputParameterFile] = Field(default_factory=dict)
    artifacts: dict[str, ArtifactList] = Field(default_factory=dict)
    output_file: str = ""


class ExecutorInput(IrModel):
    """Everything an executor needs to know about its task."""

    inputs: ExecutorInputs | None = None
    outputs: ExecutorOutputs | None = None

    @property
    def parameter_values(self) -> dict[str, Value]:
        """Input parameters by key."""
        return self.inputs.parameter_values if self.inputs else {}

    @property
    def input_artifacts(self) -> dict[str, ArtifactList]:
        """Input artifacts by key."""
        return self.inputs.artifacts if self.inputs else {}


class ExecutorOutput(IrModel):
    """What user code reports when it ends."""

    parameter_values: dict[str, JsonValue] = Field(default_factory=dict)
    artifacts: dict[str, ArtifactList] = Field(default_factory=dict)


def integral(value: Any) -> Any:
    """``value`` with every integral float as ``int`` (``3.0`` becomes ``3``), at any depth.

    Raises:
        ValueError: a number is NaN or infinite, which JSON cannot hold.
    """
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{value} is not a JSON number")
        return int(value) if value.is_integer() and abs(value) < _INTEGRAL_BELOW else value
    if isinstance(value, dict):
        return {key: integral(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [integral(item) for item in value]
    return value


def executor_input_to_json(executor_input: ExecutorInput) -> dict[str, Any]:
    """The executor input as JSON-ready data: camelCase, empty members left out, integral numbers.

    An artifact key with no artifacts stays, as ``{}``: user code then sees an empty list.
    """
    inputs, outputs = executor_input.inputs, executor_input.outputs
    document: dict[str, Any] = {}
    if inputs is not None:
        document["inputs"] = _without_empty(
            {
                "parameterValues": {
                    k: integral(v) for k, v in inputs.parameter_values.items() if v is not UNSET
                },
                "artifacts": {key: _artifact_list(value) for key, value in inputs.artifacts.items()},
            }
        )
    if outputs is not None:
        document["outputs"] = _without_empty(
            {
                "parameters": {
                    key: {"outputFile": value.output_file} for key, value in outputs.parameters.items()
                },
                "artifacts": {key: _artifact_list(value) for key, value in outputs.artifacts.items()},
                "outputFile": outputs.output_file,
            }
        )
    return document


def executor_input_text(executor_input: ExecutorInput) -> str:
    """Compact JSON text of the executor input with sorted keys; non-ASCII characters stay as they are."""
    return json.dumps(
        executor_input_to_json(executor_input), ensure_ascii=False, separators=(",", ":"), sort_keys=True
    )


def _artifact_list(artifacts: ArtifactList) -> dict[str, Any]:
    return _without_empty({"artifacts": [_artifact(artifact) for artifact in artifacts.artifacts]})


def _artifact(artifact: RuntimeArtifact) -> dict[str, Any]:
    document = _without_empty(
        {
            "name": artifact.name,
            "type": artifact.type.to_json() if artifact.type else None,
            "uri": artifact.uri,
            "metadata": {key: integral(value) for key, value in artifact.metadata.items()},
            "artifactId": artifact.artifact_id,
        }
    )
    if artifact.custom_path is not None:
        document["customPath"] = artifact.custom_path
    return document


def _without_empty(document: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if value not in (None, "", [], {})}

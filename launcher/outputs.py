"""What the user's command produced: output parameters and artifacts, read and typed (spec LAUNCHER A8, A9).

Pure reading: files of the executor on one side, API messages on the other. Uploading and publishing is
:mod:`launcher.publisher`'s.
"""

import json
import math
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from pydantic import JsonValue

from kfp_api.ir.executor_input import ExecutorInput, ExecutorOutput, RuntimeArtifact
from kfp_api.ir.pipeline import ComponentSpec, ParameterType
from kfp_api.messages import Artifact, ArtifactType
from launcher.artifact_types import artifact_type
from launcher.causes import cause_of
from launcher.errors import LauncherError
from launcher.executor_input import EXECUTOR_LOGS
from launcher.paths import UnsupportedSchemeError, artifact_path
from resolver.values import InvalidValueError, go_json, parse_json

_METADATA_ONLY: Final = frozenset(
    {ArtifactType.ClassificationMetric, ArtifactType.SlicedClassificationMetric}
)
_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})
_INT64: Final = range(-(2**63), 2**63)
_ROW_BYTES: Final = 64 * 2**20
"""What no KFP API takes as part of a row: parameters larger than that are a mistake."""


@dataclass(frozen=True)
class OutputArtifact:
    """An artifact to publish under ``key``; ``path`` is uploaded to its URI first, where there is one."""

    key: str
    artifact: Artifact
    path: str | None = None


def read_executor_output(path: str) -> ExecutorOutput:
    """The ExecutorOutput that user code wrote; a missing file, or none to write to, is an empty output.

    Raises:
        LauncherError: the file is not an ExecutorOutput.
    """
    if not path:
        return ExecutorOutput()
    try:
        text = _read_text(path)
    except FileNotFoundError:
        return ExecutorOutput()
    except (OSError, ValueError) as error:
        raise LauncherError(f'failed to read ExecutorOutput in file "{path}": {cause_of(error)}') from error
    try:
        output = ExecutorOutput.model_validate(json.loads(text), extra="forbid")
        for name, value in output.parameter_values.items():
            _check_storable(name, value)
    except (ValueError, RecursionError) as error:
        raise LauncherError(
            f'failed to unmarshall ExecutorOutput in file "{path}": {cause_of(error)}'
        ) from error
    return output


def collect_parameters(
    executor_input: ExecutorInput, output: ExecutorOutput, component: ComponentSpec
) -> dict[str, JsonValue]:
    """All output parameters: those in the executor output, and the rest from their files, typed as declared.

    Raises:
        LauncherError: a declared output is missing or does not fit its type.
    """
    values = dict(output.parameter_values)
    provisioned = executor_input.outputs.parameters if executor_input.outputs else {}
    for name, parameter in sorted(provisioned.items()):
        if name in values:
            continue
        definition = component.output_definitions.parameters.get(name)
        if definition is None:
            raise LauncherError(f'failed to find output parameter name="{name}" in component spec')
        declared = definition.declared_type
        described = f'name="{name}" type="{declared}" path="{parameter.output_file}"'
        try:
            text = _read_text(parameter.output_file)
        except (OSError, ValueError) as error:
            raise LauncherError(f"failed to read output parameter {described}: {cause_of(error)}") from error
        try:
            values[name] = text_to_parameter(text, declared)
        except ValueError as error:
            raise LauncherError(f"failed to convert output parameter {described}: {error}") from error
    return dict(sorted(values.items()))


def text_to_parameter(text: str, declared: ParameterType) -> JsonValue:
    """Convert the text of an output file by the declared type; strings are taken verbatim.

    Raises:
        ValueError: the text is no value of that type.
    """
    trimmed = text.strip()
    match declared:
        case ParameterType.STRING:
            return text
        case ParameterType.NUMBER_INTEGER:
            return _integer(trimmed)
        case ParameterType.NUMBER_DOUBLE:
            return _double(trimmed)
        case ParameterType.BOOLEAN:
            if trimmed not in _TRUE | _FALSE:
                raise ValueError(f'"{trimmed}" is not a boolean')
            return trimmed in _TRUE
        case ParameterType.LIST:
            return _json(trimmed, list)
        case ParameterType.STRUCT:
            return _json(trimmed, dict)
        case _:
            raise ValueError(
                "unknown type. Expected STRING, NUMBER_INTEGER, NUMBER_DOUBLE, BOOLEAN, LIST or STRUCT"
            )


def _integer(text: str) -> int:
    if not re.fullmatch(r"[+-]?[0-9]{1,19}", text) or int(text) not in _INT64:
        raise ValueError(f'"{text}" is not a 64-bit integer')
    return int(text)


def _double(text: str) -> float:
    if not re.fullmatch(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", text):
        raise ValueError(f'"{text}" is not a finite decimal number')
    if not math.isfinite(number := float(text)):
        raise ValueError(f'"{text}" is too large for a double')
    return number


def _json(text: str, wanted: type) -> JsonValue:
    try:
        value = parse_json(text)
    except InvalidValueError as error:
        raise ValueError(f"the text is not JSON: {error}") from error
    if isinstance(value, wanted):
        return value
    raise ValueError(f"the text is not a JSON {'list' if wanted is list else 'object'}")


def _check_storable(name: str, value: JsonValue) -> None:
    """Refuse what a parameter cannot hold: NaN, infinities, numbers beyond a double, deep nesting."""
    try:
        go_json(value)
    except InvalidValueError as error:
        raise ValueError(f'parameter "{name}" cannot be stored: {error}') from error


def _read_text(path: str) -> str:
    """The text of a file that may become part of a row.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no regular file, no text, or larger than a row can be.
    """
    if not stat.S_ISREG(Path(path).stat().st_mode):
        raise ValueError("it is no regular file")
    with Path(path).open("rb") as file:
        content = file.read(_ROW_BYTES + 1)
    if len(content) > _ROW_BYTES:
        raise ValueError(f"it is larger than {_ROW_BYTES // 2**20} MiB, make it an artifact instead")
    return content.decode()


def collect_artifacts(
    executor_input: ExecutorInput, output: ExecutorOutput, *, namespace: str, workspace: str
) -> tuple[list[OutputArtifact], list[str]]:
    """The artifacts to publish, and warnings about those that cannot be.

    Raises:
        LauncherError: a declared artifact is missing on the disk, or a metric is not a number.
    """
    found: list[OutputArtifact] = []
    warnings: list[str] = []
    provisioned = executor_input.outputs.artifacts if executor_input.outputs else {}
    for key, artifacts in sorted(provisioned.items()):
        if key == EXECUTOR_LOGS:
            continue
        reported = output.artifacts[key].artifacts if key in output.artifacts else []
        for index, declared in enumerate(artifacts.artifacts):
            merged = _merge(declared, reported[index] if index < len(reported) else None)
            found.extend(
                _publishable(key, merged, namespace=namespace, workspace=workspace, warnings=warnings)
            )
    return found, warnings


def _publishable(
    key: str, artifact: RuntimeArtifact, *, namespace: str, workspace: str, warnings: list[str]
) -> Iterator[OutputArtifact]:
    kind, mark = artifact_type(artifact.type)
    metadata: dict[str, JsonValue] = {**_plain(artifact.metadata), **mark}
    base = Artifact(name=artifact.name or key, type=kind, namespace=namespace, created_at=_now())
    if kind is ArtifactType.Metric:
        yield from _metrics(key, base, metadata, warnings)
        return
    metadata = {name: _finite_or_text(value) for name, value in metadata.items()}
    stored_elsewhere = artifact.uri.startswith("oci://")
    if kind in _METADATA_ONLY and not stored_elsewhere:
        if metadata:
            yield OutputArtifact(key, base.model_copy(update={"metadata": metadata}))
        else:
            warnings.append(f'output "{key}" reported no metrics and is not recorded')
        return
    with_uri = base.model_copy(update={"metadata": metadata, "uri": artifact.uri})
    if stored_elsewhere:
        yield OutputArtifact(key, with_uri)
        return
    try:
        path = artifact_path(artifact, workspace)
    except UnsupportedSchemeError as error:
        warnings.append(f'output "{key}" is not recorded: {error}')
        return
    if not Path(path).exists():
        raise LauncherError(f'declared output artifact "{key}" is missing at "{path}"')
    yield OutputArtifact(key, with_uri, path)


def _metrics(
    key: str, base: Artifact, metadata: Mapping[str, JsonValue], warnings: list[str]
) -> Iterator[OutputArtifact]:
    """One artifact per metric; NaN and infinities cannot be stored."""
    for name, value in metadata.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise LauncherError(f'metric value "{name}" must be a number, got {value!r}')
        number = _double_of(value)
        if not math.isfinite(number):
            warnings.append(f'metric "{name}" of output "{key}" is {number} and is not recorded')
            continue
        changes = {"name": name, "metadata": {name: value}, "number_value": number}
        yield OutputArtifact(key, base.model_copy(update=changes))


def _double_of(number: float) -> float:
    """The number as the double that a metric is."""
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def _merge(declared: RuntimeArtifact, reported: RuntimeArtifact | None) -> RuntimeArtifact:
    """The declared artifact with what user code reported about it."""
    if reported is None:
        return declared
    return declared.model_copy(
        update={
            "uri": reported.uri or declared.uri,
            "metadata": {**declared.metadata, **reported.metadata},
            "custom_path": reported.custom_path or declared.custom_path,
        }
    )


def _plain(metadata: Mapping[str, Any]) -> dict[str, JsonValue]:
    return dict(metadata)


def _finite_or_text(value: JsonValue) -> JsonValue:
    """JSON has no NaN or infinity: in metadata they become text (spec KFP_API 11 rule 9)."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, list):
        return [_finite_or_text(item) for item in value]
    if isinstance(value, dict):
        return {key: _finite_or_text(item) for key, item in value.items()}
    return value

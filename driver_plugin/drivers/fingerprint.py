"""The cache fingerprint of a container task: the exact bytes that are hashed (spec DRIVER 11.2 to 11.5).

Pure functions from data to text. Equal text means "the same work": what is left out (environment,
resources, Kubernetes configuration except volume claims, artifact URIs) may differ between tasks that
share a result. The text is the one that KFP's own driver hashes, so results are shared with it.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from driver_plugin.podspec.provision import EXECUTOR_LOGS
from kfp_api.ir.executor_input import ExecutorInputs
from kfp_api.ir.pipeline import ArtifactTypeSchema, ComponentSpec, ContainerSpec, OutputArtifact, TaskSpec
from kfp_api.wire import UNSET
from resolver.values import go_json

_EXECUTOR_LOGS_SPEC: Final = {"name": EXECUTOR_LOGS, "type": {"schemaTitle": "system.Artifact"}}


def custom_fingerprint(task: TaskSpec) -> str:
    """Fingerprint of a task with a custom cache key: component name and key, and nothing else (11.2)."""
    digest = hashlib.sha256()
    if task.component_ref.name:
        digest.update(task.component_ref.name.encode() + b"\0")
    digest.update(task.caching_options.cache_key.encode())
    return digest.hexdigest()


def fingerprint(
    *,
    task: TaskSpec,
    component: ComponentSpec,
    container: ContainerSpec,
    inputs: ExecutorInputs,
    pipeline_name: str,
    pvc_names: Iterable[str],
    publish_logs: bool,
) -> str:
    """Lowercase hex fingerprint of a task with resolved inputs (11.1 to 11.4).

    ``container`` is the container as written, with its placeholders; order and repetitions of
    ``pvc_names`` do not matter.
    """
    if task.caching_options.cache_key:
        return custom_fingerprint(task)
    parameters = component.output_definitions.parameters
    return hash_cache_key(
        cache_key_text(
            inputs=inputs,
            output_artifacts=output_artifacts_spec(component, publish_logs=publish_logs),
            output_parameters={name: declared.parameter_type.value for name, declared in parameters.items()},
            image=container.image,
            command=[*container.command, *container.args, f"__kfp_pipeline_name={pipeline_name}"],
            pvc_names=pvc_names,
        )
    )


def hash_cache_key(text: str) -> str:
    """Lowercase hex SHA-256 of the key text."""
    return hashlib.sha256(text.encode()).hexdigest()


def cache_key_text(
    *,
    inputs: ExecutorInputs,
    output_artifacts: Mapping[str, Any],
    output_parameters: Mapping[str, str],
    image: str,
    command: Sequence[str],
    pvc_names: Iterable[str],
) -> str:
    """The hashed text: one line of JSON with sorted keys, written as Go's encoder writes it (11.3, 11.4).

    Raises:
        ValueError: a number is not finite.
    """
    container = {"image": image, "cmdArgs": list(command), "pvcNames": sorted(set(pvc_names))}
    artifact_names = {
        key: _without_empty({"artifactNames": [one.artifact_id or one.name for one in value.artifacts]})
        for key, value in inputs.artifacts.items()
    }
    values = {key: value for key, value in inputs.parameter_values.items() if value is not UNSET}
    key = _without_empty(
        {
            "inputArtifactNames": artifact_names,
            "inputParameterValues": values,
            "outputArtifactsSpec": dict(output_artifacts),
            "outputParametersSpec": dict(output_parameters),
        }
    )
    return go_json({**key, "containerSpec": _without_empty(container)})


def output_artifacts_spec(component: ComponentSpec, *, publish_logs: bool) -> dict[str, Any]:
    """Declared output artifacts as the key describes them: name, type and metadata, never a URI."""
    declared = {
        name: _output_artifact(name, artifact)
        for name, artifact in component.output_definitions.artifacts.items()
    }
    return {**declared, EXECUTOR_LOGS: _EXECUTOR_LOGS_SPEC} if publish_logs else declared


def _output_artifact(name: str, artifact: OutputArtifact) -> dict[str, Any]:
    described: dict[str, Any] = {"name": name}
    if artifact.artifact_type is not None:
        described["type"] = _artifact_type(artifact.artifact_type)
    if "metadata" in artifact.model_fields_set:
        described["metadata"] = artifact.metadata
    return described


def _artifact_type(schema: ArtifactTypeSchema) -> dict[str, str]:
    members = {
        "schemaTitle": schema.schema_title,
        "schemaUri": schema.schema_uri,
        "instanceSchema": schema.instance_schema,
        "schemaVersion": schema.schema_version or None,
    }
    return {name: text for name, text in members.items() if text is not None}


def _without_empty(members: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value not in ("", [], {})}

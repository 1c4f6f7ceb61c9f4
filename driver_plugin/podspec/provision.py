"""Where a task's outputs will lie: run root, output URIs, local files (spec PODSPEC 6 and 11.2).

Nothing is written here. The same inputs, the salt among them, give the same URIs, so that a repeated
delivery of one attempt yields the same patch and a new attempt gets fresh places.
"""

import posixpath
from collections.abc import Sequence
from typing import Final

from driver_plugin.podspec.errors import OutputPathError
from kfp_api.ir.executor_input import ArtifactList, ExecutorOutputs, OutputParameterFile, RuntimeArtifact
from kfp_api.ir.pipeline import ArtifactTypeSchema, ComponentSpec

EXECUTOR_LOGS: Final = "executor-logs"
"""Key of the log artifact that a task gets when ``publish_logs`` is on."""

DEFAULT_PIPELINE_ROOT: Final = "minio://mlpipeline/v2/artifacts"

_PARAMETER_DIRECTORY: Final = "/tmp/kfp/outputs"  # noqa: S108 (a path inside the executor's container)
_FALLBACK_METADATA: Final = "/tmp/kfp_outputs/output_metadata.json"  # noqa: S108 (likewise)
_METADATA_FILE: Final = "output_metadata.json"
_LOCAL_MOUNTS: Final = {"gs://": "/gcs/", "minio://": "/minio/", "s3://": "/s3/"}


def run_root(pipeline_root: str, pipeline_name: str, run_id: str) -> str:
    """The root of one run's outputs, query included: ``<root>/<pipeline_name>/<run_id>``.

    An empty ``pipeline_root`` is KFP's default; surrounding white space is dropped, a mounted
    configuration value ends in a newline easily.
    """
    root = pipeline_root.strip() or DEFAULT_PIPELINE_ROOT
    return output_uri(root, [pipeline_name, run_id], keep_query=True)


def output_uri(root: str, parts: Sequence[str], *, keep_query: bool) -> str:
    """``root`` extended by the normalised ``parts``; a query of the root is re-appended or dropped.

    Raises:
        OutputPathError: a part contains ``..``, which would leave the root.
    """
    for part in parts:
        if ".." in part.split("/"):
            raise OutputPathError(f'"{part}" cannot be part of an output path: it contains ".."')
    base, query = root, ""
    if root.count("?") == 1:
        base, query = root.split("?")
    # Joining first keeps a leading slash of a later part from resetting the path.
    path = posixpath.normpath("/" + "/".join(part for part in parts if part)).strip("/")
    uri = f"{base.rstrip('/')}/{path}" if path else base.rstrip("/")
    return f"{uri}?{query}" if query and keep_query else uri


def provision_outputs(
    *, pipeline_root: str, task_name: str, salt: str, component: ComponentSpec, publish_logs: bool
) -> ExecutorOutputs:
    """The ``outputs`` of an executor input: a URI for every artifact, a file for every parameter.

    Args:
        pipeline_root: the run's root, as :func:`run_root` gives it.
        task_name: canonical task key.
        salt: the attempt marker of the task row.
        component: declares the outputs.
        publish_logs: adds the ``executor-logs`` artifact.
    """
    task_root = output_uri(pipeline_root, [task_name, salt], keep_query=False)
    declared = {
        key: (definition.artifact_type, definition.metadata)
        for key, definition in component.output_definitions.artifacts.items()
    }
    if publish_logs:
        declared[EXECUTOR_LOGS] = (ArtifactTypeSchema(schema_title="system.Artifact"), {})
    artifacts = {
        key: ArtifactList(
            artifacts=[
                RuntimeArtifact(
                    name=key,
                    uri=output_uri(task_root, [key], keep_query=False),
                    type=artifact_type,
                    metadata=dict(metadata),
                )
            ]
        )
        for key, (artifact_type, metadata) in declared.items()
    }
    return ExecutorOutputs(
        artifacts=artifacts,
        parameters={
            key: OutputParameterFile(output_file=f"{_PARAMETER_DIRECTORY}/{key}")
            for key in component.output_definitions.parameters
        },
        output_file=_metadata_file(task_root),
    )


def local_path(uri: str) -> str | None:
    """Where the launcher mirrors ``uri`` in the executor's container; ``None`` for an unknown scheme."""
    for scheme, mount in _LOCAL_MOUNTS.items():
        if uri.startswith(scheme):
            return mount + uri.removeprefix(scheme)
    if uri.startswith("oci://"):
        return modelcar_directory(uri) + "/models"
    return uri if uri.startswith("/") else None


def modelcar_directory(uri: str) -> str:
    """The directory that an ``oci://`` image is mounted at: its reference with ``/`` as ``_``."""
    return "/oci/" + uri.removeprefix("oci://").replace("/", "_")


def _metadata_file(task_root: str) -> str:
    directory = local_path(task_root)
    return _FALLBACK_METADATA if directory is None else f"{directory}/{_METADATA_FILE}"

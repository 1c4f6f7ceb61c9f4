"""What becomes of KFP's own fixture pipelines on one machine: parameters, end states, and what cannot run.

A pipeline is expected to succeed, with executors as processes, unless it stands in one of the tables.
``FAILS`` are those that KFP fails too; ``IN_SANDBOX`` are those whose executors need a file system of their
own; ``CANNOT_RUN`` are those that need something no single machine has: an image's own files, a cluster's
API, the internet, packages that are not installed.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from pydantic import JsonValue

from compiler.parameters import declared_parameters
from kfp_api.ir.pipeline import PipelineSpec
from kfp_api.messages import RuntimeState
from kfp_api.wire import UNSET

PIPELINES: Final = Path(__file__).parents[3] / "shared/conformance/pipelines"

FAILS: Final[Mapping[str, str]] = {
    "failing/fail_v2": "its task is meant to fail",
    "failing/pipeline_with_exit_handler": "the guarded task is meant to fail; the exit task succeeds",
    "failing/pipeline_with_multiple_exit_handlers": "guarded tasks are meant to fail",
    "local_execution/local_execution_pipeline_with_ignore_upstream_failure": "the upstream task is meant to "
    "fail; the task that ignores it runs as its exit hook, which does not save the run",
    "pipeline_with_task_using_ignore_upstream_failure": "the upstream task is meant to fail; the task that "
    "ignores it runs as its exit hook, which does not save the run",
    "component_with_metadata_fields": "it takes input artifacts, which no client of KFP can give to a run",
    "pipeline_with_parallelfor_list_artifacts_GH-12033": "KFP compiles no loops over lists of artifacts to "
    "Argo, and neither does this project",
    "input_artifact": "it takes an input artifact, which no client of KFP can give to a run",
    "pipeline_as_exit_task": "the guarded task is meant to fail; the pipeline that is its exit task succeeds",
    "pipeline_with_metadata_fields": "it takes an input artifact, which no client of KFP can give to a run",
    "pipeline_with_task_final_status": "the guarded task is meant to fail; the exit task succeeds",
    "pipeline_with_various_io_types": "it takes input artifacts, which no client of KFP can give to a run",
}

_CLUSTER: Final = "makes volume claims, which need a cluster's API"
_IMAGE: Final = "runs a program that only its image has"
_PACKAGES: Final = "needs Python packages that are not installed here"
_GCS: Final = "reads Google Cloud Storage"

CANNOT_RUN: Final[Mapping[str, str]] = {
    "component_with_task_final_status_GH-12033": "its exit task reads the name of a Vertex AI job",
    "components_with_optional_artifacts": _GCS,
    "container_io": _IMAGE,
    "container_with_artifact_output": _IMAGE,
    "container_with_concat_placeholder": _IMAGE,
    "container_with_if_placeholder": _IMAGE,
    "container_with_placeholder_in_fstring": _IMAGE,
    "critical/modelcar": "mounts a model from an image registry",
    "critical/notebook_component_simple": _PACKAGES,
    "critical/pipeline_with_volume_long_name": _CLUSTER,
    "essential/iris_pipeline_compiled": _PACKAGES,
    "integration/ray_integration_compiled": "needs a Ray cluster",
    "long-running": "sleeps for ten minutes",
    "metrics_visualization_v2": _PACKAGES,
    "notebook_component_mixed": _PACKAGES,
    "parallel_and_nested/parallel_for_mount_pvc": _CLUSTER,
    "pipeline_with_concat_placeholder": "its command is written for an image whose sh is bash",
    "pipeline_with_condition_dynamic_task_output_custom_training_job": "starts a Vertex AI job",
    "pipeline_with_dynamic_task_output_custom_training_job": "starts a Vertex AI job",
    "pipeline_with_importer_and_gcpc_types": _GCS,
    "pipeline_with_volume": _CLUSTER,
    "take_nap_pipeline_root_compiled": "sleeps for 15 minutes",
    "pythonic_artifact_with_single_return": _GCS,
    "two_step_pipeline": _GCS,
    "upload_download_compiled": "reads an object store through a cluster's service",
}

IN_SANDBOX: Final[Mapping[str, str]] = {
    "pipeline_with_secret_as_volume": "with `--executor sandbox`: it mounts a Secret",
}
"""Pipelines that need a file system of their own, and why."""

_SAMPLES: Final[Mapping[str, JsonValue]] = {
    "STRING": "x",
    "NUMBER_INTEGER": 3,
    "NUMBER_DOUBLE": 1.5,
    "BOOLEAN": True,
    "LIST": [1, 2],
    "STRUCT": {"a": 1},
}

SECRETS: Final[Mapping[str, Mapping[str, str]]] = {
    "test-secret-1": {"username": "user1"},
    "test-secret-2": {"password": "psw1"},
    "test-secret-3": {"password": "psw2"},
}
"""Secrets that a pipeline expects its administrator to have made."""


def names() -> list[str]:
    """All fixture pipelines, by path without suffix."""
    return sorted(str(file.relative_to(PIPELINES).with_suffix("")) for file in PIPELINES.rglob("*.yaml"))


def runnable(*, sandbox: bool) -> list[str]:
    """Those that are run, in sandboxes or as processes."""
    return [name for name in names() if name not in CANNOT_RUN and (name in IN_SANDBOX) is sandbox]


def expected_state(name: str) -> RuntimeState:
    """The state in which KFP ends the pipeline's run."""
    return RuntimeState.FAILED if name in FAILS else RuntimeState.SUCCEEDED


def parameters(name: str, spec: PipelineSpec, scratch: Path) -> dict[str, JsonValue]:
    """A value for every parameter that needs one; ``scratch`` is a directory for files."""
    chosen: dict[str, JsonValue] = {
        key: _SAMPLES[parameter.declared_type.value]
        for key, parameter in declared_parameters(spec).items()
        if parameter.default_value is UNSET and not parameter.is_optional
    }
    for key in chosen:
        if key.endswith("_path"):
            chosen[key] = str(scratch / f"{name.replace('/', '-')}-{key}")
    if name == "env-var":
        chosen["env_var"] = "PATH"
    return chosen

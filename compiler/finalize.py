"""What KFP's API server does to a compiled Workflow before it submits it (spec COMPILER 2.4).

A local submitter does the same, and a webhook sees Workflows in this state. The run id is KFP's, not the
uid that Kubernetes gives the Workflow: it replaces ``{{workflow.uid}}`` everywhere, as text.
"""

from copy import deepcopy
from typing import Any, Final

from compiler.argo import RUN_ID_TAG, Json

RUN_ID_LABEL: Final = "pipeline/runid"
RUN_NAME_ANNOTATION: Final = "pipelines.kubeflow.org/run_name"
_NO_SIDECAR: Final = ("sidecar.istio.io/inject", "false")


def finalize_workflow(
    workflow: Json,
    *,
    run_id: str,
    namespace: str,
    display_name: str,
    name: str | None = None,
    service_account: str | None = None,
) -> Json:
    """A copy of the Workflow, bound to its run and ready for submission.

    Args:
        workflow: what ``compile_workflow`` returned.
        run_id: id of the KFP run.
        namespace: namespace of the run.
        display_name: display name of the run.
        name: name of the Workflow; without it, Kubernetes makes one from ``generateName``.
        service_account: the account that the run asks for, if any.
    """
    bound = deepcopy(workflow)
    metadata, spec = bound["metadata"], bound["spec"]
    metadata["namespace"] = namespace
    if name is not None:
        metadata.pop("generateName", None)
        metadata["name"] = name
    if service_account:
        spec["serviceAccountName"] = service_account
    for template in spec["templates"]:
        annotations = template.setdefault("metadata", {}).setdefault("annotations", {})
        annotations.setdefault(*_NO_SIDECAR)
    metadata.setdefault("labels", {})[RUN_ID_LABEL] = run_id
    metadata.setdefault("annotations", {})[RUN_NAME_ANNOTATION] = display_name
    final: Json = _with_run_id(bound, run_id)
    final["spec"].setdefault("podMetadata", {}).setdefault("labels", {})[RUN_ID_LABEL] = run_id
    return final


def _with_run_id(value: Any, run_id: str) -> Any:
    match value:
        case str():
            return value.replace(RUN_ID_TAG, run_id)
        case dict():
            return {_with_run_id(key, run_id): _with_run_id(item, run_id) for key, item in value.items()}
        case list():
            return [_with_run_id(item, run_id) for item in value]
    return value

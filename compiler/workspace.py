"""The run's workspace: a volume claim template from the pipeline config (spec COMPILER 7.2)."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any, Final

from compiler.argo import Json
from compiler.errors import CompileError
from compiler.options import CompilerOptions
from compiler.quantity import Quantity
from compiler.templates.pods import WORKSPACE_CLAIM, serialisation_noise

_PATCHABLE: Final = ("accessModes", "storageClassName")


def volume_claim_templates(pipeline_config: Mapping[str, Any], options: CompilerOptions) -> list[Json]:
    """The claim template of the workspace, or none.

    Raises:
        CompileError: the workspace has no usable size, access mode or storage class (E15).
    """
    workspace = pipeline_config.get("workspace")
    if workspace is None:
        return []
    if not isinstance(workspace, dict):
        raise CompileError("pipelineConfig.workspace: expected an object")
    kubernetes = workspace.get("kubernetes")
    if kubernetes is None and options.parity:
        return []
    spec = _claim_spec(workspace.get("size"), kubernetes or {}, options)
    return [{"metadata": {"name": WORKSPACE_CLAIM}, "spec": spec, **serialisation_noise(options, status={})}]


def _claim_spec(size: object, kubernetes: Mapping[str, Any], options: CompilerOptions) -> Json:
    if not size:
        raise CompileError("workspace size is required but not specified")
    spec = _patched(deepcopy(dict(options.default_workspace)), kubernetes)
    if not spec.get("accessModes"):
        raise CompileError("workspace PVC spec must specify accessModes")
    if spec.get("storageClassName") == "":
        raise CompileError("workspace PVC spec storageClassName must be omitted or set to a non-empty value")
    try:
        quantity = Quantity(str(size))
    except ValueError as error:
        raise CompileError(f"invalid size value for workspace PVC: {error}") from error
    if quantity.value < 0:
        raise CompileError(f"negative size value for workspace PVC: {size}")
    spec.setdefault("resources", {}).setdefault("requests", {})["storage"] = str(quantity)
    return spec


def _patched(spec: Json, kubernetes: Mapping[str, Any]) -> Json:
    patch = kubernetes.get("pvcSpecPatch", kubernetes.get("pvc_spec_patch")) or {}
    if not isinstance(patch, dict):
        raise CompileError("workspace PVC spec patch: expected an object")
    if unknown := sorted(set(patch) - set(_PATCHABLE)):
        raise CompileError(f"unknown fields in PVC spec patch: [{' '.join(unknown)}]")
    modes, storage_class = patch.get("accessModes"), patch.get("storageClassName")
    if modes is not None and not (isinstance(modes, list) and all(isinstance(mode, str) for mode in modes)):
        raise CompileError("workspace PVC spec patch: accessModes is not a list of strings")
    if storage_class is not None and not isinstance(storage_class, str):
        raise CompileError("workspace PVC spec patch: storageClassName is not a string")
    if modes:
        spec["accessModes"] = list(modes)
    if storage_class is not None:
        spec["storageClassName"] = storage_class
    return spec

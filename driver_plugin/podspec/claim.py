"""The PersistentVolumeClaim that a create task asks for, from the task's inputs (spec PODSPEC 9.2)."""

from collections.abc import Mapping
from typing import Any, Final

from pydantic import JsonValue

from driver_plugin.podspec.errors import PodSpecError, naming
from driver_plugin.podspec.quantity import canonical_quantity
from driver_plugin.podspec.volumes import check_access_modes

Values = Mapping[str, JsonValue]
"""Resolved input parameters that have a value."""

_CREATE: Final = "failed to create pvc"
_NO_STORAGE_CLASS: Final = "-"


def claim_body(
    name: str, values: Values, *, labels: Mapping[str, str], default_storage_class: str
) -> dict[str, Any]:
    """The claim as the Kubernetes API wants it.

    Args:
        name: name of the claim.
        values: inputs of the task.
        labels: labels of the claim.
        default_storage_class: the class where the task has no such input; ``-`` leaves the field out, so
            that the cluster's default counts.

    Raises:
        PodSpecError: a required input is missing or an input has the wrong form.
    """
    spec: dict[str, Any] = {
        "accessModes": _access_modes(values),
        "resources": {"requests": {"storage": _size(values)}},
    }
    storage_class = text_input(values, "storage_class_name", default=default_storage_class)
    if "storage_class_name" in values or storage_class != _NO_STORAGE_CLASS:
        spec["storageClassName"] = storage_class
    if volume := text_input(values, "volume_name"):
        spec["volumeName"] = volume
    if (source := values.get("data_source")) is not None:
        spec["dataSource"] = _data_source(source)
    metadata: dict[str, Any] = {"name": name, "labels": dict(labels)}
    if annotations := values.get("annotations"):
        metadata["annotations"] = _annotations(annotations)
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": metadata,
        "spec": spec,
    }


def claim_name_inputs(values: Values) -> tuple[str, str]:
    """Chosen name and suffix of a generated one; at most one of them is not empty.

    Raises:
        PodSpecError: both are given, or one is not a string.
    """
    explicit, suffix = text_input(values, "pvc_name"), text_input(values, "pvc_name_suffix")
    if explicit and suffix:
        raise PodSpecError(
            f"{_CREATE}: at most one of pvc_name and pvc_name_suffix can be non-empty, got "
            f'"{explicit}" and "{suffix}"'
        )
    return explicit, suffix


def text_input(values: Values, key: str, *, default: str = "") -> str:
    """A string among the inputs.

    Raises:
        PodSpecError: it is not a string.
    """
    value = values.get(key, default)
    if not isinstance(value, str):
        raise PodSpecError(f"parameter {key} is not a string: {value}")
    return value


def _access_modes(values: Values) -> list[str]:
    modes = values.get("access_modes")
    if modes is None or modes == []:
        raise PodSpecError(f"{_CREATE}: parameter access_modes not provided")
    if not isinstance(modes, list):
        raise PodSpecError(f"{_CREATE}: parameter access_modes is not a list: {modes}")
    with naming(f"{_CREATE}: parameter access_modes"):
        return check_access_modes(str(mode) for mode in modes)


def _size(values: Values) -> str:
    size = text_input(values, "size")
    if not size:
        raise PodSpecError(f"{_CREATE}: parameter volumeSize not provided")
    with naming(f'failed to parse pvc size "{size}"'):
        return canonical_quantity(size)


def _data_source(source: JsonValue) -> dict[str, str]:
    with naming("failed to build data source"):
        if not isinstance(source, dict):
            raise PodSpecError(f"not an object: {source}")
        known = {key: text_input(source, key) for key in ("apiGroup", "kind", "name") if source.get(key)}
        for key in ("kind", "name"):
            if key not in known:
                raise PodSpecError(f"{key} is missing")
        return known


def _annotations(annotations: JsonValue) -> dict[str, str]:
    if not isinstance(annotations, dict):
        raise PodSpecError(f"{_CREATE}: annotations are not an object: {annotations}")
    texts = {}
    for key, value in annotations.items():
        if not isinstance(value, str):
            raise PodSpecError(f'{_CREATE}: annotation "{key}" is not a string: {value}')
        texts[key] = value
    return texts

"""Image, compute resources and accelerator of main (spec PODSPEC 5.2 to 5.5)."""

from collections.abc import Mapping

from driver_plugin.podspec.errors import PodSpecError, QuantityError
from driver_plugin.podspec.quantity import canonical_quantity, quantity_value
from driver_plugin.podspec.values import JsonObject, without_empty
from kfp_api.ir.pipeline import AcceleratorConfig, ContainerSpec, ResourceSpec
from kfp_api.wire import Value
from resolver.errors import ResolutionError
from resolver.parameters import resolve_parameter_or_pipeline_channel
from resolver.values import value_to_text


def container_image(container: ContainerSpec, values: Mapping[str, Value]) -> str:
    """The image; placeholders in it are replaced by input parameters.

    Raises:
        PodSpecError: the image is empty, or names a parameter that is not there.
    """
    image = _resolved(container.image, values)
    if not image:
        raise PodSpecError("container image is empty")
    return image


def container_resources(container: ContainerSpec, values: Mapping[str, Value]) -> JsonObject:
    """Limits and requests in canonical quantities; ``{}`` when there are none.

    Raises:
        PodSpecError: a quantity cannot be read, or a placeholder names a parameter that is not there.
    """
    spec = container.resources
    if spec is None:
        return {}
    limits = {
        "cpu": _quantity(spec.resource_cpu_limit, _cpu(spec.cpu_limit), values),
        "memory": _quantity(spec.resource_memory_limit, _memory(spec.memory_limit), values),
        **_accelerator(spec, values),
    }
    requests = {
        "cpu": _quantity(spec.resource_cpu_request, _cpu(spec.cpu_request), values),
        "memory": _quantity(spec.resource_memory_request, _memory(spec.memory_request), values),
    }
    return without_empty({"limits": without_empty(limits), "requests": without_empty(requests)})


def _quantity(text: str, legacy: str, values: Mapping[str, Value]) -> str:
    chosen = _resolved(text, values) if text else legacy
    if not text and not legacy:
        return ""
    try:
        return canonical_quantity(chosen)
    except QuantityError as error:
        raise PodSpecError(f"failed to init podSpecPatch: {error}") from error


def _cpu(legacy: float) -> str:
    return value_to_text(legacy) if legacy else ""


def _memory(legacy: float) -> str:
    return f"{value_to_text(legacy)}G" if legacy else ""


def _accelerator(spec: ResourceSpec, values: Mapping[str, Value]) -> dict[str, str]:
    accelerator = spec.accelerator or AcceleratorConfig()
    kind = _resolved(accelerator.resource_type, values) or accelerator.type
    legacy_count = str(accelerator.count) if accelerator.count > 0 else ""
    count = _resolved(accelerator.resource_count, values) or legacy_count
    if not kind or not count:
        return {}
    try:
        whole = quantity_value(count) % 1 == 0
    except QuantityError as error:
        raise PodSpecError(f"failed to init podSpecPatch: accelerator count {error}") from error
    if not whole:
        raise PodSpecError(f'failed to init podSpecPatch: accelerator count "{count}" is not a whole number')
    return {kind: canonical_quantity(count)}


def _resolved(text: str, values: Mapping[str, Value]) -> str:
    try:
        return resolve_parameter_or_pipeline_channel(text, values)
    except ResolutionError as error:
        raise PodSpecError(f"failed to init podSpecPatch: {error}") from error

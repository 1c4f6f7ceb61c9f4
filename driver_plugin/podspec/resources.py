"""Image, compute resources and accelerator of main (spec PODSPEC 5.2 to 5.5)."""

from collections.abc import Mapping

from driver_plugin.podspec.errors import PodSpecError, naming
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
    image = _resolved("container.image", container.image, values)
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

    def quantity(field: str, text: str, legacy: str) -> str:
        field = f"container.resources.{field}"
        chosen = _resolved(field, text, values) if text else legacy
        if not text and not legacy:
            return ""
        with naming(field):
            return canonical_quantity(chosen)

    limits = {
        "cpu": quantity("resourceCpuLimit", spec.resource_cpu_limit, _cpu(spec.cpu_limit)),
        "memory": quantity("resourceMemoryLimit", spec.resource_memory_limit, _memory(spec.memory_limit)),
        **_accelerator(spec, values),
    }
    requests = {
        "cpu": quantity("resourceCpuRequest", spec.resource_cpu_request, _cpu(spec.cpu_request)),
        "memory": quantity(
            "resourceMemoryRequest", spec.resource_memory_request, _memory(spec.memory_request)
        ),
    }
    return without_empty({"limits": without_empty(limits), "requests": without_empty(requests)})


def _cpu(legacy: float) -> str:
    return value_to_text(legacy) if legacy else ""


def _memory(legacy: float) -> str:
    return f"{value_to_text(legacy)}G" if legacy else ""


def _accelerator(spec: ResourceSpec, values: Mapping[str, Value]) -> dict[str, str]:
    accelerator = spec.accelerator or AcceleratorConfig()
    where = "container.resources.accelerator"
    kind = _resolved(f"{where}.resourceType", accelerator.resource_type, values) or accelerator.type
    legacy_count = str(accelerator.count) if accelerator.count > 0 else ""
    count = _resolved(f"{where}.resourceCount", accelerator.resource_count, values) or legacy_count
    if not kind or not count:
        return {}
    with naming(f"{where}.resourceCount"):
        if quantity_value(count) % 1 != 0:
            raise PodSpecError(f'"{count}" is not a whole number')
        return {kind: canonical_quantity(count)}


def _resolved(field: str, text: str, values: Mapping[str, Value]) -> str:
    try:
        return resolve_parameter_or_pipeline_channel(text, values)
    except ResolutionError as error:
        raise PodSpecError(f"{field}: {error}") from error

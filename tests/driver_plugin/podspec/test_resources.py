"""Image, resources and accelerator: spec PODSPEC 5.2 to 5.5. ``upstream`` is KFP's value where it differs."""

from typing import Any

import pytest

from driver_plugin.podspec.errors import PodSpecError
from tests.driver_plugin.podspec.examples import built_patch, main_of

VALUES = {
    "pipelinechannel--cpu": "500m",
    "pipelinechannel--gpus": 2,
    "pipelinechannel--kind": "nvidia.com/gpu",
    "pipelinechannel--half": 0.5,
    "memory": "1.5G",
    "tag": "v2",
}


def channel(name: str) -> str:
    return f"{{{{$.inputs.parameters['{name}']}}}}"


async def resources_of(resources: dict[str, Any]) -> Any:
    patch = await built_patch(container={"resources": resources}, inputs={"parameterValues": VALUES})
    return main_of(patch)["resources"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {}),
        (
            {"memoryLimit": 1.5, "cpuLimit": 2, "memoryRequest": 0, "cpuRequest": 0.0},
            {"limits": {"cpu": "2", "memory": "1500M"}},
        ),
        ({"memoryLimit": 0.65}, {"limits": {"memory": "650M"}}),
        ({"cpuRequest": 0.25}, {"requests": {"cpu": "250m"}}),
        (
            {"resourceMemoryLimit": "1Gi", "memoryLimit": 9, "resourceCpuRequest": "0.5"},
            {"limits": {"memory": "1Gi"}, "requests": {"cpu": "500m"}},
        ),
        ({"resourceCpuLimit": channel("pipelinechannel--cpu")}, {"limits": {"cpu": "500m"}}),
        ({"resourceMemoryRequest": channel("memory")}, {"requests": {"memory": "1500M"}}),
        ({"memoryLimit": 1_000_000}, {"limits": {"memory": "1P"}}),
    ],
)
async def test_resources_when_given(given: dict[str, Any], expected: dict[str, Any]) -> None:
    assert await resources_of(given) == expected


@pytest.mark.parametrize(
    ("accelerator", "limits"),
    [
        ({"resourceType": "nvidia.com/gpu", "resourceCount": "1"}, {"nvidia.com/gpu": "1"}),
        ({"type": "nvidia.com/gpu", "count": "4"}, {"nvidia.com/gpu": "4"}),
        (
            {"type": "old", "count": 9, "resourceType": "nvidia.com/gpu", "resourceCount": "1"},
            {"nvidia.com/gpu": "1"},
        ),
        ({"resourceType": "nvidia.com/gpu"}, None),
        ({"resourceCount": "1"}, None),
        ({"type": "nvidia.com/gpu", "count": 0}, None),
    ],
)
async def test_accelerator_is_a_limit_when_type_and_count_are_there(
    accelerator: dict[str, Any], limits: dict[str, str] | None
) -> None:
    expected = {} if limits is None else {"limits": limits}
    assert await resources_of({"accelerator": accelerator}) == expected


async def test_accelerator_count_of_an_integer_parameter_is_kept_where_upstream_drops_it() -> None:
    accelerator = {
        "resourceType": channel("pipelinechannel--kind"),
        "resourceCount": channel("pipelinechannel--gpus"),
    }
    upstream: dict[str, Any] = {}
    ours = await resources_of({"accelerator": accelerator})
    assert ours == {"limits": {"nvidia.com/gpu": "2"}} != upstream


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"resourceCpuLimit": "1 core"}, 'failed to init podSpecPatch: .*resourceCpuLimit: "1 core"'),
        (
            {"resourceCpuLimit": channel("pipelinechannel--gone")},
            "failed to init podSpecPatch: .*: pipeline channel .*gone.* not found in executorinput",
        ),
        (
            {
                "accelerator": {
                    "resourceType": "nvidia.com/gpu",
                    "resourceCount": channel("pipelinechannel--half"),
                }
            },
            'accelerator.resourceCount: "0.5" is not a whole number',
        ),
    ],
)
async def test_resources_that_cannot_be_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(PodSpecError, match=message):
        await resources_of(given)


@pytest.mark.parametrize(
    ("image", "ours", "upstream"),
    [
        ("repo/app:1", "repo/app:1", "repo/app:1"),
        ("repo/app:" + channel("tag"), "repo/app:v2", "repo/app:" + channel("tag")),
        ("repo/app:" + channel("pipelinechannel--cpu"), "repo/app:500m", "500m"),
    ],
)
async def test_image_keeps_the_text_around_a_placeholder(image: str, ours: str, upstream: str) -> None:
    patch = await built_patch(container={"image": image}, inputs={"parameterValues": VALUES})
    assert main_of(patch)["image"] == ours
    assert (ours == upstream) is ("{{" not in image)


async def test_empty_image_is_refused() -> None:
    with pytest.raises(PodSpecError, match="container image is empty"):
        await built_patch(container={"image": ""})

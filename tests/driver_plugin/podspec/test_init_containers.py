"""Init containers: the example and checks of spec PODSPEC 7.17."""

from typing import Any

import pytest

from driver_plugin.podspec.errors import PodSpecError
from tests.driver_plugin.podspec.examples import RESTRICTED, built_patch, main_of


async def test_example_of_the_specification() -> None:
    patch = await built_patch(
        config={
            "configMapAsVolume": [{"configMapName": "cfg", "mountPath": "/main-cfg"}],
            "initContainers": [
                {
                    "name": "prep",
                    "image": "busybox:1.36",
                    "command": ["sh", "-c"],
                    "args": ["true"],
                    "env": [{"name": "U", "value": "1"}],
                    "volumeMounts": [{"volumeName": "cfg", "mountPath": "/cfg"}],
                    "restartPolicy": "Always",
                    "resources": {"requests": {"cpu": "250m"}, "limits": {"memory": "0.5Gi"}},
                }
            ],
        }
    )
    assert patch["initContainers"] == [
        {
            "name": "prep",
            "image": "busybox:1.36",
            "command": ["sh", "-c"],
            "args": ["true"],
            "env": [{"name": "U", "value": "1"}],
            "volumeMounts": [{"name": "cfg", "mountPath": "/cfg"}],
            "restartPolicy": "Always",
            "resources": {"requests": {"cpu": "250m"}, "limits": {"memory": "512Mi"}},
            "securityContext": RESTRICTED,
        }
    ]


async def test_mount_finds_a_renamed_volume_by_the_name_of_its_object() -> None:
    patch = await built_patch(
        config={
            "secretAsVolume": [{"secretName": "my.secret", "mountPath": "/s"}],
            "initContainers": [
                {
                    "name": "prep",
                    "image": "b",
                    "volumeMounts": [
                        {"volumeName": "my.secret", "mountPath": "/s"},
                        {"volumeName": "gcs-scratch", "mountPath": "/gcs"},
                    ],
                }
            ],
        }
    )
    renamed = main_of(patch)["volumeMounts"][0]["name"]
    assert patch["initContainers"][0]["volumeMounts"] == [
        {"name": renamed, "mountPath": "/s"},
        {"name": "gcs-scratch", "mountPath": "/gcs"},
    ]


RESERVED = ["kfp-launcher", "init", "wait", "main", "supervisor", "oci-0", "oci-prepull-0", "init-artifact-x"]


@pytest.mark.parametrize("name", RESERVED)
async def test_reserved_name_is_refused(name: str) -> None:
    with pytest.raises(
        PodSpecError, match=f'init container name "{name}" conflicts with an existing container in the pod'
    ):
        await built_patch(config={"initContainers": [{"name": name, "image": "b"}]})


@pytest.mark.parametrize("name", ["initial", "oci-models", "waiter", "main-2"])
async def test_similar_name_is_fine(name: str) -> None:
    patch = await built_patch(config={"initContainers": [{"name": name, "image": "b"}]})
    assert patch["initContainers"][0]["name"] == name


@pytest.mark.parametrize(
    ("containers", "message"),
    [
        ([{"image": "b"}], "init container name must not be empty"),
        (
            [{"name": "n", "image": "b"}, {"name": "n", "image": "b"}],
            'init container name "n" conflicts with',
        ),
        ([{"name": "n"}], 'init container "n" must specify an image'),
        (
            [{"name": "n", "image": "b", "restartPolicy": "Never"}],
            'init container "n" restart policy must be "Always", got "Never"',
        ),
        (
            [{"name": "n", "image": "b", "resources": {"requests": {"cpu": "x"}}}],
            'init container "n" has an invalid resource request cpu="x": ',
        ),
        (
            [{"name": "n", "image": "b", "resources": {"limits": {"memory": "y"}}}],
            'init container "n" has an invalid resource limit memory="y": ',
        ),
        (
            [{"name": "n", "image": "b", "env": [{"value": "1"}]}],
            'init container "n" has an environment variable with an empty name',
        ),
        (
            [{"name": "n", "image": "b", "volumeMounts": [{"mountPath": "/x"}]}],
            'init container "n" has a volume mount with an empty volume name',
        ),
        (
            [{"name": "n", "image": "b", "volumeMounts": [{"volumeName": "v", "mountPath": "x"}]}],
            'init container "n" volume mount "v" must use an absolute mount path',
        ),
        (
            [{"name": "n", "image": "b", "volumeMounts": [{"volumeName": "v", "mountPath": "/x"}]}],
            'init container "n" mounts volume "v", which the pod does not have',
        ),
    ],
)
async def test_incomplete_entry_is_refused(containers: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(PodSpecError) as caught:
        await built_patch(config={"initContainers": containers})
    assert message in str(caught.value)

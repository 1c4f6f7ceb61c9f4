"""Names of volumes and places of mounts: spec PODSPEC 7.2 and 2.2. ``upstream`` is KFP's value."""

import re
from typing import Any

import pytest

from driver_plugin.podspec.errors import PodSpecError
from tests.driver_plugin.podspec.examples import built_patch, main_of

LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


async def volumes_and_mounts(config: dict[str, Any]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    patch = await built_patch(config=config)
    return patch["volumes"], main_of(patch)["volumeMounts"]


@pytest.mark.parametrize("name", ["my.secret.example.com", "s" * 100, "gcs-scratch", "kfp-launcher"])
async def test_name_that_no_volume_can_have_is_replaced_by_a_derived_one(name: str) -> None:
    config = {"secretAsVolume": [{"secretName": name, "mountPath": "/s"}]}
    volumes, mounts = await volumes_and_mounts(config)
    ours, upstream = volumes[0]["name"], name
    assert ours != upstream
    assert LABEL.fullmatch(ours)
    assert ours.startswith("secret-")
    assert volumes == [{"name": ours, "secret": {"secretName": name, "optional": False}}]
    assert mounts == [{"name": ours, "mountPath": "/s"}]
    assert await volumes_and_mounts(config) == (volumes, mounts)


async def test_objects_of_one_name_and_different_kinds_get_volumes_of_their_own() -> None:
    volumes, mounts = await volumes_and_mounts(
        {
            "pvcMount": [{"constant": "data", "mountPath": "/p"}],
            "secretAsVolume": [{"secretName": "data", "mountPath": "/s"}],
            "configMapAsVolume": [{"configMapName": "data", "mountPath": "/c"}],
        }
    )
    names = [volume["name"] for volume in volumes]
    assert names[0] == "data"
    assert len(set(names)) == 3
    assert all(LABEL.fullmatch(name) for name in names)
    assert [(mount["name"], mount["mountPath"]) for mount in mounts] == list(
        zip(names, ["/p", "/s", "/c"], strict=True)
    )


async def test_same_object_twice_is_one_volume_with_two_mounts() -> None:
    volumes, mounts = await volumes_and_mounts(
        {
            "secretAsVolume": [
                {"secretName": "s", "mountPath": "/a", "optional": True},
                {"secretName": "s", "mountPath": "/b"},
            ]
        }
    )
    assert volumes == [{"name": "s", "secret": {"secretName": "s", "optional": False}}]
    assert [mount["mountPath"] for mount in mounts] == ["/a", "/b"]


@pytest.mark.parametrize(
    "config",
    [
        {
            "pvcMount": [{"constant": "v", "mountPath": "/p"}],
            "emptyDirMounts": [{"volumeName": "v", "mountPath": "/e"}],
        },
        {
            "genericEphemeralVolume": [{"volumeName": "v", "mountPath": "/p", "size": "1Gi"}],
            "emptyDirMounts": [{"volumeName": "v", "mountPath": "/e"}],
        },
        {
            "emptyDirMounts": [
                {"volumeName": "v", "mountPath": "/e"},
                {"volumeName": "v", "mountPath": "/f", "medium": "Memory"},
            ]
        },
        {"emptyDirMounts": [{"volumeName": "s3-scratch", "mountPath": "/e"}]},
    ],
)
async def test_chosen_name_that_is_taken_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(PodSpecError, match=r"emptyDir volume .* conflicts with"):
        await built_patch(config=config)


async def test_chosen_volume_may_be_mounted_twice() -> None:
    volumes, mounts = await volumes_and_mounts(
        {"emptyDirMounts": [{"volumeName": "v", "mountPath": path} for path in ("/a", "/b", "/b")]}
    )
    assert volumes == [{"name": "v", "emptyDir": {}}]
    assert [mount["mountPath"] for mount in mounts] == ["/a", "/b"]


async def test_two_volumes_at_one_path_are_refused_where_upstream_loses_the_first() -> None:
    with pytest.raises(PodSpecError, match='pvc "a" and pvc "b" are both mounted at /x'):
        await built_patch(
            config={"pvcMount": [{"constant": "a", "mountPath": "/x"}, {"constant": "b", "mountPath": "/x"}]}
        )

"""The run's workspace: rules of spec PODSPEC 5.7."""

from typing import Any

import pytest

from driver_plugin.podspec.errors import PodSpecError
from driver_plugin.podspec.workspace import uses_workspace
from driver_plugin.settings import Settings
from kfp_api.ir.executor_input import ExecutorInputs
from tests.driver_plugin.podspec.examples import built_patch, main_of

USING = {"parameterValues": {"path": "/kfp-workspace/data"}}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("/kfp-workspace", True),
        ("/kfp-workspace/a/b", True),
        ("--dir=/kfp-workspace/a", True),
        ("see /kfp-workspace.", True),
        ("{{$.workspace_path}}/x", True),
        ("a:/kfp-workspace", True),
        ({"deep": ["x", {"path": "/kfp-workspace/y"}]}, True),
        ({"/kfp-workspace/key": 1}, True),
        ("/kfp-workspace2", False),
        ("/kfp-workspace-x/y", False),
        ("https://host/kfp-workspace-x", False),
        ("https://host/kfp-workspace", False),
        ("/data/kfp-workspace", False),
        ("/kfp-workspace.bak", False),
        (["plain", 3, None, True], False),
    ],
)
def test_parameter_needs_the_workspace_when_it_names_a_path_in_it(value: Any, expected: bool) -> None:
    assert uses_workspace(ExecutorInputs(parameter_values={"v": value})) is expected


@pytest.mark.parametrize(("flag", "expected"), [(True, True), (False, False), ("true", False), (None, False)])
def test_artifact_needs_the_workspace_when_any_of_its_list_lies_there(flag: Any, expected: bool) -> None:
    inputs = ExecutorInputs.parse(
        {"artifacts": {"a": {"artifacts": [{"uri": "s3://b"}, {"metadata": {"_kfp_workspace": flag}}]}}}
    )
    assert uses_workspace(inputs) is expected


async def test_workspace_is_the_claim_that_argo_makes() -> None:
    patch = await built_patch(inputs=USING, run_name="wf-x")
    assert patch["volumes"] == [
        {"name": "kfp-workspace", "persistentVolumeClaim": {"claimName": "wf-x-kfp-workspace"}}
    ]
    assert main_of(patch)["volumeMounts"] == [{"name": "kfp-workspace", "mountPath": "/kfp-workspace"}]


async def test_other_workspace_path_is_mounted_where_it_is() -> None:
    patch = await built_patch(
        inputs={"parameterValues": {"path": "/srv/ws/data"}}, settings=Settings(workspace_path="/srv/ws")
    )
    assert main_of(patch)["volumeMounts"] == [{"name": "kfp-workspace", "mountPath": "/srv/ws"}]


async def test_missing_run_name_is_an_error() -> None:
    with pytest.raises(PodSpecError) as caught:
        await built_patch(inputs=USING, run_name="")
    assert str(caught.value) == (
        'task "train": failed to init podSpecPatch: run name is required when workspace is used'
    )


@pytest.mark.parametrize(
    "path", ["/kfp-workspace", "/kfp-workspace/", "/kfp-workspace/sub", "/x/../kfp-workspace"]
)
@pytest.mark.parametrize(
    "config",
    [
        lambda path: {"pvcMount": [{"constant": "p", "mountPath": path}]},
        lambda path: {"emptyDirMounts": [{"volumeName": "e", "mountPath": path}]},
        lambda path: {"secretAsVolume": [{"secretName": "s", "mountPath": path}]},
    ],
    ids=["pvc", "emptyDir", "secret"],
)
async def test_user_mount_inside_the_workspace_is_refused(config: Any, path: str) -> None:
    with pytest.raises(PodSpecError) as caught:
        await built_patch(inputs=USING, config=config(path))
    assert str(caught.value).endswith(
        f"user volume mount at {path} conflicts with workspace mount at /kfp-workspace"
    )


async def test_user_volume_with_the_workspaces_name_is_refused() -> None:
    with pytest.raises(PodSpecError) as caught:
        await built_patch(
            inputs=USING, config={"emptyDirMounts": [{"volumeName": "kfp-workspace", "mountPath": "/e"}]}
        )
    assert str(caught.value).endswith(
        "user volume mount name kfp-workspace conflicts with workspace volume name kfp-workspace"
    )


async def test_mount_beside_the_workspace_is_fine() -> None:
    config = {"pvcMount": [{"constant": "p", "mountPath": "/kfp-workspace2"}]}
    patch = await built_patch(inputs=USING, config=config)
    assert [one["mountPath"] for one in main_of(patch)["volumeMounts"]] == [
        "/kfp-workspace",
        "/kfp-workspace2",
    ]

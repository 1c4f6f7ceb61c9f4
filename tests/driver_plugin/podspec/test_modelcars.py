"""Modelcars: rules of spec PODSPEC 5.6. The scripts run in a real shell, as the kubelet would start them."""

import asyncio
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.driver_plugin.podspec.examples import (
    IDENTITY_ENV,
    RESTRICTED,
    built_patch,
    kubelet_expand,
    main_of,
    patch_text,
)


def artifacts(**uris: list[str]) -> dict[str, Any]:
    return {"artifacts": {key: {"artifacts": [{"uri": uri} for uri in found]} for key, found in uris.items()}}


async def run(script: str) -> subprocess.CompletedProcess[bytes]:
    return await asyncio.to_thread(
        subprocess.run, ["sh", "-c", script], check=False, capture_output=True, timeout=10
    )


def named(containers: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(container for container in containers if container["name"] == name)


async def test_one_model_adds_sidecar_check_and_shared_directory() -> None:
    patch = await built_patch(
        inputs=artifacts(model=["oci://reg.io/team/m:1"]),
        container={"env": [{"name": "A", "value": "1"}]},
        plugin_env=[{"name": "TOKEN", "value": "t"}],
    )
    mount = {"name": "oci-0", "mountPath": "/oci/reg.io_team_m:1", "subPath": "reg.io_team_m:1"}
    assert patch["shareProcessNamespace"] is True
    assert patch["volumes"] == [{"name": "oci-0", "emptyDir": {}}]
    assert main_of(patch)["volumeMounts"] == [mount]
    check = dict(named(patch["initContainers"], "oci-prepull-0"))
    sidecar = dict(named(patch["containers"], "oci-0"))
    assert check.pop("command")[:2] == sidecar.pop("command")[:2] == ["sh", "-c"]
    common = {
        "image": "reg.io/team/m:1",
        "resources": {},
        "env": [{"name": "A", "value": "1"}, *IDENTITY_ENV],
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": RESTRICTED,
    }
    assert check == common | {"name": "oci-prepull-0"}
    assert sidecar == common | {"name": "oci-0", "imagePullPolicy": "IfNotPresent", "volumeMounts": [mount]}
    assert {"name": "TOKEN", "value": "t"} in main_of(patch)["env"]


async def test_each_distinct_image_gets_one_modelcar_whatever_the_order_of_keys() -> None:
    forward = artifacts(a=["oci://r/one", "s3://b/x"], b=["oci://r/two", "oci://r/one"])
    backward = artifacts(b=["oci://r/two", "oci://r/one"], a=["oci://r/one", "s3://b/x"])
    first, second = await built_patch(inputs=forward), await built_patch(inputs=backward)
    for patch in (first, second):
        images = {one["name"]: one["image"] for one in patch["containers"][1:]}
        assert images == {"oci-0": "r/one", "oci-1": "r/two"}
        assert len({mount["mountPath"] for mount in main_of(patch)["volumeMounts"]}) == 2


async def test_modelcars_run_as_main_does() -> None:
    patch = await built_patch(
        inputs=artifacts(m=["oci://r/m"]),
        config={"securityContext": {"runAsUser": 7}},
        default_run_as_non_root=True,
    )
    expected = RESTRICTED | {"runAsUser": 7, "runAsNonRoot": True}
    assert named(patch["containers"], "oci-0")["securityContext"] == expected
    assert named(patch["initContainers"], "oci-prepull-0")["securityContext"] == expected


async def test_pre_pull_comes_before_the_users_init_containers() -> None:
    patch = await built_patch(
        inputs=artifacts(m=["oci://r/m"]), config={"initContainers": [{"name": "prep", "image": "b"}]}
    )
    assert [one["name"] for one in patch["initContainers"]] == ["oci-prepull-0", "prep"]


@pytest.mark.parametrize("reference", ["r/m", "r/it's $(rm) $HOME"])
async def test_link_script_points_into_its_own_root_and_ends_with_the_launcher(
    tmp_path: Path, reference: str
) -> None:
    patch = await built_patch(inputs=artifacts(m=[f"oci://{reference}"]))
    script = kubelet_expand(named(patch["containers"], "oci-0")["command"][2], {"rm": "expanded"})
    directory = tmp_path / reference.replace("/", "_")
    directory.mkdir()
    (directory / "launcher-complete").touch()
    done = await run(script.replace("/oci/", f"{tmp_path}/"))
    assert done.returncode == 0
    assert done.stderr == b""
    target = (directory / "models").readlink().parts
    assert target[1] == "proc"
    assert target[2].isdigit()
    assert target[3:] == ("root", "models")


@pytest.mark.parametrize(("files", "code"), [(["weights"], 0), ([], 1), (None, 1)])
async def test_check_script_wants_a_model(tmp_path: Path, files: list[str] | None, code: int) -> None:
    patch = await built_patch(inputs=artifacts(m=["oci://r/m"]))
    script = kubelet_expand(named(patch["initContainers"], "oci-prepull-0")["command"][2], {})
    if files is not None:
        (tmp_path / "models").mkdir()
        for name in files:
            (tmp_path / "models" / name).touch()
    done = await run(script.replace("/models", f"{tmp_path}/models"))
    assert done.returncode == code
    assert done.stdout.startswith(b"modelcar: ")


async def test_paths_do_not_depend_on_the_services_own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    given = artifacts(m=["oci://r/m"])
    before = await patch_text(inputs=given)
    monkeypatch.setenv("ARTIFACT_LOCAL_PATH", "/somewhere")
    assert await patch_text(inputs=given) == before

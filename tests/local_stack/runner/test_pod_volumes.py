"""The file system of pods that have one of their own.

Oracles: spec LAUNCHER E5.2 (paths that KFP hard-codes), Kubernetes' volume sources (keys, ``items``, modes,
``subPath``, ``optional``), and what the pod's own shell sees.
"""

import os
import shlex
import textwrap
from pathlib import Path
from typing import Any

import pytest

from local_stack.executor_options import ExecutorMode
from local_stack.runner.engine import PodResult
from local_stack.runner.limits import AddressSpaceEnforcer, Enforcer
from local_stack.runner.nodes import Phase
from local_stack.runner.pod_process import LocalPods
from local_stack.runner.python_environment import PipInstall, PythonEnvironment
from tests.executor_modes import Mode
from tests.local_stack.runner.pods import local_pods, pod_request, shell, shown


@pytest.fixture
def objects(tmp_path: Path) -> Path:
    """What a cluster would hold: a Secret, a ConfigMap and a volume claim."""
    for file, text in {
        "secrets/login/user": "me",
        "secrets/login/password": "s3cret",
        "configmaps/settings/level": "debug",
        "volumes/data/deep/file": "kept",
    }.items():
        place = tmp_path / file
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    return tmp_path


async def output_of(pods: LocalPods, script: str, **pod: Any) -> tuple[PodResult, str]:
    """Run a script in a pod with the given mounts and volumes; how it ended, and what it wrote."""
    mounts = [{"name": name, **mount} for name, mount in pod.pop("mounts", [])]
    request = pod_request(shell(textwrap.dedent(script)) | {"volumeMounts": mounts}, **pod)
    result = await pods.run(request)
    log = pods.log_file(request.node.id)
    return result, log.read_text() if log.exists() else ""


async def succeed(pods: LocalPods, script: str, **pod: Any) -> str:
    result, output = await output_of(pods, script, **pod)
    assert result.phase is Phase.SUCCEEDED, result.message + output
    return output


async def test_paths_that_kfp_hard_codes_are_the_pods_own(mounting: Mode, tmp_path: Path) -> None:
    name = tmp_path.name
    script = f"""
        stat -c %a /tmp
        for d in /tmp/kfp/outputs /gcs /s3 /minio/bucket /.local /.cache /.config; do
            mkdir -p $d && echo x > $d/{name}
        done
    """
    assert await succeed(local_pods(tmp_path, mounting), script) == "1777\n"
    places = [Path(place, name) for place in ("/tmp/kfp/outputs", "/gcs", "/s3", "/minio/bucket", "/.cache")]
    assert [place for place in places if os.access(place, os.F_OK)] == []


async def test_the_workspace_is_shared_by_the_pods_of_a_run(mounting: Mode, tmp_path: Path) -> None:
    (tmp_path / "ws").mkdir()
    claim = {"name": "kfp-workspace", "persistentVolumeClaim": {"claimName": "w-kfp-workspace"}}
    with_claim: dict[str, Any] = {
        "volumes": [claim],
        "mounts": [("kfp-workspace", {"mountPath": "/kfp-workspace"})],
    }
    pods = local_pods(tmp_path, mounting)
    await succeed(pods, "echo shared > /kfp-workspace/file", **with_claim)
    assert await succeed(pods, "cat /kfp-workspace/file", **with_claim) == "shared\n"
    assert (tmp_path / "ws/file").read_text() == "shared\n"


async def test_secrets_and_configmaps_are_files_at_their_mount_path(mounting: Mode, objects: Path) -> None:
    output = await succeed(
        local_pods(objects, mounting),
        "ls /mnt/all /mnt/chosen; cat /mnt/all/user /mnt/chosen/sub/name /mnt/chosen/level",
        volumes=[
            {"name": "all", "secret": {"secretName": "login"}},
            {
                "name": "chosen",
                "projected": {
                    "sources": [
                        {"secret": {"name": "login", "items": [{"key": "user", "path": "sub/name"}]}},
                        {"configMap": {"name": "settings"}},
                        {"serviceAccountToken": {"path": "token"}},
                    ]
                },
            },
        ],
        mounts=[("all", {"mountPath": "/mnt/all"}), ("chosen", {"mountPath": "/mnt/chosen"})],
    )
    assert output == "/mnt/all:\npassword\nuser\n\n/mnt/chosen:\nlevel\nsub\nmemedebug"


async def test_files_of_secrets_have_their_modes_and_cannot_be_written(mounting: Mode, objects: Path) -> None:
    items = [{"key": "user", "path": "user", "mode": 0o400}, {"key": "password", "path": "password"}]
    output = await succeed(
        local_pods(objects, mounting),
        "stat -c '%a %n' /mnt/s/user /mnt/s/password; (echo x > /mnt/s/user) 2>/dev/null || echo refused",
        volumes=[{"name": "s", "secret": {"secretName": "login", "items": items, "defaultMode": 0o440}}],
        mounts=[("s", {"mountPath": "/mnt/s"})],
    )
    assert output == "400 /mnt/s/user\n440 /mnt/s/password\nrefused\n"


async def test_the_downward_api_writes_fields_of_the_pod(mounting: Mode, tmp_path: Path) -> None:
    items = [{"path": "where", "fieldRef": {"fieldPath": "metadata.namespace"}}]
    output = await succeed(
        local_pods(tmp_path, mounting),
        "cat /etc/podinfo/where",
        volumes=[{"name": "info", "downwardAPI": {"items": items}}],
        mounts=[("info", {"mountPath": "/etc/podinfo"})],
    )
    assert output == "ns"


async def test_a_volume_claim_is_the_users_directory(mounting: Mode, objects: Path) -> None:
    claim = {"name": "data", "persistentVolumeClaim": {"claimName": "data"}}
    output = await succeed(
        local_pods(objects, mounting),
        "cat /data/deep/file /only/file; echo new > /data/new; (: > /only/x) 2>/dev/null || echo refused",
        volumes=[claim],
        mounts=[
            ("data", {"mountPath": "/data"}),
            ("data", {"mountPath": "/only", "subPath": "deep", "readOnly": True}),
        ],
    )
    assert output == "keptkeptrefused\n"
    assert (objects / "volumes/data/new").read_text() == "new\n"


async def test_an_empty_directory_is_empty_at_every_attempt(mounting: Mode, tmp_path: Path) -> None:
    pods = local_pods(tmp_path, mounting)
    for attempt in (1, 2):
        output = await succeed(
            pods,
            "ls /scratch | wc -l; touch /scratch/x; ls /dev/shm | wc -l; touch /dev/shm/x",
            volumes=[{"name": "e", "emptyDir": {}}, {"name": "m", "emptyDir": {"medium": "Memory"}}],
            mounts=[("e", {"mountPath": "/scratch"}), ("m", {"mountPath": "/dev/shm"})],
        )
        assert output == "0\n0\n" * attempt


@pytest.mark.parametrize("path", ["/etc/deep/er", "/usr/share/no-such-directory", "/opt/x", "/new"])
async def test_a_volume_may_be_mounted_anywhere_also_below_the_base_system(
    mounting: Mode, path: str, objects: Path
) -> None:
    output = await succeed(
        local_pods(objects, mounting),
        f"cat {path}/user; ls /etc | wc -l",
        volumes=[{"name": "s", "secret": {"secretName": "login"}}],
        mounts=[("s", {"mountPath": path})],
    )
    assert output.startswith("me")
    assert int(output[2:]) > 1


@pytest.mark.parametrize(
    ("volume", "mount", "message"),
    [
        (
            {"secret": {"secretName": "no"}},
            {},
            r'Secret "no" does not exist; make the directory .*/secrets/no',
        ),
        (
            {"secret": {"secretName": "login", "items": [{"key": "k", "path": "p"}]}},
            {},
            r'Secret "login" has no key "k"; put its value into the file .*/secrets/login/k',
        ),
        (
            {"configMap": {"name": "no"}},
            {},
            r'ConfigMap "no" does not exist; make the directory .*/configmaps/no',
        ),
        (
            {"persistentVolumeClaim": {"claimName": "no"}},
            {},
            r'volume claim "no" does not exist; make the directory .*/volumes/no',
        ),
        ({"hostPath": {"path": "/"}}, {}, r'volume "v" \(hostPath\) cannot be mounted at /mnt/v'),
        ({"emptyDir": {}}, {"subPath": "../.."}, r'"../..", to be shown at /mnt/v, leaves its volume'),
        ({"secret": {"secretName": "login"}}, {"subPath": "x"}, r'volume "v" has no "x"'),
    ],
)
async def test_what_does_not_exist_is_named_with_the_way_out(
    mounting: Mode, volume: dict[str, Any], mount: dict[str, Any], message: str, objects: Path
) -> None:
    result, _ = await output_of(
        local_pods(objects, mounting),
        "true",
        volumes=[{"name": "v", **volume}],
        mounts=[("v", {"mountPath": "/mnt/v", **mount})],
    )
    assert result.phase is Phase.ERROR
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(result.message)


async def test_optional_objects_that_are_missing_are_empty_directories(
    mounting: Mode, tmp_path: Path
) -> None:
    items = [{"key": "k", "path": "p"}]
    output = await succeed(
        local_pods(tmp_path, mounting),
        "ls /mnt/s /mnt/c",
        volumes=[
            {"name": "s", "secret": {"secretName": "no", "optional": True}},
            {"name": "c", "configMap": {"name": "no", "optional": True, "items": items}},
        ],
        mounts=[("s", {"mountPath": "/mnt/s"}), ("c", {"mountPath": "/mnt/c"})],
    )
    assert output == "/mnt/c:\n\n/mnt/s:\n"


async def test_only_shown_directories_of_this_machine_are_visible(mounting: Mode, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/file").write_text("here")
    (tmp_path / "hidden").write_text("no")
    pods = local_pods(tmp_path, mounting, mounts=shown(tmp_path / "data"))
    place = shlex.quote(str(tmp_path))
    assert await succeed(pods, f"cat {place}/data/file; ls {place}") == "heredata\n"


async def test_the_base_system_is_read_only(sandbox_mode: Mode, tmp_path: Path) -> None:
    script = """
        for place in /usr /etc /bin /lib; do (touch $place/x) 2>/dev/null && echo "$place is writable"; done
        mount -o remount,rw /usr 2>/dev/null && echo remounted
        touch /own && ls /own
    """
    assert await succeed(local_pods(tmp_path, sandbox_mode), f"set +e; {textwrap.dedent(script)}") == "/own\n"


@pytest.mark.parametrize(
    ("install", "enforcer", "writable"),
    [
        (PipInstall.ALWAYS, None, True),
        (PipInstall.ALWAYS, AddressSpaceEnforcer(), True),
        (PipInstall.NEVER, None, False),
    ],
)
async def test_the_python_environment_is_writable_only_to_pods_that_install_packages(
    sandbox_mode: Mode, install: PipInstall, enforcer: Enforcer | None, tmp_path: Path, *, writable: bool
) -> None:
    python = PythonEnvironment(tmp_path / "python")
    python.ensure()
    # The installer is replaced: what it may do is the point, not what pip does.
    (python.scripts / "kfp-pip-install").write_text("#!/bin/sh\ntouch $(dirname $0)/installed\n")
    pods = local_pods(tmp_path, sandbox_mode, enforcer=enforcer, python=python, pip_install=install)
    wrapper = 'python3 -m pip install \'no-such-package\' && "$0" "$@"'
    which = "import sys, kfp.dsl; print(sys.prefix)"
    limits = {"resources": {"limits": {"memory": "8Gi"}}}
    request = pod_request({"command": ["sh", "-c", wrapper, "python3", "-c", which], **limits})
    result = await pods.run(request)
    output = pods.log_file(request.node.id).read_text()
    assert (result.phase, output) == (Phase.SUCCEEDED, f"{tmp_path}/python\n")
    assert (python.scripts / "installed").exists() is writable
    refused = pod_request({"image": "x", "command": ["sh", "-c", f"touch {python.scripts}/x"]}, task="other")
    assert (await pods.run(refused)).phase is Phase.FAILED


async def test_init_containers_run_first_in_containers_and_are_refused_elsewhere(
    mounting: Mode, tmp_path: Path
) -> None:
    mounts = [{"name": "e", "mountPath": "/shared"}]
    first, second = ({"name": name, "volumeMounts": mounts} for name in ("one", "two"))
    pod: dict[str, Any] = {
        "volumes": [{"name": "e", "emptyDir": {}}],
        "mounts": [("e", {"mountPath": "/shared"})],
        "initContainers": [
            {"name": "kfp-launcher", "image": "not-pulled", "command": ["launcher-v2"]},
            {**shell("echo one > /shared/file"), **first, "env": [{"name": "A", "value": "1"}]},
            {**shell("echo two$A >> /shared/file"), **second},
        ],
    }
    result, output = await output_of(local_pods(tmp_path, mounting), "cat /shared/file", **pod)
    if mounting.mode is ExecutorMode.SANDBOX:
        assert result.message == 'init container "one" cannot run: executors are sandboxes of this machine'
        return
    assert (result.phase, output) == (Phase.SUCCEEDED, "one\ntwo\n")
    pod["mounts"] = [("e", {"mountPath": "/shared"})]
    pod["initContainers"][1] |= shell("exit 4")
    result, output = await output_of(local_pods(tmp_path, mounting), "echo main ran", **pod, task="other")
    assert result == PodResult(
        phase=Phase.FAILED, message="init container one: Error (exit code 4)", exit_code=4
    )
    assert "main ran" not in output

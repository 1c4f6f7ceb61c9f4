"""The command line of container engines, word for word.

Oracle: the documented options of ``docker run`` and ``podman run``. The engine is a program that records how
it is called; a real one runs in :mod:`test_executor_modes`, where the machine has one that works.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from local_stack.runner.carried_python import CARRIED, CarriedPython
from local_stack.runner.container_engine import ContainerEngine
from local_stack.runner.container_runtime import Mount
from local_stack.runner.errors import ExecutorModeError
from local_stack.runner.nodes import Phase
from local_stack.runner.pod_process import LocalPods
from local_stack.runner.runtime_engine import LAUNCHER_MEMORY, EngineRuntime
from tests.local_stack.runner.pods import any_workflow, local_pods, pod_request

_RECORDER = """#!{python}
import json, os, sys
with open({calls!r}, "a") as calls:
    calls.write(json.dumps([sys.argv[1:], dict(os.environ)]) + "\\n")
sys.exit({status} if sys.argv[1] == "run" else 0)
"""


@pytest.fixture
def bin_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path / "bin"
    directory.mkdir()
    monkeypatch.setenv("PATH", str(directory))
    return directory


def recorded(directory: Path, name: str = "docker", status: int = 0) -> Path:
    """Make an engine that records its calls; returns the file of the calls."""
    calls = directory / "calls"
    program = directory / name
    program.write_text(_RECORDER.format(python=sys.executable, calls=str(calls), status=status))
    program.chmod(0o755)
    return calls


def runs(calls: Path) -> list[tuple[list[str], dict[str, str]]]:
    lines = [json.loads(line) for line in calls.read_text().splitlines()]
    return [(argv, environment) for argv, environment in lines if argv[0] == "run"]


def pods(tmp_path: Path, engine: ContainerEngine, *, limits: bool = False, **settings: Any) -> LocalPods:
    runtime = EngineRuntime(engine, labels=["KFP_LOCAL_RUNNER"], enforce_limits=limits)
    return LocalPods(any_workflow(), local_pods(tmp_path, **settings)._settings, runtime=runtime)


async def test_docker_is_called_with_documented_options(bin_directory: Path, tmp_path: Path) -> None:
    calls = recorded(bin_directory)
    (tmp_path / "volumes/data").mkdir(parents=True)
    container = {
        "image": "python:3.11",
        "imagePullPolicy": "Always",
        "command": ["sh", "-c"],
        "args": ["echo $(WHO)"],
        "workingDir": "/srv",
        "env": [{"name": "WHO", "value": "me"}, {"name": "HOME", "value": "/h"}],
        "resources": {"limits": {"memory": "1Gi", "cpu": "1500m"}},
        "volumeMounts": [{"name": "d", "mountPath": "/data", "readOnly": True}],
    }
    request = pod_request(container, volumes=[{"name": "d", "persistentVolumeClaim": {"claimName": "data"}}])
    running = pods(
        tmp_path,
        ContainerEngine.find(),
        limits=True,
        variables={"KFP_LOCAL_RUNNER": "mark"},
        mounts=[Mount(tmp_path / "a,b", "/a,b")],
    )
    assert (await running.run(request)).phase is Phase.SUCCEEDED
    ((argv, environment),) = runs(calls)
    uid = environment["KFP_POD_UID"]
    directory = tmp_path / "pods" / request.node.id
    memory = str(2**30 + LAUNCHER_MEMORY)
    mounts = [
        f"type=bind,source={directory}/tmp,target=/tmp",
        *(
            f"type=bind,source={directory}/volumes/scratch-{name},target=/{name}"
            for name in ("gcs", "s3", "minio", ".local", ".cache", ".config")
        ),
        f"type=bind,source={tmp_path}/volumes/data,target=/data,readonly",
        f'type=bind,"source={tmp_path}/a,b","target=/a,b"',
    ]
    names = [name for name in environment if name.startswith(("KFP_", "ARGO_", "PYTHONUN"))]
    assert argv[:17] == [
        *("run", "--name", f"kfp-{uid}-main", "--user", f"{os.getuid()}:{os.getgid()}"),
        *("--network", "host", "--log-driver", "none", "--security-opt", "label=disable"),
        *("--pull", "always", "--label", "KFP_LOCAL_RUNNER=mark", "--memory", memory),
    ]
    assert argv[17:21] == ["--memory-swap", memory, "--cpus", "1.5"]
    after_mounts = 21 + 2 * len(mounts)
    assert argv[21:after_mounts] == [word for mount in mounts for word in ("--mount", mount)]
    options = argv[after_mounts:-7]
    assert options[::2] == ["--env"] * (len(options) // 2)
    assert {*names, "WHO", "HOME=/h"} <= set(options[1::2])
    assert argv[-7:] == [
        *("--workdir", "/srv", "--entrypoint", "sh"),
        *("docker.io/library/python:3.11", "-c", "echo me"),
    ]
    # What the pod calls home is not where the engine's client finds its settings.
    assert environment["HOME"] == os.environ["HOME"]
    assert environment["WHO"] == "me"


async def test_values_of_secrets_are_not_in_the_process_table(bin_directory: Path, tmp_path: Path) -> None:
    calls = recorded(bin_directory)
    (tmp_path / "secrets/s").mkdir(parents=True)
    (tmp_path / "secrets/s/key").write_text("hunter2\nsecond line")
    source = {"secretKeyRef": {"name": "s", "key": "key"}}
    container = {"image": "x", "command": ["x"], "env": [{"name": "TOKEN", "valueFrom": source}]}
    await pods(tmp_path, ContainerEngine.find()).run(pod_request(container))
    ((argv, environment),) = runs(calls)
    assert "hunter2" not in " ".join(argv)
    assert environment["TOKEN"] == "hunter2\nsecond line"


async def test_the_launcher_is_the_entrypoint_and_what_it_needs_is_mounted(
    bin_directory: Path, tmp_path: Path
) -> None:
    calls = recorded(bin_directory)
    flags = ["--executor_type", "container", "--task_id", "t", "--"]
    container = {"image": "x", "command": ["/kfp-launcher/launch", *flags], "args": ["train", "--fast"]}
    await pods(tmp_path, ContainerEngine.find()).run(pod_request(container))
    ((argv, environment),) = runs(calls)
    carried = CarriedPython.find()
    at = argv.index("--entrypoint")
    assert argv[at + 1] == carried.command[0]
    assert argv[at + 3 :] == [*carried.command[1:], *flags, "train", "--fast"]
    assert {mount.target for mount in carried.mounts} <= {
        word.split("target=")[1].split(",")[0] for word in argv if word.startswith("type=bind")
    }
    assert all(mount.read_only and mount.target.startswith(CARRIED) for mount in carried.mounts)
    assert not any(CARRIED in value for value in environment.values())


async def test_without_a_command_the_image_decides(bin_directory: Path, tmp_path: Path) -> None:
    calls = recorded(bin_directory)
    for container in ({"image": "x"}, {"image": "x", "args": ["a"]}):
        await pods(tmp_path, ContainerEngine.find()).run(pod_request(container))
    first, second = (argv for argv, _ in runs(calls))
    assert "--entrypoint" not in first + second
    assert first[-1] == "docker.io/library/x"
    assert second[-2:] == ["docker.io/library/x", "a"]


async def test_an_engine_that_cannot_run_the_image_is_no_failure_of_the_task(
    bin_directory: Path, tmp_path: Path
) -> None:
    recorded(bin_directory, status=125)
    result = await pods(tmp_path, ContainerEngine.find()).run(
        pod_request({"image": "no.such/image", "command": ["x"]})
    )
    assert result.message == (
        "main: Error (exit code 125): docker did not run image no.such/image, the task's log says why"
    )


async def test_a_container_is_removed_by_its_name(bin_directory: Path, tmp_path: Path) -> None:
    calls = recorded(bin_directory)
    await pods(tmp_path, ContainerEngine.find()).run(pod_request({"image": "x", "command": ["x"]}))
    ((argv, _),) = runs(calls)
    last = json.loads(calls.read_text().splitlines()[-1])[0]
    assert last == ["rm", "--force", argv[argv.index("--name") + 1]]


def test_podman_maps_its_user_when_that_is_not_root(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, uid, expected in (
        ("podman", 1000, ["--user", "1000:0", "--userns", "keep-id"]),
        ("podman", 0, ["--user", "0:0"]),
        ("docker", 1000, ["--user", "1000:0"]),
    ):
        monkeypatch.setattr(os, "getuid", lambda uid=uid: uid)
        monkeypatch.setattr(os, "getgid", lambda: 0)
        assert ContainerEngine(f"/usr/bin/{name}").user_options == expected


@pytest.mark.parametrize(
    ("name", "full"),
    [
        ("python:3.11", "docker.io/library/python:3.11"),
        ("bitnami/spark", "docker.io/bitnami/spark"),
        ("ghcr.io/kubeflow/x:1", "ghcr.io/kubeflow/x:1"),
        ("localhost/mine", "localhost/mine"),
        ("localhost:5000/mine@sha256:ab", "localhost:5000/mine@sha256:ab"),
    ],
)
def test_images_have_the_names_that_kubernetes_gives_them(name: str, full: str) -> None:
    assert ContainerEngine("docker").image(name) == full


def test_podman_is_preferred_and_a_named_engine_is_taken(bin_directory: Path) -> None:
    recorded(bin_directory, "docker")
    assert ContainerEngine.find().name == "docker"
    recorded(bin_directory, "podman")
    assert ContainerEngine.find().name == "podman"
    assert ContainerEngine.find("docker").name == "docker"


def test_without_an_engine_both_are_named(bin_directory: Path) -> None:
    with pytest.raises(ExecutorModeError, match=r"podman is not on PATH; docker is not on PATH"):
        ContainerEngine.find()
    assert list(bin_directory.iterdir()) == []

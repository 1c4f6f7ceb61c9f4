"""Pods as local processes. Oracle: spec LAUNCHER E5, Kubernetes' documented ``$(VAR)`` expansion, and the
operating system (exit codes, process ids)."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from driver_plugin.system_logs.redaction import clean
from local_stack.runner.container_runtime import PodSettings
from local_stack.runner.engine import PodResult
from local_stack.runner.errors import NodeError
from local_stack.runner.nodes import Phase
from local_stack.runner.pod_build import build_pod, container_environment, expand
from local_stack.runner.pod_command import LAUNCHER, local_command
from local_stack.runner.reaper import Reaper
from local_stack.runner.runtime_process import ProcessRuntime
from tests.local_stack.runner.pods import any_workflow, config_in, local_pods, pod_request


def _python(code: str) -> dict[str, Any]:
    return {"image": "x", "command": [sys.executable, "-c", textwrap.dedent(code)]}


# Building --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$(A)", "1"),
        ("x$(A)y$(B)", "x1y2"),
        ("$(mktemp -d)", "$(mktemp -d)"),
        ("$(UNKNOWN)", "$(UNKNOWN)"),
        ("pa$$word", "pa$word"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$$$$", "$$"),
        ("$A $", "$A $"),
        ("$(A", "$(A"),
    ],
)
def test_variables_expand_as_the_kubelet_does(text: str, expected: str) -> None:
    assert expand(text, {"A": "1", "B": "2"}) == expected


def test_a_pod_has_argos_labels_and_annotations_and_its_nodes_id_as_name() -> None:
    workflow = any_workflow(podMetadata={"labels": {"a": "w", "b": "w"}})
    request = pod_request({"image": "x"}, metadata={"labels": {"b": "t"}, "annotations": {"c": "t"}})
    pod = build_pod(workflow, request)
    assert pod.name == request.node.id
    assert pod.labels == {"a": "w", "b": "t", "workflows.argoproj.io/workflow": "w"}
    assert pod.annotations == {
        "c": "t",
        "workflows.argoproj.io/node-id": pod.name,
        "workflows.argoproj.io/node-name": "w.root.train.executor",
    }


def test_the_unnamed_container_is_main_before_it_is_patched() -> None:
    pod = build_pod(
        any_workflow(),
        pod_request({"name": "", "image": "x"}, {"containers": [{"name": "main", "image": "y"}]}),
    )
    assert [(one["name"], one["image"]) for one in pod.spec["containers"]] == [("main", "y")]


def test_environment_comes_from_sources_then_variables_in_order(tmp_path: Path) -> None:
    config = config_in(tmp_path)
    for directory, name, key, value in (
        (config.configmaps, "cm", "FROM_MAP", "m"),
        (config.secrets, "sec", "key", "s3cret"),
    ):
        (directory / name).mkdir(parents=True)
        (directory / name / key).write_text(value)
    container = {
        "envFrom": [
            {"configMapRef": {"name": "absent", "optional": True}},
            {"prefix": "P_", "configMapRef": {"name": "cm"}},
        ],
        "env": [
            {"name": "A", "value": "1"},
            {"name": "B", "value": "$(A)-$(LATER)-$(P_FROM_MAP)"},
            {"name": "LATER", "value": "x"},
            {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {
                "name": "NODE",
                "valueFrom": {
                    "fieldRef": {"fieldPath": "metadata.annotations['workflows.argoproj.io/node-name']"}
                },
            },
            {"name": "S", "valueFrom": {"secretKeyRef": {"name": "sec", "key": "key"}}},
            {"name": "O", "valueFrom": {"secretKeyRef": {"name": "no", "key": "k", "optional": True}}},
        ],
    }
    pod = build_pod(any_workflow(), pod_request({"image": "x"}))
    assert container_environment(pod, container, config) == {
        "P_FROM_MAP": "m",
        "A": "1",
        "B": "1-$(LATER)-m",
        "LATER": "x",
        "NAME": pod.name,
        "NODE": "w.root.train.executor",
        "S": "s3cret",
    }


def test_a_missing_secret_says_where_to_put_it(tmp_path: Path) -> None:
    pod = build_pod(any_workflow(), pod_request({"image": "x"}))
    container = {"env": [{"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "n", "key": "k"}}}]}
    with pytest.raises(
        NodeError, match=r'Secret "n", which has no key "k"; put its value into the file .*/secrets/n/k'
    ) as raised:
        container_environment(pod, container, config_in(tmp_path))
    # Nothing of it looks like the value of a password, which would be hidden.
    assert clean(str(raised.value)) == str(raised.value)


def test_the_launcher_binary_is_replaced_and_references_expanded() -> None:
    main = {
        "name": "main",
        "command": [
            "/kfp-launcher/launch",
            "--pod_name",
            "$(KFP_POD_NAME)",
            "--task_name",
            "--",
            "--x=1",
            "--",
        ],
        "args": ["sh", "-c", "a$$b"],
    }
    pod = build_pod(any_workflow(), pod_request({"image": "x"}, {"containers": [main]}))
    command = local_command(pod, {"KFP_POD_NAME": "n", "PATH": os.defpath})
    assert command.is_launcher
    assert command.argv == (
        *LAUNCHER, "--pod_name", "n", "--task_name", "--", "--x=1", "--", "sh", "-c", "a$b"
    )  # fmt: skip


def test_an_importer_is_the_launcher_without_a_user_command() -> None:
    pod = build_pod(
        any_workflow(), pod_request({"command": ["launcher-v2"], "args": ["--executor_type", "importer"]})
    )
    assert local_command(pod, {}).argv == (*LAUNCHER, "--executor_type", "importer")


@pytest.mark.parametrize(
    ("patch", "named"),
    [
        ({"initContainers": [{"name": "user-init"}]}, 'init container "user-init"'),
        ({"containers": [{"name": "main"}, {"name": "oci-0"}]}, 'container "oci-0"'),
        (
            {
                "containers": [{"name": "main", "volumeMounts": [{"name": "pvc", "mountPath": "/data"}]}],
                "volumes": [{"name": "pvc", "persistentVolumeClaim": {"claimName": "c"}}],
            },
            'volume "pvc" (persistentVolumeClaim) cannot be mounted at /data',
        ),
    ],
)
def test_what_only_a_cluster_can_provide_is_refused_by_name(
    patch: dict[str, Any], named: str, tmp_path: Path
) -> None:
    base: dict[str, Any] = {
        "initContainers": [{"name": "kfp-launcher"}],
        "volumes": [{"name": "gcs-scratch", "emptyDir": {}}],
    }
    pod = build_pod(any_workflow(), pod_request({"image": "x"}, patch, **base))
    settings = PodSettings(directory=tmp_path, workspace=tmp_path, config=config_in(tmp_path))
    with pytest.raises(NodeError) as caught:
        ProcessRuntime().admit(pod, settings)
    assert named in str(caught.value)


# Running ---------------------------------------------------------------------------------------------------


async def test_a_pod_that_exits_with_zero_succeeds_and_its_output_is_kept(tmp_path: Path) -> None:
    pods = local_pods(tmp_path)
    request = pod_request(_python("import sys; print('out'); print('err', file=sys.stderr)"))
    assert await pods.run(request) == PodResult(phase=Phase.SUCCEEDED, exit_code=0)
    assert pods.log_file(request.node.id).read_text() == "out\nerr\n"
    assert pods.started == 1


@pytest.mark.parametrize(
    ("code", "exit_code"),
    [("import sys; sys.exit(7)", 7), ("import os; os.kill(os.getpid(), 9)", 137)],
)
async def test_another_exit_code_fails_with_argos_message(tmp_path: Path, code: str, exit_code: int) -> None:
    result = await local_pods(tmp_path).run(pod_request(_python(code)))
    assert result == PodResult(
        phase=Phase.FAILED, message=f"main: Error (exit code {exit_code})", exit_code=exit_code
    )


async def test_a_command_that_does_not_exist_names_task_and_command(tmp_path: Path) -> None:
    result = await local_pods(tmp_path).run(pod_request({"image": "img:1", "command": ["no-such-tool"]}))
    assert result.phase is Phase.ERROR
    assert 'task "train": command "no-such-tool" not found' in result.message
    assert "img:1" in result.message


async def test_a_pod_sees_its_own_environment_and_little_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNRELATED", "1")
    monkeypatch.setenv("AWS_REGION", "r")
    pods = local_pods(tmp_path, variables={"KFP_API_URL": "http://api"})
    container = _python("import json, os; print(json.dumps(dict(os.environ, cwd=os.getcwd())))")
    request = pod_request(container | {"env": [{"name": "X", "value": "$(KFP_POD)"}]})
    await pods.run(request)
    seen = json.loads(pods.log_file(request.node.id).read_text())
    directory = tmp_path / "pods" / request.node.id
    assert "UNRELATED" not in seen
    assert seen["AWS_REGION"] == "r"
    assert seen["KFP_API_URL"] == "http://api"
    assert seen["X"] == "$(KFP_POD)"
    assert seen["KFP_POD_NAME"] == request.node.id
    assert seen["ARGO_WORKFLOW_NAME"] == "w"
    assert seen["TMPDIR"] == str(directory / "tmp")
    assert seen["KFP_LOCAL_OUTPUTS_DIR"] == str(directory / "outputs")
    assert seen["cwd"] == str(directory / "work")


async def test_concurrent_pods_have_separate_directories(tmp_path: Path) -> None:
    pods = local_pods(tmp_path)
    requests = [
        pod_request(_python("import os; print(os.environ['KFP_LOCAL_OUTPUTS_DIR'])")) for _ in range(2)
    ]
    requests[1].node.id = "w-2"
    await asyncio.gather(*(pods.run(request) for request in requests))
    assert len({pods.log_file(request.node.id).read_text() for request in requests}) == 2


_CHILDREN = """
    import subprocess, sys, time
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    print(child.pid, flush=True)
    open("ready", "w").close()
"""


async def _started(directory: Path) -> None:
    async with asyncio.timeout(20):
        while not (directory / "work" / "ready").exists():  # noqa: ASYNC110 (another process makes it)
            await asyncio.sleep(0.01)


def _alive(process: int) -> bool:
    try:
        stat = Path(f"/proc/{process}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


async def _gone(process: int) -> None:
    async with asyncio.timeout(20):
        while _alive(process):  # noqa: ASYNC110 (the kernel tells nobody)
            await asyncio.sleep(0.01)


async def test_what_a_finished_pod_left_running_is_killed(tmp_path: Path) -> None:
    pods = local_pods(tmp_path)
    request = pod_request(_python(_CHILDREN))
    await pods.run(request)
    await _gone(int(pods.log_file(request.node.id).read_text()))


@pytest.mark.parametrize("ignores_sigterm", [False, True])
async def test_cancelling_a_pod_leaves_no_process(tmp_path: Path, *, ignores_sigterm: bool) -> None:
    pods = local_pods(tmp_path, grace=0.2)
    ignore = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" if ignores_sigterm else ""
    request = pod_request(_python(ignore + textwrap.dedent(_CHILDREN) + "time.sleep(600)"))
    running = asyncio.ensure_future(pods.run(request))
    await _started(tmp_path / "pods" / request.node.id)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await _gone(int(pods.log_file(request.node.id).read_text()))


async def test_a_pod_dies_with_the_runner_however_that_dies(tmp_path: Path) -> None:
    script = textwrap.dedent(f"""
        import asyncio, sys
        from pathlib import Path
        from tests.local_stack.runner.pods import local_pods, pod_request
        from tests.local_stack.runner.test_pods import _python
        code = "import os, time; print(os.getpid(), flush=True); open('ready', 'w').close(); time.sleep(600)"
        asyncio.run(local_pods(Path({str(tmp_path)!r})).run(pod_request(_python(code))))
    """)
    request = pod_request({"image": "x"})
    runner = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, cwd=Path(__file__).parents[3], stderr=subprocess.DEVNULL
    )
    await _started(tmp_path / "pods" / request.node.id)
    pod = int((tmp_path / "pods" / request.node.id / "main.log").read_text())
    assert _alive(pod)
    runner.send_signal(signal.SIGKILL)
    await runner.wait()
    await _gone(pod)


async def test_what_pods_started_dies_with_the_runner_even_when_it_ignores_sigterm(tmp_path: Path) -> None:
    script = textwrap.dedent(f"""
        import asyncio, sys
        from pathlib import Path
        from local_stack.runner.reaper import Reaper
        from tests.local_stack.runner.pods import local_pods, pod_request
        from tests.local_stack.runner.test_pods import _CHILDREN, _python
        from textwrap import dedent
        code = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\\n" + dedent(_CHILDREN)
        async def main():
            async with Reaper(Path({str(tmp_path)!r}), grace_seconds=0.1) as reaper:
                pods = local_pods(Path({str(tmp_path)!r}), variables=reaper.marks)
                await pods.run(pod_request(_python(code + "time.sleep(600)")))
        asyncio.run(main())
    """)
    request = pod_request({"image": "x"})
    runner = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, cwd=Path(__file__).parents[3], stderr=subprocess.DEVNULL
    )
    await _started(tmp_path / "pods" / request.node.id)
    grandchild = int((tmp_path / "pods" / request.node.id / "main.log").read_text())
    assert _alive(grandchild)
    runner.send_signal(signal.SIGKILL)
    await runner.wait()
    await _gone(grandchild)


async def test_the_reaper_ends_with_its_runner(tmp_path: Path) -> None:
    async with asyncio.timeout(20):
        async with Reaper(tmp_path) as reaper:
            process = reaper._process
            assert reaper.scratch.is_dir()
        assert process is not None
        assert process.returncode == 0
        assert not reaper.scratch.exists()


async def test_a_pod_may_make_unix_sockets_however_deep_its_directory_is(tmp_path: Path) -> None:
    code = """
        import multiprocessing, tempfile
        print(tempfile.mkstemp()[1])
        with multiprocessing.Manager() as manager:
            print(manager.list([1]))
    """
    deep = tmp_path / ("d" * 100)
    request = pod_request(_python(code))
    async with asyncio.timeout(60), Reaper(deep) as reaper:
        result = await local_pods(deep, scratch=reaper.scratch).run(request)
    directory = deep / "pods" / request.node.id
    assert result.phase is Phase.SUCCEEDED, (directory / "main.log").read_text()
    assert list((directory / "tmp").iterdir())

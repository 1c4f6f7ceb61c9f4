"""Limits of pods in force.

Oracle: the kernel, which ends or refuses a program that uses more than it may; Kubernetes' word OOMKilled.
What a machine cannot enforce is skipped with the reason.
"""

import os
import re
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from local_stack.executor_options import ExecutorMode, ExecutorOptions
from local_stack.executors import open_executors
from local_stack.runner.cgroups import Cgroups, Hierarchy
from local_stack.runner.engine import PodResult
from local_stack.runner.errors import NodeError
from local_stack.runner.limits import (
    AddressSpaceEnforcer,
    CgroupEnforcer,
    Enforcer,
    find_enforcer,
    pod_limits,
)
from local_stack.runner.nodes import Phase
from local_stack.runner.pod_process import LocalPods
from tests.executor_modes import Mode, working_mode
from tests.local_stack.runner.pods import any_workflow, local_pods, pod_request, shell

EAT = "x = bytearray(96 * 1024 * 1024); x[::4096] = b'1' * len(x[::4096]); print('eaten')"


def limited(container: dict[str, Any], **limits: str) -> dict[str, Any]:
    return container | {"resources": {"limits": limits}}


def python(code: str) -> dict[str, Any]:
    return {"image": "x", "command": [sys.executable, "-S", "-c", code]}


async def run(
    tmp_path: Path, container: dict[str, Any], *, mode: Mode, enforcer: Enforcer | None
) -> tuple[PodResult, str]:
    pods = local_pods(tmp_path, mode, enforcer=enforcer)
    request = pod_request(container)
    result = await pods.run(request)
    return result, pods.log_file(request.node.id).read_text()


@pytest.fixture
def cgroups() -> CgroupEnforcer:
    found = find_enforcer()
    if not isinstance(found, CgroupEnforcer):
        pytest.skip("no control group can be made here")
    return found


@pytest.fixture(params=[ExecutorMode.PROCESS, ExecutorMode.SANDBOX], ids=["process", "sandbox"])
def our_mode(request: pytest.FixtureRequest) -> Mode:
    return working_mode(request.param)


async def test_who_uses_more_memory_than_the_limit_is_oom_killed(
    our_mode: Mode, cgroups: CgroupEnforcer, tmp_path: Path
) -> None:
    result, log = await run(tmp_path, limited(python(EAT), memory="64Mi"), mode=our_mode, enforcer=cgroups)
    assert result.phase is Phase.FAILED
    assert result.message == "main: OOMKilled (exit code 137): memory limit 64Mi"
    assert "eaten" not in log


async def test_who_stays_below_the_limit_succeeds_and_leaves_no_group(
    our_mode: Mode, cgroups: CgroupEnforcer, tmp_path: Path
) -> None:
    result, log = await run(
        tmp_path, limited(python(EAT), memory="256Mi", cpu="500m"), mode=our_mode, enforcer=cgroups
    )
    assert (result.phase, log) == (Phase.SUCCEEDED, "eaten\n")
    assert list(cgroups.cgroups.memory.directory.glob(f"kfp-driver-{os.getpid()}-*")) == []


async def test_cpu_time_is_limited(our_mode: Mode, cgroups: CgroupEnforcer, tmp_path: Path) -> None:
    if not cgroups.cgroups.has_cpu:
        pytest.skip("no control group can limit CPU time here")
    code = """if True:
        import time
        began = time.monotonic()
        while time.process_time() < 0.4: pass
        print(time.monotonic() - began)
    """
    _, log = await run(tmp_path, limited(python(code), cpu="100m"), mode=our_mode, enforcer=cgroups)
    # 0.4 s of work at a tenth of a core take 4 s; the first period may be used at once.
    assert float(log) > 2.5


async def test_without_control_groups_memory_is_limited_as_address_space(
    our_mode: Mode, tmp_path: Path
) -> None:
    enforcer = AddressSpaceEnforcer()
    container = limited(python(EAT), memory="64Mi")
    result, log = await run(tmp_path, container, mode=our_mode, enforcer=enforcer)
    assert "MemoryError" in log
    assert result.message == "main: Error (exit code 1): memory limit 64Mi was in force as address space"
    assert "CPU limits not at all" in enforcer.description


async def test_limits_are_not_enforced_unasked(our_mode: Mode, tmp_path: Path) -> None:
    result, log = await run(tmp_path, limited(python(EAT), memory="64Mi"), mode=our_mode, enforcer=None)
    assert (result.phase, log) == (Phase.SUCCEEDED, "eaten\n")


async def test_a_container_that_uses_too_much_memory_is_oom_killed(
    container_mode: Mode, tmp_path: Path
) -> None:
    executors = open_executors(ExecutorOptions(mode=container_mode.mode, enforce_limits=True))
    pods = LocalPods(any_workflow(), local_pods(tmp_path)._settings, runtime=executors.runtime)
    eat = "x=12345678; while true; do x=$x$x; done; true"
    result = await pods.run(pod_request(limited(shell(eat), memory="32Mi", cpu="1")))
    # The kernel's log has it; not every engine sees it.
    told = r"main: (OOMKilled|Error) \(exit code 137\): memory limit 32Mi( was in force)?"
    assert re.fullmatch(told, result.message)
    fine = await pods.run(pod_request(limited(shell("true"), memory="32Mi"), task="small"))
    assert fine.phase is Phase.SUCCEEDED


async def test_a_limit_that_the_kernel_refuses_is_the_pods_error_and_leaves_no_group(
    cgroups: CgroupEnforcer, tmp_path: Path
) -> None:
    if not cgroups.cgroups.has_cpu:
        pytest.skip("no control group can limit CPU time here")
    # More than the kernel can count: 2^44 cores.
    request = pod_request(limited(shell("true"), cpu="17592186044416"))
    result = await local_pods(tmp_path, enforcer=cgroups).run(request)
    assert result.phase is Phase.ERROR
    assert result.message.startswith("cannot limit the pod by a control group: ")
    assert list(cgroups.cgroups.memory.directory.glob(f"kfp-driver-{os.getpid()}-*")) == []


@pytest.mark.parametrize(
    ("limits", "memory", "cpu"),
    [({"memory": "1.5Gi"}, 1610612736, None), ({"cpu": "250m", "memory": "1M"}, 10**6, Decimal("0.25"))],
)
def test_limits_are_kubernetes_quantities(limits: dict[str, str], memory: int, cpu: Decimal | None) -> None:
    found = pod_limits({"resources": {"limits": limits}})
    assert found is not None
    assert (found.memory, found.cpu) == (memory, cpu)


def test_a_container_without_limits_has_none_and_nonsense_is_named() -> None:
    assert pod_limits({"resources": {"requests": {"memory": "1Gi"}}}) is None
    with pytest.raises(NodeError, match='"much" is not a quantity'):
        pod_limits({"resources": {"limits": {"memory": "much"}}})


class KernelTree:
    """Directories that look as the kernel's interface of version 2 is documented.

    There is no writable tree of version 2 where these tests were written; what is written to its files, and
    where groups are looked for, is checked against the kernel's documentation instead.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "proc").mkdir()
        (root / "proc/cgroup").write_text("0::/user.slice/app.slice/run.scope\n")
        (root / "proc/mounts").write_text(f"cgroup2 {root}/fs cgroup2 rw,nosuid 0 0\n")
        self.scope = root / "fs/user.slice/app.slice/run.scope"
        self.scope.mkdir(parents=True)


def test_version_2_writes_the_documented_files(tmp_path: Path) -> None:
    tree = KernelTree(tmp_path)
    place = Hierarchy(tree.scope, 2)
    group = Cgroups(place, place).make("pod", memory=1000, cpu=Decimal("0.5"))
    (directory,) = group.directories
    assert {file.name: file.read_text() for file in directory.iterdir()} == {
        "memory.max": "1000",
        "memory.swap.max": "0",
        "cpu.max": "50000 100000",
    }
    group.oom_file.write_text("low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 0\n")
    assert group.ooms() == 2


def test_a_group_is_made_below_the_nearest_ancestor_whose_children_can_be_limited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = KernelTree(tmp_path)
    limitable = tree.scope.parent
    make = Path.mkdir

    def mkdir(path: Path, *arguments: Any, **options: Any) -> None:
        """As the kernel: a new group has the files of the controllers that its parent hands down."""
        make(path, *arguments, **options)
        if path.parent == limitable:
            for name in ("memory.max", "cpu.max"):
                (path / name).touch()

    remove = Path.rmdir

    def rmdir(path: Path) -> None:
        for file in path.iterdir():
            file.unlink()
        remove(path)

    monkeypatch.setattr(Path, "mkdir", mkdir)
    monkeypatch.setattr(Path, "rmdir", rmdir)
    found = Cgroups.find(tree.root / "proc")
    assert found == Cgroups(Hierarchy(limitable, 2), Hierarchy(limitable, 2))
    assert [path.name for path in limitable.iterdir()] == ["run.scope"]


def test_where_no_group_can_be_made_address_space_is_limited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Cgroups, "find", classmethod(lambda _cls: None))
    assert isinstance(find_enforcer(), AddressSpaceEnforcer)
    del tmp_path

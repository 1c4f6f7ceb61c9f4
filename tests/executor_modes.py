"""The executor modes that this machine has, for tests that hold in all of them.

Sandboxes need bubblewrap. Containers need docker or podman; the image that tests run is made from the
machine's static busybox, with this Python as its own, and podman gets a store of its own. What is missing is
skipped, visibly.
"""

import atexit
import functools
import os
import resource
import shlex
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from local_stack.executor_options import ExecutorMode, ExecutorOptions
from local_stack.executors import Executors, open_executors
from local_stack.runner.carried_python import CarriedPython
from local_stack.runner.container_engine import ContainerEngine
from local_stack.runner.errors import ExecutorModeError

IMAGE = "alpine"
"""The image that most components of tests name; here it is busybox."""
_IMAGES = (f"{IMAGE}:latest", "python:3.11")
_SECONDS = 60
_MANY = 8192


@dataclass(frozen=True)
class Mode:
    """An executor mode that works here, and the environment of whatever uses it."""

    mode: ExecutorMode
    environment: Mapping[str, str] = field(default_factory=dict)

    def options(self, *shared: Path) -> tuple[str, ...]:
        """Options of the command line, with directories that pods see."""
        mounts = [text for path in shared for text in ("--mount", str(path))]
        return ("--executor", self.mode.value, *mounts)

    def executors(self) -> Executors:
        return open_executors(ExecutorOptions(mode=self.mode))


def working_mode(mode: ExecutorMode) -> Mode:
    """A mode; the test is skipped where it does not work."""
    found = _probed(mode)
    if isinstance(found, str):
        pytest.skip(found)
    return found


@pytest.fixture(params=list(ExecutorMode), ids=[mode.value for mode in ExecutorMode])
def mode(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Mode:
    """Each executor mode that works here, with the environment that it needs."""
    return _with_environment(working_mode(request.param), monkeypatch)


@pytest.fixture(
    params=[
        pytest.param(mode, id=mode.value, marks=[] if mode is ExecutorMode.PROCESS else pytest.mark.slow)
        for mode in ExecutorMode
    ]
)
def each_mode(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Mode:
    """The same, for tests of whole runs: all but processes are slow."""
    return _with_environment(working_mode(request.param), monkeypatch)


@pytest.fixture(params=[ExecutorMode.SANDBOX, ExecutorMode.CONTAINER], ids=["sandbox", "container"])
def mounting(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Mode:
    """Each of them in which pods have a file system of their own."""
    return _with_environment(working_mode(request.param), monkeypatch)


@pytest.fixture
def sandbox_mode() -> Mode:
    return working_mode(ExecutorMode.SANDBOX)


@pytest.fixture
def container_mode(monkeypatch: pytest.MonkeyPatch) -> Mode:
    return _with_environment(working_mode(ExecutorMode.CONTAINER), monkeypatch)


def _with_environment(mode: Mode, monkeypatch: pytest.MonkeyPatch) -> Mode:
    for name, value in mode.environment.items():
        monkeypatch.setenv(name, value)
    return mode


@functools.cache
def _probed(mode: ExecutorMode) -> Mode | str:
    """The mode, or why it does not work here."""
    try:
        if mode is ExecutorMode.CONTAINER:
            return Mode(mode, _engine_with_image())
        open_executors(ExecutorOptions(mode=mode))
    except ExecutorModeError as error:
        return str(error)
    except RuntimeError as error:
        return f"containers cannot be tested here: {error}"
    return Mode(mode)


def _engine_with_image() -> dict[str, str]:
    """Make the image; returns the environment in which the engine has it and runs it."""
    busybox = shutil.which("busybox")
    if busybox is None or b"dynamically" in _run("file", "--brief", "--dereference", busybox, check=False):
        raise RuntimeError("no static busybox to make an image from")
    directory = Path(tempfile.mkdtemp(prefix="kfp-test-engine-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    environment = _podman_of_our_own(directory)
    # Checks and runs use what the fixture will set.
    os.environ.update(environment)
    try:
        engine = ContainerEngine.find()
        archive = _root_file_system(directory, Path(busybox))
        for image in _IMAGES:
            _run(engine.program, "import", str(archive), engine.image(image))
        _run(engine.program, "run", "--rm", "--network=host", engine.image(IMAGE), "true")
    finally:
        for variable in environment:
            del os.environ[variable]
    return environment


def _podman_of_our_own(directory: Path) -> dict[str, str]:
    """A store below ``directory``, limits that our own allow, a runtime for this kernel's control groups."""
    limits = {"nofile": resource.RLIMIT_NOFILE, "nproc": resource.RLIMIT_NPROC}
    ours = {name: resource.getrlimit(number)[1] for name, number in limits.items()}
    most = [f'"{name}={_least(limit)}:{_least(limit)}"' for name, limit in ours.items()]
    hybrid = Path("/sys/fs/cgroup/unified").is_dir()
    runtime = 'runtime = "runc"\n' if hybrid and shutil.which("runc") else ""
    (directory / "containers.conf").write_text(
        f"[containers]\ndefault_ulimits = [{', '.join(most)}]\n"
        f'[engine]\n{runtime}cgroup_manager = "cgroupfs"\nevents_logger = "none"\n'
    )
    (directory / "storage.conf").write_text(
        f'[storage]\ndriver = "vfs"\ngraphroot = "{directory}/store"\nrunroot = "{directory}/run"\n'
    )
    return {
        "CONTAINERS_CONF": str(directory / "containers.conf"),
        "CONTAINERS_STORAGE_CONF": str(directory / "storage.conf"),
    }


def _least(limit: int) -> int:
    return _MANY if limit == resource.RLIM_INFINITY else min(limit, _MANY)


def _root_file_system(directory: Path, busybox: Path) -> Path:
    root = directory / "root"
    for name in ("bin", "etc", "tmp"):
        (root / name).mkdir(parents=True)
    shutil.copy(busybox, root / "bin/busybox")
    for applet in _run(str(busybox), "--list").decode().split():
        if applet != "busybox":
            (root / "bin" / applet).symlink_to("busybox")
    (root / "bin/python3").write_text(_python())
    (root / "bin/python3").chmod(0o755)
    archive = directory / "root.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(root, arcname=".")
    shutil.rmtree(root)
    return archive


def _python() -> str:
    """The image's ``python3``: the machine's, as its launcher carries it along."""
    carried = CarriedPython.find()
    packages = [mount.target for mount in carried.mounts if "/packages/" in mount.target]
    return f'#!/bin/sh\nPYTHONPATH={":".join(packages)} exec {shlex.join(carried.command[:4])} -X utf8 "$@"\n'


def _run(*argv: str, check: bool = True) -> bytes:
    try:
        process = subprocess.run(argv, check=False, capture_output=True, timeout=_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RuntimeError(str(error)) from error
    if check and process.returncode:
        lines = process.stderr.decode(errors="replace").strip().splitlines()
        raise RuntimeError(f"{' '.join(argv[:2])}: {(lines or ['failed'])[-1]}")
    return process.stdout

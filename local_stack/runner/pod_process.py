"""Pods as processes of this machine (spec LAUNCHER E5.3).

Every pod gets a directory of its own, a session of its own and a death signal, so that it neither
collides with its siblings nor outlives the runner. Its output goes to ``main.log``.
"""

import asyncio
import itertools
import os
import shutil
import signal
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final

from launcher.process import death_signal
from local_stack.runner.engine import PodRequest, PodResult
from local_stack.runner.errors import NodeError
from local_stack.runner.nodes import Node, Phase
from local_stack.runner.pod_build import (
    ConfigDirectories,
    Pod,
    build_pod,
    container_environment,
    with_workspace,
)
from local_stack.runner.pod_command import LocalCommand, check_runnable, local_command
from local_stack.runner.processes import kill_marked, kill_tree, send
from local_stack.runner.python_environment import PipInstall, PythonEnvironment
from local_stack.runner.workflow import Workflow

TERMINATION_GRACE: Final = 30.0
MARK: Final = "KFP_LOCAL_POD"
_LOG: Final = "main.log"
_INHERITED: Final = frozenset(
    {
        "ALL_PROXY",
        "CUDA_VISIBLE_DEVICES",
        "HOME",
        "HTTPS_PROXY",
        "HTTP_PROXY",
        "LANG",
        "LC_ALL",
        "NO_PROXY",
        "PATH",
        "TZ",
        "all_proxy",
        "http_proxy",
        "https_proxy",
        "no_proxy",
    }
)
_INHERITED_PREFIXES: Final = ("AWS_", "KFP_", "PIP_")


@dataclass(frozen=True, kw_only=True)
class PodSettings:
    """Where and how pods run.

    ``variables`` are set in every pod before the pod's own; ``grace`` is the time in seconds that a pod
    has between SIGTERM and SIGKILL. With ``scratch``, a directory with a short path, pods know their
    temporary directory by a name below it.
    """

    directory: Path
    workspace: Path
    config: ConfigDirectories
    python: PythonEnvironment | None = None
    pip_install: PipInstall = PipInstall.AUTO
    variables: Mapping[str, str] = field(default_factory=dict)
    grace: float = TERMINATION_GRACE
    scratch: Path | None = None


WasDone = Callable[[str], Awaitable[bool]]
"""Whether the task row with that id says that its executor did all of its work."""


class LocalPods:
    """Runs the pods of one workflow.

    ``was_done`` is asked about executors that a killed runner left behind: those that had done their work
    are not run again.
    """

    def __init__(self, workflow: Workflow, settings: PodSettings, *, was_done: WasDone | None = None) -> None:
        self._workflow = workflow
        self._settings = settings
        self._was_done = was_done
        self.started = 0
        self._hurry = asyncio.Event()
        self._numbers = itertools.count()
        self._scratch: Path | None = None

    def hurry(self) -> None:
        """Give stopping pods no more time: they are killed at once."""
        self._hurry.set()

    def log_file(self, pod_name: str) -> Path:
        """Where the output of a pod goes; a pod is named like its node's id."""
        return self._settings.directory / pod_name / _LOG

    async def run(self, request: PodRequest) -> PodResult:
        """Run a pod to its end; cancellation stops it first, with time to clean up."""
        node = request.node
        try:
            pod = with_workspace(build_pod(self._workflow, request), self._settings.workspace)
            check_runnable(pod, workspace=self._settings.workspace)
            directory = self._prepare_directory(node, pod)
            environment = self._environment(pod, directory)
            command = local_command(pod, environment, prepare=self._prepare_user_command)
        except NodeError as error:
            return PodResult(phase=Phase.ERROR, message=str(error))
        if request.interrupted and await self._had_done_its_work(command):
            return PodResult(phase=Phase.SUCCEEDED, exit_code=0)
        hint = _hint(command, node, pod)
        try:
            with (directory / _LOG).open("ab") as log:
                process = await self._start(command, environment, directory, log)
            self.started += 1
            return _result(await self._wait(process), hint)
        except OSError as error:
            return PodResult(
                phase=Phase.ERROR, message=f"cannot start {command.argv[0]}: {error.strerror}{hint}"
            )
        finally:
            kill_marked(MARK, pod.uid)

    async def _had_done_its_work(self, command: LocalCommand) -> bool:
        return bool(command.task_id and self._was_done is not None and await self._was_done(command.task_id))

    def _prepare_directory(self, node: Node, pod: Pod) -> Path:
        directory = self._settings.directory / node.id
        for name in ("outputs", "tmp", "work"):
            # A pod has a file system of its own; what a killed or reset attempt left is not for this one.
            shutil.rmtree(directory / name, ignore_errors=True)
            (directory / name).mkdir(parents=True)
        (directory / "pod.json").write_text(pod.to_json())
        return directory

    def _environment(self, pod: Pod, directory: Path) -> dict[str, str]:
        environment = {
            name: value
            for name, value in os.environ.items()
            if name in _INHERITED or name.startswith(_INHERITED_PREFIXES)
        }
        environment |= self._settings.variables
        environment |= {
            # The order of lines in the log is the order in which they were written.
            "PYTHONUNBUFFERED": "1",
            "TMPDIR": str(self._temporary_directory(directory)),
            "KFP_LOCAL_OUTPUTS_DIR": str(directory / "outputs"),
            "KFP_SECRETS_DIR": str(self._settings.config.secrets),
            MARK: pod.uid,
        }
        if self._settings.python is not None:
            scripts = self._settings.python.scripts.absolute()
            environment["PATH"] = os.pathsep.join([str(scripts), environment.get("PATH", os.defpath)])
        environment |= container_environment(pod, pod.main, self._settings.config)
        # The launcher is told its pod as flags; user code may read it. The workflow it learns from Argo.
        return environment | {
            "KFP_POD_NAME": pod.name,
            "KFP_POD_UID": pod.uid,
            "ARGO_WORKFLOW_NAME": pod.labels["workflows.argoproj.io/workflow"],
        }

    def _temporary_directory(self, directory: Path) -> Path:
        """The pod's ``tmp`` by a short name: Unix sockets, as ``multiprocessing`` makes, allow 107 bytes."""
        place = directory / "tmp"
        if self._settings.scratch is None:
            return place
        if self._scratch is None:
            self._scratch = Path(tempfile.mkdtemp(prefix="", dir=self._settings.scratch))
        name = self._scratch / str(next(self._numbers))
        name.symlink_to(place.absolute(), target_is_directory=True)
        return name

    def _prepare_user_command(self, command: Sequence[str]) -> list[str]:
        if self._settings.python is None:
            return list(command)
        return self._settings.python.prepare_command(command, self._settings.pip_install)

    async def _start(
        self, command: LocalCommand, environment: Mapping[str, str], directory: Path, log: IO[bytes]
    ) -> asyncio.subprocess.Process:
        # A launcher ends its own child when it is told to; anything else is simply killed with us.
        number = signal.SIGTERM if command.is_launcher else signal.SIGKILL
        return await asyncio.create_subprocess_exec(
            *command.argv,
            cwd=directory / "work",
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=death_signal(number),
        )

    async def _wait(self, process: asyncio.subprocess.Process) -> int:
        try:
            return await process.wait()
        except asyncio.CancelledError:
            await self._stop(process)
            raise

    async def _stop(self, process: asyncio.subprocess.Process) -> None:
        """SIGTERM, then after the grace period SIGKILL for everything below the process."""
        if not self._hurry.is_set():
            send(process.pid, signal.SIGTERM)
        ended = asyncio.ensure_future(process.wait())
        hurry = asyncio.ensure_future(self._hurry.wait())
        await asyncio.wait({ended, hurry}, timeout=self._settings.grace, return_when=asyncio.FIRST_COMPLETED)
        hurry.cancel()
        if not ended.done():
            kill_tree(process.pid)
        await ended


def _result(status: int, hint: str) -> PodResult:
    if status == 0:
        return PodResult(phase=Phase.SUCCEEDED, exit_code=0)
    code = status if status > 0 else 128 - status
    return PodResult(phase=Phase.FAILED, message=f"main: Error (exit code {code}){hint}", exit_code=code)


def _hint(command: LocalCommand, node: Node, pod: Pod) -> str:
    """What a user should know when the command does not exist here."""
    if not command.missing:
        return ""
    task = next(
        (part for part in reversed(node.name.split(".")) if not part.startswith("executor")), node.name
    )
    image = pod.main.get("image") or "none"
    return (
        f': task "{task}": command "{command.missing}" not found on this machine '
        f"(executors run as local processes, image {image} is not used)"
    )

"""Pods as processes of this machine (spec LAUNCHER E5.3).

Every pod gets a directory of its own, a session of its own and a death signal, so that it neither
collides with its siblings nor outlives the runner. Its output goes to ``main.log``. What its processes see,
and whether they are the containers' own, is a matter of the runtime (:mod:`container_runtime`).
"""

import asyncio
import itertools
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, Final

from launcher.process import death_signal
from local_stack.runner.accelerators import Accelerators, wanted_accelerators
from local_stack.runner.container_runtime import ContainerRuntime, Mount, PodDirectory, PodSettings, Step
from local_stack.runner.engine import PodRequest, PodResult
from local_stack.runner.errors import NodeError
from local_stack.runner.limits import Enforcement, Enforcer, pod_limits
from local_stack.runner.nodes import Node, Phase
from local_stack.runner.pod_build import MAIN, Pod, build_pod, container_environment
from local_stack.runner.pod_command import LocalCommand
from local_stack.runner.processes import kill_marked, kill_tree
from local_stack.runner.runtime_process import ProcessRuntime
from local_stack.runner.workflow import Workflow

MARK: Final = "KFP_LOCAL_POD"
_LOG: Final = "main.log"
_MAIN_FAILED: Final = "Error"


WasDone = Callable[[str], Awaitable[bool]]
"""Whether the task row with that id says that its executor did all of its work."""


class LocalPods:
    """Runs the pods of one workflow.

    ``was_done`` is asked about executors that a killed runner left behind: those that had done their work
    are not run again. Limits of pods are in force with an ``enforcer``; without ``accelerators`` nobody
    counts them.
    """

    def __init__(
        self,
        workflow: Workflow,
        settings: PodSettings,
        *,
        runtime: ContainerRuntime | None = None,
        enforcer: Enforcer | None = None,
        accelerators: Accelerators | None = None,
        was_done: WasDone | None = None,
    ) -> None:
        self._workflow = workflow
        self._settings = settings
        self._runtime: ContainerRuntime = runtime or ProcessRuntime()
        self._enforcer = enforcer
        self._accelerators = accelerators or Accelerators({})
        self._was_done = was_done
        self.started = 0
        self._hurry = asyncio.Event()
        self._numbers = itertools.count()
        self._scratch: Path | None = None
        self._devices: dict[str, Mapping[str, str]] = {}

    def hurry(self) -> None:
        """Give stopping pods no more time: they are killed at once."""
        self._hurry.set()

    def log_file(self, pod_name: str) -> Path:
        """Where the output of a pod goes; a pod is named like its node's id."""
        return self._settings.directory / pod_name / _LOG

    @asynccontextmanager
    async def devices(self, request: PodRequest) -> AsyncIterator[None]:
        """Hold the accelerators that a pod asks for; waits until they are free.

        Raises:
            NodeError: this machine does not have as many.
        """
        if not self._accelerators.are_counted:
            yield
            return
        main = build_pod(self._workflow, request).main
        async with self._accelerators.held(wanted_accelerators(main)) as variables:
            self._devices[request.node.id] = variables
            try:
                yield
            finally:
                del self._devices[request.node.id]

    async def run(self, request: PodRequest) -> PodResult:
        """Run a pod to its end; cancellation stops it first, with time to clean up."""
        node = request.node
        enforcement = None
        try:
            pod = build_pod(self._workflow, request)
            runtime = self._runtime.serving(pod)
            pod = runtime.admit(pod, self._settings)
            directory = self._prepare_directory(node, pod)
            environment = self._environment(pod, directory, runtime)
            command = runtime.command(pod, environment, self._settings)
            if request.interrupted and await self._had_done_its_work(command):
                return PodResult(phase=Phase.SUCCEEDED, exit_code=0)
            limits = pod_limits(pod.main) if self._enforcer and command.user else None
            settings, limited = self._settings, command
            if self._enforcer is not None and limits is not None:
                enforcement = self._enforcer.open(pod.uid, limits)
                limited = replace(command, user=tuple(enforcement.wrap(command.user)))
                shown = [Mount(place, str(place)) for place in enforcement.visible]
                settings = replace(settings, mounts=[*settings.mounts, *shown])
            steps = runtime.steps(pod, limited, environment, directory=directory, settings=settings)
            return await self._run_steps(pod, runtime, steps, enforcement, _hint(command, node, pod))
        except NodeError as error:
            return PodResult(phase=Phase.ERROR, message=str(error))
        finally:
            if enforcement is not None:
                await enforcement.close()

    async def _run_steps(
        self,
        pod: Pod,
        runtime: ContainerRuntime,
        steps: Sequence[Step],
        enforcement: Enforcement | None,
        hint: str,
    ) -> PodResult:
        """Run containers one after the other, until one fails."""
        for step in steps:
            try:
                with self.log_file(pod.name).open("ab") as log:
                    process = await _start(step, log)
                self.started += step.container == MAIN
                status = await self._wait(process, runtime, pod)
                if status:
                    reason = await runtime.reason(pod, status)
                    if enforcement is not None and step.container == MAIN:
                        reason = enforcement.reason() or reason
                    return _failed(step, status, reason, hint)
            except OSError as error:
                return PodResult(
                    phase=Phase.ERROR, message=f"cannot start {step.argv[0]}: {error.strerror}{hint}"
                )
            finally:
                kill_marked(MARK, pod.uid)
                await runtime.remove(pod)
        return PodResult(phase=Phase.SUCCEEDED, exit_code=0)

    async def _had_done_its_work(self, command: LocalCommand) -> bool:
        return bool(command.task_id and self._was_done is not None and await self._was_done(command.task_id))

    def _prepare_directory(self, node: Node, pod: Pod) -> PodDirectory:
        root = self._settings.directory / node.id
        for name in ("outputs", "tmp", "volumes", "work"):
            # A pod has a file system of its own; what a killed or reset attempt left is not for this one.
            shutil.rmtree(root / name, ignore_errors=True)
            (root / name).mkdir(parents=True)
        (root / "pod.json").write_text(pod.to_json())
        return PodDirectory(root, self._temporary_directory(root))

    def _environment(self, pod: Pod, directory: PodDirectory, runtime: ContainerRuntime) -> dict[str, str]:
        environment = runtime.environment(os.environ, directory, self._settings)
        environment |= self._settings.variables
        environment |= {
            # The order of lines in the log is the order in which they were written.
            "PYTHONUNBUFFERED": "1",
            "KFP_SECRETS_DIR": str(self._settings.config.secrets),
            MARK: pod.uid,
            **self._devices.get(pod.name, {}),
        }
        environment |= container_environment(pod, pod.main, self._settings.config)
        # The launcher is told its pod as flags; user code may read it. The workflow it learns from Argo.
        return environment | {
            "KFP_POD_NAME": pod.name,
            "KFP_POD_UID": pod.uid,
            "ARGO_WORKFLOW_NAME": pod.labels["workflows.argoproj.io/workflow"],
        }

    def _temporary_directory(self, root: Path) -> Path:
        """The pod's ``tmp`` by a short name, a link in our scratch directory."""
        place = root / "tmp"
        if self._settings.scratch is None:
            return place
        if self._scratch is None:
            self._scratch = Path(tempfile.mkdtemp(prefix="", dir=self._settings.scratch))
        name = self._scratch / str(next(self._numbers))
        name.symlink_to(place.absolute(), target_is_directory=True)
        return name

    async def _wait(self, process: asyncio.subprocess.Process, runtime: ContainerRuntime, pod: Pod) -> int:
        try:
            return await process.wait()
        except asyncio.CancelledError:
            await self._stop(process, runtime, pod)
            raise

    async def _stop(self, process: asyncio.subprocess.Process, runtime: ContainerRuntime, pod: Pod) -> None:
        """SIGTERM, then after the grace period SIGKILL for everything below the process."""
        if not self._hurry.is_set():
            await runtime.stop(pod, process.pid)
        ended = asyncio.ensure_future(process.wait())
        hurry = asyncio.ensure_future(self._hurry.wait())
        await asyncio.wait({ended, hurry}, timeout=self._settings.grace, return_when=asyncio.FIRST_COMPLETED)
        hurry.cancel()
        if not ended.done():
            kill_tree(process.pid)
        await ended


async def _start(step: Step, log: IO[bytes]) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *step.argv,
        cwd=step.cwd,
        env=step.environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
        preexec_fn=death_signal(step.death_signal),
    )


def _failed(step: Step, status: int, reason: str, hint: str) -> PodResult:
    """Argo's message for a failed container, with what is known beyond its exit code."""
    code = status if status > 0 else 128 - status
    init = "" if step.container == MAIN else "init container "
    error, colon, details = (reason or _MAIN_FAILED).partition(": ")
    return PodResult(
        phase=Phase.FAILED,
        message=f"{init}{step.container}: {error} (exit code {code}){colon}{details}{hint}",
        exit_code=code,
    )


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
        f"(executors are not run in containers, image {image} is not used)"
    )

"""Containers of docker or podman with the task's own image: the executor mode ``container`` (spec E5.2).

The launcher runs inside the image by the Python that is carried along (:mod:`carried_python`). Importers run
no user command and need no image: they are processes. The network is this machine's.
"""

import asyncio
import csv
import io
import os
import signal
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from local_stack.runner.carried_python import CarriedPython
from local_stack.runner.container_engine import ContainerEngine
from local_stack.runner.container_runtime import ContainerRuntime, Mount, PodDirectory, PodSettings, Step
from local_stack.runner.errors import NodeError
from local_stack.runner.limits import pod_limits
from local_stack.runner.pod_build import MAIN, Pod, container_environment
from local_stack.runner.pod_command import (
    LocalCommand,
    check_containers,
    container_command,
    is_importer,
    local_command,
    user_init_containers,
)
from local_stack.runner.pod_volumes import pod_mounts
from local_stack.runner.processes import send
from local_stack.runner.python_environment import PipInstall, without_pip_wrapper
from local_stack.runner.runtime_process import ProcessRuntime, inherited

HOW: Final = "containers"
_ENGINE_FAILED: Final = 125
LAUNCHER_MEMORY: Final = 128 * 1024**2
"""Bytes that containers get beyond their limit: the launcher inside needs some, and must outlive the task."""
_PULL: Final = {"Always": "always", "Never": "never"}
_CLIENT: Final = frozenset(
    {"DBUS_SESSION_BUS_ADDRESS", "HOME", "LOGNAME", "PATH", "SSH_AUTH_SOCK", "TMPDIR", "USER"}
)
_CLIENT_PREFIXES: Final = ("CONTAINER_", "CONTAINERS_", "DOCKER_", "XDG_")


class EngineRuntime:
    """Runs containers by the command line of an engine."""

    def __init__(
        self, engine: ContainerEngine, *, labels: Iterable[str] = (), enforce_limits: bool = False
    ) -> None:
        """Prepare; ``labels`` names the variables that become labels, to find what a killed runner left.

        Raises:
            ExecutorModeError: the launcher cannot run in images.
        """
        self._engine = engine
        self._labels = frozenset(labels)
        self._enforce_limits = enforce_limits
        self._carried = CarriedPython.find()

    def serving(self, pod: Pod) -> ContainerRuntime:
        """Importers are processes."""
        return ProcessRuntime() if is_importer(pod) else self

    def admit(self, pod: Pod, settings: PodSettings) -> Pod:
        """Everything but sidecars."""
        del settings
        check_containers(pod, how=HOW, init_containers=True)
        if not pod.main.get("image"):
            raise NodeError("container main has no image")
        return pod

    def environment(
        self, environment: Mapping[str, str], directory: PodDirectory, settings: PodSettings
    ) -> dict[str, str]:
        """What is ours; what is the system's comes from the image."""
        del directory, settings
        return inherited(environment, of_this_system=False)

    def command(self, pod: Pod, environment: Mapping[str, str], settings: PodSettings) -> LocalCommand:
        """The command; packages are installed in the container, or not at all."""
        if not container_command(pod.main, environment):
            return LocalCommand(user=())
        never = settings.pip_install is PipInstall.NEVER
        return local_command(
            pod,
            environment,
            prepare=without_pip_wrapper if never else list,
            launcher=self._carried.command,
            anything_exists=True,
        )

    def steps(
        self,
        pod: Pod,
        command: LocalCommand,
        environment: Mapping[str, str],
        *,
        directory: PodDirectory,
        settings: PodSettings,
    ) -> Sequence[Step]:
        """The engine's ``run`` for every init container and for main."""
        steps = []
        for container in user_init_containers(pod):
            # Our own variables, among them the marks by which processes are found; not those of main.
            ours = {name: environment[name] for name in environment if name.startswith("KFP_LOCAL_")}
            own = self.environment(os.environ, directory, settings) | ours
            own |= container_environment(pod, container, settings.config)
            argv = container_command(container, own)
            mounts = pod_mounts(pod, container, own, directory=directory, settings=settings)
            steps.append(self._step(pod, container, argv, own, mounts=mounts, directory=directory))
        mounts = pod_mounts(pod, pod.main, environment, directory=directory, settings=settings)
        if command.is_launcher:
            mounts += self._carried.mounts
        steps.append(self._step(pod, pod.main, command.argv, environment, mounts=mounts, directory=directory))
        return steps

    def _step(
        self,
        pod: Pod,
        container: Mapping[str, Any],
        argv: Sequence[str],
        environment: Mapping[str, str],
        *,
        mounts: Sequence[Mount],
        directory: PodDirectory,
    ) -> Step:
        client = {name: value for name, value in os.environ.items() if _is_clients(name)}
        options = ["--name", _container_name(pod, container["name"]), *self._engine.user_options]
        options += ["--network", "host", "--log-driver", "none", "--security-opt", "label=disable"]
        options += ["--pull", _PULL.get(container.get("imagePullPolicy") or "", "missing")]
        for name in sorted(self._labels & environment.keys()):
            options += ["--label", f"{name}={environment[name]}"]
        if self._enforce_limits:
            options += _limit_options(container)
        for mount in {mount.target: mount for mount in mounts}.values():
            options += ["--mount", _mount_option(mount)]
        for name, value in environment.items():
            # Values that the engine's client does not need itself stay out of the process table.
            options += ["--env", f"{name}={value}" if _is_clients(name) else name]
        if container.get("workingDir"):
            options += ["--workdir", str(container["workingDir"])]
        if container.get("command"):
            options += ["--entrypoint", argv[0]]
            argv = argv[1:]
        return Step(
            container=container["name"],
            argv=[self._engine.program, "run", *options, self._engine.image(container["image"]), *argv],
            environment={
                **{name: environment[name] for name in environment if not _is_clients(name)},
                **client,
            },
            cwd=directory.work,
            # The client passes it on; SIGKILL would end the client alone.
            death_signal=signal.SIGTERM,
        )

    async def stop(self, pod: Pod, process: int) -> None:
        """Signal the container; its client passes signals on only once it is up, so it is not asked."""
        names = [_container_name(pod, one["name"]) for one in (*user_init_containers(pod), pod.main)]
        killed = [await self._ask("kill", "--signal", "TERM", name) for name in names]
        if not any(killed):
            send(process, signal.SIGTERM)

    async def reason(self, pod: Pod, status: int) -> str:
        """Whether the engine failed, or the container met its memory limit.

        Engines see that the kernel ended a process for its memory in some versions and some set-ups only.
        """
        if status == _ENGINE_FAILED:
            image = self._engine.image(str(pod.main["image"]))
            return f"Error: {self._engine.name} did not run image {image}, the task's log says why"
        limits = pod_limits(pod.main)
        if not self._enforce_limits or limits is None:
            return ""
        return limits.out_of_memory if await self._was_out_of_memory(pod) else limits.in_force

    async def remove(self, pod: Pod) -> None:
        """Remove the pod's containers, whatever state they are in."""
        names = [_container_name(pod, one["name"]) for one in (*user_init_containers(pod), pod.main)]
        await self._ask("rm", "--force", *names)

    async def _was_out_of_memory(self, pod: Pod) -> bool:
        name = _container_name(pod, MAIN)
        return (await self._ask("inspect", "--format", "{{.State.OOMKilled}}", name)).strip() == b"true"

    async def _ask(self, *arguments: str) -> bytes:
        process = await asyncio.create_subprocess_exec(
            self._engine.program,
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        output, _ = await process.communicate()
        return output


def _container_name(pod: Pod, container: str) -> str:
    return f"kfp-{pod.uid}-{container}"


def _is_clients(name: str) -> bool:
    return name in _CLIENT or name.startswith(_CLIENT_PREFIXES)


def _limit_options(container: Mapping[str, Any]) -> list[str]:
    limits = pod_limits(container)
    options: list[str] = []
    if limits is not None and limits.memory is not None:
        # As on a node of Kubernetes: no swap beyond the limit.
        memory = str(limits.memory + LAUNCHER_MEMORY)
        options += ["--memory", memory, "--memory-swap", memory]
    if limits is not None and limits.cpu is not None:
        options += ["--cpus", f"{limits.cpu.normalize():f}"]
    return options


def _mount_option(mount: Mount) -> str:
    """The value of ``--mount``, which is a line of CSV."""
    fields = ["type=bind", f"source={mount.source.absolute()}", f"target={mount.target}"]
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow([*fields, *(["readonly"] if mount.read_only else [])])
    return line.getvalue()

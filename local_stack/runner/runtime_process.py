"""Containers as plain processes of this machine: the executor mode ``process`` (spec LAUNCHER E5.2).

It needs no privileges and has no file system of its own, so paths that a cluster mounts are refused or moved
into the pod's directory.
"""

import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from local_stack.runner.container_runtime import ContainerRuntime, PodDirectory, PodSettings, Step
from local_stack.runner.pod_build import MAIN, Pod, with_workspace
from local_stack.runner.pod_command import LocalCommand, check_containers, check_volumes, local_command
from local_stack.runner.processes import send

HOW: Final = "local processes"
_OURS: Final = frozenset(
    {
        "ALL_PROXY",
        "CUDA_VISIBLE_DEVICES",
        "HTTPS_PROXY",
        "HTTP_PROXY",
        "NO_PROXY",
        "TZ",
        "all_proxy",
        "http_proxy",
        "https_proxy",
        "no_proxy",
    }
)
_OURS_PREFIXES: Final = ("AWS_", "KFP_", "PIP_")
_OF_THIS_SYSTEM: Final = frozenset({"HOME", "LANG", "LC_ALL", "PATH"})


class ProcessRuntime:
    """Runs the main container as a process; everything of this machine is visible to it."""

    def serving(self, pod: Pod) -> ContainerRuntime:
        """All pods."""
        del pod
        return self

    def admit(self, pod: Pod, settings: PodSettings) -> Pod:
        """The pod with its workspace where this machine has it."""
        pod = with_workspace(pod, settings.workspace)
        check_containers(pod, how=HOW)
        check_volumes(pod, workspace=settings.workspace)
        return pod

    def environment(
        self, environment: Mapping[str, str], directory: PodDirectory, settings: PodSettings
    ) -> dict[str, str]:
        """What is ours and the system's; the Python environment comes first on ``PATH``."""
        given = inherited(environment) | {
            "TMPDIR": str(directory.temporary),
            "KFP_LOCAL_OUTPUTS_DIR": str(directory.outputs),
            "KFP_WORKSPACE_PATH": str(settings.workspace),
        }
        return with_python(given, settings)

    def command(self, pod: Pod, environment: Mapping[str, str], settings: PodSettings) -> LocalCommand:
        """The command, if this machine has it."""
        return prepared_command(pod, environment, settings)

    def steps(
        self,
        pod: Pod,
        command: LocalCommand,
        environment: Mapping[str, str],
        *,
        directory: PodDirectory,
        settings: PodSettings,
    ) -> Sequence[Step]:
        """The command itself."""
        del pod, settings
        # A launcher ends its own child when it is told to; anything else is simply killed with us.
        number = signal.SIGTERM if command.is_launcher else signal.SIGKILL
        return [
            Step(
                container=MAIN,
                argv=command.argv,
                environment=environment,
                cwd=directory.work,
                death_signal=number,
            )
        ]

    async def stop(self, pod: Pod, process: int) -> None:
        """Signal the process."""
        del pod
        send(process, signal.SIGTERM)

    async def reason(self, pod: Pod, status: int) -> str:
        """The exit status is the command's own."""
        del pod, status
        return ""

    async def remove(self, pod: Pod) -> None:
        """Processes are all there is, and they are gone."""
        del pod


def inherited(environment: Mapping[str, str], *, of_this_system: bool = True) -> dict[str, str]:
    """The variables of the runner that pods get; those ``of_this_system`` mean nothing in an image."""
    names = _OURS | _OF_THIS_SYSTEM if of_this_system else _OURS
    return {
        name: value for name, value in environment.items() if name in names or name.startswith(_OURS_PREFIXES)
    }


def with_python(environment: Mapping[str, str], settings: PodSettings) -> dict[str, str]:
    """The environment with the runner's Python environment first on ``PATH``."""
    if settings.python is None:
        return dict(environment)
    path = [str(settings.python.scripts.absolute()), environment.get("PATH", os.defpath)]
    return {**environment, "PATH": os.pathsep.join(path)}


def prepared_command(pod: Pod, environment: Mapping[str, str], settings: PodSettings) -> LocalCommand:
    """The pod's command, with packages installed as the run wants it."""

    def prepare(command: Sequence[str]) -> Sequence[str]:
        if settings.python is None:
            return command
        return settings.python.prepare_command(command, settings.pip_install)

    command = local_command(pod, environment, prepare=prepare)
    python = settings.python
    return replace(command, installs=python is not None and python.is_changed_by(command.user))

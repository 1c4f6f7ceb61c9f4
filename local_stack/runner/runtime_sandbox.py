"""Containers as bubblewrap sandboxes: the executor mode ``sandbox`` (spec LAUNCHER E5.2).

Each pod has a file system of its own, so the paths that KFP and its users write into code are there:
``/tmp``, ``/minio``, ``/kfp-workspace``, volumes at their mount paths. The base system is this machine's,
read-only; the network is shared. The kernel ends everything in a sandbox together with it.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Final

from local_stack.runner.container_runtime import ContainerRuntime, Mount, PodDirectory, PodSettings, Step
from local_stack.runner.errors import ExecutorModeError
from local_stack.runner.pod_build import MAIN, Pod
from local_stack.runner.pod_command import LocalCommand, check_containers
from local_stack.runner.pod_volumes import pod_mounts
from local_stack.runner.processes import children, send
from local_stack.runner.runtime_process import inherited, prepared_command, with_python
from local_stack.runner.sandbox_mounts import (
    bubblewrap_arguments,
    devices,
    interpreter,
    named_by_environment,
    system,
)

HOW: Final = "sandboxes of this machine"
_WORK: Final = "/kfp-work"
_OPTIONS: Final = ("--unshare-pid", "--unshare-ipc", "--die-with-parent", "--proc", "/proc", "--dev", "/dev")
_PROBE_SECONDS: Final = 30


class SandboxRuntime:
    """Runs the main container below ``bwrap``."""

    def __init__(self, program: str) -> None:
        self._program = program
        self._base = [*system(), *interpreter()]
        self._of_user = named_by_environment(dict(os.environ))
        self._options = [*_OPTIONS]
        for device in devices():
            self._options += ["--dev-bind", str(device), str(device)]
        if os.geteuid() == 0:
            # Root could otherwise make the base system writable again.
            self._options += ["--cap-drop", "CAP_SYS_ADMIN"]

    @classmethod
    def open(cls) -> "SandboxRuntime":
        """Check that sandboxes can be made and that Python runs in them.

        Raises:
            ExecutorModeError: they cannot; says what to do.
        """
        program = shutil.which("bwrap")
        if program is None:
            raise ExecutorModeError(
                "--executor sandbox needs bubblewrap, and there is no bwrap on PATH: install the package "
                "bubblewrap, or use --executor process"
            )
        runtime = cls(program)
        argv = runtime.wrap([sys.executable, "-c", "import launcher"], [])
        try:
            tried = subprocess.run(  # noqa: S603 (our own command line)
                argv, check=False, capture_output=True, text=True, timeout=_PROBE_SECONDS
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ExecutorModeError(f"--executor sandbox: {program} does not work: {error}") from error
        if tried.returncode:
            said = (tried.stderr.strip().splitlines() or [f"exit code {tried.returncode}"])[-1]
            raise ExecutorModeError(
                f"--executor sandbox: bubblewrap cannot make a sandbox here ({said}); the kernel must allow "
                "user namespaces (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone, "
                "kernel.apparmor_restrict_unprivileged_userns), or use --executor process"
            )
        return runtime

    def wrap(self, argv: Sequence[str], mounts: Sequence[Mount]) -> list[str]:
        """The command line that runs ``argv`` in a sandbox with ``mounts``."""
        tree = bubblewrap_arguments(self._base, [*self._of_user, *mounts])
        work = _WORK if any(mount.target == _WORK for mount in mounts) else "/"
        return [self._program, *self._options, *tree, "--chdir", work, "--", *argv]

    def serving(self, pod: Pod) -> ContainerRuntime:
        """All pods."""
        del pod
        return self

    def admit(self, pod: Pod, settings: PodSettings) -> Pod:
        """Volumes are looked at when they are made."""
        del settings
        check_containers(pod, how=HOW)
        return pod

    def environment(
        self, environment: Mapping[str, str], directory: PodDirectory, settings: PodSettings
    ) -> dict[str, str]:
        """What is ours and the system's; home is ``/``, as in most images and in KFP's templates."""
        del directory
        given = inherited(environment) | {"HOME": "/", "TMPDIR": "/tmp"}  # noqa: S108 (the pod's own)
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
        """The command below ``bwrap``."""
        mounts = pod_mounts(pod, pod.main, environment, directory=directory, settings=settings)
        mounts.append(Mount(directory.work, _WORK))
        if settings.python is not None:
            place = settings.python.directory.absolute()
            mounts.append(Mount(place, str(place), read_only=not command.installs))
        return [
            Step(
                container=MAIN,
                argv=self.wrap(command.argv, mounts),
                environment=environment,
                cwd=directory.work,
            )
        ]

    async def stop(self, pod: Pod, process: int) -> None:
        """Signal the command: it is below ``bwrap`` and below the first process of its namespace."""
        del pod
        commands = [command for first in children(process) for command in children(first)]
        for command in commands or [process]:
            send(command, signal.SIGTERM)

    async def reason(self, pod: Pod, status: int) -> str:
        """``bwrap`` ends with the status of the command."""
        del pod, status
        return ""

    async def remove(self, pod: Pod) -> None:
        """A sandbox leaves nothing."""
        del pod

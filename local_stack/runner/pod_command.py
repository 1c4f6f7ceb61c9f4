"""From a built pod to the command that runs on this machine, or the reason why it cannot run here.

Rules of spec LAUNCHER E5.2 and E5.3. The launcher's binary is replaced by this project's launcher;
containers and volumes that cannot be provided are refused by name, since leaving them out would run
something else than what was asked for.
"""

import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

from local_stack.runner.errors import NodeError
from local_stack.runner.pod_build import MAIN, Pod, expand

LAUNCHER: Final = (sys.executable, "-m", "launcher")
_LAUNCHER_INIT: Final = "kfp-launcher"
_LAUNCHER_BINARIES: Final = ("launch", "launcher-v2")
_PROVIDED_MOUNTS: Final = frozenset(
    {
        "/.cache",
        "/.config",
        "/.local",
        "/etc/kfp/launcher-config",
        "/gcs",
        "/kfp-launcher",
        "/kfp/certs",
        "/minio",
        "/s3",
        "/var/run/secrets/kfp",
    }
)


@dataclass(frozen=True)
class LocalCommand:
    """What to execute: ``user``, by way of ``launcher`` where a launcher runs it.

    ``missing`` names a user command that this machine does not have, ``task_id`` the task row that a
    launcher works for; ``installs`` says that packages are installed first.
    """

    user: tuple[str, ...]
    launcher: tuple[str, ...] = ()
    missing: str = ""
    task_id: str = ""
    installs: bool = False

    @property
    def argv(self) -> tuple[str, ...]:
        """The whole command line."""
        return (*self.launcher, *self.user)

    @property
    def is_launcher(self) -> bool:
        """Whether a launcher runs it."""
        return bool(self.launcher)


def check_containers(pod: Pod, *, how: str, init_containers: bool = False) -> None:
    """Refuse containers beside main, and init containers unless the runtime runs them.

    Raises:
        NodeError: names the container, and ``how`` executors run.
    """
    for container in user_init_containers(pod):
        if not init_containers:
            raise NodeError(f'init container "{container["name"]}" cannot run: executors are {how}')
    for container in pod.spec["containers"]:
        if container["name"] != MAIN:
            raise NodeError(f'container "{container["name"]}" cannot run beside main: executors are {how}')


def user_init_containers(pod: Pod) -> list[Mapping[str, Any]]:
    """The init containers but the launcher's, whose work is done already."""
    return [one for one in pod.spec.get("initContainers") or () if one["name"] != _LAUNCHER_INIT]


def is_importer(pod: Pod) -> bool:
    """Whether the pod is a launcher without a user command."""
    argv = container_command(pod.main, {})
    return (
        bool(argv)
        and PurePosixPath(argv[0]).name in _LAUNCHER_BINARIES
        and (_flag(argv[1:], "executor_type") == "importer")
    )


def check_volumes(pod: Pod, *, workspace: Path) -> None:
    """Refuse volumes where nothing can be mounted.

    Raises:
        NodeError: names the volume.
    """
    volumes = {volume["name"]: volume for volume in pod.spec.get("volumes") or ()}
    for mount in pod.main.get("volumeMounts") or ():
        path = mount["mountPath"]
        if path in _PROVIDED_MOUNTS or Path(path) == workspace:
            continue
        volume = volumes.get(mount["name"], {})
        source = next((key for key in volume if key != "name"), "unknown volume")
        if isinstance(volume.get(source), Mapping) and volume[source].get("optional"):
            continue
        raise NodeError(
            f'volume "{mount["name"]}" ({source}) cannot be mounted at {path}: '
            "executors are local processes; use --executor sandbox or --executor container"
        )


def container_command(container: Mapping[str, Any], environment: Mapping[str, str]) -> list[str]:
    """Command and arguments of a container, with ``$(VAR)`` expanded; empty where the image decides."""
    parts = (*(container.get("command") or ()), *(container.get("args") or ()))
    return [expand(str(part), environment) for part in parts]


def local_command(
    pod: Pod,
    environment: Mapping[str, str],
    *,
    prepare: Callable[[Sequence[str]], Sequence[str]] = list,
    launcher: Sequence[str] = LAUNCHER,
    anything_exists: bool = False,
) -> LocalCommand:
    """The command of the pod's main container.

    Args:
        pod: the built pod.
        environment: its complete environment; ``PATH`` finds the user command.
        prepare: changes the user command before it starts.
        launcher: how this project's launcher is started.
        anything_exists: commands are looked for where we cannot see them.

    Raises:
        NodeError: the container has no command.
    """
    argv = container_command(pod.main, environment)
    if not argv:
        raise _no_command(pod)
    flags: list[str] = []
    if PurePosixPath(argv[0]).name in _LAUNCHER_BINARIES:
        flags, argv = _split_launcher_arguments(argv[1:])
        if not argv and _flag(flags, "executor_type") == "container":
            raise _no_command(pod)
        flags = [*launcher, *flags]
    command = tuple(prepare(argv))
    found = (
        anything_exists or not command or shutil.which(command[0], path=environment.get("PATH")) is not None
    )
    return LocalCommand(
        user=command,
        launcher=tuple(flags),
        missing="" if found else command[0],
        task_id=_flag(flags[len(launcher) :], "task_id"),
    )


def _no_command(pod: Pod) -> NodeError:
    return NodeError(
        "container main has no command, and the entrypoint of its image "
        f"({pod.main.get('image', 'no image')}) is not known: executors are not run in containers"
    )


def task_id_of(argv: Sequence[str]) -> str:
    """The task row that a launcher's command line names; empty when it names none, or is no launcher's."""
    is_launcher = bool(argv) and PurePosixPath(argv[0]).name in _LAUNCHER_BINARIES
    return _flag(argv[1:], "task_id") if is_launcher else ""


def _flag(arguments: Sequence[str], name: str) -> str:
    """Value of a flag of the launcher's; empty when it is not given."""
    position = 0
    while position < len(arguments) and arguments[position] != "--":
        flag, equals, value = arguments[position].partition("=")
        position += 1 if equals else 2
        if flag.lstrip("-") == name:
            return value if equals else "".join(arguments[position - 1 : position])
    return ""


def _split_launcher_arguments(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The launcher's flags up to ``--``, and the user command behind it.

    Values of flags may be anything, ``--`` included, so flags are walked two by two.
    """
    position = 0
    while position < len(arguments):
        argument = arguments[position]
        if argument == "--":
            return list(arguments[: position + 1]), list(arguments[position + 1 :])
        position += 1 if "=" in argument else 2
    return list(arguments), []

"""From a built pod to the command that runs on this machine, or the reason why it cannot run here.

Rules of spec LAUNCHER E5.2 and E5.3. The launcher's binary is replaced by this project's launcher;
containers and volumes that only a cluster
can provide are refused by name, since leaving them out would run something else than what was asked for.
"""

import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

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
    """What to execute.

    ``missing`` names a user command that this machine does not have, ``task_id`` the task row that a
    launcher works for.
    """

    argv: tuple[str, ...]
    is_launcher: bool
    missing: str = ""
    task_id: str = ""


def check_runnable(pod: Pod, *, workspace: Path) -> None:
    """Refuse what a local process cannot provide.

    Raises:
        NodeError: names the container or the volume.
    """
    for container in pod.spec.get("initContainers") or ():
        if container["name"] != _LAUNCHER_INIT:
            raise NodeError(f'init container "{container["name"]}" cannot run as a local process')
    for container in pod.spec["containers"]:
        if container["name"] != MAIN:
            raise NodeError(f'container "{container["name"]}" cannot run beside main as a local process')
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
            "executors run as local processes"
        )


def local_command(
    pod: Pod,
    environment: Mapping[str, str],
    *,
    prepare: Callable[[Sequence[str]], Sequence[str]] = list,
) -> LocalCommand:
    """The command of the pod's main container.

    Args:
        pod: the built pod.
        environment: its complete environment; ``PATH`` finds the user command.
        prepare: changes the user command before it starts.

    Raises:
        NodeError: the container has no command.
    """
    main = pod.main
    argv = [
        expand(str(part), environment) for part in (*(main.get("command") or ()), *(main.get("args") or ()))
    ]
    if not argv:
        raise NodeError(
            f"container main has no command: the image's own entrypoint ({main.get('image', 'no image')}) "
            "is not known to local processes"
        )
    if PurePosixPath(argv[0]).name not in _LAUNCHER_BINARIES:
        return _with_missing([*prepare(argv)], (), environment)
    flags, user_command = _split_launcher_arguments(argv[1:])
    return _with_missing([*prepare(user_command)], (*LAUNCHER, *flags), environment)


def _with_missing(
    command: Sequence[str], launcher: Sequence[str], environment: Mapping[str, str]
) -> LocalCommand:
    found = not command or shutil.which(command[0], path=environment.get("PATH")) is not None
    return LocalCommand(
        argv=(*launcher, *command),
        is_launcher=bool(launcher),
        missing="" if found else command[0],
        task_id=_flag(launcher, "task_id"),
    )


def _flag(launcher: Sequence[str], name: str) -> str:
    """Value of a flag of the launcher's; empty when it is not given."""
    position = len(LAUNCHER)
    while position < len(launcher) and launcher[position] != "--":
        flag, equals, value = launcher[position].partition("=")
        position += 1 if equals else 2
        if flag.lstrip("-") == name:
            return value if equals else launcher[position - 1]
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

"""Options of the commands that run executors: how they run, what they see, what they may use."""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

_ENGINES: Final = ("auto", "podman", "docker")
_READ_ONLY: Final = ":ro"


class ExecutorMode(StrEnum):
    """How executors run on this machine (spec LAUNCHER E5.2)."""

    PROCESS = "process"
    SANDBOX = "sandbox"
    CONTAINER = "container"


@dataclass(frozen=True)
class SharedDirectory:
    """A file or directory of this machine that executors see under its own path."""

    path: Path
    read_only: bool = False


@dataclass(frozen=True, kw_only=True)
class ExecutorOptions:
    """What the user chose. Accelerators that are not named are not counted."""

    mode: ExecutorMode = ExecutorMode.PROCESS
    engine: str = "auto"
    shared: tuple[SharedDirectory, ...] = ()
    enforce_limits: bool = False
    accelerators: Mapping[str, int] = field(default_factory=dict)


def add_executor_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    group = parser.add_argument_group("executors")
    group.add_argument(
        "--executor",
        choices=[mode.value for mode in ExecutorMode],
        default=ExecutorMode.PROCESS.value,
        help="how executors run: as processes; in sandboxes of their own (bubblewrap), with this machine's "
        "programs; or in containers of their image (docker, podman) (default: %(default)s)",
    )
    group.add_argument(
        "--container-engine",
        choices=_ENGINES,
        default=_ENGINES[0],
        help="for --executor container (default: the first that works)",
    )
    group.add_argument(
        "--mount",
        action="append",
        default=[],
        type=_shared_directory,
        metavar="PATH[:ro]",
        help="for sandboxes and containers: show this file or directory of the machine inside, under its own "
        "path; repeatable",
    )
    group.add_argument(
        "--enforce-limits",
        action="store_true",
        help="hold tasks to the CPU and memory limits of their pods; the start says what can be enforced",
    )
    group.add_argument(
        "--accelerator",
        action="append",
        default=[],
        type=_accelerator,
        metavar="NAME=N",
        help="this machine has N of an accelerator, such as nvidia.com/gpu=1: tasks wait for each other, and "
        "one that asks for more fails at once; repeatable (default: accelerators are not counted)",
    )


def executor_options(arguments: argparse.Namespace) -> ExecutorOptions:
    """The options as parsed."""
    return ExecutorOptions(
        mode=ExecutorMode(arguments.executor),
        engine=arguments.container_engine,
        shared=tuple(arguments.mount),
        enforce_limits=arguments.enforce_limits,
        accelerators=dict(arguments.accelerator),
    )


def _shared_directory(text: str) -> SharedDirectory:
    path = Path(text.removesuffix(_READ_ONLY)).expanduser().absolute()
    if not path.exists():
        raise argparse.ArgumentTypeError(f"{path} does not exist")
    return SharedDirectory(path, text.endswith(_READ_ONLY))


def _accelerator(text: str) -> tuple[str, int]:
    name, _, number = text.partition("=")
    if "/" not in name or not number.isascii() or not number.isdigit():
        raise argparse.ArgumentTypeError(
            f"{text!r} is not NAME=N with the name of a Kubernetes resource, such as nvidia.com/gpu=1"
        )
    return name, int(number)

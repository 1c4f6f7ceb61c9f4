"""The launcher's command line, in the syntax of Go's ``flag`` package (spec LAUNCHER A2).

The same flags as KFP's own launcher, so that a pod-spec patch runs with either. ``argparse`` cannot be
used: here ``-x`` equals ``--x``, a value may be empty or start with a dash, booleans take their value only
after ``=``, and everything behind the first non-flag belongs to the user's command.
"""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from launcher.errors import FlagError, HelpRequestedError, LauncherError

CONTAINER: Final = "container"
IMPORTER: Final = "importer"

_BOTH = frozenset({CONTAINER, IMPORTER})
_CONTAINER = frozenset({CONTAINER})
_IMPORTER = frozenset({IMPORTER})
_NEVER: frozenset[str] = frozenset()

_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})
_INT64: Final = range(-(2**63), 2**63)
_INTEGER: Final = re.compile(
    r"([+-]?)(0[xX](?:_?[0-9a-fA-F])+|0[bB](?:_?[01])+|0[oO](?:_?[0-7])+|0(?:_?[0-7])*|[1-9](?:_?[0-9])*)"
)
_OFFLOADED_ARGUMENT = re.compile(r"@/tmp/argo_arg_\d+\.txt")


@dataclass(frozen=True)
class Flag:
    """One flag: its default as text, the executor types that must be given it, and its meaning."""

    name: str
    default: str
    required_for: frozenset[str]
    meaning: str
    boolean: bool = False


FLAGS: Final = (
    Flag("copy", "", _NEVER, "copy this program to the path and exit"),
    Flag("executor_type", CONTAINER, _BOTH, "container or importer"),
    Flag("pipeline_name", "", _BOTH, "name of the pipeline"),
    Flag("run_id", "", _BOTH, "KFP run id"),
    Flag("namespace", "", _BOTH, "namespace of the run"),
    Flag("pod_name", "", _BOTH, "name of this pod"),
    Flag("pod_uid", "", _BOTH, "uid of this pod"),
    Flag("log_level", "1", _BOTH, "verbosity"),
    Flag("publish_logs", "true", _BOTH, "'true' publishes the executor's output as an artifact"),
    Flag("cache_disabled", "false", _BOTH, "accepted, not used", boolean=True),
    Flag("ml_pipeline_tls_enabled", "false", _BOTH, "TLS to the KFP API server", boolean=True),
    Flag("ca_cert_path", "", _BOTH, "extra certificate authority"),
    Flag("task_id", "", _CONTAINER, "task row created by the driver"),
    Flag("parent_task_id", "", _BOTH, "task row of the enclosing DAG"),
    Flag("executor_input", "", _CONTAINER, "ExecutorInput as JSON, or @path"),
    Flag("ml_pipeline_server_address", "ml-pipeline.kubeflow", _CONTAINER, "host of the KFP API server"),
    Flag("ml_pipeline_server_port", "8887", _CONTAINER, "port of the KFP API server (8887 means 8888, REST)"),
    Flag("fingerprint", "", _CONTAINER, "accepted, not used"),
    Flag("task_name", "", _BOTH, "key of the task in its DAG"),
    Flag("importer_spec", "", _IMPORTER, "ImporterSpec as JSON"),
    Flag("iteration_index", "-1", _IMPORTER, "index of the loop iteration, -1 outside loops"),
)

_IGNORED: Final = ("stderrthreshold", "log_dir", "log_file", "log_backtrace_at", "v", "vmodule")
_IGNORED_BOOLEAN: Final = ("logtostderr", "alsologtostderr")
_BOOLEANS: Final = frozenset({flag.name for flag in FLAGS if flag.boolean} | set(_IGNORED_BOOLEAN))
_KNOWN: Final = frozenset({flag.name for flag in FLAGS} | set(_IGNORED) | _BOOLEANS)
_HELP: Final = frozenset({"h", "help"})


@dataclass(frozen=True)
class CommandLine:
    """Parsed flags by name (defaults filled in), the names that were given, and the user's command."""

    values: Mapping[str, str]
    given: frozenset[str]
    command: tuple[str, ...]

    def is_true(self, name: str) -> bool:
        """The value of a boolean flag."""
        return self.values[name] in _TRUE

    @property
    def iteration_index(self) -> int | None:
        """The index of the loop iteration; ``None`` outside loops."""
        index = _go_int(self.values["iteration_index"])
        return index if index >= 0 else None


def parse(arguments: Sequence[str]) -> CommandLine:
    """Parse launcher arguments (without the program name).

    Values and user arguments that Argo moved to a file (``@/tmp/argo_arg_<N>.txt``) are read back.

    Raises:
        FlagError: an unknown flag, a flag without value, or a value that is not a boolean or integer.
        HelpRequestedError: the text is the help.
    """
    values = {flag.name: flag.default for flag in FLAGS}
    given: set[str] = set()
    rest = list(arguments)
    while rest:
        token = rest[0]
        if token == "--":  # noqa: S105 (the end of the flags, no password)
            rest.pop(0)
            break
        if len(token) < 2 or not token.startswith("-"):  # noqa: PLR2004
            break
        rest.pop(0)
        name, value = _read_flag(token, rest)
        values[name] = _read_offloaded(value)
        given.add(name)
    return CommandLine(values=values, given=frozenset(given), command=tuple(map(_read_offloaded, rest)))


def _read_flag(token: str, rest: list[str]) -> tuple[str, str]:
    """Name and value of one flag; a value of its own token is taken from ``rest``."""
    name, equals, value = token.removeprefix("-").removeprefix("-").partition("=")
    if not name or name.startswith("-"):
        raise FlagError(f"bad flag syntax: {token}")
    if name in _HELP:
        raise HelpRequestedError(usage())
    if name in _BOOLEANS:
        value = value if equals else "true"
        if value not in _TRUE | _FALSE:
            raise FlagError(f'invalid boolean value "{value}" for -{name}: parse error')
        return name, value
    if name not in _KNOWN:
        raise FlagError(f"flag provided but not defined: -{name}")
    if not equals:
        if not rest:
            raise FlagError(f"flag needs an argument: -{name}")
        value = rest.pop(0)
    if name == "iteration_index":
        try:
            _go_int(value)
        except ValueError as error:
            raise FlagError(f'invalid value "{value}" for flag -{name}: {error}') from None
    return name, value


def _go_int(text: str) -> int:
    """An integer as Go writes it: signed, decimal, ``0x``, ``0o``, ``0b`` or octal after a mere ``0``.

    Raises:
        ValueError: it is none, or has more than 64 bits.
    """
    match = _INTEGER.fullmatch(text)
    if match is None:
        raise ValueError("parse error")
    sign, digits = match[1], match[2]
    number = int(digits, 8 if re.fullmatch(r"0[0-9_]+", digits) else 0)
    number = -number if sign == "-" else number
    if number not in _INT64:
        raise ValueError("value out of range")
    return number


def check_required(line: CommandLine) -> None:
    """Check that every flag that the executor type needs was given, and that the rest fits.

    Raises:
        LauncherError: the first thing missing, in KFP's words.
    """
    executor_type = line.values["executor_type"]
    if executor_type not in _BOTH:
        raise LauncherError(
            f'unsupported executor type "{executor_type}", must be one of container, importer'
        )
    for flag in FLAGS:
        if executor_type in flag.required_for and flag.name not in line.given | {"executor_type"}:
            raise LauncherError(
                f"--{flag.name} is required for {executor_type} executor but was not provided"
            )
    for name in ("namespace", "pipeline_name", "run_id", "pod_name", "pod_uid", "task_name"):
        if not line.values[name]:
            raise LauncherError(f"argument --{name} must be specified")
    if not line.values["parent_task_id"]:
        raise LauncherError("parent task id is nil or empty")
    if executor_type == CONTAINER and not line.command:
        raise LauncherError("command and arguments are empty")


def usage() -> str:
    """Help text with every flag."""
    lines = [f"  --{flag.name:<28} {flag.meaning}" for flag in FLAGS]
    return "\n".join(["usage: launcher [flags] -- COMMAND [ARGUMENT]...", "", "flags:", *lines])


def _read_offloaded(value: str) -> str:
    if not _OFFLOADED_ARGUMENT.fullmatch(value):
        return value
    try:
        # Bytes that are no text stay what they are, as in an argument.
        return os.fsdecode(Path(value[1:]).read_bytes())
    except OSError:
        return value

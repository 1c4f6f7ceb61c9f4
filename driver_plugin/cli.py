"""The ``kfp-driver`` command: finds the sub-command's module and runs it.

Every room owns its commands; this table names them, so that ``kfp-driver serve`` imports nothing of the
compiler or the local stack, and the import contracts between the rooms hold. A command module has
``configure(parser)``, which declares its arguments, and ``run(arguments)``, which returns the exit code.

Exit codes: what ``run`` returns; 2 for wrong usage, or the module's ``USAGE_EXIT_CODE``. An exception with
an integer ``exit_code`` attribute is an expected failure: its text is printed as one line.
"""

import argparse
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, Final, NamedTuple, NoReturn


class Command(NamedTuple):
    """A sub-command: its name, the module that implements it, and one line of help."""

    name: str
    module: str
    help: str


COMMANDS: Final = (
    Command("serve", "driver_plugin.serve", "run the driver service that Argo's agent calls"),
    Command("wait-ready", "driver_plugin.wait_ready", "wait until the driver service of this pod is ready"),
    Command(
        "compile", "compiler.command", "compile a KFP pipeline to an Argo Workflow with plugin templates"
    ),
    Command(
        "rewrite", "compiler.rewriter.command", "turn the driver pods of compiled Workflows into plugin calls"
    ),
    Command("webhook", "compiler.webhook.command", "the same for Workflows on their way into a cluster"),
    Command("local", "local_stack.command", "run a pipeline on this machine, without a cluster"),
    Command("logs", "troubleshooting.logs_command", "show the driver logs of a run or a task"),
    Command(
        "explain", "troubleshooting.explain_command", "tell why a task failed, was skipped or not cached"
    ),
    Command(
        "api-server", "local_stack.api_server.command", "run the embedded KFP run, task and artifact API"
    ),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the process exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    chosen = next((command for command in COMMANDS if arguments[:1] == [command.name]), None)
    if chosen is None:
        _overview().parse_args(arguments)
        return 2
    try:
        return _run(chosen, arguments[1:])
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def _run(chosen: Command, arguments: Sequence[str]) -> int:
    module = import_module(chosen.module)
    parser = _CommandParser(
        usage_exit_code=getattr(module, "USAGE_EXIT_CODE", 2),
        prog=f"kfp-driver {chosen.name}",
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.configure(parser)
    try:
        exit_code: int = module.run(parser.parse_args(arguments))
    except Exception as error:
        expected = getattr(error, "exit_code", None)
        if not isinstance(expected, int):
            raise
        print(f"kfp-driver {chosen.name}: {error}", file=sys.stderr)  # noqa: T201
        return expected
    return exit_code


class _CommandParser(argparse.ArgumentParser):
    """A parser that ends the process with the command's own code for wrong usage."""

    def __init__(self, *, usage_exit_code: int = 2, **options: Any) -> None:
        super().__init__(**options)
        self._usage_exit_code = usage_exit_code

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(self._usage_exit_code, f"{self.prog}: error: {message}\n")


def _overview() -> argparse.ArgumentParser:
    # Slower to import than all that `wait-ready` needs.
    from importlib.metadata import version  # noqa: PLC0415

    width = max(len(command.name) for command in COMMANDS)
    listing = "\n".join(f"  {command.name:<{width}}  {command.help}" for command in COMMANDS)
    parser = argparse.ArgumentParser(
        prog="kfp-driver",
        description="The KFP central driver: one service in place of all driver pods.",
        epilog=f"commands:\n{listing}\n\n`kfp-driver COMMAND --help` explains a command.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="kfp-driver [-h] [--version] COMMAND ...",
    )
    parser.add_argument("--version", action="version", version=f"kfp-driver {version('kfp-central-driver')}")
    parser.add_argument("command", choices=[command.name for command in COMMANDS], metavar="COMMAND")
    return parser


if __name__ == "__main__":
    sys.exit(main())

"""Runs pipelines on this machine, without a cluster.

kfp-driver local run PIPELINE.yaml starts an embedded KFP API and the driver service, executes the compiled
workflow as Argo would, runs every executor as a local process, and shows the tree of tasks at the end.
Everything it leaves behind is in the data directory: run history, cache, artifacts, logs.

Exit codes: 0 the run succeeded, 1 it failed, 2 wrong usage, 130 and 143 stopped by SIGINT and SIGTERM.
"""

import argparse
import os
import signal
from pathlib import Path

from local_stack.data_directory import DEFAULT_NAME
from local_stack.runner.python_environment import PipInstall


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the sub-commands and their arguments."""
    commands = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    run_parser = commands.add_parser(
        "run",
        help="run a compiled pipeline",
        description="Run a compiled KFP pipeline on this machine and show its tasks.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example:\n  kfp-driver local run pipeline.yaml -p learning_rate=0.1 -p epochs=3",
    )
    run_parser.add_argument(
        "pipeline", type=Path, metavar="PIPELINE", help="compiled pipeline (.yaml, .json, .zip)"
    )
    run_parser.add_argument(
        "-p",
        "--parameter",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a pipeline parameter; lists and objects as JSON; repeatable",
    )
    run_parser.add_argument(
        "--data-dir",
        type=Path,
        default=Path(DEFAULT_NAME),
        metavar="DIR",
        help="where runs, cache, artifacts and logs are kept (default: %(default)s)",
    )
    run_parser.add_argument(
        "--run-name", metavar="TEXT", help="name of the run (default: the pipeline's name)"
    )
    run_parser.add_argument(
        "--pip-install",
        choices=[mode.value for mode in PipInstall],
        default=PipInstall.AUTO.value,
        help="packages that components ask for: install what is missing, everything, or nothing "
        "(default: %(default)s)",
    )
    run_parser.add_argument(
        "--max-pods",
        type=_positive_integer,
        default=os.cpu_count() or 1,
        metavar="N",
        help="executors that run at once (default: number of CPUs)",
    )
    run_parser.add_argument("--no-cache", action="store_true", help="execute every task")
    run_parser.add_argument(
        "--timeout", type=_positive_seconds, metavar="SECONDS", help="fail the run after this time"
    )
    run_parser.add_argument(
        "--fix-retries",
        action="store_true",
        help="retry tasks whose compiled retry policy says maxDuration 0, which disables retries",
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the chosen action; returns the exit code."""
    from local_stack.local_run import RunRequest, run_pipeline  # noqa: PLC0415 (keeps --help fast)

    request = RunRequest(
        pipeline=arguments.pipeline,
        parameters=tuple(arguments.parameter),
        data_directory=arguments.data_dir,
        run_name=arguments.run_name,
        pip_install=PipInstall(arguments.pip_install),
        max_pods=arguments.max_pods,
        cache=not arguments.no_cache,
        timeout_seconds=arguments.timeout,
        fix_retries=arguments.fix_retries,
    )
    try:
        return run_pipeline(request)
    except KeyboardInterrupt:
        # Before the run has its own signal handlers nothing is started that would have to be stopped.
        return 128 + signal.SIGINT


def _positive_integer(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive integer")
    return int(text)


def _positive_seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number of seconds")
    return seconds

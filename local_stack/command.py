"""Runs pipelines on this machine, without a cluster.

Two ways to work:

  kfp-driver local run PIPELINE.yaml   one pipeline now, in the foreground; its tasks are shown at the end
  kfp-driver local up                  an embedded KFP API that stays, for kfp.Client and any KFP tool

Both execute the compiled workflow as Argo would, call the driver service over HTTP, and run every executor
on this machine: as a process, in a sandbox, or in a container of its image (--executor). Everything they
leave behind is in the data directory: run history, cache, artifacts, logs. One command at a time uses a
data directory.

A run whose runner was killed is not lost: local up goes on with all of them, local resume with one. What
had finished is not run again.

Exit codes: 0 the run succeeded, 1 it failed, 2 wrong usage, 3 (status) no stack is up, 130 and 143 stopped
by SIGINT and SIGTERM.
"""

import argparse
import os
import signal
from pathlib import Path
from typing import Any, Final

from local_stack.data_directory import DEFAULT_NAME
from local_stack.executor_options import add_executor_options, executor_options
from local_stack.runner.python_environment import PipInstall

_API_PORT: Final = 8888
_STOP_SECONDS: Final = 60.0
_WHICH: Final = "id of the run, the beginning of one, display name, or latest"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the sub-commands and their arguments."""
    commands = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    _configure_run(commands)
    _configure_continuing(commands)
    _configure_up(commands)
    status = _action(commands, "status", "tell whether a stack is up, where, and what its runs do")
    _add_data_directory(status)
    stop = _action(
        commands,
        "stop",
        "stop the stack that is up",
        description="Stop the stack that is up, with everything it started. Its unfinished runs are "
        "interrupted, not failed: the next `local up` goes on with them.",
    )
    _add_data_directory(stop)
    stop.add_argument(
        "--timeout",
        type=_positive_seconds,
        default=_STOP_SECONDS,
        metavar="SECONDS",
        help="how long to wait for its end (default: %(default)g)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the chosen action; returns the exit code."""
    try:
        code: int = _ACTIONS[arguments.action](arguments)
    except KeyboardInterrupt:
        # Before the run has its own signal handlers nothing is started that would have to be stopped.
        return 128 + signal.SIGINT
    return code


def _run_pipeline(arguments: argparse.Namespace) -> int:
    from local_stack.local_run import RunRequest, run_pipeline  # noqa: PLC0415 (keeps --help fast)

    return run_pipeline(
        RunRequest(
            pipeline=arguments.pipeline,
            workflow=arguments.workflow,
            parameters=tuple(arguments.parameter),
            data_directory=arguments.data_dir,
            run_name=arguments.run_name,
            max_pods=arguments.max_pods,
            executors=executor_options(arguments),
            faults=arguments.faults,
            options=_options(arguments),
        )
    )


def _resume(arguments: argparse.Namespace) -> int:
    from local_stack.local_run import resume_run  # noqa: PLC0415 (keeps --help fast)

    executors = executor_options(arguments)
    return resume_run(arguments.data_dir, arguments.run, max_pods=arguments.max_pods, executors=executors)


def _retry(arguments: argparse.Namespace) -> int:
    from local_stack.local_run import retry_run  # noqa: PLC0415 (keeps --help fast)

    executors = executor_options(arguments)
    return retry_run(arguments.data_dir, arguments.run, max_pods=arguments.max_pods, executors=executors)


def _up(arguments: argparse.Namespace) -> int:
    from local_stack.up import UpRequest, serve_stack  # noqa: PLC0415 (keeps --help fast)

    return serve_stack(
        UpRequest(
            data_directory=arguments.data_dir,
            api_port=arguments.port,
            max_pods=arguments.max_pods,
            max_runs=arguments.max_runs,
            executors=executor_options(arguments),
            faults=arguments.faults,
            options=_options(arguments),
        )
    )


def _status(arguments: argparse.Namespace) -> int:
    from local_stack.status import show_status  # noqa: PLC0415 (keeps --help fast)

    return show_status(arguments.data_dir)


def _stop(arguments: argparse.Namespace) -> int:
    from local_stack.status import stop_stack  # noqa: PLC0415 (keeps --help fast)

    return stop_stack(arguments.data_dir, timeout_seconds=arguments.timeout)


_ACTIONS: Final = {
    "run": _run_pipeline,
    "resume": _resume,
    "retry": _retry,
    "up": _up,
    "status": _status,
    "stop": _stop,
}


def _options(arguments: argparse.Namespace) -> Any:
    from local_stack.run_record import RunOptions  # noqa: PLC0415 (keeps --help fast)

    return RunOptions(
        pip_install=PipInstall(arguments.pip_install),
        cache=not arguments.no_cache,
        timeout_seconds=arguments.timeout,
        fix_retries=arguments.fix_retries,
        patch_rate=arguments.patch_rate,
        strict_argo=arguments.strict_argo,
    )


def _configure_run(commands: Any) -> None:
    parser = _action(
        commands,
        "run",
        "run a compiled pipeline to its end",
        description="Run a compiled KFP pipeline on this machine and show its tasks.\n\n"
        "Ctrl-C stops the run: its executors end, and it is FAILED.",
        epilog="examples:\n  kfp-driver local run pipeline.yaml -p learning_rate=0.1 -p epochs=3\n"
        "  kfp-driver compile pipeline.yaml -o workflow.yaml   # change it, then:\n"
        "  kfp-driver local run pipeline.yaml --workflow workflow.yaml",
    )
    parser.add_argument(
        "pipeline", type=Path, metavar="PIPELINE", help="compiled pipeline (.yaml, .json, .zip)"
    )
    parser.add_argument(
        "-p",
        "--parameter",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a pipeline parameter; lists and objects as JSON; repeatable",
    )
    parser.add_argument(
        "--workflow",
        type=Path,
        metavar="FILE",
        help="run this Argo Workflow instead of compiling the pipeline: one that KFP's API server, "
        "kfp-driver compile or kfp-driver rewrite made of the same pipeline, or that you changed by hand",
    )
    parser.add_argument("--run-name", metavar="TEXT", help="name of the run (default: the pipeline's name)")
    _add_data_directory(parser)
    _add_pods(parser)
    _add_options(parser)


def _configure_continuing(commands: Any) -> None:
    resume = _action(
        commands,
        "resume",
        "go on with a run whose runner was killed",
        description="Go on with an unfinished run, whose runner was killed or whose stack was stopped. Tasks "
        "that had finished are not run again.",
    )
    resume.add_argument(
        "run", nargs="?", default="", metavar="RUN", help=f"{_WHICH} (default: the latest unfinished one)"
    )
    retry = _action(
        commands,
        "retry",
        "run the failed parts of a failed run again",
        description="Run the failed parts of a failed run again, as KFP's Retry does. What succeeded stays.",
    )
    retry.add_argument("run", metavar="RUN", help=_WHICH)
    for parser in (resume, retry):
        _add_data_directory(parser)
        _add_pods(parser)


def _configure_up(commands: Any) -> None:
    parser = _action(
        commands,
        "up",
        "keep a KFP API and runner up, for kfp.Client",
        description="Keep an embedded KFP API and the runner up until Ctrl-C or `kfp-driver local stop`.\n"
        "Runs that are submitted to the API are executed here, several at once; terminate\n"
        "and retry them through the API. Runs that were interrupted before go on.",
        epilog="example, in one terminal and another:\n"
        "  kfp-driver local up\n"
        '  python -c \'import kfp; kfp.Client(host="http://127.0.0.1:8888")'
        '.create_run_from_pipeline_package("pipeline.yaml")\'\n'
        "  kfp-driver local status",
    )
    parser.add_argument(
        "--port",
        type=_port,
        default=_API_PORT,
        metavar="PORT",
        help="port of the KFP API on 127.0.0.1; 0 takes any free one (default: %(default)s)",
    )
    parser.add_argument(
        "--max-runs",
        type=_positive_integer,
        default=8,
        metavar="N",
        help="runs that are executed at once; others wait in order (default: %(default)s)",
    )
    _add_data_directory(parser)
    _add_pods(parser)
    _add_options(parser)


def _action(
    commands: Any, name: str, text: str, *, description: str = "", epilog: str = ""
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=text,
        description=description or f"{text[0].upper()}{text[1:]}.",
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    return parser


def _add_data_directory(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data-dir",
        type=Path,
        default=Path(DEFAULT_NAME),
        metavar="DIR",
        help="where runs, cache, artifacts and logs are kept (default: %(default)s)",
    )


def _add_pods(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--max-pods",
        type=_positive_integer,
        default=os.cpu_count() or 1,
        metavar="N",
        help="executors that run at once, over all runs (default: number of CPUs)",
    )
    add_executor_options(parser)


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--pip-install",
        choices=[mode.value for mode in PipInstall],
        default=PipInstall.AUTO.value,
        help="packages that components ask for: install what is missing, everything, or nothing "
        "(default: %(default)s)",
    )
    parser.add_argument("--no-cache", action="store_true", help="execute every task")
    parser.add_argument(
        "--timeout", type=_positive_seconds, metavar="SECONDS", help="fail a run after this time"
    )
    parser.add_argument(
        "--fix-retries",
        action="store_true",
        help="retry tasks whose compiled retry policy says maxDuration 0, which disables retries",
    )
    parser.add_argument(
        "--patch-rate",
        type=_seconds,
        metavar="SECONDS",
        help="pass results of drivers on in ticks of this length (default: 0, at once; a cluster's is 10)",
    )
    parser.add_argument(
        "--strict-argo",
        action="store_true",
        help="pass them on as Argo's agent does: ticks of 10 seconds, as merge patches in which what a later "
        "reply leaves out keeps its value, and together or, when too large, not at all",
    )
    parser.add_argument(
        "--faults",
        type=_faults,
        metavar="NAME=P,...",
        help="for tests: deliver driver calls wrongly (duplicate, abort, drop, restart), with a probability",
    )


def _faults(text: str) -> Any:
    from local_stack.runner.agent_faults import Faults  # noqa: PLC0415 (keeps --help fast)

    try:
        return Faults.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) not in range(65536):
        raise argparse.ArgumentTypeError(f"{text!r} is not a port (0 to 65535)")
    return int(text)


def _positive_integer(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive integer")
    return int(text)


def _seconds(text: str) -> float:
    return 0.0 if text == "0" else _positive_seconds(text)


def _positive_seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number of seconds")
    return seconds

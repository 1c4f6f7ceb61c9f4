"""Tells why a task of a run is as it is.

Shown are its state, the first cause of a failure and what to do, inputs and where they came from, the
condition, the cache decision, and where the logs are. Without TASK it explains the task
that failed first. RUN is an id, the beginning of one, a display name, or "latest"; TASK is a name, with its
iteration as train.2 or train[2], or a scope path.

Exit codes: 0 explained, 1 the KFP API does not answer or refuses, 2 no such run or task, or wrong usage.
"""

import argparse
import asyncio

from driver_plugin.errors import UsageError
from kfp_api.errors import KfpApiError
from kfp_api.ir.load import InvalidPipelineError
from kfp_api.named_runs import find_run
from kfp_api.run_view import RunCache, RunView
from troubleshooting.explanation import Explainer
from troubleshooting.finding import find_task
from troubleshooting.printing import print_lines
from troubleshooting.report import report
from troubleshooting.source import SOURCE_EPILOG, Source, add_source_options, open_source

_EPILOG = """\
examples:
  kfp-driver explain latest
      what failed first in the newest local run
  kfp-driver explain latest train
      why that task was executed instead of served from the cache
  kfp-driver explain 7d0e2f5c train.2 --api-url http://localhost:8888 --token-file token
"""


class TroubleError(Exception):
    """The question cannot be answered; the text is one line for the user."""

    exit_code = 1


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.epilog = f"{_EPILOG}\n{SOURCE_EPILOG}"
    parser.add_argument("run", metavar="RUN", help="which run")
    parser.add_argument("task", metavar="TASK", nargs="?", help="which task (default: what failed first)")
    add_source_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Explain one task; returns the exit code."""
    return asyncio.run(_run(arguments))


async def _run(arguments: argparse.Namespace) -> int:
    async with open_source(arguments) as source:
        try:
            lines = await explain_lines(source, arguments.run, arguments.task, arguments.namespace)
        except (KfpApiError, InvalidPipelineError) as error:
            raise TroubleError(str(error)) from error
    print_lines(lines)
    return 0


async def explain_lines(
    source: Source, run_text: str, task_text: str | None, namespace: str = ""
) -> list[str]:
    """The explanation of what both texts name.

    Raises:
        UsageError: there is no such run or task.
        KfpApiError: the server does not answer, or refuses.
        InvalidPipelineError: the run has no pipeline that can be read.
    """
    found = await find_run(source.client, run_text, namespace=namespace)
    pipeline = await RunView(source.client, found.run_id, cache=RunCache()).pipeline()
    explainer = Explainer(source, run=found, pipeline=pipeline, namespace=namespace)
    if task_text is None:
        task = await explainer.first_failure()
    else:
        task = await find_task(source.client, found, pipeline.spec, task_text)
    told = await explainer.explain(task)
    return list(report(told, source.logs, option=source.option))


__all__ = ["TroubleError", "UsageError", "configure", "explain_lines", "run"]

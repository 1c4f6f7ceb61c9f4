"""Components of the KFP SDK executed in this process: the same executor, without the start of a process.

Both sides of the comparison use it, so that hundreds of pipelines take minutes. What is left out is what
the end-to-end tests run: processes, their directories and their logs.
"""

import json
import threading
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from kfp.dsl.executor import Executor

from kfp_api.client import KfpApiClient
from launcher import flags
from launcher.errors import UserCommandError
from launcher.task import run_task
from launcher.termination import Termination
from local_stack.runner.engine import PodRequest, PodResult
from local_stack.runner.nodes import Phase
from local_stack.runner.pod_build import build_pod
from local_stack.runner.pod_command import LAUNCHER
from local_stack.runner.pod_process import LocalPods
from local_stack.runner.runtime_process import ProcessRuntime

_ONE_AT_A_TIME = threading.Lock()
_INPUT, _FUNCTION = "--executor_input", "--function_to_execute"


@lru_cache(maxsize=256)
def _functions(source: str) -> dict[str, Any]:
    namespace: dict[str, Any] = {}
    exec(compile(source, "component", "exec"), namespace)
    return namespace


def run_component(command: Sequence[str]) -> None:
    """Execute a lightweight component's command: source, ``--executor_input``, ``--function_to_execute``."""
    at = command.index(_INPUT)
    functions = _functions(command[at - 1])
    function = functions[command[command.index(_FUNCTION) + 1]]
    Executor(executor_input=json.loads(command[at + 1]), function_to_execute=function).execute()


def local_subprocess(full_command: Sequence[str], env_vars: Mapping[str, str] | None = None) -> int:
    """In place of ``kfp.local``'s function that starts a process."""
    assert not env_vars
    # It runs the iterations of a loop in threads.
    with _ONE_AT_A_TIME:
        run_component(full_command)
    return 0


async def launcher_command(command: Sequence[str], **_how: Any) -> None:
    """In place of the launcher's function that starts a process."""
    try:
        run_component(command)
    except Exception as error:
        raise UserCommandError(f"exit status 1 ({error})", status=1) from error


class InProcessPods(LocalPods):
    """Runs the launcher of a pod in this process, on the test's own connection to the API."""

    client: KfpApiClient

    async def run(self, request: PodRequest) -> PodResult:
        pod = build_pod(self._workflow, request)
        runtime, directory = ProcessRuntime(), self._prepare_directory(request.node, pod)
        environment = self._environment(pod, directory, runtime)
        command = runtime.command(pod, environment, self._settings)
        line = flags.parse(command.argv[len(LAUNCHER) :])
        status = await run_task(line, self.client, environment, "", Termination())
        if status:
            return PodResult(
                phase=Phase.FAILED, message=f"main: Error (exit code {status})", exit_code=status
            )
        return PodResult(phase=Phase.SUCCEEDED, exit_code=0)

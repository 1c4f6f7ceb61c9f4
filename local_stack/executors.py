"""How executors run on this machine, checked before anything is started."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from local_stack.executor_options import ExecutorMode, ExecutorOptions
from local_stack.runner.accelerators import Accelerators
from local_stack.runner.container_engine import ContainerEngine
from local_stack.runner.container_runtime import ContainerRuntime, Mount
from local_stack.runner.limits import Enforcer, find_enforcer
from local_stack.runner.reaper import PLACE_MARK, RUNNER_MARK
from local_stack.runner.runtime_engine import EngineRuntime
from local_stack.runner.runtime_process import ProcessRuntime
from local_stack.runner.runtime_sandbox import SandboxRuntime

_LABELS: Final = (PLACE_MARK, RUNNER_MARK)


@dataclass(frozen=True, kw_only=True)
class Executors:
    """What all pods of this machine share; ``engine`` is an engine's command, ``remark`` one line to show."""

    runtime: ContainerRuntime = field(default_factory=ProcessRuntime)
    enforcer: Enforcer | None = None
    accelerators: Accelerators = field(default_factory=lambda: Accelerators({}))
    mounts: Sequence[Mount] = ()
    engine: str = ""
    remark: str = ""


def open_executors(options: ExecutorOptions) -> Executors:
    """Find what the chosen mode needs.

    Raises:
        ExecutorModeError: this machine does not have it; says what to do.
    """
    limited, enforcer, engine, remark = options.enforce_limits, None, "", ""
    runtime: ContainerRuntime
    if options.mode is ExecutorMode.CONTAINER:
        found = ContainerEngine.find(options.engine)
        runtime, engine = EngineRuntime(found, labels=_LABELS, enforce_limits=limited), found.program
        remark = f"memory and CPU limits are enforced by {found.name}" if limited else ""
    else:
        runtime = SandboxRuntime.open() if options.mode is ExecutorMode.SANDBOX else ProcessRuntime()
        if limited:
            enforcer = find_enforcer()
            remark = enforcer.description
    return Executors(
        runtime=runtime,
        enforcer=enforcer,
        accelerators=Accelerators(options.accelerators),
        mounts=[Mount(one.path, str(one.path), one.read_only) for one in options.shared],
        engine=engine,
        remark=remark,
    )

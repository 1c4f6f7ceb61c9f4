"""One attempt of a container task, from its inputs to its published outputs (spec LAUNCHER A4)."""

import asyncio
from collections.abc import Mapping

from kfp_api.ir.executor_input import ExecutorInput
from launcher import placeholders
from launcher.beginning import show_running
from launcher.environment import seconds
from launcher.executor_input import as_user_code_sees_it, parse_input, qualify_logs, rebase_outputs
from launcher.executor_logs import ExecutorLog
from launcher.flags import CommandLine
from launcher.inputs import fetch_inputs, make_output_directories, stored_uris
from launcher.note import note
from launcher.outputs import collect_artifacts, collect_parameters, read_executor_output
from launcher.process import run_command
from launcher.publisher import create_artifacts, pass_on_outputs, record_parameters, upload_artifacts
from launcher.session import TaskSession
from launcher.termination import Termination


async def run_container(
    session: TaskSession, line: CommandLine, *, environment: Mapping[str, str], termination: Termination
) -> None:
    """Run the user's command and publish what it produced; the row's final state is the caller's.

    Raises:
        LauncherError: the task failed; the text says why.
        KfpApiError: the API refused or stayed out of reach.
    """
    publishes_log = line.values["publish_logs"] == "true"
    executor_input = parse_input(line.values["executor_input"])
    executor_input = rebase_outputs(executor_input, environment.get("KFP_LOCAL_OUTPUTS_DIR", ""))
    if publishes_log:
        executor_input = qualify_logs(executor_input, session.attempt_index)
    log = ExecutorLog(session, executor_input, enabled=publishes_log)
    try:
        await termination.guard(show_running(session))
        produced = environment.get("KFP_OUTPUT_FILE", "")
        if not produced:
            await _produce(
                session, line, executor_input, log, environment=environment, termination=termination
            )
        await termination.guard(_publish(session, executor_input, log, output_file=produced))
    finally:
        await log.publish(termination)


async def _produce(
    session: TaskSession,
    line: CommandLine,
    executor_input: ExecutorInput,
    log: ExecutorLog,
    *,
    environment: Mapping[str, str],
    termination: Termination,
) -> None:
    """Fetch the inputs and run the user's command."""
    grace_seconds = seconds(environment, "KFP_LAUNCHER_GRACE_SECONDS", default=15)
    log_interval = seconds(environment, "KFP_LOG_UPLOAD_INTERVAL", default=0)
    make_output_directories(executor_input, session.workspace)
    command = placeholders.expand(
        line.command,
        as_user_code_sees_it(executor_input, session.workspace),
        workspace=session.workspace,
    )
    await termination.guard(asyncio.to_thread(session.stores.check, stored_uris(executor_input)))
    await termination.guard(
        fetch_inputs(
            executor_input,
            component=session.component,
            stores=session.stores,
            workspace=session.workspace,
            environment=environment,
        )
    )
    with log.open() as log_file:
        async with log.growing(log_interval):
            await run_command(
                command,
                environment=environment,
                log=log_file,
                termination=termination,
                grace_seconds=grace_seconds,
            )


async def _publish(
    session: TaskSession, executor_input: ExecutorInput, log: ExecutorLog, *, output_file: str
) -> None:
    """Read, upload and record the outputs, and pass them up; ``output_file`` replaces the declared one."""
    assert executor_input.outputs is not None
    output = read_executor_output(output_file or executor_input.outputs.output_file)
    parameters = collect_parameters(executor_input, output, session.component)
    artifacts, warnings = collect_artifacts(
        executor_input, output, namespace=session.namespace, workspace=session.workspace
    )
    for warning in warnings:
        note(warning)
    await upload_artifacts(session, artifacts)
    log_artifact = await log.upload()
    created = await create_artifacts(session, artifacts + ([log_artifact] if log_artifact else []))
    log.registered = True
    recorded = await record_parameters(session, parameters)
    await pass_on_outputs(session, created, recorded)

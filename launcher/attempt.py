"""One attempt of a container task, from its inputs to its published outputs (spec LAUNCHER A4)."""

import asyncio
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from kfp_api.errors import KfpApiError
from kfp_api.ir.executor_input import ExecutorInput
from kfp_api.messages import TaskState
from launcher import executor_logs, object_store, placeholders
from launcher.errors import LauncherError
from launcher.executor_logs import ExecutorLog
from launcher.flags import CommandLine
from launcher.outputs import ARTIFACT_TYPES, collect_artifacts, collect_parameters, read_executor_output
from launcher.paths import UnsupportedSchemeError, artifact_path, is_in_workspace
from launcher.process import Termination, run_command
from launcher.publisher import create_artifacts, publish
from launcher.session import TaskSession
from propagation.outputs import propagate_outputs
from propagation.statuses import propagate_statuses

FALLBACK_OUTPUT_FILE: Final = "/tmp/kfp_outputs/output_metadata.json"  # noqa: S108 (KFP's contract)
_HURRIED_LOG_SECONDS: Final = 5.0
"""How long the log may take to be published once the launcher was told to stop."""

_METRIC_TITLES: Final = frozenset(
    title for title, kind in ARTIFACT_TYPES.items() if kind.value.endswith("Metric")
)


async def run_container(
    session: TaskSession, line: CommandLine, *, environment: Mapping[str, str], termination: Termination
) -> None:
    """Run the user's command and publish what it produced; the row's final state is the caller's.

    Raises:
        LauncherError: the task failed; the text says why.
        KfpApiError: the API refused or stayed out of reach.
    """
    await termination.guard(_show_running(session))
    executor_input = _prepare_input(line, session, environment)
    log = ExecutorLog(
        executor_input, workspace=session.workspace, enabled=line.values["publish_logs"] == "true"
    )
    _make_output_directories(executor_input, session.workspace)
    command = placeholders.expand(line.command, executor_input, workspace=session.workspace)
    try:
        await termination.guard(asyncio.to_thread(_download_inputs, executor_input, session))
        with log.open() as log_file:
            await run_command(
                command,
                environment=environment,
                log=log_file,
                termination=termination,
                grace_seconds=float(environment.get("KFP_LAUNCHER_GRACE_SECONDS", "15")),
            )
        await termination.guard(_publish_outputs(session, executor_input))
    finally:
        await _publish_log(session, log, hurry=termination.requested.is_set())
    await termination.guard(_pass_outputs_up(session))


async def _show_running(session: TaskSession) -> None:
    """Show this attempt on the row; ancestors that an earlier attempt failed are running again."""
    await session.update(session.started())
    if session.task.state is TaskState.FAILED:
        await propagate_statuses(session.view, await session.view.task(session.task.task_id, fresh=True))


async def _publish_outputs(session: TaskSession, executor_input: ExecutorInput) -> None:
    assert executor_input.outputs is not None
    output = read_executor_output(executor_input.outputs.output_file)
    parameters = collect_parameters(executor_input, output, session.component)
    artifacts, warnings = collect_artifacts(
        executor_input, output, namespace=session.namespace, workspace=session.workspace
    )
    for warning in warnings:
        note(warning)
    await publish(session, parameters, artifacts)


async def _pass_outputs_up(session: TaskSession) -> None:
    await propagate_outputs(session.view, await session.view.task(session.task.task_id, fresh=True))


def note(text: str) -> None:
    """One line of the launcher's own, on stderr."""
    print(f"launcher: {text}", file=sys.stderr, flush=True)  # noqa: T201


def _prepare_input(line: CommandLine, session: TaskSession, environment: Mapping[str, str]) -> ExecutorInput:
    executor_input = _parse_input(line.values["executor_input"])
    executor_input = _rebase_outputs(executor_input, environment.get("KFP_LOCAL_OUTPUTS_DIR", ""))
    return executor_logs.qualify(executor_input, session.attempt_index)


def _parse_input(text: str) -> ExecutorInput:
    try:
        if text.startswith("@"):
            text = Path(text[1:]).read_text(encoding="utf-8")
        executor_input = ExecutorInput.parse(json.loads(text))
    except (OSError, ValidationError, ValueError, RecursionError) as error:
        raise LauncherError(f"failed to unmarshall executor input: {error}") from error
    if executor_input.outputs is None:
        raise LauncherError("executor input has no outputs section")
    return executor_input


def _rebase_outputs(executor_input: ExecutorInput, directory: str) -> ExecutorInput:
    """Move parameter files below ``directory``: on one machine, tasks share ``/tmp`` (spec LAUNCHER E5.2)."""
    outputs = executor_input.outputs
    if not directory or outputs is None:
        return executor_input
    parameters = {
        name: parameter.model_copy(update={"output_file": f"{directory}/{name}"})
        for name, parameter in outputs.parameters.items()
    }
    output_file = outputs.output_file
    if output_file in ("", FALLBACK_OUTPUT_FILE):
        output_file = f"{directory}/output_metadata.json"
    moved = outputs.model_copy(update={"parameters": parameters, "output_file": output_file})
    return executor_input.model_copy(update={"outputs": moved})


def _make_output_directories(executor_input: ExecutorInput, workspace: str) -> None:
    outputs = executor_input.outputs
    assert outputs is not None
    paths = [parameter.output_file for parameter in outputs.parameters.values()]
    paths.append(outputs.output_file)
    for artifacts in outputs.artifacts.values():
        for artifact in artifacts.artifacts:
            try:
                paths.append(artifact_path(artifact, workspace))
            except UnsupportedSchemeError as error:
                raise LauncherError(f'output artifact "{artifact.name}": {error}') from error
    for path in filter(None, paths):
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LauncherError(f"failed to create directory of {path}: {error.strerror}") from error


def _download_inputs(executor_input: ExecutorInput, session: TaskSession) -> None:
    declared = session.component.input_definitions.artifacts
    for key, artifacts in sorted(executor_input.input_artifacts.items()):
        optional = key in declared and declared[key].is_optional
        for artifact in artifacts.artifacts:
            if is_in_workspace(artifact) or not artifact.uri:
                continue
            title = artifact.type.schema_title if artifact.type else ""
            try:
                found = object_store.download(artifact.uri, artifact_path(artifact, session.workspace))
            except LauncherError as error:
                what = f'input artifact "{key}" from remote storage URI "{artifact.uri}"'
                raise LauncherError(f"failed to download {what}: {error}") from error
            if not found and not optional and title not in _METRIC_TITLES:
                raise LauncherError(f'input artifact "{key}" is empty: nothing is stored at "{artifact.uri}"')


async def _publish_log(session: TaskSession, log: ExecutorLog, *, hurry: bool) -> None:
    output = log.output(session.namespace)
    if output is None:
        return
    try:
        assert output.path is not None
        assert output.artifact.uri is not None
        async with asyncio.timeout(_HURRIED_LOG_SECONDS if hurry else None):
            await asyncio.to_thread(object_store.upload, output.path, output.artifact.uri)
            await create_artifacts(session, [output])
    except (LauncherError, KfpApiError, TimeoutError) as error:
        note(f"executor log not published: {str(error) or 'no time left'}")

"""A container task's executor input: read, and changed for this attempt and this machine (spec A4, E5.2)."""

import json
from pathlib import Path
from typing import Final

from kfp_api.ir.executor_input import DEFAULT_WORKSPACE_PATH, ArtifactList, ExecutorInput, RuntimeArtifact
from launcher.causes import cause_of
from launcher.errors import LauncherError
from launcher.paths import WORKSPACE_MARK, is_in_workspace, workspace_path

EXECUTOR_LOGS: Final = "executor-logs"
FALLBACK_OUTPUT_FILE: Final = "/tmp/kfp_outputs/output_metadata.json"  # noqa: S108 (KFP's contract)


def parse_input(text: str) -> ExecutorInput:
    """The executor input from its JSON, or from the file that ``@path`` names.

    Raises:
        LauncherError: it is no executor input, or has no outputs section.
    """
    try:
        if text.startswith("@"):
            text = Path(text[1:]).read_text(encoding="utf-8")
        executor_input = ExecutorInput.parse(json.loads(text))
    except (OSError, ValueError, RecursionError) as error:
        raise LauncherError(f"failed to unmarshall executor input: {cause_of(error)}") from error
    if executor_input.outputs is None:
        raise LauncherError("executor input has no outputs section")
    return executor_input


def rebase_outputs(executor_input: ExecutorInput, directory: str) -> ExecutorInput:
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


def as_user_code_sees_it(executor_input: ExecutorInput, workspace: str) -> ExecutorInput:
    """Artifacts in a workspace that is not where the SDK looks are plain paths, without the mark (E5.2)."""
    inputs = executor_input.inputs
    if workspace == DEFAULT_WORKSPACE_PATH or inputs is None:
        return executor_input

    def seen(artifact: RuntimeArtifact) -> RuntimeArtifact:
        if not is_in_workspace(artifact):
            return artifact
        metadata = {key: value for key, value in artifact.metadata.items() if key != WORKSPACE_MARK}
        place = workspace_path(artifact.uri, workspace)
        return artifact.model_copy(update={"uri": place, "metadata": metadata})

    artifacts = {
        key: ArtifactList(artifacts=[seen(artifact) for artifact in value.artifacts])
        for key, value in inputs.artifacts.items()
    }
    return executor_input.model_copy(update={"inputs": inputs.model_copy(update={"artifacts": artifacts})})


def qualify_logs(executor_input: ExecutorInput, attempt_index: int) -> ExecutorInput:
    """Give every attempt its own log: append ``-<attempt>`` to the URI that all attempts share."""
    outputs = executor_input.outputs
    logs = outputs.artifacts.get(EXECUTOR_LOGS) if outputs else None
    if outputs is None or logs is None or len(logs.artifacts) != 1:
        return executor_input
    suffix = f"-{attempt_index}"
    only = logs.artifacts[0]
    update: dict[str, str] = {"uri": only.uri.removesuffix(suffix) + suffix}
    if only.custom_path:
        update["custom_path"] = only.custom_path.removesuffix(suffix) + suffix
    qualified = ArtifactList(artifacts=[only.model_copy(update=update)])
    artifacts = {**outputs.artifacts, EXECUTOR_LOGS: qualified}
    return executor_input.model_copy(update={"outputs": outputs.model_copy(update={"artifacts": artifacts})})

"""Runtime placeholders in the user's command line (spec LAUNCHER A5).

The driver resolved what it could; what mentions outputs, artifacts or the whole executor input remains.
String leaves of the executor input are expanded structurally first, so that inserted values are escaped
properly in the JSON of ``{{$}}``; then the command line is expanded in one pass. Inserted text is never
scanned again: the result does not depend on any order.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from kfp_api.ir.executor_input import ExecutorInput, executor_input_text
from kfp_api.wire import UNSET
from launcher.errors import LauncherError
from launcher.executor_input import EXECUTOR_LOGS
from launcher.paths import UnsupportedSchemeError, artifact_path
from resolver.values import value_to_text

_WHOLE_INPUT: Final = "{{$}}"

_Replace = Callable[[str], str]


def expand(command: Sequence[str], executor_input: ExecutorInput, *, workspace: str) -> list[str]:
    """The command with every known placeholder replaced; unknown ones stay.

    Raises:
        LauncherError: an output artifact's URI has no local path.
    """
    expanded = _expand_leaves(executor_input, _replacing(_replacements(executor_input, workspace)))
    replacements = {**_replacements(expanded, workspace), _WHOLE_INPUT: executor_input_text(expanded)}
    return list(map(_replacing(replacements), command))


def _replacements(executor_input: ExecutorInput, workspace: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in executor_input.parameter_values.items():
        found[f"{{{{$.inputs.parameters['{name}']}}}}"] = "" if value is UNSET else value_to_text(value)
    for name, artifacts in executor_input.input_artifacts.items():
        if not artifacts.artifacts:
            continue
        first = artifacts.artifacts[0]
        found[f"{{{{$.inputs.artifacts['{name}'].uri}}}}"] = first.uri
        try:
            found[f"{{{{$.inputs.artifacts['{name}'].path}}}}"] = artifact_path(first, workspace)
        except UnsupportedSchemeError:
            continue
    outputs = executor_input.outputs
    if outputs is None:
        return found
    for name, artifacts in outputs.artifacts.items():
        if not artifacts.artifacts or name == EXECUTOR_LOGS:
            continue
        first = artifacts.artifacts[0]
        found[f"{{{{$.outputs.artifacts['{name}'].uri}}}}"] = first.uri
        try:
            found[f"{{{{$.outputs.artifacts['{name}'].path}}}}"] = artifact_path(first, workspace)
        except UnsupportedSchemeError as error:
            raise LauncherError(f'output artifact "{name}": {error}') from error
    for name, parameter in outputs.parameters.items():
        found[f"{{{{$.outputs.parameters['{name}'].output_file}}}}"] = parameter.output_file
    return found


def _expand_leaves(executor_input: ExecutorInput, replace: _Replace) -> ExecutorInput:
    document = executor_input.model_dump(exclude_unset=True)
    return ExecutorInput.parse(_expand_value(document, replace))


def _expand_value(value: Any, replace: _Replace) -> Any:
    if isinstance(value, str):
        return replace(value)
    if isinstance(value, list):
        return [_expand_value(item, replace) for item in value]
    if isinstance(value, dict):
        return {key: _expand_value(item, replace) for key, item in value.items()}
    return value


def _replacing(replacements: Mapping[str, str]) -> _Replace:
    """What replaces these placeholders in a text, and leaves everything else that looks like one alone."""
    if not replacements:
        return str
    # A placeholder ends with }}, which none of the others goes on after: the first that matches is the one.
    pattern = re.compile("|".join(map(re.escape, replacements)))
    return lambda text: pattern.sub(lambda match: replacements[match[0]], text)

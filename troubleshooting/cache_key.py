"""The cache key of a stored task, made again from its row and its run's pipeline; what two keys differ in.

Nothing is stored for this: the row has the resolved inputs and the fingerprint, the run has the pipeline, and
the fingerprint tells whether the key made from them is the one that the driver hashed. So it works for rows
of any driver, on any KFP API, with one row and one run of each side.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Final

import orjson

from driver_plugin.drivers.fingerprint import (
    cache_key_text,
    custom_fingerprint,
    hash_cache_key,
    output_artifacts_spec,
)
from driver_plugin.podspec.workspace import uses_workspace
from kfp_api.ir.executor_input import ArtifactList, ExecutorInputs, RuntimeArtifact
from kfp_api.ir.kubernetes import KubernetesExecutorConfig
from kfp_api.ir.load import Pipeline
from kfp_api.messages import IOArtifact, PipelineTask
from kfp_api.wire import UNSET, ValidationError
from resolver.scope import ScopePath

_NAME_ARGUMENT: Final = "__kfp_pipeline_name="

Key = Mapping[str, Any]
"""The hashed document: inputs, declared outputs and container, as spec DRIVER 11.3 names them."""


@dataclass(frozen=True, kw_only=True)
class CacheKey:
    """What a fingerprint stands for. ``exact``: hashing ``document`` gives the fingerprint on the row."""

    document: Key
    exact: bool


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One part of the key that is not the same."""

    what: str
    before: str
    now: str


def cache_key_of(row: PipelineTask, pipeline: Pipeline, *, namespace: str = "") -> CacheKey | None:
    """The cache key of a container task; ``None`` where it has none to show.

    Which of the possible keys was hashed (rows tell neither whether logs are published nor the spelling of
    the pipeline's name) is found by the fingerprint.
    """
    last = ScopePath.from_dot(pipeline.spec, row.scope_path).last
    task = last.task if last else None
    if last is None or task is None:
        return None
    if task.caching_options.cache_key:
        document = {"component": task.component_ref.name, "cacheKey": task.caching_options.cache_key}
        return CacheKey(document=document, exact=custom_fingerprint(task) == row.cache_fingerprint)
    executor = pipeline.spec.executor(last.component.executor_label)
    if executor is None or executor.container is None:
        return None
    container, component = executor.container, last.component
    inputs = _executor_inputs(row)
    own = pipeline.spec.pipeline_info.name
    names = [own, f"namespace/{namespace}/pipeline/{own.rpartition('/')[2]}"] if namespace else [own]
    claims = _claims(pipeline, component.executor_label)
    documents = []
    for name, publish_logs in product(names, (True, False)):
        text = cache_key_text(
            inputs=inputs,
            output_artifacts=output_artifacts_spec(component, publish_logs=publish_logs),
            output_parameters={
                key: declared.parameter_type.value
                for key, declared in component.output_definitions.parameters.items()
            },
            image=container.image,
            command=[*container.command, *container.args, f"{_NAME_ARGUMENT}{name}"],
            pvc_names=claims,
        )
        documents.append(orjson.loads(text))
        if hash_cache_key(text) == row.cache_fingerprint:
            return CacheKey(document=documents[-1], exact=True)
    return CacheKey(document=documents[0], exact=False)


def uses_workspace_of_run(row: PipelineTask) -> bool:
    """Whether the task's key holds the run's own workspace claim, which no other run has."""
    return uses_workspace(_executor_inputs(row))


def differences(before: Key, now: Key) -> list[Difference]:
    """What two keys differ in, part by part, in the words of the pipeline."""
    return list(_differences(before, now))


def _differences(before: Key, now: Key) -> Iterator[Difference]:
    for member, words in (
        ("inputParameterValues", "input {}"),
        ("inputArtifactNames", "input artifact {}"),
        ("outputParametersSpec", "output {}"),
        ("outputArtifactsSpec", "output artifact {}"),
    ):
        old, new = before.get(member, {}), now.get(member, {})
        for key in sorted({*old, *new}):
            if old.get(key, UNSET) != new.get(key, UNSET):
                yield Difference(what=words.format(key), before=_shown(old, key), now=_shown(new, key))
    old, new = before.get("containerSpec", {}), now.get("containerSpec", {})
    for key, what in (("image", "image"), ("pvcNames", "volume claims")):
        if old.get(key) != new.get(key):
            yield Difference(what=what, before=_shown(old, key), now=_shown(new, key))
    yield from _command(old.get("cmdArgs", []), new.get("cmdArgs", []))
    for key, what in (("component", "component"), ("cacheKey", "the task's own cache key")):
        if before.get(key) != now.get(key):
            yield Difference(what=what, before=_shown(before, key), now=_shown(now, key))


def _command(before: Sequence[str], now: Sequence[str]) -> Iterator[Difference]:
    """The first line in which commands differ: components of the SDK carry their code in the command."""
    old_name, old_rest = _split(before)
    new_name, new_rest = _split(now)
    if old_name != new_name:
        yield Difference(what="pipeline name", before=old_name, now=new_name)
    if old_rest != new_rest:
        old_lines, new_lines = "\n".join(old_rest).split("\n"), "\n".join(new_rest).split("\n")
        place = next(
            (
                number
                for number, (old, new) in enumerate(zip(old_lines, new_lines, strict=False))
                if old != new
            ),
            min(len(old_lines), len(new_lines)),
        )
        old = old_lines[place] if place < len(old_lines) else ""
        new = new_lines[place] if place < len(new_lines) else ""
        yield Difference(what="command or code", before=old.strip(), now=new.strip())


def _split(command: Sequence[str]) -> tuple[str, list[str]]:
    names = [text.removeprefix(_NAME_ARGUMENT) for text in command if text.startswith(_NAME_ARGUMENT)]
    return (names[-1] if names else ""), [text for text in command if not text.startswith(_NAME_ARGUMENT)]


def _shown(members: Mapping[str, Any], key: str) -> str:
    if key not in members:
        return "(absent)"
    value = members[key]
    if isinstance(value, dict) and set(value) <= {"artifactNames"}:
        value = value.get("artifactNames", [])
        return ", ".join(value) or "(none)"
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _executor_inputs(row: PipelineTask) -> ExecutorInputs:
    artifacts: dict[str, list[RuntimeArtifact]] = {}
    for entry in sorted(row.input_artifacts, key=_position):
        artifacts.setdefault(entry.artifact_key, []).extend(
            RuntimeArtifact(name=one.name, artifact_id=one.artifact_id, metadata=dict(one.metadata))
            for one in entry.artifacts
        )
    return ExecutorInputs(
        parameter_values={
            entry.parameter_key: entry.value for entry in row.input_parameters if entry.value is not UNSET
        },
        artifacts={key: ArtifactList(artifacts=found) for key, found in artifacts.items()},
    )


def _position(entry: IOArtifact) -> int:
    position = entry.producer.iteration if entry.producer else None
    return -1 if position is None else position


def _claims(pipeline: Pipeline, executor_label: str) -> list[str]:
    """The claims that the task mounts under constant names; others stand on no row."""
    document = pipeline.kubernetes_executors.get(executor_label)
    try:
        config = KubernetesExecutorConfig.parse(document or {})
    except ValidationError:
        return []
    names = [
        str(mount.pvc_name_parameter.runtime_value.constant)
        if mount.pvc_name_parameter is not None and mount.pvc_name_parameter.runtime_value is not None
        else mount.constant
        for mount in config.pvc_mount
    ]
    return [name for name in names if name]

"""A small task to build patches for, and the pod it is merged into; shared by the tests of this room."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from driver_plugin.argo.arguments import DriverCall, parse_driver_call
from driver_plugin.argo.requests import WorkflowMetadata
from driver_plugin.podspec.patch import PatchRequest, build_pod_spec_patch
from driver_plugin.settings import Settings
from kfp_api.ir.executor_input import ExecutorInput
from kfp_api.ir.kubernetes import KubernetesExecutorConfig
from kfp_api.ir.pipeline import ComponentSpec, ContainerSpec, PipelineSpec
from kfp_api.messages import (
    InputOutputs,
    IOParameter,
    IOProducer,
    IOType,
    PipelineTask,
    TaskState,
    TaskType,
)
from resolver.context import ResolveContext
from resolver.expressions import ExpressionEngine
from resolver.scope import ScopePath
from tests.resolver.listed_rows import ListedRows

JSON = dict[str, Any]
IDENTITY_ENV = [
    {"name": "KFP_POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
    {"name": "KFP_POD_UID", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}},
    {"name": "NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
]
RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}


@dataclass
class RecordedLog:
    """An event log that keeps what it is told."""

    warnings: list[str] = field(default_factory=list)
    details: list[JSON] = field(default_factory=list)

    def debug(self, event: str, /, **fields: Any) -> None:
        self.details.append({"event": event, **fields})

    def warning(self, event: str, /, **fields: Any) -> None:
        self.warnings.append(f"{event} {json.dumps(fields)}")


def driver_call(**args: Any) -> DriverCall:
    given = {
        "type": "CONTAINER",
        "pipeline_name": "demo",
        "run_id": "7c0e",
        "run_name": "wf-x",
        "run_display_name": "Demo run",
        "parent_task_id": "t-1",
        "task_name": "train",
        "iteration_index": "-1",
        "kubernetes_config": "",
        **args,
    }
    workflow = WorkflowMetadata(name=given["run_name"], namespace="team-a", uid="wf-uid")
    return parse_driver_call(given, workflow=workflow, settings=Settings())


def resolve_context(
    parameters: Mapping[str, Any] | None = None,
    sibling_outputs: Mapping[str, Mapping[str, Any]] | None = None,
) -> ResolveContext:
    """A task ``train`` of the root DAG, whose parent has ``parameters``, beside tasks with outputs."""
    siblings = sibling_outputs or {}
    tasks = {name: {"componentRef": {"name": "comp"}} for name in ("train", *siblings)}
    spec = PipelineSpec.parse(
        {
            "pipelineInfo": {"name": "demo"},
            "components": {"comp": {"executorLabel": "exec"}},
            "root": {"dag": {"tasks": tasks}},
        }
    )
    parent = PipelineTask(
        task_id="t-1",
        name="ROOT",
        run_id="7c0e",
        type=TaskType.ROOT,
        inputs=InputOutputs(
            parameters=[
                IOParameter(parameter_key=key, value=value, type=IOType.RUNTIME_VALUE_INPUT)
                for key, value in (parameters or {}).items()
            ]
        ),
    )
    rows = [
        PipelineTask(
            task_id=f"row-{name}",
            name=name,
            run_id="7c0e",
            parent_task_id="t-1",
            type=TaskType.RUNTIME,
            state=TaskState.SUCCEEDED,
            outputs=InputOutputs(
                parameters=[
                    IOParameter(
                        parameter_key=key,
                        value=value,
                        type=IOType.OUTPUT,
                        producer=IOProducer(task_name=name),
                    )
                    for key, value in outputs.items()
                ]
            ),
        )
        for name, outputs in siblings.items()
    ]
    return ResolveContext(
        spec=spec,
        run_id="7c0e",
        run_name="wf-x",
        run_display_name="Demo run",
        create_time_utc="2026-01-02T03:04:05Z",
        schedule_time_utc="2026-01-02T03:04:05Z",
        scope=ScopePath.from_dot(spec, "root.train"),
        parent=parent,
        rows=ListedRows([parent, *rows]),
        iteration_index=None,
        expressions=ExpressionEngine(),
    )


async def patch_text(
    *,
    config: JSON | None = None,
    container: JSON | None = None,
    component: JSON | None = None,
    inputs: JSON | None = None,
    outputs: JSON | None = None,
    context: ResolveContext | None = None,
    settings: Settings | None = None,
    fingerprint: str = "9f",
    plugin_env: Sequence[JSON] = (),
    log: RecordedLog | None = None,
    endpoint: tuple[str, str, bool] = ("ml-pipeline.kubeflow.svc.cluster.local", "8887", False),
    **args: Any,
) -> str:
    """The encoded patch of a task; what is not given is the plainest that works."""
    request = PatchRequest(
        call=driver_call(kubernetes_config="" if config is None else config, **args),
        task_id="t-41",
        container=ContainerSpec.parse({"image": "busybox", **(container or {})}),
        component=ComponentSpec.parse(component or {}),
        executor_input=ExecutorInput.parse({"inputs": inputs or {}, "outputs": outputs or {}}),
        fingerprint=fingerprint,
        context=context or resolve_context(),
        kubernetes_config=None if config is None else KubernetesExecutorConfig.parse(config),
        launcher_address=endpoint[0],
        launcher_port=endpoint[1],
        launcher_tls=endpoint[2],
        plugin_env=tuple(plugin_env),
        log=log or RecordedLog(),
    )
    return await build_pod_spec_patch(request, settings=settings or Settings())


async def built_patch(**given: Any) -> JSON:
    """The patch of a task, decoded."""
    patch: JSON = json.loads(await patch_text(**given))
    return patch


def main_of(patch: JSON) -> JSON:
    main: JSON = patch["containers"][0]
    assert main["name"] == "main"
    return main


def executor_input_of(patch: JSON) -> JSON:
    """The executor input as the launcher gets it: after the kubelet's expansion."""
    command = main_of(patch)["command"]
    document: JSON = json.loads(kubelet_expand(command[command.index("--executor_input") + 1], {}))
    return document


def kubelet_expand(text: str, variables: Mapping[str, str]) -> str:
    """Kubernetes' expansion of commands and arguments: ``$(NAME)`` if known, ``$$`` to ``$``."""
    result, position = "", 0
    while position < len(text):
        if text.startswith("$$", position):
            result, position = result + "$", position + 2
        elif text.startswith("$(", position) and (end := text.find(")", position)) > 0:
            name = text[position + 2 : end]
            result += variables.get(name, text[position : end + 1])
            position = end + 1
        else:
            result, position = result + text[position], position + 1
    return result

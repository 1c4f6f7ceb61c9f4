"""PipelineSpec in, Argo Workflow out: the compiler's front door (spec COMPILER 2 to 9).

No component, task or container spec travels in the Workflow. A driver gets the run, the parent task and
the task's name, and reads the rest from the run's pipeline spec, so the Workflow is a skeleton whose size
does not depend on user code.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import structlog
from pydantic import JsonValue

from compiler.argo import Json, parameter
from compiler.argo import parameters as argo_parameters
from compiler.checks import check_component_name, check_workflow
from compiler.context import CompileContext
from compiler.dag import ENTRYPOINT, compile_dag
from compiler.delivery import DeliveryError, delivery_operations
from compiler.errors import CompileError
from compiler.json_patch import applied
from compiler.kubernetes_config import read_kubernetes_config
from compiler.lifetime import lifetime_fields
from compiler.options import CompilerOptions, Mode
from compiler.spec_patch import patch_spec
from compiler.stable_json import stable_json
from compiler.templates.drivers import Identity
from compiler.templates.pods import serialisation_noise
from compiler.visitor import ROOT, walk
from compiler.workspace import volume_claim_templates
from kfp_api.ir.load import Pipeline
from kfp_api.ir.pipeline import ContainerSpec, ImporterSpec, PipelineSpec, TaskSpec
from kfp_api.wire import UNSET

_COMPONENT_MARK: Final = {"pipelines.kubeflow.org/v2_component": "true"}


def _log_warning(text: str) -> None:
    structlog.get_logger().warning("compile-warning", warning=text)


def compile_workflow(
    pipeline: Pipeline,
    *,
    parameters: Mapping[str, JsonValue],
    display_name: str = "",
    pipeline_root: str = "",
    options: CompilerOptions,
    warn: Callable[[str], None] = _log_warning,
) -> Json:
    """Compile a pipeline to a Workflow that still lacks a run id (see ``compiler.finalize``).

    Args:
        pipeline: the parsed pipeline; it is not changed.
        parameters: values of root input parameters; absent ones get their default, optional ones null.
        display_name: display name of the run.
        pipeline_root: where artifacts go; wins over the option of the same name.
        options: everything else.
        warn: receives one line for each thing that deserves attention.

    Raises:
        CompileError: the pipeline cannot be compiled (E1 to E26).
    """
    spec = pipeline.spec
    name = spec.pipeline_info.name
    if not name:
        raise CompileError("pipelineInfo.name is empty")
    if "{{" in name:
        raise CompileError(f'pipelineInfo.name "{name}" contains "{{{{", which Argo would evaluate')
    context = CompileContext(
        options=options,
        identity=Identity(name, _safe_display_name(display_name, options)),
        runtime_config=stable_json(
            runtime_config(spec, parameters, pipeline_root or options.pipeline_root),
            hardened=not options.parity,
        ),
        warn=warn,
    )
    if options.mode is Mode.PLUGIN and (options.driver_pod_labels or options.driver_pod_annotations):
        warn("driver pod labels and annotations have no effect: plugin drivers have no pods")
    claims = volume_claim_templates(_pipeline_config(pipeline), options)
    walk(pipeline, _WorkflowVisitor(context), warn=warn)
    workflow_spec = {
        **_spec_head(context),
        **({"volumeClaimTemplates": claims} if claims else {}),
        **lifetime_fields(_pipeline_config(pipeline)),
        "templates": list(context.templates.values()),
    }
    check_workflow(workflow_spec)
    workflow = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {
            "generateName": f"{name.rsplit('/', 1)[-1]}-",
            # Without effect (Argo's POD_NAMES decides); upstream has it.
            "annotations": {"workflows.argoproj.io/pod-name-format": "v1"},
        },
        "spec": patch_spec(workflow_spec, options.spec_patch),
        **serialisation_noise(options, status={"startedAt": None, "finishedAt": None}),
    }
    return workflow if options.mode is Mode.CONTAINER else _with_plugin(workflow, options)


def _with_plugin(workflow: Json, options: CompilerOptions) -> Json:
    """The last step, after the administrator's patch: what the patch says about pods is kept."""
    try:
        return applied(workflow, delivery_operations(workflow["spec"], ("spec",), options.plugin))
    except DeliveryError as error:
        raise CompileError(str(error)) from error


def _safe_display_name(display_name: str, options: CompilerOptions) -> str:
    """Argo would evaluate tags in it; the driver reads the name from the run anyway."""
    return "" if "{{" in display_name and not options.parity else display_name


def runtime_config(
    spec: PipelineSpec, values: Mapping[str, JsonValue], pipeline_root: str
) -> dict[str, JsonValue]:
    """PipelineJob.RuntimeConfig with the defaults of parameters that were not given."""
    filled = dict(values)
    declared = spec.root.input_definitions.parameters if spec.root else {}
    for name, definition in declared.items():
        if name in filled:
            continue
        if definition.default_value is not UNSET:
            filled[name] = definition.default_value
        elif definition.is_optional:
            filled[name] = None
    config: dict[str, JsonValue] = {}
    if pipeline_root:
        config["gcsOutputDirectory"] = pipeline_root
    if filled:
        config["parameterValues"] = filled
    return config


def _pipeline_config(pipeline: Pipeline) -> Mapping[str, Any]:
    kubernetes = pipeline.kubernetes
    config = kubernetes.get("pipelineConfig", kubernetes.get("pipeline_config"))
    return config if isinstance(config, dict) else {}


def _spec_head(context: CompileContext) -> Json:
    options = context.options
    security: Json = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    if options.run_as_user is not None:
        security["runAsUser"] = options.run_as_user
    return {
        "entrypoint": ENTRYPOINT,
        "serviceAccountName": options.service_account,
        "arguments": argo_parameters(
            parameter(name, value=value) for name, value in context.arguments.items()
        ),
        "podMetadata": {"annotations": dict(_COMPONENT_MARK), "labels": dict(_COMPONENT_MARK)},
        "securityContext": security,
    }


class _WorkflowVisitor:
    """Turns what the walk finds into templates and arguments."""

    def __init__(self, context: CompileContext) -> None:
        self._context = context

    def on_kubernetes_config(self, name: str, document: dict[str, Any]) -> None:
        self._context.kubernetes[name] = read_kubernetes_config(name, document, self._context.options)
        self._save(f"kubernetes-{name}", document)

    def on_container(self, name: str, container: ContainerSpec) -> None:
        check_component_name(name)
        self._context.containers[name] = container

    def on_importer(self, name: str, importer: ImporterSpec) -> None:
        check_component_name(name)
        self._context.importers[name] = importer
        self._save(
            f"implementations-{name}",
            importer.model_dump(mode="json", by_alias=True, exclude_defaults=True),
        )

    def on_dag(self, name: str, tasks: Mapping[str, TaskSpec]) -> None:
        if name != ROOT:
            check_component_name(name)
        compile_dag(self._context, name, tasks)

    def _save(self, argument: str, value: object) -> None:
        self._context.save_argument(argument, stable_json(value, hardened=not self._context.options.parity))

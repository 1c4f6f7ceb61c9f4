"""Pipelines as users write them, from Python to Workflow.

Oracle: the KFP SDK, which compiles the pipelines, and the published ``kfp-pipeline-spec`` package, whose
protobuf messages say what an embedded spec must contain; Argo's rules as in ``argo_rules``.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from compiler.delivery import Delivery, PluginDelivery
from compiler.loading import load_pipeline, unknown_field_warnings
from compiler.options import Mode
from compiler.rewriter.rewrite import RewriteOptions, rewrite
from tests.compiler.argo_rules import violations
from tests.compiler.pipelines import Json, arguments, compiled, dag_tasks, templates


@pytest.fixture(scope="module")
def sdk_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Compiled pipelines by name."""
    from kfp import compiler, dsl, kubernetes  # noqa: PLC0415 (slow to import)

    def numbers() -> list[int]:
        return [1, 2, 3]

    def square(x: int) -> int:
        return x * x

    def report(status: dsl.PipelineTaskFinalStatus) -> None:
        print(status.state)  # noqa: T201

    def read(data: dsl.Input[dsl.Dataset]) -> str:
        return str(data.uri)

    components = {
        function.__name__: dsl.component(function, base_image="python:3.11")
        for function in (numbers, square, report, read)
    }

    def control_flow(threshold: int = 2) -> None:
        with dsl.ExitHandler(components["report"]()):
            source = components["numbers"]()
            with dsl.ParallelFor(source.output, parallelism=2) as item:
                squared = components["square"](x=item)
                with dsl.If(squared.output > threshold):
                    again = components["square"](x=squared.output)
                    again.set_retry(3, backoff_duration="5s")

    def platform(uri: str) -> None:
        data: Any = dsl.importer(
            artifact_uri=uri,
            artifact_class=dsl.Dataset,
            metadata={"from": "<a & b> {{x}}", "parts": [1, 2.5, True]},
        )
        reader = components["read"](data=data.output)
        kubernetes.add_pod_label(reader, label_key="team", label_value="a")
        kubernetes.use_secret_as_env(reader, secret_name="s", secret_key_to_env={"k": "K"})

    folder = tmp_path_factory.mktemp("pipelines")
    files = {name: folder / f"{name}.yaml" for name in ("control-flow", "platform")}
    for function in (control_flow, platform):
        name = function.__name__.replace("_", "-")
        compiler.Compiler().compile(dsl.pipeline(function, name=name), str(files[name]))
    return files


@pytest.mark.parametrize("name", ["control-flow", "platform"])
@pytest.mark.parametrize("mode", list(Mode))
def test_sdk_pipeline_becomes_a_workflow_that_satisfies_argo(
    sdk_files: dict[str, Path], name: str, mode: Mode
) -> None:
    pipeline = load_pipeline(sdk_files[name])
    warnings: list[str] = []
    assert unknown_field_warnings(pipeline) == []
    assert violations(compiled(pipeline, warnings, mode=mode)) == []
    assert warnings == []


@pytest.mark.parametrize("name", ["control-flow", "platform"])
@pytest.mark.parametrize("delivery", list(Delivery))
def test_rewritten_container_form_is_the_plugin_form(
    sdk_files: dict[str, Path], name: str, delivery: Delivery
) -> None:
    pipeline = load_pipeline(sdk_files[name])
    plugin = PluginDelivery(delivery=delivery)
    rewritten = rewrite(compiled(pipeline, mode=Mode.CONTAINER), RewriteOptions(plugin=plugin))
    assert rewritten.obj == compiled(pipeline, plugin=plugin)
    assert violations(rewritten.obj) == []


def test_control_flow_keeps_its_structure(sdk_files: dict[str, Path]) -> None:
    workflow = compiled(load_pipeline(sdk_files["control-flow"]))
    handler = dag_tasks(workflow)["exit-handler-1"]
    assert handler["hooks"]["exit"]["template"] == "exit-hook-root-report"
    inner = dag_tasks(workflow, "comp-exit-handler-1")
    assert inner["for-loop-2"]["depends"] == "numbers.Succeeded"
    assert templates(workflow)["comp-for-loop-2-for-loop-2-iterator"]["parallelism"] == 2
    loop = dag_tasks(workflow, "comp-for-loop-2")
    assert loop["condition-3-driver"]["depends"] == "square.Succeeded"
    assert loop["condition-3"]["when"].endswith(" != false")
    retried = arguments(dag_tasks(workflow, "comp-condition-3")["square-2"])
    assert retried["retry-max-count"] == "3"
    assert retried["retry-backoff-duration"] == "5"
    assert "iteration-index" in retried


@pytest.mark.parametrize("parity", [True, False])
def test_embedded_importer_spec_is_the_message_of_the_published_package(
    sdk_files: dict[str, Path], *, parity: bool
) -> None:
    from google.protobuf import json_format  # noqa: PLC0415
    from kfp.pipeline_spec import pipeline_spec_pb2  # noqa: PLC0415

    pipeline = load_pipeline(sdk_files["platform"])
    config = pipeline_spec_pb2.PipelineDeploymentConfig()
    json_format.ParseDict(pipeline.spec_document["deploymentSpec"], config)
    expected = json_format.MessageToDict(config.executors["exec-importer"].importer)
    embedded = embedded_json(compiled(pipeline, parity=parity))
    assert embedded["implementations-comp-importer"] == expected
    assert embedded["kubernetes-comp-read"] == pipeline.kubernetes_executors["exec-read"]


def embedded_json(workflow: Json) -> dict[str, Json]:
    declared = workflow["spec"]["arguments"]["parameters"]
    return {one["name"]: json.loads(one["value"]) for one in declared}

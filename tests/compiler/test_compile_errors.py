"""What the compiler refuses, and in which words.

Oracle: the error table of spec COMPILER 4 (E1 to E26) and the exit-task rules of 6.9.
"""

import re
from typing import Any

import pytest

from compiler.errors import CompileError
from kfp_api.ir.load import Pipeline, pipeline_from_struct
from tests.compiler.pipelines import (
    after,
    compiled,
    dag,
    document,
    executor,
    exit_task,
    loop,
    pipeline,
    task,
    when,
)


def unnamed() -> Pipeline:
    return pipeline_from_struct(document({"a": task()}, name=""))


def rootless() -> Pipeline:
    spec = document({"a": task()})
    del spec["root"]
    return pipeline_from_struct(spec)


def input_from(producer: str) -> dict[str, Any]:
    source = {"taskOutputParameter": {"producerTask": producer, "outputParameterKey": "out"}}
    return {"inputs": {"parameters": {"in": source}}}


ARTIFACT_LOOP: dict[str, Any] = {"artifactIterator": {"items": {"inputArtifact": "x"}, "itemInput": "y"}}

CASES = {
    "E1": (unnamed(), "pipelineInfo.name is empty"),
    "no root": (rootless(), "root component is missing"),
    "E2": (
        pipeline({"a": task("comp-x")}, components={"comp-x": executor("exec-x")}),
        'error processing component name="comp-x": executor(label="exec-x") not found in deployment config',
    ),
    "E3": (
        pipeline(
            {"a": task("comp-x")},
            components={"comp-x": executor("exec-x")},
            executors={"exec-x": {"resolver": {}}},
        ),
        'executor(label="exec-x"): non-container and non-importer executor not implemented',
    ),
    "E4": (
        pipeline({"a": task("comp-x")}, components={"comp-x": {}}),
        'error processing component name="comp-x": unknown component implementation: ',
    ),
    "E5": (pipeline({"a": {}}), 'component ref name is empty for task name="a"'),
    "E6": (pipeline({"a": task("comp-x")}), 'cannot find component ref name="comp-x"'),
    "E7": (
        pipeline({"a": task()}, kubernetes={"exec-work": {"podMetadata": {"labels": ["x"]}}}),
        'failed to unmarshal kubernetes spec for component "comp-work": podMetadata.labels: ',
    ),
    "E8": (
        pipeline(
            {"a": task()},
            kubernetes={"exec-work": {"securityContext": {"runAsUser": "0", "runAsNonRoot": True}}},
        ),
        (
            'runAsUser=0 (root) is not allowed for component "comp-work": runAsNonRoot is true; '
            "use a non-root UID instead"
        ),
    ),
    "E9": (
        pipeline({"a": task(**input_from("ghost"))}),
        'compiling DAG "root": failed to add implicit deps: unknown producer task "ghost" in DAG',
    ),
    "E9 dependency": (pipeline({"a": after("ghost")}), 'task "a" depends on unknown task "ghost"'),
    "dependency cycle": (
        pipeline({"a": after("b"), "b": after("a")}),
        "tasks depend on each other in a cycle: ",
    ),
    "E10": (
        pipeline({"a": loop(**ARTIFACT_LOOP)}),
        'invalid task "a": parameterIterator and artifactIterator cannot be specified at the same time',
    ),
    "E11": (pipeline({"a": task(**ARTIFACT_LOOP)}), "artifact iterator not implemented yet"),
    "E12": (pipeline({}), "DAG root must contain one or more non-exit tasks"),
    "E13": (
        pipeline(
            {"b-c": loop("comp-a"), "c": loop("comp-a-b")},
            components={"comp-a": dag({"w": task()}), "comp-a-b": dag({"w": task()})},
        ),
        'template name="comp-a-b-c-iterator": template already exists',
    ),
    "E14": (
        pipeline({"a": task("comp-import", **when("true"))}),
        'compiling task "a": triggerPolicy.condition on importer task is not supported',
    ),
    "E20 task": (pipeline({"a_b": task()}), 'task name "a_b-driver" in DAG "root" is not valid in Argo'),
    "E20 digit": (
        pipeline({"1a": task()}),
        'task name "1a-driver" in DAG "root" must not start with a digit',
    ),
    "E20 template": (
        pipeline({"a": task("comp_x")}, components={"comp_x": dag({"w": task()})}),
        'template name "comp_x" is not valid in Argo',
    ),
    "E20 long": (pipeline({"a" * 122: task()}), "is not valid in Argo"),
    "E20 argument": (
        pipeline(
            {"a": task("comp.x")},
            components={"comp.x": executor("exec-work")},
            kubernetes={"exec-work": {}},
        ),
        '"kubernetes-comp.x" is not a valid name of an Argo parameter',
    ),
    "E20 pipeline": (pipeline({"a": task()}, name="x{{y}}"), "which Argo would evaluate"),
    "E21": (
        pipeline({"x": task(), "x-driver": task("comp-import")}),
        'DAG "root": two Argo tasks are named "x-driver"',
    ),
    **{
        f"E22 {name}": (
            pipeline({"a": task(name)}, components={name: dag({"w": task()})}),
            f'component name "{name}" is reserved for system templates',
        )
        for name in (
            "entrypoint",
            "system-dag-driver",
            "retry-system-container-impl",
            "metadata-1-0-system-container-impl",
            "exit-hook-root-x",
        )
    },
    "E23 tasks": (
        pipeline({f"t{number}": task() for number in range(101)}),
        'DAG "root" needs 202 Argo tasks (two per pipeline task), Argo allows 200',
    ),
    "E23 templates": (
        pipeline(
            {f"t{number}": task(f"comp-{number % 99}") for number in range(99)} | {"more": task("comp-more")},
            components={
                **{f"comp-{number}": dag({"w": loop(f"comp-in-{number}")}) for number in range(99)},
                **{f"comp-in-{number}": dag({"w": task()}) for number in range(99)},
                "comp-more": dag({"w": task()}),
            },
        ),
        "templates, Argo allows 200",
    ),
    "E23 inputs": (
        pipeline(
            {"a": task()},
            kubernetes={"exec-work": {"podMetadata": {"labels": {f"l{n}": "v" for n in range(250)}}}},
        ),
        'template "metadata-0-250-system-container-executor" has 503 inputs, Argo allows 500',
    ),
    "E24": (
        pipeline({"a": loop("comp-work")}),
        'iterator on component "comp-work", which is not a DAG',
    ),
    "E25": (
        pipeline({"a": task("comp-x")}, components={"comp-x": dag({"b": task("comp-x")})}),
        "components refer to each other in a cycle: comp-x -> comp-x",
    ),
    "E26 label": (
        pipeline(
            {"a": task()},
            kubernetes={
                "exec-work": {"podMetadata": {"labels": {"pipelines.kubeflow.org/pod-role": "driver"}}}
            },
        ),
        'pod label "pipelines.kubeflow.org/pod-role" of component "comp-work": the prefix is reserved',
    ),
    "E26 annotation": (
        pipeline(
            {"a": task()},
            kubernetes={"exec-work": {"podMetadata": {"annotations": {"workflows.argoproj.io/x": "y"}}}},
        ),
        'pod annotation "workflows.argoproj.io/x" of component "comp-work": the prefix is reserved',
    ),
}

EXIT_TASKS = {
    "several dependencies": (
        pipeline({"a": task(), "b": task(), "x": exit_task("a", "b")}),
        'exit task "x" waits for several tasks ("a", "b"): it would run once for each',
    ),
    "shared dependency": (
        pipeline({"a": task(), "x": exit_task("a"), "y": exit_task("a")}),
        'exit tasks "x" and "y" both wait for task "a": only the last would run',
    ),
    "importer": (
        pipeline({"a": task("comp-import"), "b": task(), "x": exit_task("a")}),
        'exit task "x" waits for importer "a": it would never run',
    ),
    "driver-only": (
        pipeline({"a": task("comp-claim"), "b": task(), "x": exit_task("a")}),
        'exit task "x" waits for driver-only task "a": it would never run',
    ),
    "dependent of an exit task": (
        pipeline({"a": task(), "x": exit_task("a"), "z": after("x")}),
        'task "z" waits for exit task "x", which Argo cannot express',
    ),
    "exit task of an exit task": (
        pipeline({"a": task(), "x": exit_task("a"), "y": exit_task("x")}),
        'exit task "y" waits for exit task "x": it would never run',
    ),
}


@pytest.mark.parametrize(("given", "message"), CASES.values(), ids=CASES)
def test_an_unusable_pipeline_is_refused_by_name(given: Pipeline, message: str) -> None:
    with pytest.raises(CompileError, match=re.escape(message)) as refused:
        compiled(given)
    assert refused.value.exit_code == 2
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(("given", "message"), EXIT_TASKS.values(), ids=EXIT_TASKS)
def test_exit_task_that_argo_cannot_express_is_refused(given: Pipeline, message: str) -> None:
    with pytest.raises(CompileError, match=re.escape(message)):
        compiled(given)


@pytest.mark.parametrize(("given", "message"), EXIT_TASKS.values(), ids=EXIT_TASKS)
def test_exit_task_that_argo_cannot_express_is_a_warning_in_parity(given: Pipeline, message: str) -> None:
    warnings: list[str] = []
    compiled(given, warnings, parity=True)
    assert any(message in one for one in warnings)


@pytest.mark.parametrize(
    ("context", "options"),
    [
        ({"runAsUser": 0}, {}),
        ({"runAsUser": 1000, "runAsNonRoot": True}, {}),
        ({"runAsUser": 0, "runAsNonRoot": True}, {"default_run_as_user": 1000}),
        ({"runAsUser": 0, "runAsNonRoot": True}, {"default_run_as_non_root": False}),
        ({"runAsNonRoot": True}, {}),
    ],
    ids=["root allowed", "other user", "administrator's user", "administrator allows", "image's user"],
)
def test_root_rule_spares_what_will_not_run_as_root(context: dict[str, Any], options: dict[str, Any]) -> None:
    given = pipeline({"a": task()}, kubernetes={"exec-work": {"securityContext": context}})
    assert compiled(given, **options)


def test_root_rule_follows_the_administrator() -> None:
    given = pipeline({"a": task()}, kubernetes={"exec-work": {"securityContext": {"runAsUser": 0}}})
    with pytest.raises(CompileError, match="runAsUser=0"):
        compiled(given, default_run_as_non_root=True)

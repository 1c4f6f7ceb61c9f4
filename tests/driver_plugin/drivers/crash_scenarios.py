"""Every driver type and every end that a driver call can have, as runs in which one call is due.

A scenario prepares a run on a server that others use too and names the call. What it leaves behind for others
(finished tasks that serve as cache) it makes with pipelines of its own name.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from driver_plugin.argo.driver_type import DriverType
from kfp_api.messages import PipelineTask, TaskState, TaskType
from tests.driver_plugin.calls import container_args, dag_args, root_args
from tests.driver_plugin.drivers.pipelines import (
    Json,
    artifact_from_task,
    claims,
    constant,
    dag,
    from_parent,
    from_task,
    leaf,
    output_of,
    pipeline,
    task,
)
from tests.driver_plugin.drivers.stack import NAMESPACE, RUN_NAME, DrivenRun, Stack


@dataclass(frozen=True, kw_only=True)
class Due:
    """A run, and the arguments of the call that is due in it."""

    run: DrivenRun
    args: Json


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One driver type and one end."""

    type: DriverType
    end: str
    prepare: Callable[[Stack], Awaitable[Due]]
    phase: str = "Succeeded"

    @property
    def name(self) -> str:
        return f"{self.type}: {self.end}"


SCENARIOS: list[Scenario] = []


def scenario(
    kind: DriverType, end: str, *, phase: str = "Succeeded"
) -> Callable[[Callable[[Stack], Awaitable[Due]]], Callable[[Stack], Awaitable[Due]]]:
    """Declares the decorated function as the preparation of a scenario."""

    def declare(prepare: Callable[[Stack], Awaitable[Due]]) -> Callable[[Stack], Awaitable[Due]]:
        SCENARIOS.append(Scenario(type=kind, end=end, prepare=prepare, phase=phase))
        return prepare

    return declare


MAKE = leaf("exec-make", outputs={"Output": "STRING"}, output_artifacts=("data",))
USE = leaf("exec-use", inputs={"text": "STRING"}, input_artifacts=("data",))
MADE = {"Output": "x"}
STORED = {"data": "s3://bucket/x"}


def use(**changes: Any) -> Json:
    """A task that reads a parameter and an artifact of ``make``."""
    return task(
        "comp-use",
        inputs={"text": from_task("make")},
        artifacts={"data": artifact_from_task("make", "data")},
        depends=("make",),
        **changes,
    )


def nested(name: str = "nested", *, make: Json | None = None, last: Json | None = None) -> Json:
    """A DAG with an output of its first task, inside a pipeline that hands the output on."""
    tasks = {"make": make or task("comp-make")}
    if last is not None:
        tasks["use"] = last
    inner = dag(tasks, outputs={"parameters": {"made": output_of("make")}}, output_types={"made": "STRING"})
    return pipeline(
        {"inner": task("comp-inner")},
        {"comp-inner": inner, "comp-make": MAKE, "comp-use": USE},
        name=name,
        outputs={"parameters": {"result": output_of("inner", "made")}},
        output_types={"result": "STRING"},
    )


def due(
    run: DrivenRun, kind: DriverType, name: str = "", parent: str = "", index: int = -1, **changes: Any
) -> Due:
    """The call of a task, as the compiler's template makes it."""
    make = {DriverType.ROOT_DAG: root_args, DriverType.DAG: dag_args, DriverType.CONTAINER: container_args}
    given: Json = {
        "run_id": run.run_id,
        "run_name": RUN_NAME,
        "namespace": NAMESPACE,
        "pipeline_name": run.spec["pipelineInfo"]["name"],
        "iteration_index": str(index),
    }
    if kind is not DriverType.ROOT_DAG:
        given |= {"task_name": name, "parent_task_id": parent or run.root}
    return Due(run=run, args=make[kind](**{**given, **changes}))


async def started(stack: Stack, spec: Json, *, inner: str = "inner") -> tuple[DrivenRun, str]:
    """A run whose root and DAG ``inner`` were driven; and the id of the DAG's row."""
    run = await stack.start(spec)
    return run, (await run.dag(inner)).task_id


async def made(run: DrivenRun, parent: str = "", index: int | None = None) -> None:
    """Drive and execute ``make``."""
    row = await run.container("make", parent, index)
    await run.finish(row.task_id, MADE, artifacts=STORED)


async def retried(run: DrivenRun) -> None:
    """End the run as failed and retry it, as a user would."""
    document = {
        "metadata": {"name": RUN_NAME, "namespace": NAMESPACE, "labels": {"pipeline/runid": run.run_id}},
        "status": {"phase": "Failed", "finishedAt": "2026-01-02T03:04:05Z"},
    }
    await run.stack.client.report_workflow(document)
    await run.stack.client.retry_run(run.run_id)


async def failed_in_executor(stack: Stack) -> tuple[DrivenRun, str]:
    """A retried run whose second task had failed."""
    run, inner = await started(stack, nested("retried", last=use()))
    await made(run, inner)
    last = await run.container("use", inner)
    await run.finish(last.task_id, state=TaskState.FAILED)
    await retried(run)
    return run, inner


# ROOT_DAG


@scenario(DriverType.ROOT_DAG, "triggered")
async def _root(stack: Stack) -> Due:
    return due(await stack.submit(nested()), DriverType.ROOT_DAG)


@scenario(DriverType.ROOT_DAG, "failed", phase="Failed")
async def _root_failed(stack: Stack) -> Due:
    return due(await stack.submit(nested()), DriverType.ROOT_DAG, runtime_config="")


@scenario(DriverType.ROOT_DAG, "triggered again after the run was retried")
async def _root_again(stack: Stack) -> Due:
    run, _ = await failed_in_executor(stack)
    return due(run, DriverType.ROOT_DAG)


# DAG


def reading_dag(name: str, condition: str = "", **loop: Any) -> Json:
    """A DAG that reads a parameter and an artifact of a task before it."""
    body = dag(
        {"use": task("comp-use", inputs={"text": from_parent("text")})},
        inputs={"text": "STRING", **({"item": "NUMBER_INTEGER"} if loop else {})},
        input_artifacts=("data",),
    )
    group = task(
        "comp-inner",
        inputs={"text": from_task("make")},
        artifacts={"data": artifact_from_task("make", "data")},
        depends=("make",),
        condition=condition,
        **loop,
    )
    return pipeline(
        {"make": task("comp-make"), "inner": group},
        {"comp-inner": body, "comp-make": MAKE, "comp-use": USE},
        name=name,
    )


async def _group_due(stack: Stack, spec: Json) -> Due:
    run = await stack.start(spec)
    await made(run)
    return due(run, DriverType.DAG, "inner")


@scenario(DriverType.DAG, "triggered")
async def _dag(stack: Stack) -> Due:
    return await _group_due(stack, reading_dag("group", "inputs.parameter_values['text'] == 'x'"))


@scenario(DriverType.DAG, "triggered loop")
async def _loop(stack: Stack) -> Due:
    return await _group_due(stack, reading_dag("loop", items="[1, 2, 3]"))


@scenario(DriverType.DAG, "skipped by its condition")
async def _dag_skipped(stack: Stack) -> Due:
    return await _group_due(stack, reading_dag("skipped", "inputs.parameter_values['text'] == 'y'"))


@scenario(DriverType.DAG, "skipped loop without items")
async def _no_items(stack: Stack) -> Due:
    return await _group_due(stack, reading_dag("no-items", items="[]"))


@scenario(DriverType.DAG, "succeeded without tasks")
async def _empty(stack: Stack) -> Due:
    spec = pipeline({"inner": task("comp-inner")}, {"comp-inner": dag({})}, name="empty")
    return due(await stack.start(spec), DriverType.DAG, "inner")


@scenario(DriverType.DAG, "failed", phase="Failed")
async def _dag_failed(stack: Stack) -> Due:
    return await _group_due(stack, reading_dag("broken-items", items="5"))


@scenario(DriverType.DAG, "triggered again after the run was retried")
async def _dag_again(stack: Stack) -> Due:
    run, _ = await failed_in_executor(stack)
    return due(run, DriverType.DAG, "inner")


# CONTAINER


@scenario(DriverType.CONTAINER, "triggered")
async def _container(stack: Stack) -> Due:
    run, inner = await started(stack, nested(last=use()))
    await made(run, inner)
    return due(run, DriverType.CONTAINER, "use", inner)


@scenario(DriverType.CONTAINER, "triggered after a lookup that found nothing")
async def _missed(stack: Stack) -> Due:
    spec = nested("never-finished", make=task("comp-make", cache=True), last=use())
    run, inner = await started(stack, spec)
    return due(run, DriverType.CONTAINER, "make", inner)


@scenario(DriverType.CONTAINER, "skipped")
async def _container_skipped(stack: Stack) -> Due:
    run, inner = await started(stack, nested(last=use(condition="inputs.parameter_values['text'] == 'y'")))
    await made(run, inner)
    return due(run, DriverType.CONTAINER, "use", inner)


@scenario(DriverType.CONTAINER, "cached")
async def _cached(stack: Stack) -> Due:
    spec = nested("cached", make=task("comp-make", cache=True))
    source, parent = await started(stack, spec)
    row = await source.container("make", parent, cache_disabled=False)
    if not row.cached:
        await source.finish(row.task_id, MADE, artifacts=STORED)
    run, inner = await started(stack, spec)
    return due(run, DriverType.CONTAINER, "make", inner)


@scenario(DriverType.CONTAINER, "cached in an iteration")
async def _cached_iteration(stack: Stack) -> Due:
    body = dag(
        {"make": task("comp-make", cache=True)},
        inputs={"item": "NUMBER_INTEGER"},
        outputs={"parameters": {"made": output_of("make")}},
        output_types={"made": "LIST"},
    )
    spec = pipeline(
        {"inner": task("comp-inner", items="[1]")},
        {"comp-inner": body, "comp-make": MAKE},
        name="cached-in-loop",
        outputs={"parameters": {"result": output_of("inner", "made")}},
        output_types={"result": "LIST"},
    )
    source, parent = await started(stack, spec)
    row = await source.container("make", parent, 0)
    if not row.cached:
        await source.finish(row.task_id, MADE, artifacts=STORED)
    run, inner = await started(stack, spec)
    return due(run, DriverType.CONTAINER, "make", inner, 0)


@scenario(DriverType.CONTAINER, "failed before its row", phase="Failed")
async def _failed_early(stack: Stack) -> Due:
    run, inner = await started(stack, nested(last=use()))
    return due(run, DriverType.CONTAINER, "use", inner)


@scenario(DriverType.CONTAINER, "failed after its row", phase="Failed")
async def _failed_late(stack: Stack) -> Due:
    run, inner = await started(stack, nested(last=use()))
    await made(run, inner)
    broken = '{"pvcMount": [{"mountPath": "/data"}]}'
    return due(run, DriverType.CONTAINER, "use", inner, kubernetes_config=broken)


@scenario(DriverType.CONTAINER, "triggered again after the run was retried")
async def _container_again(stack: Stack) -> Due:
    run, inner = await failed_in_executor(stack)
    return due(run, DriverType.CONTAINER, "use", inner)


@scenario(DriverType.CONTAINER, "triggered with the final status of a failed group")
async def _exit_task(stack: Stack) -> Due:
    notify = leaf("exec-notify", inputs={"status": "TASK_FINAL_STATUS"})
    spec = pipeline(
        {
            "exit-handler-1": task("comp-group"),
            "notify": task(
                "comp-notify",
                inputs={"status": {"taskFinalStatus": {"producerTask": "exit-handler-1"}}},
                depends=("exit-handler-1",),
                strategy="ALL_UPSTREAM_TASKS_COMPLETED",
            ),
        },
        {"comp-group": dag({"make": task("comp-make")}), "comp-make": MAKE, "comp-notify": notify},
        name="exit",
    )
    run, group = await started(stack, spec, inner="exit-handler-1")
    row = await run.container("make", group)
    await run.finish(row.task_id, state=TaskState.FAILED)
    return due(run, DriverType.CONTAINER, "notify")


# Rows that a call finds


@scenario(DriverType.ROOT_DAG, "repeated after a task had failed")
async def _root_of_a_failed_run(stack: Stack) -> Due:
    run, inner = await started(stack, nested(last=use()))
    await run.finish((await run.container("make", inner)).task_id, state=TaskState.FAILED)
    return due(run, DriverType.ROOT_DAG)


@scenario(DriverType.DAG, "repeated after a child had failed")
async def _dag_of_a_failed_child(stack: Stack) -> Due:
    run, inner = await started(stack, nested(last=use()))
    await run.finish((await run.container("make", inner)).task_id, state=TaskState.FAILED)
    return due(run, DriverType.DAG, "inner")


@scenario(DriverType.DAG, "tried again after a failure")
async def _dag_after_a_failure(stack: Stack) -> Due:
    run = await stack.start(reading_dag("retried-loop", items="[1, 2]"))
    await run.failing(DriverType.DAG, "inner")
    await made(run)
    return due(run, DriverType.DAG, "inner")


@scenario(DriverType.DAG, "on another driver's row")
async def _dag_on_a_foreign_row(stack: Stack) -> Due:
    run = await stack.start(nested("foreign", last=use()))
    await foreign_row(run, "inner", TaskType.DAG)
    return due(run, DriverType.DAG, "inner")


@scenario(DriverType.CONTAINER, "tried again after a failure")
async def _container_after_a_failure(stack: Stack) -> Due:
    run, inner = await started(stack, nested(last=use()))
    await run.failing(DriverType.CONTAINER, "use", inner)
    await made(run, inner)
    return due(run, DriverType.CONTAINER, "use", inner)


@scenario(DriverType.CONTAINER, "repeated after its executor had failed")
async def _container_of_a_failed_executor(stack: Stack) -> Due:
    run, inner = await started(stack, nested(last=use()))
    await made(run, inner)
    await run.finish((await run.container("use", inner)).task_id, state=TaskState.FAILED)
    return due(run, DriverType.CONTAINER, "use", inner)


@scenario(DriverType.CONTAINER, "repeated after its executor had succeeded")
async def _container_of_a_finished_executor(stack: Stack) -> Due:
    run, inner = await started(stack, nested(last=use()))
    await made(run, inner)
    await run.finish((await run.container("use", inner)).task_id)
    return due(run, DriverType.CONTAINER, "use", inner)


@scenario(DriverType.CONTAINER, "on another driver's row")
async def _container_on_a_foreign_row(stack: Stack) -> Due:
    run, inner = await started(stack, nested("foreign", last=use()))
    await made(run, inner)
    await foreign_row(run, "use", TaskType.RUNTIME, parent=inner, scope="root.inner.use")
    return due(run, DriverType.CONTAINER, "use", inner)


@scenario(DriverType.CONTAINER, "skipped after a failure")
async def _skipped_after_a_failure(stack: Stack) -> Due:
    never = "inputs.parameter_values['text'] == 'y'"
    run, inner = await started(stack, nested(last=use(condition=never)))
    await run.failing(DriverType.CONTAINER, "use", inner)
    await made(run, inner)
    return due(run, DriverType.CONTAINER, "use", inner)


async def foreign_row(
    run: DrivenRun, name: str, kind: TaskType, *, parent: str = "", scope: str = ""
) -> None:
    """A running row without the marks of this project's drivers."""
    await run.stack.client.create_task(
        PipelineTask(
            name=name,
            run_id=run.run_id,
            type=kind,
            state=TaskState.RUNNING,
            scope_path=scope or f"root.{name}",
            parent_task_id=parent or run.root,
        )
    )


# Loops in loops


def loops(name: str, *, cache: bool = False) -> Json:
    """A loop over a loop over ``make``, whose outputs are collected twice."""
    body = dag(
        {"make": task("comp-make", cache=cache)},
        inputs={"item": "NUMBER_INTEGER"},
        outputs={"parameters": {"made": output_of("make")}},
        output_types={"made": "LIST"},
    )
    outer = dag(
        {"inner": task("comp-inner", items="[7]")},
        inputs={"item": "NUMBER_INTEGER"},
        outputs={"parameters": {"made": output_of("inner", "made")}},
        output_types={"made": "LIST"},
    )
    return pipeline(
        {"outer": task("comp-outer", items="[1, 2]")},
        {"comp-outer": outer, "comp-inner": body, "comp-make": MAKE},
        name=name,
        outputs={"parameters": {"result": output_of("outer", "made")}},
        output_types={"result": "LIST"},
    )


@scenario(DriverType.DAG, "triggered loop in an iteration")
async def _loop_in_loop(stack: Stack) -> Due:
    run, outer = await started(stack, loops("loops"), inner="outer")
    return due(run, DriverType.DAG, "inner", outer, 1)


@scenario(DriverType.CONTAINER, "cached in a loop in an iteration")
async def _cached_in_loops(stack: Stack) -> Due:
    spec = loops("cached-in-loops", cache=True)
    source, outer = await started(stack, spec, inner="outer")
    row = await source.container("make", (await source.dag("inner", outer, 0)).task_id, 0)
    if not row.cached:
        await source.finish(row.task_id, MADE, artifacts=STORED)
    run, outer = await started(stack, spec, inner="outer")
    heads = [(await run.dag("inner", outer, index)).task_id for index in (0, 1)]
    await run.container("make", heads[0], 0)
    return due(run, DriverType.CONTAINER, "make", heads[1], 0)


# With a plugin


@scenario(DriverType.DAG, "triggered with a plugin")
async def _dag_with_plugin(stack: Stack) -> Due:
    run = await stack.start(nested("plugin"))
    return due(run, DriverType.DAG, "inner", runtime_args=stack.runtime_args)


@scenario(DriverType.CONTAINER, "triggered with a plugin")
async def _container_with_plugin(stack: Stack) -> Due:
    run, inner = await started(stack, nested("plugin"))
    return due(run, DriverType.CONTAINER, "make", inner, runtime_args=stack.runtime_args)


@scenario(DriverType.CONTAINER, "skipped with a plugin")
async def _skipped_with_plugin(stack: Stack) -> Due:
    run, inner = await started(stack, nested("plugin", make=task("comp-make", condition="1 == 2")))
    return due(run, DriverType.CONTAINER, "make", inner, runtime_args=stack.runtime_args)


@scenario(DriverType.CONTAINER, "cached with a plugin")
async def _cached_with_plugin(stack: Stack) -> Due:
    spec = nested("cached-plugin", make=task("comp-make", cache=True))
    source, parent = await started(stack, spec)
    row = await source.container("make", parent)
    if not row.cached:
        await source.finish(row.task_id, MADE, artifacts=STORED)
    run, inner = await started(stack, spec)
    return due(run, DriverType.CONTAINER, "make", inner, runtime_args=stack.runtime_args)


@scenario(DriverType.CONTAINER, "failed with a plugin", phase="Failed")
async def _failed_with_plugin(stack: Stack) -> Due:
    run, inner = await started(stack, nested("plugin"))
    broken = '{"pvcMount": [{"mountPath": "/data"}]}'
    return due(
        run,
        DriverType.CONTAINER,
        "make",
        inner,
        kubernetes_config=broken,
        runtime_args=stack.runtime_args,
    )


# Platform operations


async def _claim_due(stack: Stack, spec: Json, name: str = "createpvc") -> Due:
    run = await stack.start(spec)
    if name == "deletepvc":
        await run.container("createpvc")
    return due(run, DriverType.CONTAINER, name)


@scenario(DriverType.CONTAINER, "claim created")
async def _claim(stack: Stack) -> Due:
    return await _claim_due(stack, claims(pvc_name_suffix="-x"))


@scenario(DriverType.CONTAINER, "claim cached")
async def _claim_cached(stack: Stack) -> Due:
    spec = claims(pvc_name="shared", cache=True)
    await (await stack.start(spec)).container("createpvc")
    return await _claim_due(stack, spec)


@scenario(DriverType.CONTAINER, "claim skipped")
async def _claim_skipped(stack: Stack) -> Due:
    return await _claim_due(stack, claims(pvc_name_suffix="-x", condition="1 == 2"))


@scenario(DriverType.CONTAINER, "claim failed", phase="Failed")
async def _claim_failed(stack: Stack) -> Due:
    return await _claim_due(stack, claims(pvc_name="x", size="lots"))


@scenario(DriverType.CONTAINER, "claim deleted")
async def _claim_deleted(stack: Stack) -> Due:
    return await _claim_due(stack, claims(pvc_name_suffix="-x"), "deletepvc")


@scenario(DriverType.CONTAINER, "claim deletion failed", phase="Failed")
async def _claim_not_deleted(stack: Stack) -> Due:
    spec = claims(pvc_name="y")
    spec["root"]["dag"]["tasks"]["deletepvc"]["inputs"]["parameters"]["pvc_name"] = constant("")
    return await _claim_due(stack, spec, "deletepvc")

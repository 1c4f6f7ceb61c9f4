"""Mistakes as authors and operators make them: ``explain`` names the task, the cause and the way out.

Every fault is seeded into the real service and the embedded KFP API, through Argo's door; what the person
reads afterwards is compared. Oracle: what was seeded.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.typedefs import Handler

from tests.driver_plugin.drivers.pipelines import constant, dag, from_parent, from_task, leaf, pipeline, task
from tests.troubleshooting.stack import Driven, Json, Stack, running

TRAIN = leaf("exec-train", inputs={"epochs": "NUMBER_INTEGER"}, outputs={"score": "NUMBER_DOUBLE"})
MAKE = leaf("exec-make", outputs={"Output": "STRING"})


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Something that goes wrong, and what a person must read."""

    seed: Callable[[Stack], Awaitable[Driven]]
    task: str
    cause: str
    way_out: str
    ask_for: str | None = None
    """What is asked about; by default, what failed first."""
    api_door: Any = None
    environ: tuple[tuple[str, str], ...] = ()


def one(component: Json = TRAIN, *, images: Json | None = None, **how: Any) -> Json:
    """A pipeline of one task ``train``."""
    how.setdefault("inputs", {"epochs": constant(3)})
    return pipeline({"train": task("comp-train", **how)}, {"comp-train": component}, images=images)


def drives(spec: Json, **changes: Any) -> Callable[[Stack], Awaitable[Driven]]:
    """Submit the pipeline, and drive its task ``train``."""

    async def seed(stack: Stack) -> Driven:
        run = await stack.start(spec)
        await run.container("train", **changes)
        return run

    return seed


async def wrong_output_is_asked_for(stack: Stack) -> Driven:
    spec = pipeline(
        {
            "make": task("comp-make"),
            "train": task("comp-train", inputs={"epochs": from_task("make", "nothing")}, depends=("make",)),
        },
        {"comp-make": MAKE, "comp-train": TRAIN},
    )
    run = await stack.start(spec)
    await run.finish(await run.container("make"), outputs={"Output": "x"})
    await run.container("train")
    return run


async def producer_never_ran(stack: Stack) -> Driven:
    spec = pipeline(
        {"make": task("comp-make"), "train": task("comp-train", inputs={"epochs": from_task("make")})},
        {"comp-make": MAKE, "comp-train": TRAIN},
    )
    run = await stack.start(spec)
    await run.container("train")
    return run


def loops(items: str | None = None, items_from: Any = None, component: Json | None = None) -> Any:
    async def seed(stack: Stack) -> Driven:
        inner = component or dag({"train": task("comp-train", inputs={"epochs": from_parent("item")})})
        how: Json = {"items": items}
        if items_from is not None:
            how = {"items_from": "list", "inputs": {"list": constant(items_from)}}
        spec = pipeline({"for-loop-1": task("comp-loop", **how)}, {"comp-loop": inner, "comp-train": TRAIN})
        run = await stack.start(spec)
        await run.dag("for-loop-1")
        return run

    return seed


async def executor_fails(stack: Stack) -> Driven:
    run = await stack.start(one())
    await run.finish(
        await run.container("train"), error="the command ended with exit code 1: ValueError: no rows"
    )
    return run


async def nested_executor_fails(stack: Stack) -> Driven:
    inner = dag({"train": task("comp-train", inputs={"epochs": constant(1)})})
    spec = pipeline({"inner": task("comp-inner")}, {"comp-inner": inner, "comp-train": TRAIN})
    run = await stack.start(spec)
    parent = await run.dag("inner")
    ids = {entry["name"]: entry["value"] for entry in parent["node"]["outputs"]["parameters"]}
    reply = await run.container("train", parent=ids["task-id"])
    await run.finish(reply, error="exit code 137, signal KILL: out of memory")
    return run


async def upstream_failed(stack: Stack) -> Driven:
    spec = pipeline(
        {"make": task("comp-make"), "train": task("comp-train", inputs={"epochs": from_task("make")})},
        {"comp-make": MAKE, "comp-train": TRAIN},
    )
    run = await stack.start(spec)
    await run.finish(await run.container("make"), error="exit status 2")
    return run


async def bad_argument(stack: Stack) -> Driven:
    run = await stack.start(one())
    await run.container("train", kubernetes_config="{not json")
    return run


async def root_without_configuration(stack: Stack) -> Driven:
    run = await stack.submit(one())
    await run.drive_root(type="ROOT_DAG", iteration_index="x")
    return run


async def full_bucket(stack: Stack) -> Driven:
    run = await stack.start(one())
    (stack.directory / "driver-logs" / run.run_id / run.root).write_text("no directory can be made here")
    await run.container("train")
    return run


async def root_alone(stack: Stack) -> Driven:
    return await stack.start(one())


async def unknown_task(stack: Stack) -> Driven:
    run = await stack.start(one())
    await run.container("trian")
    return run


def refusing(status: int, path: str, message: str) -> Any:
    """A middleware: the API answers so to calls of the service whose path ends like this."""

    @web.middleware
    async def door(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path.endswith(path):
            return web.json_response({"code": 7, "message": message}, status=status)
        return await handler(request)

    return door


WITHOUT_EXECUTOR = one()
WITHOUT_EXECUTOR["deploymentSpec"]["executors"] = {}

FAULTS = {
    "wrong parameter type": Fault(
        seed=drives(one(inputs={"epochs": constant("three")})),
        task="train",
        cause='"epochs" type mismatch: expect NUMBER_INTEGER, got string',
        way_out="value of the declared type",
    ),
    "missing input": Fault(
        seed=drives(one(inputs={})),
        task="train",
        cause='neither value nor default value provided for non-optional parameter "epochs"',
        way_out="Pass the missing input",
    ),
    "value outside the literals": Fault(
        seed=drives(
            one(
                {
                    **TRAIN,
                    "inputDefinitions": {
                        "parameters": {"epochs": {"parameterType": "NUMBER_INTEGER", "literals": [1, 2]}}
                    },
                }
            )
        ),
        task="train",
        cause="does not match any of the allowed literal values",
        way_out="one of the allowed values",
    ),
    "condition that does not compile": Fault(
        seed=drives(one(condition="inputs.parameter_values['epochs'] ==")),
        task="train",
        cause="Syntax error",
        way_out="Correct the condition",
    ),
    "condition over a missing input": Fault(
        seed=drives(one(condition="inputs.parameter_values['lr'] > 0.1")),
        task="train",
        cause="evaluation error",
        way_out="Correct the condition",
    ),
    "condition that is no boolean": Fault(
        seed=drives(one(condition="inputs.parameter_values['epochs']")),
        task="train",
        cause="return type is not bool",
        way_out="Correct the condition",
    ),
    "output that the producer does not have": Fault(
        seed=wrong_output_is_asked_for,
        task="train",
        cause="nothing not found in outputs of task make",
        way_out="producing task has not written this output",
    ),
    "producer that never ran": Fault(
        seed=producer_never_ran,
        task="train",
        cause="producerTask task make",
        way_out="did not run",
    ),
    "loop over something that is no list": Fault(
        seed=loops(items_from=7),
        task="for-loop-1",
        cause="cannot be iterated",
        way_out="ParallelFor needs a list",
    ),
    "loop with too many items": Fault(
        seed=loops(items="[1,2,3]"),
        environ=(("KFP_DRIVER_MAX_ITERATIONS", "2"),),
        task="for-loop-1",
        cause="the loop has 3 iterations, the limit is 2",
        way_out="Loop over fewer items",
    ),
    "pipeline without its executors": Fault(
        seed=drives(WITHOUT_EXECUTOR),
        task="train",
        cause='executor "exec-train" not found in deployment spec',
        way_out="Compile it again",
    ),
    "executor that fails": Fault(
        seed=executor_fails,
        task="train",
        cause="ValueError: no rows",
        way_out="Its log has the stack trace",
    ),
    "executor that fails deep inside": Fault(
        seed=nested_executor_fails,
        task="train",
        cause="out of memory",
        way_out="component's own code failed",
    ),
    "task behind a failed one": Fault(
        seed=upstream_failed,
        ask_for="train",
        task="make",
        cause="exit status 2",
        way_out="correct the component",
    ),
    "unknown image": Fault(
        seed=drives(one(images={"exec-train": "registry.invalid/nothing:0"})),
        ask_for="train",
        task="train",
        cause="the pod cannot start",
        way_out="kubectl describe pod",
    ),
    "claim without a cluster": Fault(
        seed=drives(
            pipeline(
                {"train": task("comp-pvc", inputs={"pvc_name": constant("c")})},
                {"comp-pvc": leaf("exec-pvc", inputs={"pvc_name": "STRING"})},
                images={"exec-pvc": "argostub/createpvc"},
            )
        ),
        task="train",
        cause="volume claims need a Kubernetes cluster",
        way_out="work on a cluster only",
    ),
    "kubernetes configuration of a wrong type": Fault(
        seed=drives(one(), kubernetes_config='{"secretAsVolume": 3}'),
        task="train",
        cause="failed to unmarshal Kubernetes config",
        way_out="Correct the task's Kubernetes settings",
    ),
    "missing ConfigMap name": Fault(
        seed=drives(
            one(),
            kubernetes_config='{"configMapAsEnv": [{"keyToEnv": [{"configMapKey": "a", "envVar": "A"}]}]}',
        ),
        task="train",
        cause="configmap",
        way_out="ConfigMap",
    ),
    "executor input too large": Fault(
        seed=drives(one()),
        environ=(("KFP_DRIVER_MAX_EXECUTOR_INPUT", "10"),),
        task="train",
        cause="more than the 10 that a command line can carry",
        way_out="as an artifact",
    ),
    "credential refused at the cache lookup": Fault(
        seed=drives(one(cache=True)),
        api_door=refusing(403, "/tasks:findCached", "no list on runs"),
        task="train",
        cause="failure while finding cached task",
        way_out="base-audience token",
    ),
    "credential refused for the run": Fault(
        seed=root_alone,
        api_door=refusing(401, "/tasks", "token of another run"),
        task="ROOT",
        cause="token of another run",
        way_out="audience is this run's",
    ),
    "run that the server does not know": Fault(
        seed=root_alone,
        api_door=refusing(404, "", "run not found"),
        task="ROOT",
        cause="run not found",
        way_out="KFP_API_URL",
    ),
    "argument that is no JSON": Fault(
        seed=bad_argument,
        ask_for="train",
        task="train",
        cause="kubernetes_config",
        way_out="Compile the pipeline again",
    ),
    "argument of the root that is no number": Fault(
        seed=root_without_configuration,
        task="ROOT",
        cause="iteration_index",
        way_out="Compile the pipeline again",
    ),
    "task that the pipeline does not have": Fault(
        seed=unknown_task,
        task="trian",
        cause="task trian is not found",
        way_out="Compile the workflow from the pipeline",
    ),
    "log store that is full": Fault(
        seed=full_bucket,
        ask_for="train",
        task="train",
        cause="the log did not arrive (yet)",
        way_out="has space and that the service may write there",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
async def test_a_fault_is_explained_with_task_cause_and_way_out(name: str, tmp_path: Path) -> None:
    fault = FAULTS[name]
    async with running(tmp_path, api_door=fault.api_door, **dict(fault.environ)) as stack:
        run = await fault.seed(stack)
        told = await stack.explain(run.run_id, fault.ask_for)

    assert f"cause {fault.task}: " in told or f"task {fault.task}: " in told
    assert fault.cause in told
    assert fault.way_out in told


def test_there_are_at_least_twenty_faults() -> None:
    assert len(FAULTS) >= 20

"""A scripted driver plugin behind real HTTP, scripted pods, and workflows of the compiled shape.

The workflows have the form that spec COMPILER 6 and LAUNCHER E8 describe: driver tasks are plugin calls,
executors are a DAG around one pod, loops are an iterator DAG around a counted task.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

from local_stack.runner.agent import EXECUTE_PATH, PluginAgent
from local_stack.runner.engine import Engine, Observer, PodRequest, PodResult
from local_stack.runner.nodes import Node, Phase
from local_stack.runner.task_set import Reconciliation
from local_stack.runner.workflow import load_workflow

Answers = Mapping[str, dict[str, Any]]


@dataclass
class ScriptedPlugin:
    """Answers driver calls: by ``task_name`` or ``task_name[iteration]``; default is a plain success."""

    answers: Answers = field(default_factory=dict)
    calls: list[dict[str, Any]] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.json()
        args = body["template"]["plugin"]["driver-plugin"]["args"]
        self.calls.append(args)
        name, iteration = args["task_name"] or "root", args.get("iteration_index", "-1")
        answer = self.answers.get(f"{name}[{iteration}]", self.answers.get(name, {}))
        if "failed" in answer:
            failure = {"phase": "Failed", "message": f"kfp-driver: {answer['failed']}"}
            return web.json_response({"node": failure})
        outputs = {
            "parent-dag-task-id-path": f"id-{name}",
            "iteration-count": "0",
            "condition": "nil",
            "cached-decision": "false",
            "pod-spec-patch": "{}",
        } | {key: str(value) for key, value in (answer | json.loads(args.get("answer", "{}"))).items()}
        parameters = [{"name": key, "value": value} for key, value in outputs.items()]
        success = {"phase": "Succeeded", "message": "driver log: x", "outputs": {"parameters": parameters}}
        return web.json_response({"node": success})


@dataclass
class ScriptedPods:
    """Pods that end as told, by node name; counts how many run at once."""

    results: Mapping[str, PodResult] = field(default_factory=dict)
    requests: list[PodRequest] = field(default_factory=list)
    running: int = 0
    most: int = 0
    cancelled: list[str] = field(default_factory=list)
    block: bool = False
    started: asyncio.Event = field(default_factory=asyncio.Event)

    @asynccontextmanager
    async def devices(self, request: PodRequest) -> AsyncIterator[None]:
        del request
        yield

    async def run(self, request: PodRequest) -> PodResult:
        self.requests.append(request)
        self.running += 1
        self.most = max(self.most, self.running)
        self.started.set()
        try:
            if self.block and "onExit" not in request.node.name:
                await asyncio.Event().wait()
            for _ in range(5):
                await asyncio.sleep(0)
        except asyncio.CancelledError:
            self.cancelled.append(request.node.name)
            raise
        finally:
            self.running -= 1
        return self.results.get(request.node.name, PodResult(phase=Phase.SUCCEEDED, exit_code=0))


def failed_pod(code: int = 1) -> PodResult:
    return PodResult(phase=Phase.FAILED, message=f"main: Error (exit code {code})", exit_code=code)


@dataclass
class Outcome:
    root: Node
    nodes: Mapping[str, Node]
    plugin: ScriptedPlugin
    pods: ScriptedPods

    def phases(self) -> dict[str, str]:
        """Phases by node name, without the workflow's name and the fixed first nodes."""
        return {
            name.removeprefix("w.root").removeprefix("."): node.phase.value
            for name, node in self.nodes.items()
            if name not in ("w", "w.root-driver")
        }

    @property
    def order(self) -> list[str]:
        return [request.node.name for request in self.pods.requests]


@asynccontextmanager
async def running_plugin(plugin: ScriptedPlugin) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_post(EXECUTE_PATH, plugin.handle)
    async with TestServer(app) as server:
        yield str(server.make_url("/"))


async def run_workflow(
    document: dict[str, Any],
    *,
    answers: Answers | None = None,
    pods: ScriptedPods | None = None,
    max_pods: int = 8,
    stop_when_started: bool = False,
    fix_retries: bool = False,
    history: Mapping[str, Node] | None = None,
    observer: Observer = lambda _node: None,
    reconciliation: Reconciliation | None = None,
    **engine_options: Any,
) -> Outcome:
    """Run a workflow with scripted drivers and pods to its end."""
    plugin, scripted_pods = ScriptedPlugin(answers or {}), pods or ScriptedPods()
    metadata = {"name": "w", "namespace": "ns", "uid": "R"}
    async with (
        running_plugin(plugin) as url,
        PluginAgent(url, workflow_metadata=metadata, reconciliation=reconciliation) as agent,
        asyncio.timeout(20),
    ):
        engine = Engine(
            load_workflow(document, run_id="R"),
            plugins=agent,
            pods=scripted_pods,
            pod_slots=asyncio.Semaphore(max_pods),
            fix_retries=fix_retries,
            history=history,
            observer=observer,
            **engine_options,
        )
        running = asyncio.ensure_future(engine.run())
        if stop_when_started:
            await scripted_pods.started.wait()
            engine.terminate()
        root = await running
    return Outcome(root, engine.nodes, plugin, scripted_pods)


# Templates of the compiled shape ---------------------------------------------------------------------------

_PARENT = "{{inputs.parameters.parent-dag-task-id}}"
_ITERATION = "{{inputs.parameters.iteration-index}}"


def parameters(**values: str) -> dict[str, Any]:
    return {"parameters": [{"name": key.replace("_", "-"), "value": value} for key, value in values.items()]}


def _declared(*names: str, **defaults: str) -> dict[str, Any]:
    required = [{"name": name} for name in names]
    return {
        "parameters": [*required, *({"name": k.replace("_", "-"), "default": v} for k, v in defaults.items())]
    }


def _output(name: str, default: str | None) -> dict[str, Any]:
    source: dict[str, Any] = {"jsonPath": f"$.{name}"}
    return {"name": name, "valueFrom": source if default is None else source | {"default": default}}


def _driver(name: str, kind: str, outputs: list[dict[str, Any]]) -> dict[str, Any]:
    inputs = _declared(task_name="", parent_dag_task_id="", iteration_index="-1", driver_type=kind)
    args = {
        "type": "{{inputs.parameters.driver-type}}",
        "run_id": "{{workflow.uid}}",
        "task_name": "{{inputs.parameters.task-name}}",
        "parent_task_id": _PARENT,
        "iteration_index": _ITERATION,
    }
    return {
        "name": name,
        "inputs": inputs,
        "outputs": {"parameters": outputs},
        "plugin": {"driver-plugin": {"args": args}},
    }


def common_templates(retry: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    """The two driver templates, and the executor around its pod."""
    impl: dict[str, Any] = {
        "name": "impl",
        "inputs": _declared("pod-spec-patch"),
        "podSpecPatch": "{{inputs.parameters.pod-spec-patch}}",
        "container": {"image": "x", "command": ["x"], "env": [{"name": "I", "value": "{{retries}}"}]},
    }
    if retry is not None:
        impl["retryStrategy"] = retry
    executor_task = {
        "name": "executor",
        "template": "impl",
        "arguments": parameters(pod_spec_patch="{{inputs.parameters.pod-spec-patch}}"),
        "when": "{{inputs.parameters.cached-decision}} != true",
    }
    return [
        _driver(
            "dag-driver",
            "DAG",
            [
                _output("parent-dag-task-id-path", None),
                _output("iteration-count", "0"),
                _output("condition", "true"),
            ],
        ),
        _driver(
            "container-driver",
            "CONTAINER",
            [
                _output("pod-spec-patch", ""),
                _output("cached-decision", "false"),
                _output("condition", "true"),
            ],
        ),
        impl,
        {
            "name": "executor",
            "inputs": _declared("pod-spec-patch", cached_decision="false", iteration_index="-1"),
            "dag": {"tasks": [executor_task]},
        },
    ]


def leaf(
    name: str, *, after: str = "", condition: bool = False, hook: str = "", in_loop: bool = False
) -> list[dict[str, Any]]:
    """Driver and executor tasks of one container task; ``after`` names tasks that must succeed."""
    iteration = {"iteration_index": _ITERATION} if in_loop else {}
    driver = {
        "name": f"{name}-driver",
        "template": "container-driver",
        "arguments": parameters(task_name=name, parent_dag_task_id=_PARENT, **iteration),
        "depends": " && ".join(f"{other}.Succeeded" for other in after.split()),
    }
    patch = f"{{{{tasks.{name}-driver.outputs.parameters.pod-spec-patch}}}}"
    cached = f"{{{{tasks.{name}-driver.outputs.parameters.cached-decision}}}}"
    executor: dict[str, Any] = {
        "name": name,
        "template": "executor",
        "arguments": parameters(pod_spec_patch=patch, cached_decision=cached, **iteration),
        "depends": f"{name}-driver.Succeeded",
    }
    return [driver, _guarded(executor, name, condition=condition, hook=hook)]


def group(
    name: str,
    template: str,
    *,
    after: str = "",
    condition: bool = False,
    hook: str = "",
    in_loop: bool = False,
) -> list[dict[str, Any]]:
    """Driver and DAG tasks of a DAG component."""
    iteration = {"iteration_index": _ITERATION} if in_loop else {}
    driver = {
        "name": f"{name}-driver",
        "template": "dag-driver",
        "arguments": parameters(task_name=name, parent_dag_task_id=_PARENT, **iteration),
        "depends": " && ".join(f"{other}.Succeeded" for other in after.split()),
    }
    inner: dict[str, Any] = {
        "name": name,
        "template": template,
        "arguments": parameters(
            parent_dag_task_id=f"{{{{tasks.{name}-driver.outputs.parameters.parent-dag-task-id-path}}}}",
            condition=f"{{{{tasks.{name}-driver.outputs.parameters.condition}}}}",
        ),
        "depends": f"{name}-driver.Succeeded",
    }
    return [driver, _guarded(inner, name, condition=condition, hook=hook)]


def loop(name: str, *, after: str = "", in_loop: bool = False) -> list[dict[str, Any]]:
    """The one task of a loop in its parent; its template is ``<name>-iterator``."""
    iteration = {"iteration_index": _ITERATION} if in_loop else {}
    return [
        {
            "name": name,
            "template": f"{name}-iterator",
            "arguments": parameters(parent_dag_task_id=_PARENT, **iteration),
            "depends": " && ".join(f"{other}.Succeeded" for other in after.split()),
        }
    ]


def iterator(name: str, body: str, *, parallelism: int | None = None) -> dict[str, Any]:
    """The iterator template of loop ``name`` over the DAG template ``body``."""
    template: dict[str, Any] = {
        "name": f"{name}-iterator",
        "inputs": _declared("parent-dag-task-id", iteration_index="-1"),
        "dag": {
            "tasks": [
                {
                    "name": "iteration-driver",
                    "template": "dag-driver",
                    "arguments": parameters(
                        task_name=name, parent_dag_task_id=_PARENT, iteration_index=_ITERATION
                    ),
                },
                {
                    "name": "iteration-iterations",
                    "template": body,
                    "depends": "iteration-driver.Succeeded",
                    "arguments": parameters(
                        parent_dag_task_id=(
                            "{{tasks.iteration-driver.outputs.parameters.parent-dag-task-id-path}}"
                        ),
                        iteration_index="{{item}}",
                    ),
                    "withSequence": {
                        "count": "{{tasks.iteration-driver.outputs.parameters.iteration-count}}"
                    },
                },
            ]
        },
    }
    return template if parallelism is None else template | {"parallelism": parallelism}


def dag(name: str, *tasks: list[dict[str, Any]]) -> dict[str, Any]:
    """A DAG template over the tasks."""
    return {
        "name": name,
        "inputs": _declared("parent-dag-task-id", iteration_index="-1"),
        "dag": {"tasks": [task for part in tasks for task in part]},
    }


def pipeline(
    *tasks: list[dict[str, Any]],
    templates: list[dict[str, Any]] | None = None,
    retry: dict[str, Any] | None = None,
    **spec: Any,
) -> dict[str, Any]:
    """A whole workflow named ``w`` whose root DAG has the tasks."""
    entrypoint = {
        "name": "entrypoint",
        "dag": {
            "tasks": [
                {
                    "name": "root-driver",
                    "template": "dag-driver",
                    "arguments": parameters(driver_type="ROOT_DAG"),
                },
                {
                    "name": "root",
                    "template": "root",
                    "depends": "root-driver.Succeeded",
                    "arguments": parameters(
                        parent_dag_task_id=(
                            "{{tasks.root-driver.outputs.parameters.parent-dag-task-id-path}}"
                        )
                    ),
                },
            ]
        },
    }
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {"name": "w", "namespace": "ns"},
        "spec": {
            "entrypoint": "entrypoint",
            "templates": [*common_templates(retry), *(templates or []), dag("root", *tasks), entrypoint],
        }
        | spec,
    }


def _guarded(task: dict[str, Any], name: str, *, condition: bool, hook: str) -> dict[str, Any]:
    if condition:
        task["when"] = f"{{{{tasks.{name}-driver.outputs.parameters.condition}}}} != false"
    if hook:
        task["hooks"] = {"exit": {"template": hook, "arguments": parameters(parent_dag_task_id=_PARENT)}}
    return task

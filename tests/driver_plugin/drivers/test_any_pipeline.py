"""Whatever stands in a pipeline or a template: each call gets an answer of the contract, and none is a bug.

Oracle: the replies of spec DRIVER 1.3 and 1.4. Pipelines, arguments and Kubernetes configurations are good
ones of which a few places were replaced by something else of the same kind, or by anything.
"""

import copy
import json
import random
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from driver_plugin.errors import ForbiddenError
from kfp_api.errors import ApiRequestError
from kfp_api.messages import (
    InputOutputs,
    IOParameter,
    IOProducer,
    IOType,
    PipelineTask,
    Run,
    RuntimeConfig,
    TaskState,
)
from tests.driver_plugin.calls import container_args, dag_args, root_args
from tests.driver_plugin.drivers.pipelines import (
    CREATE_CLAIM,
    PLATFORM_IMAGES,
    Json,
    artifact_from_task,
    constant,
    dag,
    from_parent,
    from_task,
    leaf,
    output_of,
    pipeline,
    task,
)
from tests.driver_plugin.drivers.processes import Process, World, world

ANYTHING: Final[list[Any]] = [
    *(None, True, False, 0, -1, 2**31, 2**63, 10**30, 1.5, 1e308, 5e-324),
    *("", " ", "a" * 300, "..", "a/b", "\x00", "\u2028", "\x7f", "é", "null", "1", "-1", "true", "5Gi"),
    *("{{$}}", "{{$.inputs.parameters['n']}}", "{{$.inputs.parameters['pipelinechannel--x']}}", "${{x"),
    *(
        "[]",
        "{}",
        "[1,2",
        "[1,2,3]",
        "inputs.parameter_values['i'] == 1",
        "1 ==",
        "parseJson(string_value)[0]",
    ),
    *("LIST", "STRUCT", "NUMBER_INTEGER", "TASK_FINAL_STATUS", "TASK_CONFIG", "ALL_UPSTREAM_TASKS_COMPLETED"),
    *("root", "make", "group", "loop", "comp-make", "comp-body", "argostub/createpvc", "argostub/other"),
    *([], [None], [[]], [1, "a"], {}, {"a": {}}, {"a": None}),
]
VALUES: Final[list[Any]] = [None, "a", 1, 1.5, True, [1], {"a": 1}]
LISTS: Final[list[Any]] = [[], [1, 2], [1.5], [None], ["a"], [[1], [2]], [{"a": 1}]]
REPLIES: Final = {
    "ROOT_DAG": {"parent-dag-task-id-path", "iteration-count", "condition"},
    "DAG": {"parent-dag-task-id-path", "iteration-count", "condition"},
    "CONTAINER": {"pod-spec-patch", "cached-decision", "condition"},
}

KUBERNETES: Final[Json] = {
    "secretAsEnv": [{"secretName": "s", "keyToEnv": [{"secretKey": "k", "envVar": "V"}]}],
    "pvcMount": [{"constant": "claim", "mountPath": "/data"}],
    "nodeSelector": {"labels": {"a": "b"}},
    "tolerations": [{"key": "k", "operator": "Exists", "effect": "NoSchedule", "tolerationSeconds": "5"}],
    "podMetadata": {"labels": {"l": "v"}, "annotations": {"a": "v"}},
    "configMapAsVolume": [{"configMapName": "c", "mountPath": "/c", "optional": True}],
    "emptyDirMounts": [{"volumeName": "e", "mountPath": "/e", "medium": "Memory", "sizeLimit": "1Gi"}],
    "fieldPathAsEnv": [{"name": "N", "fieldPath": "metadata.name"}],
    "nodeAffinity": [{"matchExpressions": [{"key": "k", "operator": "In", "values": ["v"]}], "weight": 5}],
    "activeDeadlineSeconds": "5",
}


def spec() -> Json:
    """Every kind of task and input."""
    make = leaf(
        "exec-make",
        inputs={"n": "NUMBER_INTEGER", "s": "STRING"},
        outputs={"Output": "STRING"},
        output_artifacts=("data",),
    )
    embedded = constant("{{$.inputs.parameters['n']}}")
    body = dag(
        {
            "step": task("comp-make", inputs={"n": from_parent("i"), "s": embedded}, cache=True),
            "branch": task(
                "comp-group",
                condition="int(inputs.parameter_values['i']) > 1",
                inputs={"i": from_parent("i")},
            ),
        },
        inputs={"i": "NUMBER_INTEGER"},
        outputs={"parameters": {"made": output_of("step")}},
        output_types={"made": "LIST"},
    )
    text = {**from_task("make"), "parameterExpressionSelector": "string_value"}
    data = {"data": artifact_from_task("make", "data")}
    optional = {
        key: {**declared, "isOptional": True}
        for key, declared in CREATE_CLAIM["inputDefinitions"]["parameters"].items()
    }
    claim = {"access_modes": constant(["ReadWriteOnce"]), "size": constant("5Gi")}
    return pipeline(
        {
            "loop": task("comp-body", items="[1, 2, 3]", item_input="i"),
            "given": task(
                "comp-body", items_from="given", item_input="i", inputs={"given": from_parent("list")}
            ),
            "make": task("comp-make", inputs={"n": constant(1), "s": constant("{{$.run_name}}")}, cache=True),
            "use": task("comp-use", inputs={"text": text}, artifacts=data, depends=("make",)),
            "collect": task("comp-use", inputs={"text": from_task("loop", "made")}, artifacts=data),
            "group": task("comp-group", inputs={"i": constant(3)}),
            "claim": task("comp-claim", inputs={**claim, "pvc_name_suffix": constant("-x")}),
            "notify": task(
                "comp-notify",
                inputs={"status": {"taskFinalStatus": {"producerTask": "group"}}},
                depends=("group",),
                strategy="ALL_UPSTREAM_TASKS_COMPLETED",
            ),
        },
        {
            "comp-make": make,
            "comp-use": leaf("exec-use", inputs={"text": "STRING"}, input_artifacts=("data",)),
            "comp-body": body,
            "comp-group": dag(
                {"inner": task("comp-make", inputs={"n": from_parent("i"), "s": constant("x")})},
                inputs={"i": "NUMBER_INTEGER"},
            ),
            "comp-claim": {**CREATE_CLAIM, "inputDefinitions": {"parameters": optional}},
            "comp-notify": leaf("exec-notify", inputs={"status": "TASK_FINAL_STATUS"}),
        },
        inputs={"list": "LIST"},
        images=PLATFORM_IMAGES,
    )


def places(document: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    items = document.items() if isinstance(document, dict) else ()
    for key, value in items or (enumerate(document) if isinstance(document, list) else ()):
        yield from places(value, (*path, key))


def at(document: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        document = document[key]
    return document


def changed(choice: random.Random, document: Json, times: int) -> Json:
    """A copy in which some places are gone, moved, or something else."""
    document = copy.deepcopy(document)
    for _ in range(times):
        path = choice.choice(list(places(document)))
        place, key = at(document, path[:-1]), path[-1]
        what = choice.random()
        if what < 0.2:
            del place[key]
        elif what < 0.35:
            place[key] = copy.deepcopy(at(document, choice.choice(list(places(document)))))
        else:
            kind = type(place[key])
            alike = [one for one in ANYTHING if type(one) is kind]
            place[key] = copy.deepcopy(choice.choice(alike if alike and what < 0.9 else ANYTHING))
    return document


class Author:
    """Delivers calls for one pipeline, and judges the replies."""

    def __init__(self, servers: World, process: Process, run_id: str, choice: random.Random) -> None:
        self.servers = servers
        self.process = process
        self.run_id = run_id
        self.choice = choice

    async def deliver(self, args: Json) -> str:
        """The id of the call's row, empty where there is none."""
        args = {**args, "run_id": self.run_id}
        if self.choice.random() < 0.15:
            args = changed(self.choice, args, 1)
        try:
            node = (await self.process.deliver(args))["node"]
        except ForbiddenError:
            return ""
        assert node["phase"] in ("Succeeded", "Failed")
        assert 0 < len(node["message"].encode()) < 1024
        assert "internal error" not in node["message"]
        named = node.get("outputs", {}).get("parameters", [])
        outputs: dict[str, str] = {one["name"]: one["value"] for one in named}
        assert all(isinstance(value, str) for value in outputs.values())
        assert REPLIES.get(str(args.get("type")), set()) <= outputs.keys()
        patch = outputs.get("pod-spec-patch", "")
        assert patch.isascii()
        assert "{{" not in patch
        assert not patch or json.loads(patch)
        return outputs.get("task-id", "")

    async def drive_all(self, spec: Json, parameters: Json) -> None:
        """Drive the root, its tasks, and theirs."""
        config = json.dumps({"parameterValues": parameters})
        if root := await self.deliver(root_args(runtime_config=config)):
            await self.drive_tasks(spec, spec.get("root", {}), root, "-1")

    async def drive_tasks(self, spec: Json, component: Json, parent: str, index: str) -> None:
        for name, one in component.get("dag", {}).get("tasks", {}).items():
            place = {"parent_task_id": parent, "task_name": name, "iteration_index": index}
            inside = spec.get("components", {}).get(one.get("componentRef", {}).get("name"), {})
            if "dag" in inside:
                row = await self.deliver(dag_args(**place))
                if row and index == "-1":
                    await self.drive_tasks(spec, inside, row, "0" if "parameterIterator" in one else "-1")
                continue
            config = changed(self.choice, KUBERNETES, self.choice.choice([0, 1, 2]))
            row = await self.deliver(container_args(**place, kubernetes_config=json.dumps(config)))
            if row and name == "make":
                await self.finish(row)

    async def finish(self, task_id: str) -> None:
        """Play the launcher, with a value of any kind."""
        value = IOParameter(
            parameter_key="Output",
            value=self.choice.choice(VALUES),
            type=IOType.OUTPUT,
            producer=IOProducer(task_name="make"),
        )
        patch = PipelineTask(state=TaskState.SUCCEEDED, outputs=InputOutputs(parameters=[value]))
        await self.servers.setup.client.write_task(self.run_id, task_id, patch)


@pytest.fixture
async def servers(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as running:
        yield running


@pytest.mark.parametrize("seeds", [range(25), pytest.param(range(25, 300), marks=pytest.mark.slow)])
async def test_every_call_for_any_pipeline_is_answered_as_the_contract_says(
    servers: World, seeds: range, capsys: pytest.CaptureFixture[str]
) -> None:
    accepted = 0
    for seed in seeds:
        choice = random.Random(seed)
        document, parameters = (
            changed(choice, spec(), choice.choice([0, 1, 2, 3])),
            {"list": choice.choice(LISTS)},
        )
        try:
            run = await servers.setup.client.create_run(
                Run(
                    display_name=f"seed {seed}",
                    pipeline_spec=document,
                    runtime_config=RuntimeConfig(parameters=parameters, pipeline_root="s3://bucket/root"),
                )
            )
        except ApiRequestError:
            # The server checks a pipeline's form; what passes is the drivers' business.
            continue
        accepted += 1
        async with servers.process() as process:
            try:
                await Author(servers, process, run.run_id, choice).drive_all(document, parameters)
            except AssertionError as error:
                raise AssertionError(f"seed {seed}: {error}") from error
        capsys.readouterr()
    assert accepted > len(seeds) / 3

"""Task plugins, with MLflow as the first: what it is told when, and that it fails nothing.

Oracle: the table and rules of spec DRIVER 12.4; KFP's own plugin for configuration, property and variables
(``KFP_MLFLOW_CONFIG``, ``plugins.mlflow.run_id``, ``MLFLOW_*``); MLflow's REST API 2.0, of which the server
here stands in for the four calls that are made.
"""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import pytest
from aiohttp.test_utils import TestServer

from driver_plugin.argo.driver_type import DriverType
from driver_plugin.argo.replies import DriverResult
from driver_plugin.drivers.plugin_steps import scalar_metrics
from driver_plugin.errors import DriverError
from driver_plugin.hooks.loading import PluginLoader, allowed_endpoint
from driver_plugin.hooks.plugin import PluginError, TaskEnd, TaskStart
from driver_plugin.hooks.task_plugins import TaskPlugins
from driver_plugin.settings import Settings
from driver_plugin.system_logs.capture import InvocationLog
from kfp_api.messages import Artifact, ArtifactType, IOArtifact, TaskState
from tests.driver_plugin.drivers.cluster import Cluster
from tests.driver_plugin.drivers.crash_scenarios import nested, use
from tests.driver_plugin.drivers.mlflow_server import Mlflow
from tests.driver_plugin.drivers.pipelines import Json, claims, dag, from_parent, leaf, pipeline, task
from tests.driver_plugin.drivers.stack import DrivenRun, Stack

START = TaskStart(name="make", key="k")
PROPERTY = "plugins.mlflow.run_id"


@pytest.fixture
async def mlflow() -> AsyncIterator[Mlflow]:
    mlflow = Mlflow()
    async with TestServer(mlflow.app()) as server:
        mlflow.url = str(server.make_url("")).rstrip("/")
        yield mlflow


async def property_of(run: DrivenRun, result: DriverResult) -> object:
    return (await run.row(result.task_id)).custom_properties.get(PROPERTY)


def variables(result: DriverResult) -> dict[str, Any]:
    environment = json.loads(result.pod_spec_patch)["containers"][0].get("env", [])
    return {one["name"]: one.get("value", one.get("valueFrom")) for one in environment}


async def test_tasks_nest_in_the_run_of_their_parent_and_users_get_its_variables(
    stack: Stack, mlflow: Mlflow
) -> None:
    run = await stack.start(nested(last=use()))
    inner = await run.dag("inner", runtime_args=mlflow.arguments())
    make = await run.container("make", inner.task_id, runtime_args=mlflow.arguments())
    assert await property_of(run, inner) == mlflow.id_of("inner")
    assert await property_of(run, make) == mlflow.id_of("make")
    assert mlflow.named("inner")["mlflow.parentRunId"] == "top"
    assert mlflow.named("inner")["status"] == "FINISHED"
    assert mlflow.named("make")["mlflow.parentRunId"] == mlflow.id_of("inner")
    assert "status" not in mlflow.named("make"), "the launcher ends what it executes"
    environment = variables(make)
    assert environment["MLFLOW_RUN_ID"] == mlflow.id_of("make")
    assert environment["MLFLOW_TRACKING_URI"] == mlflow.url
    assert environment["MLFLOW_EXPERIMENT_ID"] == "7"


async def test_a_call_that_is_delivered_again_has_one_mlflow_run_and_one_patch(
    stack: Stack, mlflow: Mlflow
) -> None:
    run = await stack.start(nested())
    inner = await run.dag("inner")
    results = [await run.container("make", inner.task_id, runtime_args=mlflow.arguments()) for _ in range(2)]
    assert results[0] == results[1]
    assert len(mlflow.runs) == 1


async def test_of_two_mlflow_runs_that_deliveries_made_at_once_the_one_on_the_row_stays(
    stack: Stack, mlflow: Mlflow
) -> None:
    run = await stack.start(nested())
    inner = await run.dag("inner")
    first = await run.container("make", inner.task_id, runtime_args=mlflow.arguments())
    (kept,) = mlflow.runs
    mlflow.runs[kept]["kfp.driver.task"] = "not yet to be found"
    second = await run.container("make", inner.task_id, runtime_args=mlflow.arguments())
    assert [call for call, _ in mlflow.calls] == ["search", "create", "search", "create", "delete"]
    assert list(mlflow.runs) == [kept]
    assert second == first


async def test_a_new_attempt_goes_on_with_the_mlflow_run_of_the_old_one(stack: Stack, mlflow: Mlflow) -> None:
    run = await stack.start(nested())
    inner = await run.dag("inner")
    given: Json = {"runtime_args": mlflow.arguments()}
    broken: Json = {"pvcMount": [{"mountPath": "/x"}]}
    await run.failing(DriverType.CONTAINER, "make", inner.task_id, kubernetes_config=broken, **given)
    (kept,) = mlflow.runs
    mlflow.runs[kept]["kfp.driver.task"] = "not yet to be found"
    retried = await run.container("make", inner.task_id, **given)
    assert list(mlflow.runs) == [kept]
    assert await property_of(run, retried) == kept
    assert variables(retried)["MLFLOW_RUN_ID"] == kept


@pytest.mark.parametrize(
    ("condition", "kubernetes_config", "state"),
    [("1 == 2", None, "KILLED"), ("", {"pvcMount": [{"mountPath": "/x"}]}, "FAILED")],
)
async def test_a_task_that_ends_in_the_driver_ends_its_mlflow_run(
    stack: Stack, mlflow: Mlflow, condition: str, kubernetes_config: Json | None, state: str
) -> None:
    run = await stack.start(nested(make=task("comp-make", condition=condition)))
    inner = await run.dag("inner")
    given: Json = {"runtime_args": mlflow.arguments(), "kubernetes_config": kubernetes_config}
    if kubernetes_config is None:
        await run.container("make", inner.task_id, **given)
    else:
        await run.failing(DriverType.CONTAINER, "make", inner.task_id, **given)
    assert mlflow.named("make")["status"] == state


async def test_a_cached_task_logs_its_inputs_and_ends_finished(stack: Stack, mlflow: Mlflow) -> None:
    spec = pipeline(
        {"make": task("comp-make", inputs={"n": from_parent("n")}, cache=True)},
        {"comp-make": leaf("exec-make", inputs={"n": "NUMBER_INTEGER"}, outputs={"Output": "STRING"})},
        inputs={"n": "NUMBER_INTEGER"},
        name="cached-plugin",
    )
    first = await stack.start(spec, n=3)
    await first.finish((await first.container("make")).task_id, {"Output": "x"})
    run = await stack.start(spec, n=3)
    result = await run.container("make", runtime_args=mlflow.arguments())
    assert result.cached
    assert mlflow.named("make")["status"] == "FINISHED"
    assert mlflow.named("make")["params"] == [{"key": "n", "value": "3"}]
    assert await property_of(run, result) == mlflow.id_of("make")


@pytest.mark.parametrize(("condition", "state"), [("", "FINISHED"), ("1 == 2", "KILLED")])
async def test_a_claim_ends_its_mlflow_run(
    stack: Stack, cluster: Cluster, mlflow: Mlflow, condition: str, state: str
) -> None:
    run = await stack.start(claims(pvc_name="shared", condition=condition))
    await run.container("createpvc", runtime_args=mlflow.arguments())
    assert mlflow.named("createpvc")["status"] == state
    assert list(cluster.claims) == ([] if condition else ["shared"])


@pytest.mark.parametrize(("cached", "state"), [(True, "FINISHED"), (False, "KILLED")])
async def test_a_repetition_ends_the_mlflow_run_that_a_stopped_call_left_open(
    stack: Stack, mlflow: Mlflow, cached: bool, state: str
) -> None:
    make = task("comp-make", cache=True) if cached else task("comp-make", condition="1 == 2")
    spec = nested("left-open", make=make)
    if cached:
        source = await stack.start(spec)
        inner = await source.dag("inner")
        await source.finish((await source.container("make", inner.task_id)).task_id, {"Output": "x"})
    run = await stack.start(spec)
    inner = await run.dag("inner")
    first = await run.container("make", inner.task_id, runtime_args=mlflow.arguments())
    mlflow.named("make")["status"] = "RUNNING"
    assert await run.container("make", inner.task_id, runtime_args=mlflow.arguments()) == first
    assert mlflow.named("make")["status"] == state


async def test_a_group_inside_an_iteration_takes_over_its_parents_properties_and_nothing_else(
    stack: Stack, mlflow: Mlflow
) -> None:
    group = dag({"make": task("comp-make")})
    spec = pipeline(
        {"loop": task("comp-loop", items="[1]")},
        {
            "comp-loop": dag({"group": task("comp-group")}),
            "comp-group": group,
            "comp-make": leaf("exec-make"),
        },
    )
    run = await stack.start(spec)
    loop = await run.drive(run.call(DriverType.DAG, "loop", run.root), uri="s3://log")
    assert PROPERTY not in (await run.row(loop.task_id)).custom_properties
    looped = await stack.start(spec)
    loop = await looped.dag("loop", runtime_args=mlflow.arguments())
    group_row = await looped.dag("group", loop.task_id, 0, runtime_args=mlflow.arguments())
    assert await property_of(looped, group_row) == mlflow.id_of("loop")
    assert len(mlflow.runs) == 1


async def test_a_plugin_that_fails_fails_nothing_and_is_told_of_no_end(stack: Stack, mlflow: Mlflow) -> None:
    mlflow.status = 500
    run = await stack.start(nested(make=task("comp-make", condition="1 == 2")))
    inner = await run.dag("inner")
    result = await run.container("make", inner.task_id, runtime_args=mlflow.arguments())
    assert (result.condition, (await run.row(result.task_id)).state) == (False, TaskState.SKIPPED)
    assert [call for call, _ in mlflow.calls] == ["search"]
    assert "plugin failed at the start of the task" in run.log.body("succeeded").decode()


async def test_a_task_that_was_promised_variables_does_not_run_without(stack: Stack, mlflow: Mlflow) -> None:
    mlflow.status = 500
    run = await stack.start(nested())
    inner = await run.dag("inner")
    failure = await run.failing(DriverType.CONTAINER, "make", inner.task_id, runtime_args=mlflow.arguments())
    assert str(failure) == "plugin mlflow: there is no MLflow run for this task"


async def test_users_credentials_are_references_and_the_drivers_own_go_to_allowed_hosts_only(
    mlflow: Mlflow,
) -> None:
    keys = {"usernameKey": "user", "passwordKey": "password"}
    arguments = mlflow.arguments(authType="basic-auth", credentialSecretRef=keys)
    settings = Settings.from_environ(
        {
            "KFP_DRIVER_PLUGIN_HOSTS": "127.0.0.1",
            "MLFLOW_TRACKING_USERNAME": "driver",
            "MLFLOW_TRACKING_PASSWORD": "canary",
        }
    )
    log = InvocationLog("inv", level="DEBUG")
    async with PluginLoader(settings) as loader:
        plugins = loader.plugins(arguments, log=log)
        await plugins.start(START)
        environment = {one["name"]: one for one in plugins.user_variables()}
        stranger = json.dumps(
            {**json.loads(arguments["KFP_MLFLOW_CONFIG"]), "endpoint": "http://evil.example"}
        )
        assert await loader.plugins({"KFP_MLFLOW_CONFIG": stranger}, log=log).start(START) == {}
    assert mlflow.headers["Authorization"] == "Basic ZHJpdmVyOmNhbmFyeQ=="
    reference = {"name": "kfp-mlflow-credentials", "key": "password"}
    assert environment["MLFLOW_TRACKING_PASSWORD"]["valueFrom"] == {"secretKeyRef": reference}
    text = log.body("succeeded").decode()
    assert "not one of KFP_DRIVER_PLUGIN_HOSTS" in text
    assert "canary" not in text


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://evil.example",
        "ftp://mlflow",
        "http://user:secret@mlflow",
        "http://mlflow?x=http://evil",
        "http://mlflow.evil.example",
        "http://[",
        "http://mlflow:99999",
        "http://mlflow:port",
        "mlflow",
    ],
)
def test_only_an_allowed_host_is_an_endpoint(endpoint: str) -> None:
    with pytest.raises(PluginError):
        allowed_endpoint(endpoint, Settings.from_environ({"KFP_DRIVER_PLUGIN_HOSTS": "mlflow"}))


def test_without_allowed_hosts_there_are_no_plugins_and_a_bad_configuration_is_not_quoted() -> None:
    log = InvocationLog("inv", level="DEBUG")
    loader = PluginLoader(Settings())
    loader.plugins({"KFP_MLFLOW_CONFIG": '{"endpoint": "http://127.0.0.1", "authType": "canary"}'}, log=log)
    text = log.body("succeeded").decode()
    assert "authType, experimentId, parentRunId" in text
    assert "canary" not in text


class Scripted:
    """A plugin that notes what it is told, and fails where its script says so."""

    def __init__(self, name: str, told: list[str], failures: dict[str, Exception] | None = None) -> None:
        self.name = name
        self._told = told
        self._failures = failures or {}

    def _note(self, what: str) -> None:
        self._told.append(f"{self.name} {what}")
        if what in self._failures:
            raise self._failures[what]

    def apply_properties(self, properties: Mapping[str, str]) -> None:
        self._note(f"apply {dict(properties)}")

    async def start(self, task: TaskStart) -> dict[str, str]:
        self._note("start")
        return {f"plugins.{self.name}": task.key}

    async def resume(self, properties: Mapping[str, str]) -> None:
        del properties
        self._note("resume")

    async def end(self, task: TaskEnd) -> None:
        self._note(f"end {task.state.value}")

    def user_variables(self) -> Sequence[dict[str, Any]]:
        self._note("variables")
        return [{"name": self.name.upper(), "value": "x"}]


END = TaskEnd(state=TaskState.SKIPPED, end_ms=1)


async def test_plugins_are_told_in_the_order_of_their_names_and_of_an_end_once() -> None:
    told: list[str] = []
    log = InvocationLog("inv", level="DEBUG")
    plugins = TaskPlugins([Scripted("b", told), Scripted("a", told)], log=log)
    plugins.inherit({"plugins.a": 5, "kfp_driver_attempt": "m"})
    assert await plugins.start(START) == {"plugins.a": "k", "plugins.b": "k"}
    await plugins.resume({})
    assert plugins.user_variables() == ({"name": "A", "value": "x"}, {"name": "B", "value": "x"})
    for _ in range(2):
        await plugins.end(END)
    assert told == [
        "a apply {'plugins.a': '5'}",
        "b apply {'plugins.a': '5'}",
        *("a start", "b start", "a resume", "b resume", "a variables", "b variables"),
        *("a end SKIPPED", "b end SKIPPED"),
    ]


@pytest.mark.parametrize("error", [PluginError("down"), KeyError("a bug")])
@pytest.mark.parametrize("where", ["apply {}", "start", "resume", "end SKIPPED"])
async def test_a_plugin_that_fails_in_any_way_keeps_no_other_from_its_work(
    where: str, error: Exception
) -> None:
    told: list[str] = []
    log = InvocationLog("inv", level="DEBUG")
    plugins = TaskPlugins([Scripted("a", told, {where: error}), Scripted("b", told)], log=log)
    plugins.inherit({})
    await plugins.start(START)
    await plugins.resume({})
    await plugins.end(END)
    assert [what for what in told if what.startswith("b ")] == [
        "b apply {}",
        "b start",
        "b resume",
        "b end SKIPPED",
    ]
    assert ("a end SKIPPED" in told) is (where != "start")
    assert "plugin=a" in log.body("succeeded").decode()


@pytest.mark.parametrize("error", [PluginError("down"), KeyError("a bug")])
def test_variables_that_a_plugin_cannot_give_fail_the_task(error: Exception) -> None:
    log = InvocationLog("inv", level="DEBUG")
    plugins = TaskPlugins([Scripted("a", [], {"variables": error})], log=log)
    with pytest.raises(DriverError, match="plugin a: "):
        plugins.user_variables()


def test_metrics_are_numbers_of_metric_artifacts_and_of_their_metadata() -> None:
    artifacts = [
        Artifact(
            name="accuracy",
            type=ArtifactType.Metric,
            number_value=0.5,
            metadata={"loss": 2, "ok": True, "t": "x"},
        ),
        Artifact(name="model", type=ArtifactType.Model, metadata={"size": 3}),
    ]
    assert scalar_metrics([IOArtifact(artifacts=artifacts)]) == {"accuracy": 0.5, "loss": 2.0}

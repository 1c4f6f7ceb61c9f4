"""The walk over components: order, once each, retry inheritance, cycles.

Oracles: spec COMPILER 4; for published pipelines the order in which KFP's compiler appended their templates
and arguments.
"""

from collections.abc import Mapping
from typing import Any

import pytest

from compiler.errors import CompileError
from compiler.loading import load_pipeline
from compiler.visitor import walk
from kfp_api.ir.load import Pipeline
from kfp_api.ir.pipeline import ContainerSpec, ImporterSpec, TaskSpec
from tests.compiler.conformance import Pair, pairs
from tests.compiler.pipelines import compiled, dag, pipeline, task, templates

RETRY = {"maxRetryCount": 2}


class Recorder:
    def __init__(self) -> None:
        self.events: list[str] = []
        self.dags: dict[str, Mapping[str, TaskSpec]] = {}

    def on_kubernetes_config(self, name: str, document: dict[str, Any]) -> None:
        self.events.append(f"kubernetes {name} {sorted(document)}")

    def on_container(self, name: str, container: ContainerSpec) -> None:
        self.events.append(f"container {name} {container.image}")

    def on_importer(self, name: str, importer: ImporterSpec) -> None:
        self.events.append(f"importer {name} {importer.artifact_uri.constant!r}")

    def on_dag(self, name: str, tasks: Mapping[str, TaskSpec]) -> None:
        self.events.append(f"dag {name} {list(tasks)}")
        self.dags[name] = tasks


def walked(given: Pipeline) -> tuple[Recorder, list[str]]:
    recorder, warnings = Recorder(), list[str]()
    walk(given, recorder, warn=warnings.append)
    return recorder, warnings


def test_leaves_come_before_their_dag_and_each_component_once() -> None:
    given = pipeline(
        {"z": task("comp-inner"), "a": task("comp-import"), "m": task()},
        kubernetes={"exec-work": {"podMetadata": {}}},
    )
    recorder, _ = walked(given)
    assert recorder.events == [
        "importer comp-import 's3://bucket/data'",
        "kubernetes comp-work ['podMetadata']",
        "container comp-work python:3.11",
        "dag comp-inner ['work']",
        "dag root ['a', 'm', 'z']",
    ]


@pytest.mark.conformance
@pytest.mark.parametrize("pair", pairs())
def test_published_pipelines_are_walked_in_the_order_of_their_workflows(pair: Pair) -> None:
    given = load_pipeline(pair.source)
    recorder, _ = walked(given)
    spec = pair.workflow()["spec"]
    dags = [template["name"] for template in spec["templates"]]
    dags = [name for name in dags if name == "root" or name in given.spec.components]
    configs = [one["name"] for one in spec["arguments"].get("parameters", [])]
    events = [event.split()[:2] for event in recorder.events]
    assert [name for kind, name in events if kind == "dag"] == dags
    found = [name for kind, name in events if kind == "kubernetes"]
    assert found == [name.removeprefix("kubernetes-") for name in configs if name.startswith("kubernetes-")]
    for index, (kind, name) in enumerate(events):
        if kind == "kubernetes":
            assert events[index + 1] in (["container", name], ["importer", name])
    assert len({name for kind, name in events if kind != "kubernetes"}) == len(events) - len(found)


def test_retry_policy_is_inherited_by_tasks_without_one() -> None:
    given = pipeline(
        {"outer": task("comp-outer", retryPolicy=RETRY)},
        components={
            "comp-outer": dag({"middle": task("comp-inner")}),
            "comp-inner": dag({"plain": task(), "own": task(retryPolicy={"maxRetryCount": 9})}),
        },
    )
    tasks = walked(given)[0].dags["comp-inner"]
    assert {name: one.retry_policy and one.retry_policy.max_retry_count for name, one in tasks.items()} == {
        "own": 9,
        "plain": 2,
    }
    assert "retry-system-container-executor" in templates(compiled(given))


def test_differing_retry_policies_of_one_dag_component_are_reported() -> None:
    recorder, warnings = walked(
        pipeline({"a": task("comp-inner", retryPolicy=RETRY), "b": task("comp-inner")})
    )
    inherited = recorder.dags["comp-inner"]["work"].retry_policy
    assert inherited is not None
    assert inherited.max_retry_count == 2
    assert warnings == [
        'component "comp-inner" is used with different retry policies: the first one holds for all'
    ]


def test_equal_retry_policies_are_no_news() -> None:
    given = pipeline({"a": task("comp-inner", retryPolicy=RETRY), "b": task("comp-inner", retryPolicy=RETRY)})
    assert walked(given)[1] == []


def test_reference_cycle_is_named() -> None:
    given = pipeline(
        {"a": task("comp-one")},
        components={"comp-one": dag({"b": task("comp-two")}), "comp-two": dag({"c": task("comp-one")})},
    )
    with pytest.raises(CompileError, match="comp-one -> comp-two -> comp-one"):
        walked(given)


def test_the_given_pipeline_is_not_changed() -> None:
    given = pipeline({"outer": task("comp-inner", retryPolicy=RETRY), "late": task(dependentTasks=["outer"])})
    before = given.spec.to_json()
    compiled(given)
    assert given.spec.to_json() == before
    assert given.spec.components["comp-inner"].dag is not None
    assert given.spec.components["comp-inner"].dag.tasks["work"].retry_policy is None

"""Pipelines of several levels, simulated. Oracle: the results that spec RESOLVER 16 gives for them.

They have the structure of fixtures of KFP that do not lie beside the project, and run without any.
"""

from typing import Any

import pytest

from kfp_api.messages import IOType
from tests.resolver.builders import (
    artifact_source,
    dag,
    each,
    from_one,
    leaf,
    one_of,
    selectors,
    source,
    spec_of,
    task_of,
)
from tests.resolver.fixtures import given, in_order_of_creation, iterations, makers, nothing, row_of, types_of
from tests.resolver.simulation import Leaf, Simulation


def takes(key: str) -> dict[str, Any]:
    return {"componentInputParameter": key}


def worker(*parameters: str, output: str = "NUMBER_INTEGER", **declared: Any) -> dict[str, Any]:
    """A component with untyped inputs and one output parameter ``Output``."""
    component = leaf(dict.fromkeys(parameters, "NUMBER_INTEGER") | declared)
    return component | {"outputDefinitions": {"parameters": {"Output": {"parameterType": output}}}}


def maker(*artifacts: str) -> dict[str, Any]:
    """A component with output artifacts."""
    return {**leaf(), "outputDefinitions": {"artifacts": {key: {} for key in artifacts}}}


def collector(**lists: dict[str, Any]) -> dict[str, Any]:
    """A component that takes lists of artifacts."""
    return leaf(artifacts={key: {"isArtifactList": True} | one for key, one in lists.items()})


def arithmetic(one: Leaf) -> dict[str, Any]:
    """Every leaf gives the sum of its numbers."""
    return {"Output": sum(value for value in one.parameters.values() if isinstance(value, int))}


NUMS = leaf({"nums": "LIST"})


async def test_collected_params_nested_2() -> None:
    """D6: upstream loses the outer iteration of every inner value."""
    spec = spec_of(
        {
            "outer": dag(
                {
                    "double": task_of("add-two", {"a": takes("x"), "b": takes("x")}),
                    "for-loop-4": task_of(
                        "inner", {"x": source("double")}, **each("[2, 4, 6]", "y"), dependentTasks=["double"]
                    ),
                },
                {"sums": from_one("for-loop-4", "sums")},
            ),
            "inner": dag(
                {"add-two": task_of("add-two", {"a": takes("x"), "b": takes("y")})},
                {"sums": from_one("add-two")},
            ),
            "add-two": worker("a", "b"),
            "add": NUMS,
        },
        {
            "for-loop-2": task_of("outer", **each("[1, 2, 3]", "x")),
            "add": task_of("add", {"nums": source("for-loop-2", "sums")}),
        },
    )
    run = await Simulation(spec, arithmetic).run()
    assert given(run, "root.add") == {"nums": [[4, 6, 8], [6, 8, 10], [8, 10, 12]]}


def producer_pipeline() -> Any:
    """A sub-pipeline that collects a loop, called in each iteration of another loop."""
    return spec_of(
        {
            "outer": dag(
                {"sub": task_of("sub"), "inside": task_of("add", {"nums": source("sub", "all")})},
                {"lists": from_one("sub", "all")},
            ),
            "sub": dag(
                {"for-loop-1": task_of("inner", **each("[1, 2, 3]", "x"))},
                {"all": from_one("for-loop-1", "all")},
            ),
            "inner": dag(
                {"double": task_of("add-two", {"a": takes("x"), "b": takes("x")})},
                {"all": from_one("double")},
            ),
            "add-two": worker("a", "b"),
            "add": NUMS,
        },
        {
            "for-loop-2": task_of("outer", **each('["a", "b", "c"]')),
            "add": task_of("add", {"nums": source("for-loop-2", "lists")}),
        },
    )


async def test_collected_through_subpipeline() -> None:
    """D6: upstream makes equal values of different iterations one."""
    run = await Simulation(producer_pipeline(), arithmetic).run()
    assert given(run, "root.add") == {"nums": [[2, 4, 6]] * 3}
    assert types_of(row_of(run, "root.add")) == {"nums": IOType.COLLECTED_INPUTS}
    assert [one.parameters for one in run.of("root.for-loop-2.inside")] == [{"nums": [2, 4, 6]}] * 3


async def test_collected_artifacts_subdag() -> None:
    """D6, D26: upstream loses the order where a list enters a nested pipeline."""
    lists: dict[str, dict[str, Any]] = {"datasets": {}, "models": {}}
    spec = spec_of(
        {
            "outer": dag(
                {
                    "for-loop-4": task_of("inner", **each("[1, 2, 3]")),
                    "check": task_of(
                        "nested",
                        artifacts={
                            "datasets": artifact_source("for-loop-4", "datasets"),
                            "models": artifact_source("for-loop-4", "models"),
                        },
                    ),
                },
                {},
                {"models": selectors(("for-loop-4", "models"))},
            ),
            "inner": dag(
                {"pair": task_of("pair")},
                {},
                {"datasets": selectors(("pair", "dataset")), "models": selectors(("pair", "model"))},
            ),
            "pair": dag(
                {"make": task_of("make")},
                {},
                {"dataset": selectors(("make", "dataset")), "model": selectors(("make", "model"))},
            ),
            "nested": dag(
                {"read": task_of("read", artifacts={key: {"componentInputArtifact": key} for key in lists})},
                inputDefinitions={"artifacts": {key: {"isArtifactList": True} for key in lists}},
            ),
            "make": maker("dataset", "model"),
            "read": collector(**lists),
            "last": collector(models={}),
        },
        {
            "for-loop-2": task_of("outer", **each("[1, 2, 3]")),
            "last": task_of("last", artifacts={"models": artifact_source("for-loop-2", "models")}),
        },
    )
    run = await Simulation(spec, nothing, seed=3).run()
    made_by = "root.for-loop-2.for-loop-4.pair.make"
    for read in run.of("root.for-loop-2.check.read"):
        assert makers(read.artifacts["datasets"]) == iterations(made_by, range(3))
        assert makers(read.artifacts["models"]) == iterations(made_by, range(3))
    (last,) = run.of("root.last")
    assert makers(last.artifacts["models"]) == iterations(made_by, range(3)) * 3
    assert in_order_of_creation(last.artifacts["models"])


async def test_oneof_in_loop() -> None:
    branch = {
        f"condition-{number}": task_of(
            f"say-{number}",
            {"x": takes("x")},
            triggerPolicy={"condition": f"int(inputs.parameter_values['x']) {test}"},
        )
        for number, test in ((4, "< 2"), (5, "== 2"), (6, "> 2"))
    }
    said = {
        f"say-{number}": dag({"say": task_of(f"worker-{number}")}, {"said": from_one("say")})
        for number in (4, 5, 6)
    }
    spec = spec_of(
        {
            "body": dag(
                {
                    "condition-branches-3": task_of("branches", {"x": takes("x")}),
                    "hear": task_of("hear", {"text": source("condition-branches-3", "one")}),
                },
                {"all": from_one("condition-branches-3", "one")},
            ),
            "branches": dag(branch, {"one": one_of(*((key, "said") for key in branch))}),
            **said,
            **{f"worker-{number}": worker(output="STRING") for number in (4, 5, 6)},
            "hear": leaf({"text": "STRING"}),
            "hear-all": leaf({"texts": "LIST"}),
        },
        {
            "for-loop-2": task_of("body", **each("[1, 2, 3]", "x")),
            "hear-all": task_of("hear-all", {"texts": source("for-loop-2", "all")}),
        },
    )

    def say(one: Leaf) -> dict[str, Any]:
        return {"Output": one.scope.split(".")[-2]}

    run = await Simulation(spec, say).run()
    branches = ["condition-4", "condition-5", "condition-6"]
    assert [one.parameters["text"] for one in run.of("root.for-loop-2.hear")] == branches
    assert given(run, "root.hear-all") == {"texts": branches}


@pytest.mark.parametrize("passed", [None, "given"])
async def test_optional_nested_parent_level(passed: str | None) -> None:
    """What the pipeline leaves out stays out on every level; its own default wins over deeper ones."""
    optional = {"parameterType": "STRING", "isOptional": True}
    text = {"a": takes("a"), "b": takes("b"), "c": takes("c")}
    declared = {"a": optional, "b": optional, "c": optional | {"defaultValue": "component default"}}
    spec = spec_of(
        {
            "nested": dag({"t": task_of("leaf", text)}, inputDefinitions={"parameters": declared}),
            "leaf": leaf(declared),
        },
        {"nested": task_of("nested", text)},
    )
    assert spec.root is not None
    document = spec.to_json()
    document["root"]["inputDefinitions"] = {
        "parameters": {"a": optional, "b": optional | {"defaultValue": "pipeline default"}, "c": optional}
    }
    run = await Simulation(type(spec).parse(document), nothing, {} if passed is None else {"a": passed}).run()
    expected = {"b": "pipeline default", "c": "component default"} | ({"a": passed} if passed else {})
    assert given(run, "root.nested.t") == expected


async def test_iterator_json_text() -> None:
    """Items that travel as text between levels are items again."""
    inner = {"parameterIterator": {"items": {"inputParameter": "part"}, "itemInput": "y"}}
    selector = {"parameterExpressionSelector": 'parseJson(string_value)["p_a"]'}
    spec = spec_of(
        {
            "outer": dag({"for-loop-4": task_of("inner", {"part": {**takes("x"), **selector}}, **inner)}),
            "inner": dag(
                {"print": task_of("print", {"msg": takes("y")})},
                inputDefinitions={
                    "parameters": {"part": {"parameterType": "STRING"}, "y": {"parameterType": "STRUCT"}}
                },
            ),
            "print": leaf({"msg": "STRING"}),
        },
        {"for-loop-2": task_of("outer", **each('[{"p_a": [{"q_a": "1"}, {"q_a": "2"}], "p_b": "x"}]', "x"))},
    )
    run = await Simulation(spec, nothing).run()
    assert [one.parameters["msg"] for one in run.leaves] == ['{"q_a":"1"}', '{"q_a":"2"}']

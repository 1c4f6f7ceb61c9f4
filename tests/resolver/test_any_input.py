"""Promises about every task, whatever its inputs. Oracle: spec RESOLVER 3.1, 3.2 and 13.

Values, wiring, declarations and rows are made up; what cannot be resolved must say so and nothing else.
"""

import asyncio
import random
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kfp_api.ir.executor_input import ExecutorInput, executor_input_to_json
from kfp_api.messages import IOType
from resolver.context import ResolveContext
from resolver.errors import ResolutionError
from resolver.executor_input import build_executor_inputs, input_artifact_links
from resolver.inputs import ResolvedInputs, resolve_inputs
from resolver.parameters import resolve_input_parameter
from tests.resolver.builders import (
    ENGINE,
    artifact,
    artifact_source,
    artifacts,
    context_of,
    dag,
    each,
    from_one,
    leaf,
    parameter,
    row,
    selectors,
    source,
    spec_of,
    task_of,
)
from tests.resolver.listed_rows import ListedRows

TEXTS = st.sampled_from(["", "a", "[1, 2]", '{"k": [{"n": 1}]}', "{{$.pipeline_job_name}}", "\ud800", "é"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(-3, 3) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("knx"), inner, max_size=2),
    max_leaves=6,
)
NAMES = st.sampled_from(["x", "y", "z", "pipelinechannel--c", "pipelinechannel--d"])
CHANNEL = "{{$.inputs.parameters['pipelinechannel--c']}}"
SELECTORS = st.sampled_from([""] * 20 + ['parseJson(string_value)["k"]', "struct_value.k", "1 +"])
SOURCES = st.one_of(
    st.sampled_from(["given", "item"] * 3 + ["nobody"]).map(lambda key: {"componentInputParameter": key}),
    st.sampled_from(["make", "loop", "group"] * 3 + ["gone"]).map(lambda task: source(task, "Output")),
    VALUES.map(lambda value: {"runtimeValue": {"constant": value}}),
    st.sampled_from([CHANNEL, f"<{CHANNEL}>", {"k": [CHANNEL]}]).map(
        lambda value: {"runtimeValue": {"constant": value}}
    ),
    st.just({"taskFinalStatus": {"producerTask": "group"}}),
)
WIRED = st.dictionaries(
    NAMES,
    st.builds(lambda one, selector: {**one, "parameterExpressionSelector": selector}, SOURCES, SELECTORS),
    max_size=4,
)
DECLARED = st.dictionaries(
    NAMES,
    st.builds(
        lambda kind, optional, default: {
            "parameterType": kind,
            "isOptional": optional,
            **({"defaultValue": default} if default != "none" else {}),
        },
        st.sampled_from(["STRING"] * 9 + ["NUMBER_INTEGER", "LIST", "STRUCT", "BOOLEAN", "TASK_CONFIG"]),
        st.sampled_from([True] * 6 + [False]),
        st.just("none") | VALUES,
    ),
    max_size=3,
)
ARTIFACTS = st.dictionaries(
    st.sampled_from(["data", "list"]),
    st.sampled_from(
        [
            {"componentInputArtifact": "given"},
            artifact_source("make", "data"),
            artifact_source("loop", "all"),
        ]
    ),
)
METADATA = st.dictionaries(st.sampled_from(["_kfp_schema_title", "acc", "k"]), VALUES, max_size=2)


@st.composite
def contexts(draw: st.DrawFn) -> ResolveContext:
    """A task of a loop body, or a loop in one, with all kinds of siblings."""
    iteration = draw(st.integers(0, 1))
    value, metadata = draw(VALUES), draw(METADATA)
    kinds = st.sampled_from(["Dataset", "Metric"])

    def stored(name: str) -> dict[str, Any]:
        return artifact(name, type=draw(kinds), metadata=metadata, number_value=0.5)

    def outputs(io_type: str = "OUTPUT") -> list[dict[str, Any]]:
        found = [stored("a"), stored("b")][: draw(st.integers(0, 2))]
        return [parameter("Output", value, io_type), artifacts("data", found, io_type)]

    loop = draw(
        st.sampled_from(
            [
                {},
                each("[1, 2]", "i"),
                {},
                {"parameterIterator": {"items": {"inputParameter": "x"}, "itemInput": "i"}},
                {"artifactIterator": {"items": {"inputArtifact": "list"}, "itemInput": "i"}},
            ]
        )
    )
    component = leaf(draw(DECLARED), {"list": {"isArtifactList": True, "isOptional": True}})
    if loop:
        component = {**component, "executorLabel": "", "dag": {"tasks": {}}}
    siblings = {"make": task_of("work"), "group": task_of("group"), "loop": task_of("inner", **each())}
    task = task_of(
        "c",
        {"pipelinechannel--c": {"runtimeValue": {"constant": "c"}}, **draw(WIRED)},
        draw(ARTIFACTS),
        dependentTasks=["group"],
        **loop,
    )
    group = dag({"work": task_of("work")}, {"Output": from_one("work")})
    inner = dag({"work": task_of("work")}, {"Output": from_one("work")}, {"all": selectors(("work", "data"))})
    spec = spec_of(
        {
            "c": component,
            "work": leaf(),
            "group": group,
            "inner": inner,
            "body": dag({"t": task, **siblings}),
        },
        {"head": task_of("body", **each())},
    )
    given_artifacts = artifacts("given", [stored("g1"), stored("g2")], "COLLECTED_INPUTS", task_name="u")
    items = [
        parameter("item", one, "ITERATOR_INPUT", task_name="head", iteration=str(index))
        for index, one in enumerate([value, draw(VALUES)])
    ]
    head = row("L", "head", inputs=[parameter("given", draw(VALUES)), *items, given_artifacts], count=2)
    rows = [
        row("m", "make", "L", iteration=iteration, outputs=outputs("ITERATOR_OUTPUT")),
        row("g", "group", "L", iteration=iteration, state=draw(st.sampled_from(["FAILED", "CACHED"]))),
        row("gw", "work", "g", iteration=iteration, outputs=outputs()),
        row("l", "loop", "L", iteration=iteration, count=2),
        *(row(f"l{index}", "work", "l", iteration=index, outputs=outputs()) for index in range(2)),
    ]
    return context_of(spec, "head.t", rows=rows, parent=head, iteration=iteration)


async def outcome(context: ResolveContext) -> ResolvedInputs | str:
    """Everything that drivers do with a context; the error's text where it cannot be resolved."""
    try:
        resolved = await resolve_inputs(context)
        inputs = await build_executor_inputs(context, resolved)
        input_artifact_links(resolved, run_id="R", task_id="new")
        executor_input_to_json(ExecutorInput(inputs=inputs))
        ENGINE.condition("size(inputs.parameter_values) >= 0", inputs)
        for spec in context.task_spec.inputs.parameters.values():
            await resolve_input_parameter(context, spec)
    except ResolutionError as error:
        return str(error)
    return resolved


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(contexts())
def test_rows_not_mutated(context: ResolveContext) -> None:
    """D9: upstream writes into the rows that it was given."""
    assert isinstance(context.rows, ListedRows)
    passed = (context.spec, context.parent, context.rows.rows)
    before = repr(passed)
    asyncio.run(outcome(context))
    assert repr(passed) == before


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(contexts(), st.randoms(use_true_random=False))
def test_deterministic_order(context: ResolveContext, shuffler: random.Random) -> None:
    first = asyncio.run(outcome(context))
    assert isinstance(context.rows, ListedRows)
    shuffler.shuffle(context.rows.rows)
    assert asyncio.run(outcome(context)) == first
    if isinstance(first, str):
        return
    is_item = [entry.type is IOType.ITERATOR_INPUT for entry in first.parameters]
    assert is_item == sorted(is_item)
    wired = context.task_spec.inputs.parameters
    own = [entry.parameter_key for entry in first.parameters if entry.type is not IOType.ITERATOR_INPUT]
    assert own == sorted(key for key in own if key in wired) + sorted(key for key in own if key not in wired)
    keys = [entry.key for entry in first.artifacts if entry.type is not IOType.ITERATOR_INPUT]
    assert keys == sorted(keys)

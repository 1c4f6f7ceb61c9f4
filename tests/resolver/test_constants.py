"""Constants with placeholders and pipeline channels. Oracle: the table and example of spec RESOLVER 5.3."""

from typing import Any

import pytest

from driver_plugin.podspec.workspace import uses_workspace
from kfp_api.ir.executor_input import ExecutorInputs
from resolver.errors import NullInputError, ResolutionError
from tests.resolver.builders import entry_of, leaf, parameter, resolve_task, row, shown, task_of


def constant(value: Any, **more: Any) -> dict[str, Any]:
    return {"runtimeValue": {"constant": value}, **more}


def channel(name: str) -> str:
    return f"{{{{$.inputs.parameters['pipelinechannel--{name}']}}}}"


DRAW = {"taskOutputParameter": {"producerTask": "draw", "outputParameterKey": "Output"}}
N = channel("n")


async def resolve(wired: dict[str, Any], value: Any = 58, inputs: Any = (), **declared: Any) -> Any:
    return await resolve_task(
        task_of("c", {"pipelinechannel--n": DRAW, **wired}),
        leaf(declared),
        inputs=inputs,
        siblings={"draw": task_of("c")},
        rows=[row("d", "draw", outputs=[parameter("Output", value)])],
    )


@pytest.mark.parametrize(
    ("placeholder", "value"),
    [
        ("{{$.pipeline_job_name}}", "my run"),
        ("{{$.pipeline_job_resource_name}}", "wf-x7k2p"),
        ("{{$.pipeline_job_uuid}}", "run-1"),
        ("{{$.pipeline_job_create_time_utc}}", "2026-01-02T03:04:05Z"),
        ("{{$.pipeline_job_schedule_time_utc}}", "2026-01-01T00:00:00Z"),
        ("{{$.pipeline_task_name}}", "t"),
        ("{{$.pipeline_task_uuid}}", "P"),
        ("{{$.workspace_path}}", "/kfp-workspace"),
        ("{{$.workspace_path}}/a:{{$.workspace_path}}", "/kfp-workspace/a:/kfp-workspace"),
        ("run {{$.pipeline_job_name}}!", "run my run!"),
        ("{{$}}", "{{$}}"),
        ("{{$.inputs.parameters['text']}}", "{{$.inputs.parameters['text']}}"),
        ("{{$.outputs.artifacts['x'].uri}}", "{{$.outputs.artifacts['x'].uri}}"),
        ("{{$.pipeline_unknown}}", "{{$.pipeline_unknown}}"),
        ("{{workflow.name}}", "{{workflow.name}}"),
    ],
)
async def test_placeholders_each(placeholder: str, value: str) -> None:
    resolved = await resolve_task(task_of("c", {"x": constant(placeholder)}), leaf({"x": "STRING"}))
    assert entry_of(resolved, "x") == {
        "parameter_key": "x",
        "value": value,
        "type": "RUNTIME_VALUE_INPUT",
        "producer": {"task_name": "ROOT"},
    }


async def test_channel_and_workspace() -> None:
    """D2, D4: upstream makes ``msg`` the bare number, and leaves ``dir`` and ``spec`` as they are."""
    resolved = await resolve(
        {
            "msg": constant(f"heads and {N} > 5!"),
            "cpu": constant(N),
            "dir": constant(f"{{{{$.workspace_path}}}}/n-{N}"),
            "spec": constant([{"count": N, "replicas": 1}]),
        }
    )
    root, draw = {"task_name": "ROOT"}, {"task_name": "draw"}
    assert [entry.to_wire() for entry in resolved.parameters] == [
        {"parameter_key": "cpu", "value": 58, "type": "TASK_OUTPUT_INPUT", "producer": draw},
        {
            "parameter_key": "dir",
            "value": "/kfp-workspace/n-58",
            "type": "RUNTIME_VALUE_INPUT",
            "producer": root,
        },
        {
            "parameter_key": "msg",
            "value": "heads and 58 > 5!",
            "type": "RUNTIME_VALUE_INPUT",
            "producer": root,
        },
        {"parameter_key": "pipelinechannel--n", "value": 58, "type": "TASK_OUTPUT_INPUT", "producer": draw},
        {
            "parameter_key": "spec",
            "value": [{"count": "58", "replicas": 1}],
            "type": "RUNTIME_VALUE_INPUT",
            "producer": root,
        },
    ]


@pytest.mark.parametrize(
    ("given", "value"),
    [
        ("{{$.workspace_path}}/out", "/kfp-workspace/out"),
        ({"dir": ["{{$.workspace_path}}"]}, {"dir": ["/kfp-workspace"]}),
    ],
)
async def test_workspace_constant(given: Any, value: Any) -> None:
    resolved = await resolve_task(task_of("c", {"x": constant(given)}), leaf())
    assert shown(resolved) == {"x": value}
    assert uses_workspace(ExecutorInputs(parameter_values={"x": value}))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (5, "5"),
        (1e-7, "0.0000001"),
        (True, "true"),
        ([1, "<"], '[1,"\\u003c"]'),
        (None, ""),
        ("{{$}}", "{{$}}"),
    ],
)
async def test_channel_embedded(value: Any, text: str) -> None:
    """D2: upstream replaces the whole text by the first channel's value."""
    resolved = await resolve({"x": constant(f"<{N}>")}, value)
    assert shown(resolved)["x"] == f"<{text}>"


async def test_a_value_that_looks_like_a_placeholder_is_not_resolved_again() -> None:
    tricky = "{{$.workspace_path}} {{$.inputs.parameters['pipelinechannel--n']}}"
    resolved = await resolve({"x": constant(f"{N}|{N}")}, tricky)
    assert shown(resolved)["x"] == f"{tricky}|{tricky}"


async def test_channel_whole_typed() -> None:
    assert shown(await resolve({"x": constant(N)}, [1, 2], x="LIST"))["x"] == [1, 2]
    assert shown(await resolve({"x": constant(N)}, 58, x="STRING"))["x"] == "58"
    with pytest.raises(NullInputError):
        await resolve({"x": constant(channel("k")), "pipelinechannel--k": constant(None)})


async def test_channel_in_struct_constant() -> None:
    """D4: upstream substitutes nothing in lists and structs."""
    value = {f"k-{N}": [N, 1, True, None, {"deep": f"a{N}"}]}
    assert shown(await resolve({"x": constant(value)}))["x"] == {
        "k-58": ["58", 1, True, None, {"deep": "a58"}]
    }
    assert value == {f"k-{N}": [N, 1, True, None, {"deep": f"a{N}"}]}


async def test_channel_with_selector() -> None:
    """D3: upstream ignores the channel's selector."""
    wired = {
        "pipelinechannel--item": {
            "componentInputParameter": "item",
            "parameterExpressionSelector": 'parseJson(string_value)["A_a"]',
        },
        "x": constant(f"got {channel('item')}"),
        "y": constant(channel("item")),
    }
    resolved = await resolve(wired, inputs=[parameter("item", {"A_a": 1})])
    assert shown(resolved)["x"] == "got 1"
    assert shown(resolved)["y"] == 1


async def test_channel_missing() -> None:
    with pytest.raises(ResolutionError) as caught:
        await resolve({"x": constant(f"a {channel('gone')}")})
    assert f"pipeline channel {channel('gone')} not found in task t" in str(caught.value)


@pytest.mark.parametrize("form", ["{}", "text {}"])
async def test_channel_cycle(form: str) -> None:
    wired = {
        "pipelinechannel--a": constant(form.format(channel("b"))),
        "pipelinechannel--b": constant(form.format(channel("a"))),
    }
    with pytest.raises(ResolutionError, match="pipeline channels form a cycle"):
        await resolve(wired)


async def test_channels_cannot_grow_without_bound() -> None:
    bomb = {f"pipelinechannel--{n}": constant(channel(str(n + 1)) * 10) for n in range(10)}
    bomb["pipelinechannel--10"] = constant("x" * 100)
    with pytest.raises(ResolutionError, match="constants become longer than"):
        await resolve(bomb)
    chain = {f"pipelinechannel--{n}": constant(f"a{channel(str(n + 1))}") for n in range(500)}
    chain["pipelinechannel--500"] = constant("x")
    with pytest.raises(ResolutionError, match="nested more than"):
        await resolve(chain)


async def test_constants_nested_too_deep_are_refused() -> None:
    value: Any = "x"
    for _ in range(65):
        value = [value]
    with pytest.raises(ResolutionError, match="nested more than 64 levels"):
        await resolve({"x": constant(value)})


@pytest.mark.parametrize(
    ("deprecated", "value"),
    [({"intValue": "3"}, 3), ({"doubleValue": 1.5}, 1.5), ({"stringValue": "s"}, "s")],
)
async def test_deprecated_constants_are_scalars(deprecated: dict[str, Any], value: Any) -> None:
    resolved = await resolve_task(
        task_of("c", {"x": {"runtimeValue": {"constantValue": deprecated}}}), leaf()
    )
    assert shown(resolved) == {"x": value}


async def test_a_runtime_parameter_is_a_component_input() -> None:
    wired = {"x": {"runtimeValue": {"runtimeParameter": "k"}}}
    resolved = await resolve_task(task_of("c", wired), leaf(), inputs=[parameter("k", 7)])
    assert entry_of(resolved, "x")["type"] == "COMPONENT_INPUT"
    assert shown(resolved) == {"x": 7}

"""Rules of Argo's controller that hand-made workflows meet (spec LAUNCHER E3, E4).

Oracles, in ``workflow/controller`` of Argo's source: ``dag.go`` (expandTask, assessDAGPhase,
buildLocalScopeFromTask), ``operator.go`` (processItem, expandSequence, processAggregateNodeOutputs, operate,
processNodeRetries) and ``exit_handler.go``.
"""

import json
from typing import Any

import pytest

from local_stack.runner.engine import PodResult
from local_stack.runner.nodes import Phase
from tests.local_stack.runner.plain import made, makes, plain, task
from tests.local_stack.runner.scripted import (
    Outcome,
    ScriptedPods,
    failed_pod,
    parameters,
    run_workflow,
)

S, F, K, O, E = "Succeeded", "Failed", "Skipped", "Omitted", "Error"  # noqa: E741 (a table's abbreviations)


async def phases_of(document: dict[str, Any], **options: Any) -> dict[str, str]:
    outcome = await run_workflow(document, **options)
    return short(outcome)


def short(outcome: Outcome) -> dict[str, str]:
    return {
        name.removeprefix("w").removeprefix("."): node.phase.value for name, node in outcome.nodes.items()
    }


def arguments_of(outcome: Outcome) -> list[str]:
    """What the pods were given, by the names of their nodes."""
    requests = sorted(outcome.pods.requests, key=lambda one: one.node.name)
    return [request.template["container"]["args"][0] for request in requests]


# Loops -----------------------------------------------------------------------------------------------------


def _echo(value: str = "{{item}}", **loop: Any) -> dict[str, Any]:
    return task("t", "echo", arguments=parameters(x=value), **loop)


@pytest.mark.parametrize(
    ("loop", "names", "texts"),
    [
        ({"withItems": ["a", "b"]}, ["0:a", "1:b"], ["a", "b"]),
        ({"withItems": [1, 2.5, True]}, ["0:1", "1:2.5", "2:true"], ["1", "2.5", "true"]),
        ({"withItems": ["a (b)"]}, ["0:a b"], ["a (b)"]),
        ({"withItems": [["a", 1]]}, ["0:[a 1]"], ['["a",1]']),
        ({"withItems": [{"k": "v", "a": 1}]}, ["0:a:1,k:v"], ['{"a":1,"k":"v"}']),
        ({"withItems": ['say "x"']}, ['0:say \\"x\\"'], ['say "x"']),
        ({"withParam": '["a", {"b": [1]}]'}, ["0:a", "1:b:[1]"], ["a", '{"b":[1]}']),
        ({"withSequence": {"count": "2"}}, ["0:0", "1:1"], ["0", "1"]),
        ({"withSequence": {"start": "3", "count": 2}}, ["0:3", "1:4"], ["3", "4"]),
        ({"withSequence": {"start": "2", "end": "0"}}, ["0:2", "1:1", "2:0"], ["2", "1", "0"]),
        ({"withSequence": {"count": "-1"}}, ["0:0", "1:-1", "2:-2"], ["0", "-1", "-2"]),
        ({"withSequence": {"start": "10", "count": "1", "format": "n%03X"}}, ["0:n00A"], ["n00A"]),
        ({"withSequence": {"count": "1", "format": "%v-100%%"}}, ["0:0-100%"], ["0-100%"]),
    ],
)
async def test_a_loop_makes_argos_nodes_and_texts(
    loop: dict[str, Any], names: list[str], texts: list[str]
) -> None:
    outcome = await run_workflow(plain(_echo(**loop)))
    assert short(outcome) == {"": S, "t": S} | {f"t({name})": S for name in names}
    assert arguments_of(outcome) == texts


async def test_keys_of_an_object_are_inserted_as_argo_shows_them() -> None:
    items = [{"s": "two\nlines", "n": 1, "b": False, "l": [1, "x"]}]
    outcome = await run_workflow(plain(_echo("{{item.s}}|{{item.n}}|{{item.b}}|{{item.l}}", withItems=items)))
    assert arguments_of(outcome) == [r'two\nlines|1|false|[1,"x"]']


async def test_an_item_that_names_a_missing_key_is_an_error_of_the_task() -> None:
    outcome = await run_workflow(plain(_echo("{{item.z}}", withItems=[{"a": 1}, {"z": 1}])))
    assert short(outcome) == {"": E, "t": E}
    assert "item.z" in outcome.nodes["w.t"].message


async def test_an_empty_list_of_items_is_no_loop() -> None:
    assert await phases_of(plain(task("t", withItems=[]))) == {"": S, "t": S}


@pytest.mark.parametrize("loop", [{"withParam": "[]"}, {"withSequence": {"count": "0"}}])
async def test_a_loop_over_nothing_is_skipped(loop: dict[str, Any]) -> None:
    assert await phases_of(plain(task("t", **loop), task("n", depends="t"))) == {"": S, "t": K, "n": S}


async def test_a_false_when_skips_every_iteration_and_the_group_succeeds() -> None:
    outcome = await run_workflow(
        plain(
            _echo(withItems=["a", "b"], when="1 == 2"),
            task("next", depends="t.Succeeded"),
        )
    )
    assert short(outcome) == {"": S, "t": S, "t(0:a)": K, "t(1:b)": K, "next": S}
    assert outcome.nodes["w.t(0:a)"].message == "when '1 == 2' evaluated false"


async def test_a_false_when_needs_no_items() -> None:
    tasks = (
        task("a", "made", when="1 == 2"),
        task(
            "t",
            depends="a",
            when="no == yes",
            withParam="{{tasks.a.outputs.parameters.list}}",
        ),
    )
    outcome = await run_workflow(plain(*tasks))
    assert short(outcome) == {"": S, "a": K, "t": K}
    assert outcome.nodes["w.t"].message == "Skipped, empty params"


async def test_a_when_with_an_item_is_decided_per_iteration() -> None:
    outcome = await run_workflow(plain(_echo(withItems=["a", "b", "c d"], when="{{item}} == a")))
    assert short(outcome) == {"": E, "t": E, "t(0:a)": S, "t(1:b)": K, "t(2:c d)": E}


async def test_parallelism_of_the_template_holds_for_its_pods() -> None:
    outcome = await run_workflow(plain(_echo(withSequence={"count": "6"}), parallelism=2))
    assert (len(outcome.order), outcome.pods.most) == (6, 2)


async def test_outputs_of_a_loop_are_lists_of_its_succeeded_iterations() -> None:
    loop = task(
        "t",
        "made",
        arguments=parameters(answer='{"text": "{{item}}", "list": "[{{item}}]"}'),
        withItems=["1", "2", "3"],
        when="{{item}} != 2",
    )
    reader = task(
        "r",
        "echo",
        depends="t",
        arguments=parameters(
            x="{{tasks.t.outputs.parameters.text}} {{tasks.t.outputs.parameters.list}} {{tasks.t.status}}"
        ),
    )
    outcome = await run_workflow(plain(loop, reader))
    assert arguments_of(outcome) == ['["1","3"] [[1],[3]] Succeeded']


async def test_all_outputs_of_a_loop_can_be_read_at_once() -> None:
    loop = makes("t", answer={"b": "2", "a": "1"}, withItems=["x"])
    reader = task("r", "echo", depends="t", arguments=parameters(x="{{tasks.t.outputs.parameters}}"))
    outcome = await run_workflow(plain(loop, reader))
    found = json.loads(arguments_of(outcome)[0])
    assert [{key: one[key] for key in "ab"} for one in found] == [{"a": "1", "b": "2"}]


# Depends ---------------------------------------------------------------------------------------------------

_OUTCOMES = (
    task("ok"),
    task("bad"),
    task("err"),
    task("skip", when="1 == 2"),
    task("omit", depends="ok.Failed"),
    task("mixed", "echo", arguments=parameters(x="{{item}}"), withItems=["0", "1"]),
    task("lost", "echo", arguments=parameters(x="{{item}}"), withItems=["0", "1"]),
)
_PODS = {
    "w.bad": failed_pod(),
    "w.err": PodResult(phase=Phase.ERROR, message="no"),
    "w.mixed(1:1)": failed_pod(),
    "w.lost(0:0)": failed_pod(),
    "w.lost(1:1)": failed_pod(),
}


@pytest.mark.parametrize(
    ("depends", "runs"),
    [
        ("ok", True),
        ("skip", True),
        ("bad", False),
        ("omit", False),
        ("ok.Succeeded && bad.Failed && err.Errored && skip.Skipped && omit.Omitted", True),
        ("err.Failed || bad.Errored", False),
        ("!(bad.Succeeded || err.Succeeded) && ok", True),
        ("ok.Daemoned", False),
        ("mixed.AnySucceeded && !mixed.AllFailed && mixed.Failed", True),
        ("lost.AnySucceeded", False),
        ("lost.AllFailed", True),
        ("ok.AnySucceeded || bad.AllFailed", False),
    ],
)
async def test_depends_starts_or_omits_a_task(depends: str, *, runs: bool) -> None:
    document = plain(*_OUTCOMES, task("t", depends=depends))
    found = await phases_of(document, pods=ScriptedPods(_PODS))
    assert found["t"] == (S if runs else O)


@pytest.mark.parametrize(("before", "phase"), [("ok", S), ("skip", S), ("bad", O), ("omit", O)])
async def test_a_list_of_dependencies_waits_as_bare_names_do(before: str, phase: str) -> None:
    document = plain(*_OUTCOMES, task("t", dependencies=["ok", before]))
    assert (await phases_of(document, pods=ScriptedPods(_PODS)))["t"] == phase


async def test_only_targets_and_what_they_wait_for_run() -> None:
    document = plain(task("a"), task("b", depends="a"), task("c", depends="b"), task("d"), target="b")
    assert await phases_of(document) == {"": S, "a": S, "b": S}


@pytest.mark.parametrize(("fail_fast", "phase"), [(None, E), (True, E), (False, F)])
async def test_fail_fast_chooses_the_failure_that_counts(*, fail_fast: bool | None, phase: str) -> None:
    pods = ScriptedPods({"w.a": PodResult(phase=Phase.ERROR), "w.z": failed_pod()})
    document = plain(task("a"), task("m"), task("z"), failFast=fail_fast)
    assert (await phases_of(document, pods=pods))[""] == phase


async def test_the_order_of_targets_is_the_order_of_failures() -> None:
    pods = ScriptedPods({"w.a": PodResult(phase=Phase.ERROR), "w.z": failed_pod()})
    assert (await phases_of(plain(task("a"), task("z"), target="z a"), pods=pods))[""] == F


@pytest.mark.parametrize(
    ("tasks", "phase"),
    [
        ((task("a"), task("t", depends="a.Succeeded")), F),
        ((task("a"), task("t", depends="a.Failed")), S),
        ((task("a"), task("t", depends="a.Failed", when="1 == 2")), F),
        ((task("a"), task("m", depends="a"), task("t", depends="m.Omitted", when="x == y")), F),
        ((task("a"), task("m", depends="a"), task("t", depends="m.Omitted")), S),
    ],
)
async def test_a_task_that_did_not_run_takes_the_failure_of_what_it_waited_for(
    tasks: tuple[dict[str, Any], ...], phase: str
) -> None:
    assert (await phases_of(plain(*tasks), pods=ScriptedPods({"w.a": failed_pod()})))[""] == phase


async def test_a_wide_and_long_dag_of_omitted_tasks_is_judged_at_once() -> None:
    tasks = [task("a0"), task("b0")]
    for n in range(1, 300):
        tasks += [task(f"{side}{n}", depends=f"a{n - 1} && b{n - 1}") for side in "ab"]
    found = await phases_of(plain(*tasks), pods=ScriptedPods({"w.a0": failed_pod()}))
    assert (found[""], found["b299"]) == (F, O)


# What tasks may refer to -----------------------------------------------------------------------------------


async def test_a_task_knows_what_the_tasks_before_it_produced() -> None:
    tags = "{{tasks.a.outputs.parameters.p}} {{tasks.a.status}} {{tasks.a.id}}"
    tasks = (
        makes("a", answer={"p": "1"}),
        task("b", depends="a"),
        task("c", "echo", depends="b", arguments=parameters(x=tags)),
    )
    outcome = await run_workflow(plain(*tasks))
    assert arguments_of(
        Outcome(
            outcome.root, outcome.nodes, outcome.plugin, ScriptedPods(requests=outcome.pods.requests[-1:])
        )
    ) == [f"1 Succeeded {outcome.nodes['w.a'].id}"]


async def test_a_task_does_not_know_tasks_that_it_does_not_wait_for() -> None:
    tasks = (
        makes("a", answer={"p": "1"}),
        task("pause", "pause"),
        task("c", "echo", depends="pause", arguments=parameters(x="{{tasks.a.outputs.parameters.p}}")),
    )
    templates = [{"name": "pause", "suspend": {"duration": "100ms"}}]
    outcome = await run_workflow(plain(*tasks, templates=templates))
    assert short(outcome)["c"] == E
    assert "depends" in outcome.nodes["w.c"].message


async def test_the_name_of_a_task_is_known_to_its_template() -> None:
    show = {"name": "show", "container": {"image": "x", "command": ["x"], "args": ["{{tasks.name}}"]}}
    outcome = await run_workflow(plain(task("t", "show", withItems=["a.b"]), templates=[show]))
    assert arguments_of(outcome) == ["t(0:a.b)"]


@pytest.mark.parametrize("phase", [K, O])
@pytest.mark.parametrize(
    ("reader", "result"),
    [
        ({"arguments": parameters(x="{{tasks.a.outputs.parameters.with}}")}, "w"),
        ({"arguments": parameters(x="<{{tasks.a.outputs.parameters.with}}>")}, "<w>"),
        ({"arguments": parameters(x="{{tasks.a.outputs.parameters.without}}")}, "none"),
        ({"arguments": parameters(x="<{{tasks.a.outputs.parameters.without}}>")}, E),
        ({"arguments": parameters(x="{{tasks.a.outputs.parameters.undeclared}}")}, E),
        ({"when": "{{tasks.a.outputs.parameters.with}} == w"}, "none"),
        ({"when": "{{tasks.a.outputs.parameters.without}} == w"}, E),
    ],
)
async def test_outputs_of_a_task_that_did_not_run(phase: str, reader: dict[str, Any], result: str) -> None:
    stopper = {"when": "1 == 2"} if phase == K else {"depends": "first.Failed"}
    tasks = (
        task("first"),
        task("a", "declared", **stopper),
        task("r", "echo", depends="a.Skipped || a.Omitted", **reader),
    )
    declared = made("declared", **{"with": "w", "without": ""})
    outcome = await run_workflow(plain(*tasks, templates=[declared]))
    found = short(outcome)
    assert found["a"] == phase
    if result == E:
        assert found["r"] == E
    else:
        assert (outcome.pods.requests[-1].template["container"]["args"], found["r"]) == ([result], S)


async def test_a_missing_output_without_an_input_default_names_the_input() -> None:
    need = {"name": "need", "inputs": {"parameters": [{"name": "x"}]}, "container": {"image": "x"}}
    tasks = (
        task("a", "declared", when="1 == 2"),
        task("r", "need", depends="a", arguments=parameters(x="{{tasks.a.outputs.parameters.o}}")),
    )
    outcome = await run_workflow(plain(*tasks, templates=[need, made("declared", o="")]))
    assert outcome.nodes["w.r"].message == "inputs.parameters.x was not supplied"


@pytest.mark.parametrize(("when", "value"), [("1 == 1", "1"), ("1 == 2", "d")])
async def test_a_dag_has_outputs_of_its_own(when: str, value: str) -> None:
    inner = {
        "name": "inner",
        "dag": {"tasks": [makes("a", answer={"p": "1"}, when=when)]},
        "outputs": {
            "parameters": [
                {
                    "name": "q",
                    "valueFrom": {"parameter": "{{tasks.a.outputs.parameters.p}}", "default": "d"},
                }
            ]
        },
    }
    reader = task("r", "echo", depends="i", arguments=parameters(x="{{tasks.i.outputs.parameters.q}}"))
    outcome = await run_workflow(plain(task("i", "inner"), reader, templates=[inner]))
    assert arguments_of(outcome) == [value]


async def test_a_template_that_calls_itself_ends_at_argos_depth() -> None:
    document = plain(task("again", "d"))
    outcome = await run_workflow(document)
    assert outcome.root.phase is Phase.ERROR
    assert len(outcome.nodes) == 100
    assert any("Maximum recursion depth exceeded" in node.message for node in outcome.nodes.values())


# Exit handlers ---------------------------------------------------------------------------------------------


async def test_the_exit_hook_of_a_loop_runs_for_every_iteration_and_for_the_group() -> None:
    hook = {"exit": {"template": "echo", "arguments": parameters(x="{{tasks.t.status}}")}}
    document = plain(task("t", withItems=["a", "b"], hooks=hook))
    outcome = await run_workflow(document, pods=ScriptedPods({"w.t(0:a)": failed_pod()}))
    names = [name for name in short(outcome) if name.endswith(".onExit")]
    assert sorted(names) == ["t(0:a).onExit", "t(1:b).onExit", "t.onExit"]
    told = {
        request.node.name: request.template["container"]["args"]
        for request in outcome.pods.requests
        if request.node.name.endswith("onExit")
    }
    assert told == {"w.t(0:a).onExit": [F], "w.t(1:b).onExit": [S], "w.t.onExit": [F]}


async def test_an_exit_hook_knows_the_outputs_of_its_task() -> None:
    hook = {"exit": {"template": "echo", "arguments": parameters(x="{{tasks.t.outputs.parameters.p}}")}}
    outcome = await run_workflow(plain(makes("t", answer={"p": "1"}, hooks=hook)))
    assert arguments_of(outcome) == ["1"]


@pytest.mark.parametrize("phase", [K, O])
async def test_no_exit_hook_runs_for_a_task_that_did_not_run(phase: str) -> None:
    stopper = {"when": "1 == 2"} if phase == K else {"depends": "first.Failed"}
    document = plain(task("first"), task("t", hooks={"exit": {"template": "pod"}}, **stopper))
    assert await phases_of(document) == {"": S, "first": S, "t": phase}


_ARGUMENTS = {"arguments": {"parameters": [{"name": "x", "value": "from the workflow"}]}}


async def test_an_exit_hook_without_arguments_gets_those_of_the_workflow() -> None:
    document = plain(task("t", hooks={"exit": {"template": "echo"}}), spec=_ARGUMENTS | {"onExit": "echo"})
    outcome = await run_workflow(document)
    told = {r.node.name: r.template["container"].get("args") for r in outcome.pods.requests}
    assert told == {"w.t": None, "w.t.onExit": ["from the workflow"], "w.onExit": ["from the workflow"]}


async def test_on_exit_wins_over_the_exit_hook_of_the_workflow() -> None:
    spec = {"onExit": "pod", "hooks": {"exit": {"template": "echo"}}}
    outcome = await run_workflow(plain(task("t"), spec=spec))
    assert outcome.nodes["w.onExit"].template == "pod"


@pytest.mark.parametrize(
    ("pod", "hook", "phase"),
    [
        (PodResult(phase=Phase.SUCCEEDED), failed_pod(), F),
        (PodResult(phase=Phase.SUCCEEDED), PodResult(phase=Phase.ERROR), E),
        (failed_pod(), PodResult(phase=Phase.ERROR), F),
        (PodResult(phase=Phase.ERROR), failed_pod(), E),
    ],
)
async def test_a_failed_exit_handler_counts_only_for_a_workflow_that_succeeded(
    pod: PodResult, hook: PodResult, phase: str
) -> None:
    document = plain(task("t"), spec={"onExit": "pod"})
    outcome = await run_workflow(document, pods=ScriptedPods({"w.t": pod, "w.onExit": hook}))
    assert outcome.root.phase.value == phase


async def test_an_exit_handler_is_told_the_failures_as_quoted_json() -> None:
    document = plain(
        task("t"),
        spec={"hooks": {"exit": {"template": "echo", "arguments": parameters(x="{{workflow.failures}}")}}},
    )
    outcome = await run_workflow(document, pods=ScriptedPods({"w.t": failed_pod(3)}))
    told = json.loads(json.loads(outcome.pods.requests[-1].template["container"]["args"][0]))
    assert {(one["displayName"], one["phase"], one["templateName"]) for one in told} == {
        ("w", F, "d"),
        ("t", F, "pod"),
    }
    assert [one["message"] for one in told if one["displayName"] == "t"] == ["main: Error (exit code 3)"]


# Retries ---------------------------------------------------------------------------------------------------


def _retried(strategy: dict[str, Any]) -> dict[str, Any]:
    template = {"name": "again", "container": {"image": "x"}, "retryStrategy": strategy}
    return plain(task("t", "again"), templates=[template])


async def test_a_wrong_retry_strategy_is_met_only_by_a_failure() -> None:
    wrong = {"limit": "2", "backoff": {"duration": "1", "factor": "1.5"}}
    assert await phases_of(_retried(wrong)) == {"": S, "t": S, "t(0)": S}
    outcome = await run_workflow(_retried(wrong), pods=ScriptedPods({"w.t(0)": failed_pod()}))
    assert short(outcome) == {"": E, "t": E, "t(0)": F}
    assert "backoff.factor '1.5'" in outcome.nodes["w.t"].message


async def test_a_backoff_needs_a_duration() -> None:
    document = _retried({"limit": "2", "backoff": {"factor": "2"}})
    outcome = await run_workflow(document, pods=ScriptedPods({"w.t(0)": failed_pod()}))
    assert short(outcome)["t"] == E
    assert "no base duration" in outcome.nodes["w.t"].message


async def test_a_group_of_tasks_can_be_retried() -> None:
    inner = {"name": "inner", "dag": {"tasks": [task("a")]}, "retryStrategy": {"limit": 1}}
    outcome = await run_workflow(
        plain(task("t", "inner"), templates=[inner]), pods=ScriptedPods({"w.t(0).a": failed_pod()})
    )
    assert short(outcome) == {"": S, "t": S, "t(0)": F, "t(0).a": F, "t(1)": S, "t(1).a": S}

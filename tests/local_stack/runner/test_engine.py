"""Golden runs: node phases that Argo gives workflows of the compiled shape (spec LAUNCHER E3, E8, G).

Drivers are a scripted plugin behind real HTTP; pods are scripted.
"""

from typing import Any

import pytest

from local_stack.runner.engine import PodResult, Stop
from local_stack.runner.nodes import Phase
from tests.local_stack.runner.scripted import (
    ScriptedPods,
    dag,
    failed_pod,
    group,
    iterator,
    leaf,
    loop,
    pipeline,
    run_workflow,
)

S, F, K, O, E = "Succeeded", "Failed", "Skipped", "Omitted", "Error"  # noqa: E741 (a table's abbreviations)


async def test_one_task_runs_as_in_the_worked_example() -> None:
    outcome = await run_workflow(pipeline(leaf("echo")))
    assert outcome.root.phase is Phase.SUCCEEDED
    assert outcome.phases() == {"": S, "echo-driver": S, "echo": S, "echo.executor": S}
    assert [(call["type"], call["task_name"], call["parent_task_id"]) for call in outcome.plugin.calls] == [
        ("ROOT_DAG", "", ""),
        ("CONTAINER", "echo", "id-root"),
    ]
    assert outcome.plugin.calls[0]["run_id"] == "R"
    assert outcome.pods.requests[0].patches == ("{}",)


async def test_a_cached_leaf_skips_its_pod_and_lets_dependants_run() -> None:
    outcome = await run_workflow(
        pipeline(leaf("a"), leaf("b", after="a")), answers={"a": {"cached-decision": "true"}}
    )
    assert outcome.root.phase is Phase.SUCCEEDED
    assert outcome.phases()["a.executor"] == K
    assert outcome.nodes["w.root.a.executor"].message == "when 'true != true' evaluated false"
    assert outcome.order == ["w.root.b.executor"]


async def test_a_false_condition_skips_the_body_omits_dependants_and_succeeds() -> None:
    outcome = await run_workflow(
        pipeline(
            group("c", "body", condition=True),
            leaf("after", after="c"),
            templates=[dag("body", leaf("inner"))],
        ),
        answers={"c": {"condition": "false"}},
    )
    assert outcome.root.phase is Phase.SUCCEEDED
    assert outcome.phases() == {"": S, "c-driver": S, "c": K, "after-driver": O, "after": O}
    assert outcome.nodes["w.root.after-driver"].message == "omitted: depends condition not met"


async def test_a_condition_of_nil_runs_the_body() -> None:
    outcome = await run_workflow(
        pipeline(group("c", "body", condition=True), templates=[dag("body", leaf("inner"))])
    )
    assert outcome.order == ["w.root.c.inner.executor"]


async def test_a_loop_without_items_is_skipped_inside_and_its_dependants_run() -> None:
    outcome = await run_workflow(
        pipeline(
            loop("each"),
            leaf("after", after="each"),
            templates=[dag("body", leaf("work", in_loop=True)), iterator("each", "body")],
        )
    )
    assert outcome.root.phase is Phase.SUCCEEDED
    assert outcome.phases() == {
        "": S,
        "each": S,
        "each.iteration-driver": S,
        "each.iteration-iterations": K,
        "after-driver": S,
        "after": S,
        "after.executor": S,
    }
    assert outcome.nodes["w.root.each.iteration-iterations"].message == "Skipped, empty params"


async def test_nested_loops_pass_each_driver_the_index_of_its_own_iteration() -> None:
    templates = [
        dag("inner-body", leaf("work", in_loop=True)),
        iterator("inner", "inner-body"),
        dag("outer-body", loop("inner", in_loop=True)),
        iterator("outer", "outer-body"),
    ]
    outcome = await run_workflow(
        pipeline(loop("outer"), templates=templates),
        answers={"outer": {"iteration-count": 2}, "inner": {"iteration-count": 3}},
    )
    assert outcome.root.phase is Phase.SUCCEEDED
    indices = [call["iteration_index"] for call in outcome.plugin.calls if call["task_name"] == "inner"]
    assert sorted(indices) == ["0", "1"]
    indices = [call["iteration_index"] for call in outcome.plugin.calls if call["task_name"] == "work"]
    assert sorted(indices) == ["0", "0", "1", "1", "2", "2"]
    inner = "w.root.outer.iteration-iterations(1:1).inner.iteration-iterations(2:2).work.executor"
    assert outcome.nodes[inner].phase is Phase.SUCCEEDED
    assert len(outcome.pods.requests) == 6


@pytest.mark.parametrize(("parallelism", "most"), [(2, 2), (1, 1), (None, 5)])
async def test_parallelism_limits_the_iterations_that_run_at_once(parallelism: int | None, most: int) -> None:
    outcome = await run_workflow(
        pipeline(
            loop("each"),
            templates=[
                dag("body", leaf("work", in_loop=True)),
                iterator("each", "body", parallelism=parallelism),
            ],
        ),
        answers={"each": {"iteration-count": 5}},
    )
    assert outcome.root.phase is Phase.SUCCEEDED
    assert len(outcome.pods.requests) == 5
    if parallelism is None:
        assert outcome.pods.most > 2
    else:
        assert outcome.pods.most <= most
    if parallelism == 1:
        assert outcome.order == [f"w.root.each.iteration-iterations({i}:{i}).work.executor" for i in range(5)]


async def test_pods_never_exceed_the_slots_of_the_machine() -> None:
    outcome = await run_workflow(pipeline(*(leaf(f"t{i}") for i in range(6))), max_pods=2)
    assert outcome.pods.most == 2
    assert outcome.root.phase is Phase.SUCCEEDED


async def test_a_failed_driver_fails_the_dag_and_omits_its_executor() -> None:
    outcome = await run_workflow(
        pipeline(leaf("a", hook="hook"), templates=[dag("hook", leaf("x"))]), answers={"a": {"failed": "no"}}
    )
    assert outcome.root.phase is Phase.FAILED
    assert outcome.phases() == {"": F, "a-driver": F, "a": O}


async def test_a_failed_driver_in_one_iteration_leaves_the_others_alone() -> None:
    outcome = await run_workflow(
        pipeline(
            loop("each"),
            leaf("after", after="each"),
            templates=[dag("body", leaf("work", in_loop=True)), iterator("each", "body")],
        ),
        answers={"each": {"iteration-count": 3}, "work[1]": {"failed": "bad item"}},
    )
    phases = outcome.phases()
    assert outcome.root.phase is Phase.FAILED
    assert [phases[f"each.iteration-iterations({i}:{i})"] for i in range(3)] == [S, F, S]
    assert (phases["each.iteration-iterations"], phases["each"], phases["after"]) == (F, F, O)


async def test_independent_branches_run_to_their_end_after_a_failure() -> None:
    outcome = await run_workflow(
        pipeline(leaf("bad"), leaf("a"), leaf("b", after="a"), leaf("c", after="bad")),
        pods=ScriptedPods({"w.root.bad.executor": failed_pod()}),
    )
    phases = outcome.phases()
    assert outcome.root.phase is Phase.FAILED
    assert (phases["bad"], phases["b"], phases["c-driver"], phases["c"]) == (F, S, O, O)


_RETRY: dict[str, Any] = {"limit": "1", "backoff": {"duration": "0", "factor": "2", "maxDuration": "3600"}}


async def test_a_retry_that_succeeds_makes_the_task_succeed() -> None:
    outcome = await run_workflow(
        pipeline(leaf("a"), retry=_RETRY), pods=ScriptedPods({"w.root.a.executor(0)": failed_pod()})
    )
    phases = outcome.phases()
    assert (phases["a.executor(0)"], phases["a.executor(1)"], phases["a.executor"]) == (F, S, S)
    assert outcome.root.phase is Phase.SUCCEEDED
    indices = [request.template["container"]["env"][0]["value"] for request in outcome.pods.requests]
    assert indices == ["0", "1"]
    assert len(outcome.plugin.calls) == 2, "the driver is not called again"


async def test_exhausted_retries_fail_the_task() -> None:
    outcome = await run_workflow(
        pipeline(leaf("a"), retry=_RETRY),
        pods=ScriptedPods({f"w.root.a.executor({i})": failed_pod() for i in range(3)}),
    )
    assert outcome.order == ["w.root.a.executor(0)", "w.root.a.executor(1)"]
    assert outcome.nodes["w.root.a.executor"].message.startswith("No more retries left")
    assert outcome.root.phase is Phase.FAILED


@pytest.mark.parametrize(("fix", "attempts"), [(False, 1), (True, 2)])
async def test_a_max_duration_of_zero_disables_retries_unless_fixed(*, fix: bool, attempts: int) -> None:
    retry = {"limit": "1", "backoff": {"duration": "0", "factor": "1", "maxDuration": "0"}}
    outcome = await run_workflow(
        pipeline(leaf("a"), retry=retry),
        pods=ScriptedPods({"w.root.a.executor(0)": failed_pod()}),
        fix_retries=fix,
    )
    assert len(outcome.order) == attempts


@pytest.mark.parametrize(
    ("body", "hook", "root"), [(True, True, S), (False, True, F), (True, False, S), (False, False, F)]
)
async def test_an_exit_hook_runs_after_success_and_failure_and_never_changes_the_result(
    *, body: bool, hook: bool, root: str
) -> None:
    results = {}
    if not body:
        results["w.root.guarded.work.executor"] = failed_pod()
    if not hook:
        results["w.root.guarded.onExit.exit.executor"] = failed_pod()
    outcome = await run_workflow(
        pipeline(
            group("guarded", "body", hook="hook"),
            templates=[dag("body", leaf("work")), dag("hook", leaf("exit"))],
        ),
        pods=ScriptedPods(results),
    )
    phases = outcome.phases()
    assert phases["guarded"] == (S if body else F)
    assert phases["guarded.onExit"] == (S if hook else F)
    assert phases[""] == root
    assert outcome.root.phase.value == root
    assert outcome.nodes["w.root.guarded.onExit"].hooked
    exit_call = outcome.plugin.calls[-1]
    assert (exit_call["task_name"], exit_call["parent_task_id"]) == ("exit", "id-root")


async def test_dependants_wait_for_the_exit_hook() -> None:
    outcome = await run_workflow(
        pipeline(
            group("guarded", "body", hook="hook"),
            leaf("after", after="guarded"),
            templates=[dag("body", leaf("work")), dag("hook", leaf("exit"))],
        )
    )
    assert outcome.order[-2:] == ["w.root.guarded.onExit.exit.executor", "w.root.after.executor"]


async def test_termination_stops_pods_and_runs_no_exit_hook() -> None:
    pods = ScriptedPods(block=True)
    outcome = await run_workflow(
        pipeline(
            group("guarded", "body", hook="hook"),
            leaf("after", after="guarded"),
            templates=[dag("body", leaf("work")), dag("hook", leaf("exit"))],
        ),
        pods=pods,
        stop_when_started=True,
    )
    assert pods.cancelled == ["w.root.guarded.work.executor"]
    assert outcome.nodes["w.root.guarded.work.executor"].message == Stop.TERMINATED.value
    assert "guarded.onExit" not in outcome.phases()
    assert outcome.root.phase is Phase.FAILED


async def test_the_deadline_stops_pods_but_not_exit_hooks() -> None:
    outcome = await run_workflow(
        pipeline(
            group("guarded", "body", hook="hook"),
            templates=[dag("body", leaf("work")), dag("hook", leaf("exit"))],
            activeDeadlineSeconds=0.3,
        ),
        pods=ScriptedPods(block=True),
    )
    assert outcome.nodes["w.root.guarded.work.executor"].message == Stop.DEADLINE.value
    assert outcome.phases()["guarded.onExit"] == S
    assert outcome.root.phase is Phase.FAILED


async def test_a_workflow_exit_handler_runs_and_knows_the_status() -> None:
    document = pipeline(leaf("bad"), onExit="handler")
    document["spec"]["templates"].append(
        {"name": "handler", "container": {"image": "x", "command": ["x"], "args": ["{{workflow.status}}"]}}
    )
    outcome = await run_workflow(document, pods=ScriptedPods({"w.root.bad.executor": failed_pod()}))
    assert outcome.pods.requests[-1].node.name == "w.onExit"
    assert outcome.pods.requests[-1].template["container"]["args"] == ["Failed"]
    assert outcome.root.phase is Phase.FAILED


async def test_an_output_that_was_not_produced_is_named() -> None:
    tasks = leaf("a")
    tasks[1]["arguments"]["parameters"][0]["value"] = "{{tasks.a-driver.outputs.parameters.nothing}}"
    outcome = await run_workflow(pipeline(tasks))
    message = outcome.nodes["w.root.a"].message
    assert outcome.phases()["a"] == E
    assert "{{tasks.a-driver.outputs.parameters.nothing}} which was not produced" in message


async def test_outputs_of_a_skipped_producer_take_their_declared_default() -> None:
    tasks = leaf("a")
    tasks[0]["when"] = "1 == 2"
    tasks[1]["depends"] = "a-driver"
    outcome = await run_workflow(pipeline(tasks))
    assert outcome.phases()["a-driver"] == K
    assert outcome.pods.requests[0].patches == ()
    assert outcome.root.phase is Phase.SUCCEEDED


async def test_an_error_of_a_pod_is_an_error_of_its_node() -> None:
    result = PodResult(phase=Phase.ERROR, message="cannot start")
    outcome = await run_workflow(pipeline(leaf("a")), pods=ScriptedPods({"w.root.a.executor": result}))
    assert outcome.phases()["a.executor"] == E
    assert outcome.root.phase is Phase.ERROR


async def test_a_bad_when_is_an_error_of_the_node() -> None:
    tasks = leaf("a", condition=True)
    outcome = await run_workflow(pipeline(tasks), answers={"a": {"condition": ""}})
    assert outcome.phases()["a"] == E
    assert outcome.nodes["w.root.a"].message.startswith("Invalid 'when' expression ' != false'")


async def test_items_of_a_parameter_list_are_inserted_by_key() -> None:
    document = pipeline()
    document["spec"]["templates"][-2]["dag"]["tasks"] = [
        {
            "name": "t",
            "template": "echo",
            "withParam": '[{"k": "a"}, {"k": "b"}]',
            "when": "{{item.k}} != a",
            "arguments": {"parameters": [{"name": "x", "value": "<{{item.k}}>"}]},
        }
    ]
    document["spec"]["templates"].append(
        {
            "name": "echo",
            "inputs": {"parameters": [{"name": "x"}]},
            "container": {"image": "x", "args": ["{{inputs.parameters.x}}"]},
        }
    )
    outcome = await run_workflow(document)
    assert [request.template["container"]["args"] for request in outcome.pods.requests] == [["<b>"]]
    assert outcome.phases()["t(0:k:a)"] == K


async def test_a_template_deadline_fails_a_pod_that_takes_longer() -> None:
    document = pipeline(leaf("a"))
    document["spec"]["templates"][2]["activeDeadlineSeconds"] = "0.1"
    pods = ScriptedPods(block=True)
    outcome = await run_workflow(document, pods=pods)
    assert pods.cancelled == ["w.root.a.executor"]
    assert outcome.phases()["a.executor"] == F


async def test_a_template_timeout_fails_a_pod_that_takes_longer() -> None:
    document = pipeline(leaf("a"))
    document["spec"]["templates"][2]["timeout"] = "100ms"
    pods = ScriptedPods(block=True)
    outcome = await run_workflow(document, pods=pods)
    assert pods.cancelled == ["w.root.a.executor"]
    assert outcome.phases()["a.executor"] == F


async def test_a_suspended_template_goes_on_after_its_duration() -> None:
    document = pipeline()
    document["spec"]["templates"][-2]["dag"]["tasks"] = [
        {"name": "pause", "template": "pause"},
        {"name": "a", "template": "echo", "dependencies": ["pause"]},
    ]
    document["spec"]["templates"] += [
        {"name": "pause", "suspend": {"duration": "10ms"}},
        {"name": "echo", "container": {"image": "x"}},
    ]
    outcome = await run_workflow(document)
    assert outcome.phases() | {"pause": S, "a": S} == outcome.phases()
    assert outcome.order == ["w.root.a"]


async def test_parallelism_of_the_workflow_limits_all_its_pods() -> None:
    document = pipeline(*(leaf(name) for name in "abcd"))
    document["spec"]["parallelism"] = 2
    outcome = await run_workflow(document)
    assert (len(outcome.order), outcome.pods.most) == (4, 2)

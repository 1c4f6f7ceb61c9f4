"""Duplicate delivery, deadlines, outages, drain. Oracle: spec DRIVER 9.2, 18, LAUNCHER D8 and part G."""

import asyncio
from pathlib import Path

import pytest

from driver_plugin.argo.replies import DriverResult
from driver_plugin.errors import DriverError, DriverFailure, OverloadedError, UnavailableError
from driver_plugin.http.execute import PATH
from driver_plugin.invocation import Timing
from kfp_api.errors import ApiCredentialError, ApiUnavailableError
from resolver.errors import ResolutionError
from tests.driver_plugin.calls import body, container_args, dag_args
from tests.driver_plugin.service import TOKEN, outputs, running_service, until

REQUEUE = {"node": {}, "requeue": "2s"}
IMPATIENT = Timing(call_seconds=0.05)
FAST_OUTAGE = Timing(first_outage_pause=0.0, longest_outage_pause=0.0)


async def test_a_concurrent_duplicate_runs_once_and_gets_the_equal_reply(tmp_path: Path) -> None:
    async with running_service(tmp_path, gate_open=False) as stack:
        first = asyncio.create_task(stack.call(container_args()))
        await stack.driver.started.wait()
        second = asyncio.create_task(stack.call(container_args(run_display_name="again")))
        metrics = stack.service.metrics
        await until(lambda: metrics.value("kfp_driver_joined_calls_total", type="CONTAINER") == 1)
        stack.driver.gate.set()

        assert await first == await second
        assert len(stack.driver.calls) == 1


async def test_different_calls_do_not_join(tmp_path: Path) -> None:
    async with running_service(tmp_path) as stack:
        await asyncio.gather(*(stack.call(container_args(iteration_index=index)) for index in range(3)))

        assert len(stack.driver.calls) == 3


async def test_a_call_after_the_end_runs_the_driver_again(tmp_path: Path) -> None:
    async with running_service(tmp_path, DriverError("no luck"), DriverResult(task_id="t-2")) as stack:
        first = await stack.call(container_args())
        second = await stack.call(container_args())

    assert (first["node"]["phase"], second["node"]["phase"]) == ("Failed", "Succeeded")


async def test_a_call_that_outlasts_its_time_is_given_back_and_joined_later(tmp_path: Path) -> None:
    async with running_service(tmp_path, gate_open=False, timing=IMPATIENT) as stack:
        assert await stack.call(container_args()) == REQUEUE
        assert await stack.call(container_args()) == REQUEUE
        later = asyncio.create_task(stack.call(container_args()))
        await until(
            lambda: stack.service.metrics.value("kfp_driver_joined_calls_total", type="CONTAINER") == 2
        )
        stack.driver.gate.set()

        assert (await later)["node"]["phase"] == "Succeeded"
        assert len(stack.driver.calls) == 1


async def test_a_client_that_goes_away_cancels_nothing(tmp_path: Path) -> None:
    async with running_service(tmp_path, gate_open=False) as stack:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await stack.client.post(
                    PATH, json=body(container_args()), headers={"Authorization": f"Bearer {TOKEN}"}
                )
        await stack.driver.started.wait()
        later = asyncio.create_task(stack.call(container_args()))
        await until(
            lambda: stack.service.metrics.value("kfp_driver_joined_calls_total", type="CONTAINER") == 1
        )
        stack.driver.gate.set()

        assert (await later)["node"]["phase"] == "Succeeded"
        assert len(stack.driver.calls) == 1


async def test_beyond_the_limit_new_calls_get_503_and_repeated_calls_join(tmp_path: Path) -> None:
    async with running_service(
        tmp_path, gate_open=False, environ={"KFP_DRIVER_MAX_CONCURRENCY": "1"}
    ) as stack:
        first = asyncio.create_task(stack.call(container_args()))
        await stack.driver.started.wait()

        refused = await stack.post(body(dag_args()))
        assert refused.status == 503
        assert "too many" in (await refused.json())["error"]

        second = asyncio.create_task(stack.call(container_args()))
        await until(
            lambda: stack.service.metrics.value("kfp_driver_joined_calls_total", type="CONTAINER") == 1
        )
        stack.driver.gate.set()
        assert await first == await second
        assert (await stack.call(dag_args()))["node"]["phase"] == "Succeeded"


async def test_calls_beyond_the_limit_are_put_off_while_an_outage_fills_it(tmp_path: Path) -> None:
    """Argo's agent gives a node up after five answers 503; it calls again after a requeue however often."""
    timing = Timing(call_seconds=0.05, first_outage_pause=30.0)
    environ = {"KFP_DRIVER_MAX_CONCURRENCY": "1"}
    async with running_service(tmp_path, UnavailableError("down"), environ=environ, timing=timing) as stack:
        assert await stack.call(container_args()) == REQUEUE
        assert await stack.call(dag_args()) == REQUEUE
        assert len(stack.driver.calls) == 1
        assert stack.service.metrics.value("kfp_driver_requeues_total", type="DAG") == 1


async def test_the_limit_of_a_namespace_counts_that_namespace_only(tmp_path: Path) -> None:
    environ = {"KFP_DRIVER_MAX_PER_NAMESPACE": "1"}
    async with running_service(tmp_path, gate_open=False, environ=environ) as stack:
        first = asyncio.create_task(stack.call(container_args()))
        await stack.driver.started.wait()
        assert (await stack.post(body(dag_args()))).status == 503
        other = asyncio.create_task(stack.call(dag_args(namespace="team-b"), namespace="team-b"))
        await until(lambda: len(stack.driver.calls) == 2)
        stack.driver.gate.set()
        assert {reply["node"]["phase"] for reply in await asyncio.gather(first, other)} == {"Succeeded"}


@pytest.mark.parametrize(
    "outage",
    [UnavailableError("down"), ApiUnavailableError("KFP API down", status=503), OverloadedError("busy")],
)
async def test_an_outage_is_waited_out(tmp_path: Path, outage: Exception) -> None:
    answers = (outage, outage, DriverResult(task_id="t"))
    async with running_service(tmp_path, *answers, timing=FAST_OUTAGE) as stack:
        reply = await stack.call(container_args())

        assert reply["node"]["phase"] == "Succeeded"
        assert len(stack.driver.calls) == 3
        assert stack.service.metrics.value("kfp_driver_outage_retries_total", type="CONTAINER") == 2


async def test_an_outage_that_a_driver_reports_with_what_it_knew_is_waited_out_too(tmp_path: Path) -> None:
    failure = DriverFailure("KFP API down", partial=DriverResult(task_id="t-0"))
    failure.__cause__ = ApiUnavailableError("KFP API down")
    async with running_service(tmp_path, failure, DriverResult(task_id="t"), timing=FAST_OUTAGE) as stack:
        assert (await stack.call(container_args()))["node"]["phase"] == "Succeeded"


async def test_an_outage_hides_behind_requeue_answers(tmp_path: Path) -> None:
    timing = Timing(call_seconds=0.05, first_outage_pause=30.0)
    async with running_service(tmp_path, UnavailableError("down"), timing=timing) as stack:
        assert await stack.call(container_args()) == REQUEUE


async def test_an_outage_beyond_the_budget_fails_the_node(tmp_path: Path) -> None:
    environ = {"KFP_DRIVER_OUTAGE_BUDGET": "0s"}
    async with running_service(tmp_path, UnavailableError("KFP API is down"), environ=environ) as stack:
        reply = await stack.call(container_args())

    assert reply["node"]["phase"] == "Failed"
    assert "KFP API is down" in reply["node"]["message"]


@pytest.mark.parametrize(
    "error",
    [
        DriverError("the pipeline is wrong"),
        ResolutionError("the pipeline is wrong"),
        ApiCredentialError("the pipeline is wrong", status=403),
        ExceptionGroup("reads", [UnavailableError("down"), ResolutionError("the pipeline is wrong")]),
    ],
)
async def test_an_expected_error_fails_the_node_at_once_with_its_text(
    tmp_path: Path, error: Exception
) -> None:
    async with running_service(tmp_path, error) as stack:
        reply = await stack.call(container_args())
        (text,) = stack.log_texts()

    assert reply["node"]["phase"] == "Failed"
    assert "requeue" not in reply
    assert reply["node"]["message"].startswith("kfp-driver: the pipeline is wrong (invocation ")
    assert "Traceback" not in text
    assert "outcome=failed" in text


async def test_a_failure_publishes_what_the_driver_knew(tmp_path: Path) -> None:
    failure = DriverFailure("iterator is broken", partial=DriverResult(task_id="t-9", condition=True))
    async with running_service(tmp_path, failure) as stack:
        reply = await stack.call(dag_args())

    assert outputs(reply)["task-id"] == "t-9"
    assert outputs(reply)["condition"] == "true"


async def test_a_bug_fails_the_node_and_its_stack_stands_in_the_log_only(tmp_path: Path) -> None:
    async with running_service(tmp_path, ZeroDivisionError("secret detail")) as stack:
        reply = await stack.call(container_args())
        (text,) = stack.log_texts()

    message = reply["node"]["message"]
    assert message.startswith("kfp-driver: internal error")
    assert "secret detail" not in message
    assert "Traceback" not in message
    assert "ZeroDivisionError" in text
    assert Path(outputs(reply)["driver-log-uri"]).stem in message


async def test_success_without_a_row_is_a_failure(tmp_path: Path) -> None:
    async with running_service(tmp_path, DriverResult()) as stack:
        reply = await stack.call(container_args())

    assert reply["node"]["message"].startswith("kfp-driver: execution.TaskID is empty")


async def test_a_log_store_that_fails_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file in the way")
    async with running_service(tmp_path, environ={"KFP_DRIVER_LOG_UPLOAD_WAIT": "0s"}) as stack:
        reply = await stack.call(container_args())

    assert reply["node"]["phase"] == "Succeeded"


async def test_without_upload_the_message_says_so_and_the_uri_is_empty(tmp_path: Path) -> None:
    async with running_service(tmp_path, environ={"KFP_DRIVER_LOG_UPLOAD": "false"}) as stack:
        reply = await stack.call(container_args())

    assert reply["node"]["message"].endswith(" (not uploaded)")
    assert outputs(reply)["driver-log-uri"] == ""


async def test_draining_refuses_new_calls_and_lets_running_ones_end(tmp_path: Path) -> None:
    async with running_service(tmp_path, gate_open=False) as stack:
        running = asyncio.create_task(stack.call(container_args()))
        await stack.driver.started.wait()
        drained = asyncio.create_task(stack.service.invocations.drain(10))
        await until(lambda: stack.service.invocations.draining)

        refused = await stack.post(body(dag_args()))
        assert refused.status == 503
        assert stack.service.not_ready_because() == "stopping"

        stack.driver.gate.set()
        assert (await running)["node"]["phase"] == "Succeeded"
        await drained


async def test_draining_gives_calls_back_that_wait_for_an_outage_to_end(tmp_path: Path) -> None:
    timing = Timing(first_outage_pause=60.0)
    async with running_service(tmp_path, UnavailableError("down"), timing=timing) as stack:
        waiting = asyncio.create_task(stack.call(container_args()))
        await until(
            lambda: stack.service.metrics.value("kfp_driver_outage_retries_total", type="CONTAINER") == 1
        )
        await stack.service.invocations.drain(10)

        assert await waiting == REQUEUE


async def test_draining_gives_calls_back_that_do_not_end_in_time(tmp_path: Path) -> None:
    async with running_service(tmp_path, gate_open=False) as stack:
        running = asyncio.create_task(stack.call(container_args()))
        await stack.driver.started.wait()
        await stack.service.invocations.drain(0.05)

        assert await running == REQUEUE
        await stack.service.uploader.flush(5)
        (text,) = stack.log_texts()
        assert "outcome=running" in text


async def test_calls_are_counted_by_type_and_outcome(tmp_path: Path) -> None:
    async with running_service(
        tmp_path, DriverResult(task_id="t", cached=True), DriverError("no"), DriverResult(task_id="t")
    ) as stack:
        for _ in range(3):
            await stack.call(container_args())
        value = stack.service.metrics.value

        assert value("kfp_driver_calls_total", type="CONTAINER", outcome="succeeded") == 2
        assert value("kfp_driver_calls_total", type="CONTAINER", outcome="failed") == 1
        assert value("kfp_driver_calls_in_flight") == 0

"""Replies to Argo. Oracle: the output table and message rules of spec DRIVER 1.4 and LAUNCHER D3."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driver_plugin.argo.driver_type import DriverType
from driver_plugin.argo.replies import REQUEUE, DriverResult, failed, failure_message, succeeded

DECLARED = {
    DriverType.ROOT_DAG: {"parent-dag-task-id-path", "iteration-count", "condition"},
    DriverType.DAG: {"parent-dag-task-id-path", "iteration-count", "condition"},
    DriverType.CONTAINER: {"pod-spec-patch", "cached-decision", "condition"},
}
ALWAYS = {"parent-dag-task-id-path", "task-id", "driver-log-uri"}

RESULTS = {
    "plain": DriverResult(task_id="t", pod_spec_patch="{}"),
    "cached": DriverResult(task_id="t", cached=True),
    "condition false": DriverResult(task_id="t", condition=False),
    "platform operation": DriverResult(task_id="t", condition=True),
}


def outputs(reply: dict[str, Any]) -> dict[str, str]:
    parameters = reply["node"]["outputs"]["parameters"]
    named = {parameter["name"]: parameter["value"] for parameter in parameters}
    assert len(named) == len(parameters), "a name is given twice"
    return named


@pytest.mark.parametrize("call_type", DriverType)
@pytest.mark.parametrize("result", RESULTS.values(), ids=RESULTS)
def test_every_declared_output_is_given_as_a_string_on_success_and_on_failure(
    call_type: DriverType, result: DriverResult
) -> None:
    good = succeeded(call_type, result, message="driver log: x", driver_log_uri="")
    bad = failed(call_type, "no", invocation_id="i", result=DriverResult(), driver_log_uri="")

    for reply in (good, bad):
        values = outputs(reply)
        assert DECLARED[call_type] | ALWAYS <= values.keys()
        assert all(isinstance(value, str) for value in values.values())
        assert "requeue" not in reply


@pytest.mark.parametrize(("condition", "text"), [(None, "nil"), (True, "true"), (False, "false")])
def test_the_condition_is_nil_or_a_lower_case_boolean(condition: bool | None, text: str) -> None:
    result = DriverResult(task_id="t", condition=condition)

    assert outputs(succeeded(DriverType.DAG, result, message="m", driver_log_uri=""))["condition"] == text


def test_the_row_id_is_given_under_both_names_to_every_type() -> None:
    for call_type in DriverType:
        values = outputs(succeeded(call_type, DriverResult(task_id="t-1"), message="m", driver_log_uri=""))
        assert (values["parent-dag-task-id-path"], values["task-id"]) == ("t-1", "t-1")


def test_a_container_reply_carries_patch_and_decision() -> None:
    result = DriverResult(task_id="t", cached=True, pod_spec_patch='{"a":1}')

    values = outputs(succeeded(DriverType.CONTAINER, result, message="m", driver_log_uri="s3://b/x.log"))

    assert values["cached-decision"] == "true"
    assert values["pod-spec-patch"] == '{"a":1}'
    assert values["driver-log-uri"] == "s3://b/x.log"


def test_a_loop_reply_carries_its_count() -> None:
    result = DriverResult(task_id="t", iteration_count=12)

    assert (
        outputs(succeeded(DriverType.DAG, result, message="m", driver_log_uri=""))["iteration-count"] == "12"
    )


def test_a_failure_of_unknown_type_gives_the_outputs_of_all_types() -> None:
    reply = failed(None, "no", invocation_id="i", result=DriverResult(), driver_log_uri="")

    assert outputs(reply).keys() == set.union(*DECLARED.values()) | ALWAYS


def test_a_failure_publishes_what_was_known() -> None:
    known = DriverResult(task_id="t-9", condition=True, iteration_count=4)

    reply = failed(DriverType.DAG, "broken", invocation_id="i-1", result=known, driver_log_uri="s3://b/k")

    values = outputs(reply)
    assert (values["task-id"], values["condition"], values["iteration-count"]) == ("t-9", "true", "4")
    assert reply["node"]["phase"] == "Failed"
    assert reply["node"]["message"] == "kfp-driver: broken (invocation i-1)"


@given(st.text(max_size=4000), st.text(alphabet="0123456789abcdefTZ-", min_size=1, max_size=40))
def test_a_failure_message_stays_below_one_kibibyte_on_one_line(error: str, invocation_id: str) -> None:
    message = failure_message(error, invocation_id)

    assert len(message.encode("utf-8")) < 1024
    assert message.startswith("kfp-driver: ")
    assert message.endswith(f" (invocation {invocation_id})")
    assert not set(message) & {chr(code) for code in (*range(32), 127)}


def test_a_long_message_loses_its_middle() -> None:
    message = failure_message("start " + "x" * 5000 + " end", "i")

    assert message.startswith("kfp-driver: start xxx")
    assert message.endswith("xxx end (invocation i)")


def test_a_message_carries_no_credential() -> None:
    assert "hunter2" not in failure_message("GET http://u:hunter2@host failed", "i")


def test_a_requeue_writes_nothing_to_the_workflow() -> None:
    assert REQUEUE == {"node": {}, "requeue": "2s"}

"""The text of a log, and JSON lines on standard output. Oracle: format and limits of spec DEPLOY 9.3, 9.6."""

import io
import json
import logging
import re

import pytest
import structlog

from driver_plugin.system_logs.capture import InvocationLog, current_log
from driver_plugin.system_logs.standard_output import configure, emitter

LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z [A-Z]+ [a-z-]+ .*")


def test_a_log_has_a_header_its_records_and_an_end() -> None:
    log = InvocationLog("i-1", header={"run_id": "r-1"})
    log.info("row decided", state="RUNNING", ms=3, text="two words")

    first, record, end = log.body("succeeded").decode().splitlines()

    assert first.startswith("# kfp-driver-log v1 ")
    header = json.loads(first.removeprefix("# kfp-driver-log v1 "))
    assert (header["invocation_id"], header["run_id"]) == ("i-1", "r-1")
    assert LINE.fullmatch(record)
    assert record.endswith(' INFO driver row decided state=RUNNING ms=3 text="two words"')
    assert re.fullmatch(r"# end outcome=succeeded duration_ms=\d+ truncated=false", end)


def test_records_below_the_level_are_left_out() -> None:
    log = InvocationLog("i", level="WARNING")
    log.info("quiet")
    log.warning("loud")

    assert b"quiet" not in log.body("failed")
    assert b"loud" in log.body("failed")


def test_one_record_is_one_line_whatever_it_carries() -> None:
    log = InvocationLog("i")
    log.info("forged\n2026-01-01T00:00:00.000Z INFO driver done", value="x\r\n\x1b[2J", password="hunter2")

    text = log.body("failed").decode()

    assert len(text.splitlines()) == 3
    assert "\x1b" not in text
    assert "hunter2" not in text


def test_a_secret_over_several_lines_of_a_stack_trace_is_hidden() -> None:
    log = InvocationLog("i")
    error = ValueError("bad key\n-----BEGIN PRIVATE KEY-----\nMIIcanary\ncanary==\n-----END PRIVATE KEY-----")
    log.failure("driver failed", error, stack=True)

    assert b"canary" not in log.body("failed")


def test_hidden_values_leave_neither_fields_nor_records_of_other_loggers() -> None:
    stream = io.StringIO()
    configure("INFO", stream)
    log = InvocationLog("i-8", emit=emitter("i-8"))
    log.hide({"password": 'canary "quoted"'})
    token = current_log.set(log)
    try:
        log.info('got canary "quoted"', text={"x": ['canary "quoted"']})
        structlog.get_logger("kfp-api").warning('canary "quoted"', path='/canary "quoted"')
    finally:
        current_log.reset(token)
        structlog.reset_defaults()
        logging.getLogger().handlers[:] = []

    assert "canary" not in stream.getvalue()
    assert b"canary" not in log.body("failed")


def test_a_long_line_is_cut_at_8_kib() -> None:
    log = InvocationLog("i")
    log.info("x" * 100_000)

    line = log.body("failed").splitlines()[1]
    assert len(line) <= 8 * 1024
    assert b"bytes)" in line[-30:]


def test_a_flood_keeps_the_beginning_and_the_end_within_5_mib() -> None:
    log = InvocationLog("i")
    for number in range(12_000):
        log.info("record", number=number, filling="x" * 600)

    body = log.body("succeeded")
    assert len(body) <= 5 << 20
    assert b"record number=0 " in body
    assert b"record number=11999 " in body
    assert b" lines cut ..." in body
    assert body.endswith(b"truncated=true\n")


def test_the_causes_of_an_error_are_logged_and_the_stack_only_of_a_bug() -> None:
    log = InvocationLog("i")
    with pytest.raises(ValueError, match="outer") as caught:
        raise ValueError("outer") from KeyError("inner")
    log.failure("driver failed", caught.value, stack=False)
    assert b"Traceback" not in log.body("failed")
    assert b"inner" in log.body("failed")

    log.failure("driver failed", caught.value, stack=True)
    assert b"Traceback" in log.body("failed")


def test_every_record_is_a_json_line_on_standard_output_too() -> None:
    stream = io.StringIO()
    configure("INFO", stream)
    log = InvocationLog("i-7", emit=emitter("i-7"))
    token = current_log.set(log)
    try:
        log.info("step", event="odd", value=["a\x7f"], api_token="canary")
        structlog.get_logger("kfp-api").warning("from elsewhere", path="/x")
        logging.getLogger("asyncio").error("from the library")
    finally:
        current_log.reset(token)
        structlog.reset_defaults()
        logging.getLogger().handlers[:] = []

    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["event"] for line in lines] == ["step", "from elsewhere", "from the library"]
    assert lines[0]["invocation_id"] == "i-7"
    assert "canary" not in stream.getvalue()
    body = log.body("succeeded").decode()
    assert body.count("step") == 1
    assert "from elsewhere path=/x" in body
    assert "from the library" in body

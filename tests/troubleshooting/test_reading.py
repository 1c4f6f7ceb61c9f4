"""Logs read back. Oracle: what was recorded through the driver's own log."""

from hypothesis import given
from hypothesis import strategies as st

from driver_plugin.system_logs.capture import InvocationLog
from troubleshooting.reading import read_driver_log

# Letters of which no secret-sounding name can be made.
NAMES = st.from_regex(r"[a-h]{1,8}", fullmatch=True)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text("ab ='\"\\\n\té…", max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(NAMES, VALUES, max_size=5))
def test_the_fields_of_a_record_are_read_as_they_were_written(fields: dict[str, object]) -> None:
    log = InvocationLog("i-1", header={"run_id": "r"})
    log.info("row decided", **fields)

    (record,) = read_driver_log(log.body("succeeded").decode()).records

    assert record.event == "row decided"
    assert record.fields.keys() == fields.keys()
    for name, value in fields.items():
        # A bare word is written without quotes: the text of a number is read as the number.
        assert record.fields[name] == value or str(record.fields[name]) == value


def test_identity_outcome_and_error_are_known() -> None:
    log = InvocationLog("i-1", header={"run_id": "r", "task_name": "train"})
    log.warning("claim exists and is used as it is", name="c")
    log.failure("driver failed", ValueError("no such input"), stack=False)

    read = read_driver_log(log.body("failed").decode())

    assert (read.header["run_id"], read.header["task_name"]) == ("r", "train")
    assert (read.outcome, read.error) == ("failed", "no such input")
    assert read.duration_ms is not None
    assert [record.event for record in read.warnings] == ["claim exists and is used as it is"]


@given(st.text(max_size=200))
def test_any_text_is_read_without_an_error(text: str) -> None:
    assert read_driver_log(text).outcome in ("running", "succeeded", "failed") or "outcome=" in text


def test_an_id_that_begins_like_a_number_stays_a_text() -> None:
    log = InvocationLog("i-1")
    log.info("cache decision", source_run_id="95a8ae63-268c", hit=True)

    (record,) = read_driver_log(log.body("succeeded").decode()).records

    assert record.fields == {"source_run_id": "95a8ae63-268c", "hit": True}

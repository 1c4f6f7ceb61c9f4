"""Driver logs: the filter, a log of 5 MiB, and a run with 1,000 logs, in a directory and in a bucket."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from measure import PROJECT, Rows

sys.path.insert(0, str(PROJECT))

from driver_plugin.system_logs.capture import InvocationLog
from driver_plugin.system_logs.redaction import clean
from driver_plugin.system_logs.s3_store import S3LogStore, S3Target
from driver_plugin.system_logs.store import DirectoryLogStore, LogStore
from tests.object_store import BUCKET, s3_server
from troubleshooting.reading import read_driver_log

_LOGS = 1000
_RECORDS = 30
_TURNS = 10


def measure(directory: Path) -> Rows:
    """Recording, filtering, writing, listing, reading."""
    rows: Rows = []
    small = _small()
    spent = _least(_small) / _RECORDS * 1e6
    rows.append((f"logs: one record, filtered and kept: CPU, best of {_TURNS}", f"{spent:.0f} µs"))
    text = "x = 'some ordinary text of a log line', " * 26_000
    spent = _least(lambda: clean(text)) * 1e3
    rows.append((f"logs: filter, 1 MB of text: CPU, best of {_TURNS}", f"{spent:.1f} ms"))
    big = _flood()
    rows += _store("directory", DirectoryLogStore(directory / "logs"), small, big)
    with s3_server() as url:
        target = S3Target(
            bucket=BUCKET,
            endpoint=url,
            region="us-east-1",
            access_key="any",
            secret_key="any",  # noqa: S106
        )
        rows += _store("moto's S3", S3LogStore(target), small, big)
    return rows


def _store(name: str, store: LogStore, small: bytes, big: bytes) -> Rows:
    rows: Rows = []
    with _measured(rows, f"logs in {name}: write {_LOGS} logs of {len(small):,} bytes"):
        for number in range(_LOGS):
            store.put(f"run/parent/train.{number}/20260101T000000{number:03d}Z-00000000.log", small)
    with _measured(rows, f"logs in {name}: list {_LOGS} logs of one run"):
        listing = store.list("run")
    assert len(listing.logs) == _LOGS
    with _measured(rows, f"logs in {name}: one task's logs among them"):
        assert len(store.list("run/parent/train.500").logs) == 1
    store.put("big/root/20260101T000000000Z-00000000.log", big)
    with _measured(rows, f"logs in {name}: open a log of {len(big) / (1 << 20):.1f} MiB"):
        text = store.get("big/root/20260101T000000000Z-00000000.log").decode()
    if name == "directory":
        with _measured(rows, "logs: facts of that log, for explain"):
            assert read_driver_log(text).outcome == "succeeded"
    return rows


def _small() -> bytes:
    log = InvocationLog("20260101T000000000Z-00000000", header={"run_id": "r"})
    for number in range(_RECORDS):
        log.info("KFP API request", method="GET", path=f"/apis/v2beta1/runs/{number}", status="200", ms=3)
    return log.body("succeeded")


def _least(work: Callable[[], object]) -> float:
    """Seconds of processor time of the cheapest turn: the machine has other work."""

    def turn() -> float:
        started = time.process_time()
        work()
        return time.process_time() - started

    return min(turn() for _ in range(_TURNS))


def _flood() -> bytes:
    log = InvocationLog("20260101T000000000Z-00000000", header={"run_id": "r"})
    for number in range(12_000):
        log.info("record", number=number, filling="x" * 400)
    return log.body("succeeded")


@contextmanager
def _measured(rows: Rows, what: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    rows.append((what, _ms(started)))


def _ms(started: float) -> str:
    return f"{(time.perf_counter() - started) * 1000:.1f} ms"

"""Where logs are written and what happens when they cannot be. Oracle: spec DEPLOY 9.4."""

import asyncio
import threading
from pathlib import Path

import pytest

from driver_plugin.metrics import Metrics
from driver_plugin.system_logs.store import (
    LISTED,
    READ_LIMIT,
    DirectoryLogStore,
    Listing,
    LogNotFoundError,
    LogStore,
    LogStoreError,
)
from driver_plugin.system_logs.upload import LogUploader, Open


class FlakyStore:
    """Fails as often as told, then writes."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.tries = 0
        self.written: dict[str, bytes] = {}

    def put(self, key: str, body: bytes) -> None:
        self.tries += 1
        if self.tries <= self.failures:
            raise LogStoreError("the store is down")
        self.written[key] = body

    def list(self, prefix: str, *, limit: int = LISTED) -> Listing:
        raise AssertionError((prefix, limit))

    def get(self, key: str, *, limit: int = READ_LIMIT) -> bytes:
        raise AssertionError((key, limit))

    def end(self, key: str, *, limit: int) -> tuple[bytes, bool]:
        raise AssertionError((key, limit))


def opening(*stores: LogStore) -> Open:
    """Opens the stores one after the other, the last one for ever."""
    left = list(stores)

    async def open_store() -> LogStore:
        return left.pop(0) if len(left) > 1 else left[0]

    return open_store


async def no_pause(_seconds: float) -> None:
    return


def test_a_directory_store_writes_whole_files_below_its_root(tmp_path: Path) -> None:
    DirectoryLogStore(tmp_path).put("run/root/i.log", b"text")

    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()] == [
        "run/root/i.log"
    ]
    assert (tmp_path / "run/root/i.log").read_bytes() == b"text"


def test_a_directory_store_does_not_leave_its_root(tmp_path: Path) -> None:
    with pytest.raises(LogStoreError):
        DirectoryLogStore(tmp_path / "logs").put("../x.log", b"text")


def test_a_directory_lists_and_reads_its_logs_the_oldest_call_first(tmp_path: Path) -> None:
    store = DirectoryLogStore(tmp_path)
    for key in (
        "run/p/train.1/20260102T000000000Z-b.log",
        "run/root/20260101T000000000Z-a.log",
        "other/root/x.log",
    ):
        store.put(key, b"text")
    (tmp_path / "run/root/.unfinished.log.1234").write_text("part")

    listing = store.list("run")

    assert [(log.scope, log.invocation_id, log.size) for log in listing.logs] == [
        ("root", "20260101T000000000Z-a", 4),
        ("p/train.1", "20260102T000000000Z-b", 4),
    ]
    assert not listing.truncated
    assert store.get(listing.logs[0].key, limit=2) == b"te"
    assert store.list("run", limit=1).truncated
    assert store.list("nothing/here").logs == ()


def test_a_missing_log_is_told_apart_from_a_broken_store(tmp_path: Path) -> None:
    with pytest.raises(LogNotFoundError):
        DirectoryLogStore(tmp_path).get("run/root/x.log")


def test_a_directory_that_cannot_be_written_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(LogStoreError):
        DirectoryLogStore(tmp_path / "file").put("x.log", b"text")


async def test_an_upload_is_tried_again_and_counted_once() -> None:
    store, metrics = FlakyStore(failures=4), Metrics()
    uploader = LogUploader(opening(store), metrics=metrics, pause=no_pause)

    task = uploader.start("k", b"text")
    assert task is not None
    await task

    assert store.written == {"k": b"text"}
    assert metrics.value("kfp_driver_log_uploads_total") == 1
    assert metrics.value("kfp_driver_log_upload_failures_total") == 0


async def test_an_upload_that_keeps_failing_is_given_up_and_counted() -> None:
    store, metrics = FlakyStore(failures=99), Metrics()
    uploader = LogUploader(opening(store), metrics=metrics, pause=no_pause)

    task = uploader.start("k", b"text")
    assert task is not None
    await task

    assert store.tries == 5
    assert metrics.value("kfp_driver_log_upload_failures_total") == 1


async def test_flushing_waits_for_uploads_under_way() -> None:
    release = threading.Event()

    class SlowStore(FlakyStore):
        def put(self, key: str, body: bytes) -> None:
            assert release.wait(10)
            super().put(key, body)

    store = SlowStore(failures=0)
    uploader = LogUploader(opening(store), metrics=Metrics(), pause=no_pause)
    uploader.start("k", b"text")
    release.set()
    await uploader.flush(10)

    assert store.written == {"k": b"text"}


async def test_what_flushing_has_no_time_for_is_counted() -> None:
    release = threading.Event()

    class SlowStore(FlakyStore):
        def put(self, key: str, body: bytes) -> None:
            assert release.wait(10)
            super().put(key, body)

    metrics = Metrics()
    uploader = LogUploader(opening(SlowStore(failures=0)), metrics=metrics)
    uploader.start("k", b"text")
    await uploader.flush(0.01)
    release.set()

    assert metrics.value("kfp_driver_log_upload_failures_total") == 1


async def test_flushing_ends_pauses_between_tries() -> None:
    paused = asyncio.Event()

    async def for_ever(_seconds: float) -> None:
        paused.set()
        await asyncio.Event().wait()

    store = FlakyStore(failures=1)
    uploader = LogUploader(opening(store), metrics=Metrics(), pause=for_ever)
    uploader.start("k", b"text")
    await paused.wait()
    await uploader.flush(10)

    assert store.written == {"k": b"text"}


async def test_tries_are_spread_over_the_budget_of_a_minute() -> None:
    pauses: list[float] = []

    async def note(seconds: float) -> None:
        pauses.append(seconds)

    task = LogUploader(opening(FlakyStore(failures=99)), metrics=Metrics(), pause=note).start("k", b"text")
    assert task is not None
    await task

    assert 40 < sum(pauses) < 60


async def test_a_store_that_cannot_be_opened_yet_is_opened_by_the_next_try() -> None:
    store = FlakyStore(failures=0)
    failures = [LogStoreError("the Secret is not there yet")]

    async def open_store() -> LogStore:
        if failures:
            raise failures.pop()
        return store

    task = LogUploader(open_store, metrics=Metrics(), pause=no_pause).start("k", b"text")
    assert task is not None
    await task

    assert store.written == {"k": b"text"}


async def test_a_refused_credential_is_read_again_before_the_next_try() -> None:
    class Refusing(FlakyStore):
        def put(self, key: str, body: bytes) -> None:
            raise LogStoreError(f"{key} {len(body)}: access denied", refused=True)

    store = FlakyStore(failures=0)
    uploader = LogUploader(opening(Refusing(0), store), metrics=Metrics(), pause=no_pause)
    task = uploader.start("k", b"text")
    assert task is not None
    await task

    assert store.written == {"k": b"text"}


async def test_too_many_waiting_logs_are_dropped_and_counted() -> None:
    metrics = Metrics()
    uploader = LogUploader(opening(FlakyStore(failures=0)), metrics=metrics, pause=no_pause)

    tasks = [uploader.start(f"k{number}", b"x" * (5 << 20)) for number in range(7)]

    assert tasks[-1] is None
    assert metrics.value("kfp_driver_log_upload_failures_total") == 1
    await uploader.flush(10)


async def test_without_a_store_nothing_is_uploaded() -> None:
    assert LogUploader(None, metrics=Metrics()).start("k", b"text") is None

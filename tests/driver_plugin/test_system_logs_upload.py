"""Where logs are written and what happens when they cannot be. Oracle: spec DEPLOY 9.4."""

import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from driver_plugin.metrics import Metrics
from driver_plugin.settings import Settings
from driver_plugin.system_logs.store import (
    DirectoryLogStore,
    LogStoreError,
    S3LogStore,
    S3Target,
    open_store,
    s3_target,
)
from driver_plugin.system_logs.upload import LogUploader


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


def test_a_directory_that_cannot_be_written_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(LogStoreError):
        DirectoryLogStore(tmp_path / "file").put("x.log", b"text")


async def test_an_upload_is_tried_again_and_counted_once() -> None:
    store, metrics = FlakyStore(failures=4), Metrics()
    uploader = LogUploader(store, metrics=metrics, pause=no_pause)

    task = uploader.start("k", b"text")
    assert task is not None
    await task

    assert store.written == {"k": b"text"}
    assert metrics.value("kfp_driver_log_uploads_total") == 1
    assert metrics.value("kfp_driver_log_upload_failures_total") == 0


async def test_an_upload_that_keeps_failing_is_given_up_and_counted() -> None:
    store, metrics = FlakyStore(failures=99), Metrics()
    uploader = LogUploader(store, metrics=metrics, pause=no_pause)

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
    uploader = LogUploader(store, metrics=Metrics(), pause=no_pause)
    uploader.start("k", b"text")
    release.set()
    await uploader.flush(10)

    assert store.written == {"k": b"text"}


async def test_too_many_waiting_logs_are_dropped_and_counted() -> None:
    metrics = Metrics()
    uploader = LogUploader(FlakyStore(failures=0), metrics=metrics, pause=no_pause)

    tasks = [uploader.start(f"k{number}", b"x" * (5 << 20)) for number in range(7)]

    assert tasks[-1] is None
    assert metrics.value("kfp_driver_log_upload_failures_total") == 1
    await uploader.flush(10)


async def test_without_a_store_nothing_is_uploaded() -> None:
    assert LogUploader(None, metrics=Metrics()).start("k", b"text") is None


@pytest.fixture
async def bucket() -> AsyncIterator[tuple[TestServer, dict[str, tuple[bytes, str]]]]:
    """A server that takes S3's PUT of an object, and nothing else."""
    objects: dict[str, tuple[bytes, str]] = {}

    async def put(request: web.Request) -> web.Response:
        if "denied" in request.path:
            return web.Response(status=403, text="<Error><Code>AccessDenied</Code></Error>")
        objects[request.path] = (await request.read(), request.headers["Content-Type"])
        return web.Response(headers={"ETag": '"x"'})

    application = web.Application()
    application.router.add_put("/{path:.*}", put)
    server = TestServer(application)
    await server.start_server()
    yield server, objects
    await server.close()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_an_s3_store_puts_one_object_and_reports_a_refusal(
    bucket: tuple[TestServer, dict[str, tuple[bytes, str]]],
) -> None:
    server, objects = bucket
    metrics = Metrics()
    target = S3Target(
        bucket="mlpipeline",
        prefix="v2/artifacts/_driver-logs",
        endpoint=str(server.make_url("")).rstrip("/"),
        region="minio",
        path_style=True,
        access_key="a",
        secret_key="s",
    )
    uploader = LogUploader(S3LogStore(target), metrics=metrics, pause=no_pause)

    for key in ("run/root/i.log", "denied/root/i.log"):
        task = uploader.start(key, b"text")
        assert task is not None
        await task
    await uploader.flush(5)

    assert objects == {
        "/mlpipeline/v2/artifacts/_driver-logs/run/root/i.log": (b"text", "text/plain; charset=utf-8")
    }
    assert metrics.value("kfp_driver_log_upload_failures_total") == 1


@pytest.mark.parametrize(
    ("root", "environ", "endpoint", "prefix"),
    [
        ("minio://b/p/_driver-logs", {}, "http://seaweedfs.kubeflow:9000", "p/_driver-logs"),
        (
            "minio://b/p",
            {"OBJECT_STORE_HOST": "store", "OBJECT_STORE_PORT": "9001"},
            "http://store:9001",
            "p",
        ),
        ("s3://b", {}, None, ""),
    ],
)
def test_a_log_root_names_bucket_prefix_and_server(
    root: str, environ: dict[str, str], endpoint: str | None, prefix: str
) -> None:
    target = s3_target(root, Settings.from_environ(environ))

    assert (target.bucket, target.prefix, target.endpoint) == ("b", prefix, endpoint)


def test_an_absolute_path_opens_a_directory() -> None:
    assert isinstance(open_store("/data/logs", Settings()), DirectoryLogStore)

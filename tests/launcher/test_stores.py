"""Artifacts to and from object stores, over HTTP.

Oracle: moto's S3 server, and the rules and vectors of spec LAUNCHER A6, A9 and G.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from launcher.configuration import ConfigurationReader
from launcher.errors import LauncherError
from launcher.stores.access import Stores
from launcher.stores.directory import DirectoryStore
from launcher.stores.s3 import S3Store
from launcher.stores.s3_settings import S3Settings
from launcher.stores.store import StoreError
from tests.launcher.s3_server import KEYS, S3Server


def settings(endpoint: str) -> S3Settings:
    return S3Settings(
        endpoint=endpoint,
        region="us-east-1",
        path_style=True,
        attempts=1,
        access_key=KEYS["AWS_ACCESS_KEY_ID"],
        secret_key=KEYS["AWS_SECRET_ACCESS_KEY"],
    )


@pytest.fixture
def store(s3: S3Server) -> Iterator[S3Store]:
    opened = S3Store(settings(s3.endpoint), pause_seconds=0.01)
    yield opened
    opened.close()


def files(directory: Path) -> dict[str, str]:
    return {
        str(path.relative_to(directory)): path.read_text(encoding="utf-8")
        for path in directory.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize(
    ("objects", "expected"),
    [
        ({"d": "", "d/a": "1", "d/b/c": "2", "d2/x": "3"}, {"out/a": "1", "out/b/c": "2"}),
        ({"d": "file", "d2": "other"}, {"out": "file"}),
        ({"d/": "", "d/a": "1", "d/empty/": ""}, {"out/a": "1"}),
        ({"other": "1"}, {}),
    ],
)
def test_download_takes_the_object_or_the_tree_below_it(
    objects: dict[str, str], expected: dict[str, str], s3: S3Server, store: S3Store, tmp_path: Path
) -> None:
    bucket = s3.new_bucket()
    for key, body in objects.items():
        s3.put(bucket, key, body.encode())
    assert store.download(f"s3://{bucket}/d", tmp_path / "out") is bool(expected)
    assert files(tmp_path) == expected


def test_download_never_leaves_the_artifact(s3: S3Server, store: S3Store, tmp_path: Path) -> None:
    bucket = s3.new_bucket()
    s3.put(bucket, "d/../../etc", b"x")
    with pytest.raises(LauncherError, match="would be written outside of"):
        store.download(f"s3://{bucket}/d", tmp_path / "deep" / "out")
    assert files(tmp_path) == {}


def test_download_pages_through_large_directories(s3: S3Server, tmp_path: Path) -> None:
    bucket, store = s3.new_bucket(), S3Store(settings(s3.endpoint), keys_per_page=2)
    for number in range(5):
        s3.put(bucket, f"d/{number}", b"x")
    assert store.download(f"s3://{bucket}/d", tmp_path / "out")
    store.close()
    assert len(files(tmp_path)) == 5


def test_escapes_in_a_uri_are_decoded_into_the_key(s3: S3Server, store: S3Store, tmp_path: Path) -> None:
    bucket = s3.new_bucket()
    (tmp_path / "m").write_text("weights", encoding="utf-8")
    store.upload(tmp_path / "m", f"s3://{bucket}/p/my%20model?region=eu", done=set())
    assert s3.objects(bucket) == {"p/my model": b"weights"}


def test_upload_of_a_directory_takes_every_file_and_follows_links_inside(
    s3: S3Server, store: S3Store, tmp_path: Path
) -> None:
    bucket, model = s3.new_bucket(), tmp_path / "model"
    (model / "layers" / "deep").mkdir(parents=True)
    (model / "empty").mkdir()
    (model / "config").write_text("c", encoding="utf-8")
    (model / "layers" / "deep" / "w").write_text("w", encoding="utf-8")
    (tmp_path / "outside").write_text("o", encoding="utf-8")
    (model / "file-link").symlink_to(tmp_path / "outside")
    (model / "directory-link").symlink_to(model / "layers")
    store.upload(model, f"s3://{bucket}/p/model", done=set())
    assert s3.objects(bucket) == {
        "p/model/config": b"c",
        "p/model/file-link": b"o",
        "p/model/layers/deep/w": b"w",
        "p/model/directory-link/deep/w": b"w",
    }


@pytest.mark.parametrize(
    ("link", "text"),
    [
        ("..", "not a directory inside the artifact"),
        ("/etc", "not a directory inside the artifact"),
        (".", "not a directory inside the artifact"),
        ("nowhere", "neither a file nor a directory"),
    ],
)
def test_link_that_leaves_the_artifact_or_leads_nowhere_is_an_error(
    link: str, text: str, store: S3Store, tmp_path: Path
) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "link").symlink_to(link)
    with pytest.raises(LauncherError, match=text):
        store.upload(tmp_path / "model", "s3://bucket/m", done=set())
    with pytest.raises(LauncherError, match=text):
        DirectoryStore().upload(tmp_path / "model", str(tmp_path / "stored"), done=set())


def test_objects_that_were_written_are_not_written_again(
    s3: S3Server, store: S3Store, tmp_path: Path
) -> None:
    bucket = s3.new_bucket()
    (tmp_path / "m").mkdir()
    for name in "ab":
        (tmp_path / "m" / name).write_text("new", encoding="utf-8")
    done = {f"s3://{bucket}/m/a"}
    store.upload(tmp_path / "m", f"s3://{bucket}/m", done=done)
    assert s3.objects(bucket) == {"m/b": b"new"}
    assert done == {f"s3://{bucket}/m/a", f"s3://{bucket}/m/b"}


def test_missing_bucket_fails_at_once_and_is_named(store: S3Store, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x", encoding="utf-8")
    with pytest.raises(StoreError, match=r"no-such-bucket.*NoSuchBucket") as written:
        store.upload(tmp_path / "f", "s3://no-such-bucket/k", done=set())
    with pytest.raises(StoreError, match=r"no-such-bucket.*NoSuchBucket") as read:
        store.download("s3://no-such-bucket/k", tmp_path / "out")
    assert not written.value.transient
    assert not read.value.transient


@contextmanager
def flaky_server(failures: int, *, after: int = 0) -> Iterator[tuple[str, list[str]]]:
    """A server that takes ``after`` objects, then answers 503 ``failures`` times; URL and paths served."""
    served: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # or boto3 waits for "100 Continue" in vain

        def do_PUT(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(503 if after <= len(served) < after + failures else 200)
            served.append(self.path.partition("?")[0])
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            """Nothing is logged."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", served
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(("failures", "requests", "stored"), [(4, 5, True), (9, 5, False)])
def test_each_object_is_tried_five_times(failures: int, requests: int, stored: bool, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x", encoding="utf-8")
    with flaky_server(failures) as (url, served):
        store = S3Store(settings(url), pause_seconds=0.001)
        if stored:
            store.upload(tmp_path / "f", "s3://bucket/k", done=set())
        else:
            with pytest.raises(StoreError, match="503") as caught:
                store.upload(tmp_path / "f", "s3://bucket/k", done=set())
            assert caught.value.transient
        store.close()
    assert len(served) == requests


def test_the_rest_of_a_set_is_tried_once_more_with_new_connections(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    for name in "ab":
        (tmp_path / name).write_text("x", encoding="utf-8")
    with flaky_server(failures=6, after=1) as (url, served):
        root = f"s3://bucket?endpoint={url}&region=r&use_path_style=true"
        reader = ConfigurationReader({}, namespace="ns", kubernetes=None)
        stores = Stores(reader=reader, environment={}, run_root=root, pause_seconds=0.001)
        stores.upload_all((str(tmp_path / name), f"s3://bucket/k/{name}") for name in "ab")
        stores.close()
    assert served[0] == "/bucket/k/a"
    assert served.count("/bucket/k/a") == 1, "what is stored is not sent again"
    assert len(served) == 8


def test_directory_store_copies_files_and_trees_and_leaves_equal_places_alone(tmp_path: Path) -> None:
    store, model = DirectoryStore(), tmp_path / "model"
    (model / "deep").mkdir(parents=True)
    (model / "deep" / "w").write_text("w", encoding="utf-8")
    store.upload(model, str(tmp_path / "stored"), done=set())
    assert files(tmp_path / "stored") == {"deep/w": "w"}
    store.upload(model, str(model), done=set())
    assert store.download(str(tmp_path / "stored"), tmp_path / "again")
    assert files(tmp_path / "again") == {"deep/w": "w"}
    assert not store.download(str(tmp_path / "nothing"), tmp_path / "none")
    with pytest.raises(LauncherError, match="leaves its directory"):
        store.download(f"{tmp_path}/../secret", tmp_path / "x")


def test_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(StoreError, match=f"copying .* to {tmp_path}/file/below failed: File exists"):
        DirectoryStore().upload(tmp_path / "file", os.fspath(tmp_path / "file" / "below"), done=set())

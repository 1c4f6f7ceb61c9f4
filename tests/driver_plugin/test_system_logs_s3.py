"""Logs in a bucket. Oracle: moto's S3 server over HTTP and HTTPS, and the rules of spec DEPLOY 9.4.

What a store does wrong (silence, dropped connections, refusals, no space) is done by a door before that
server; the driver service before it is the real one.
"""

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from driver_plugin.kubernetes import KubernetesClient
from driver_plugin.metrics import Metrics
from driver_plugin.settings import Settings
from driver_plugin.system_logs.opening import open_store, trust_bundle
from driver_plugin.system_logs.s3_store import S3LogStore, S3Target
from driver_plugin.system_logs.store import LogNotFoundError, LogStoreError
from driver_plugin.system_logs.upload import LogUploader
from tests.certificates import self_signed
from tests.driver_plugin.calls import container_args
from tests.driver_plugin.service import outputs, running_service
from tests.object_store import BUCKET, Mood, StoreDoor, s3_server, store_door

pytestmark = [
    pytest.mark.xdist_group("s3"),  # one server for all of them
    pytest.mark.filterwarnings("ignore::DeprecationWarning:botocore.*", "ignore::DeprecationWarning:moto.*"),
]

ROOT = f"minio://{BUCKET}/v2/artifacts/_driver-logs"
MOODS: tuple[Mood, ...] = ("down", "slow", "refusing", "full")


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with s3_server() as url:
        yield url


@pytest.fixture
async def door(server: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[StoreDoor]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    async with store_door(server) as opened:
        yield opened


def in_front_of(door: StoreDoor, **environ: str) -> dict[str, str]:
    """The service's environment that makes it use the door."""
    host, port = door.host_and_port
    return {
        "KFP_DRIVER_LOG_ROOT": ROOT,
        "OBJECT_STORE_HOST": host,
        "OBJECT_STORE_PORT": port,
        "KFP_DRIVER_S3_ACCESS_KEY": "env-key",
        "KFP_DRIVER_S3_SECRET_KEY": "env-secret",
        **environ,
    }


def stored(server: str) -> S3LogStore:
    """The log root as another client sees it."""
    return S3LogStore(
        S3Target(
            bucket=BUCKET,
            prefix="v2/artifacts/_driver-logs",
            endpoint=server,
            region="us-east-1",
            access_key="reader",
            secret_key="reader",
        )
    )


async def test_a_log_is_one_object_that_is_listed_and_read_again(door: StoreDoor, server: str) -> None:
    store = await open_store(ROOT, Settings.from_environ(in_front_of(door)))

    await asyncio.to_thread(store.put, "run-1/p/train.0/20260102T000000000Z-b.log", b"second")
    await asyncio.to_thread(store.put, "run-1/root/20260101T000000000Z-a.log", b"first")

    assert door.requests == [
        ("PUT", f"/{BUCKET}/v2/artifacts/_driver-logs/run-1/p/train.0/20260102T000000000Z-b.log"),
        ("PUT", f"/{BUCKET}/v2/artifacts/_driver-logs/run-1/root/20260101T000000000Z-a.log"),
    ]
    assert set(door.access_keys) == {"env-key"}
    listing = stored(server).list("run-1")
    assert [(log.scope, log.size) for log in listing.logs] == [("root", 5), ("p/train.0", 6)]
    assert stored(server).get(listing.logs[1].key) == b"second"
    assert stored(server).list("run-1", limit=1).truncated
    assert stored(server).list("run-1/p/train").logs == ()
    with pytest.raises(LogNotFoundError):
        stored(server).get("run-1/root/none.log")


async def test_the_key_in_the_secret_that_the_providers_name_is_used(door: StoreDoor, tmp_path: Path) -> None:
    host, port = door.host_and_port
    (tmp_path / "providers").write_text(
        f"""
        minio:
          default:
            endpoint: {host}:{port}
            region: us-east-1
            disableSSL: true
            credentials:
              fromEnv: false
              secretRef: {{secretName: store-key, accessKeyKey: user, secretKeyKey: pass}}
        """
    )

    async def secret(request: web.Request) -> web.Response:
        assert request.path == "/api/v1/namespaces/team-a/secrets/store-key"
        data = {"user": "secret-user", "pass": "canary-password"}
        return web.json_response(
            {"data": {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}}
        )

    app = web.Application()
    app.router.add_get("/{path:.*}", secret)
    settings = Settings.from_environ({"NAMESPACE": "team-a", "KFP_LAUNCHER_CONFIG_DIR": str(tmp_path)})
    async with (
        TestServer(app) as api,
        KubernetesClient(str(api.make_url("")).rstrip("/")) as kubernetes,
    ):
        store = await open_store(ROOT, settings, kubernetes=kubernetes)
    await asyncio.to_thread(store.put, "run-2/root/i.log", b"text")

    assert door.access_keys == ["secret-user"]
    assert "canary" not in repr(vars(store))


async def test_a_secret_that_is_not_there_is_said_by_name(door: StoreDoor) -> None:
    environ = in_front_of(door, KFP_DRIVER_S3_ACCESS_KEY="", NAMESPACE="team-a")

    async def missing(_request: web.Request) -> web.Response:
        return web.json_response({"message": 'secrets "mlpipeline-minio-artifact" not found'}, status=404)

    app = web.Application()
    app.router.add_get("/{path:.*}", missing)
    async with (
        TestServer(app) as api,
        KubernetesClient(str(api.make_url("")).rstrip("/")) as kubernetes,
    ):
        with pytest.raises(LogStoreError, match="mlpipeline-minio-artifact"):
            await open_store(ROOT, Settings.from_environ(environ), kubernetes=kubernetes)


async def test_the_ambient_chain_is_used_where_the_providers_say_so(
    door: StoreDoor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host, port = door.host_and_port
    (tmp_path / "providers").write_text(
        f'{{"s3": {{"default": {{"endpoint": "{host}:{port}", "region": "us-east-1", "disableSSL": true, '
        '"forcePathStyle": true, "credentials": {"fromEnv": true}}}}'
    )
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "ambient-key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "ambient-secret")

    root = f"s3://{BUCKET}/logs"
    settings = Settings.from_environ({"KFP_LAUNCHER_CONFIG_DIR": str(tmp_path)})
    store = await open_store(root, settings)
    await asyncio.to_thread(store.put, "run-3/root/i.log", b"text")

    assert door.access_keys == ["ambient-key"]
    assert door.requests == [("PUT", f"/{BUCKET}/logs/run-3/root/i.log")]


async def test_without_any_credential_the_error_says_so_and_asks_for_another(
    door: StoreDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    environ = in_front_of(door, KFP_DRIVER_S3_ACCESS_KEY="", KFP_DRIVER_S3_SECRET_KEY="")
    store = await open_store(ROOT, Settings.from_environ(environ))

    with pytest.raises(LogStoreError, match="credentials") as caught:
        await asyncio.to_thread(store.put, "run-4/root/i.log", b"text")
    assert caught.value.refused


@pytest.mark.parametrize(
    ("root", "endpoint", "path_style", "prefix"),
    [
        ("minio://b/p/_driver-logs", "http://seaweedfs.kubeflow:9000", True, "p/_driver-logs"),
        ("s3://b", None, False, ""),
    ],
)
async def test_without_configuration_a_log_root_means_what_it_means_to_kfp(
    root: str, endpoint: str | None, path_style: bool, prefix: str, tmp_path: Path
) -> None:
    store = await open_store(root, Settings.from_environ({"KFP_LAUNCHER_CONFIG_DIR": str(tmp_path)}))

    assert isinstance(store, S3LogStore)
    target = store._target
    assert (target.bucket, target.prefix) == ("b", prefix)
    assert (target.endpoint, target.path_style) == (endpoint, path_style)


async def test_trust_anchors_are_added_by_file_or_as_text(tmp_path: Path) -> None:
    key, certificate = self_signed(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    with s3_server(trust=context, certificate=certificate) as url:
        (tmp_path / "providers").write_text(
            f'{{"minio": {{"default": {{"endpoint": "{url}", "region": "us-east-1", '
            '"credentials": {"fromEnv": true}}}}'
        )
        credentials = {"KFP_DRIVER_S3_ACCESS_KEY": "a", "KFP_DRIVER_S3_SECRET_KEY": "s"}
        base = {"KFP_LAUNCHER_CONFIG_DIR": str(tmp_path), **credentials}
        for anchors in ({"KFP_CA_FILE": str(certificate)}, {"KFP_CA_PEM": certificate.read_text()}):
            store = await open_store(ROOT, Settings.from_environ(base | anchors))
            await asyncio.to_thread(store.put, "run-5/root/i.log", b"text")

            assert isinstance(store, S3LogStore)
            assert trust_bundle(Settings.from_environ(base | anchors)) == store._target.ca_file

        distrusting = await open_store(ROOT, Settings.from_environ(base))
        with pytest.raises(LogStoreError, match=r"(?i)certificate"):
            await asyncio.to_thread(distrusting.put, "run-5/root/i.log", b"text")


@pytest.mark.parametrize("mood", MOODS)
async def test_a_store_in_trouble_changes_no_reply_and_delays_none_beyond_the_wait(
    mood: Mood, door: StoreDoor, server: str, tmp_path: Path
) -> None:
    door.mood = mood
    environ = in_front_of(door, KFP_DRIVER_LOG_UPLOAD_WAIT="10ms")
    async with running_service(tmp_path, environ=environ) as stack:
        run_id = f"0b6c2222-0000-0000-0000-00000000{MOODS.index(mood):04d}"
        reply = await stack.call(container_args(run_id=run_id))

        # The reply is there while the upload goes on.
        assert stack.service.uploader.pending == 1
        assert reply["node"]["phase"] == "Succeeded"
        assert outputs(reply)["driver-log-uri"].startswith(f"{ROOT}/{run_id}/")
        await door.asked.wait()
        door.mood = "well"
        door.released.set()
        await stack.service.uploader.flush(10)

        (log,) = stored(server).list(run_id).logs
        assert b"# end outcome=succeeded" in stored(server).get(log.key)
        assert stack.service.metrics.value("kfp_driver_log_upload_failures_total") == 0


@pytest.mark.parametrize("mood", MOODS)
async def test_a_log_that_is_given_up_is_counted_and_its_reason_names_no_key(
    mood: Mood, door: StoreDoor, capsys: pytest.CaptureFixture[str]
) -> None:
    async def no_pause(_seconds: float) -> None:
        return

    door.mood = mood
    metrics = Metrics()
    settings = Settings.from_environ(in_front_of(door))
    uploader = LogUploader(lambda: open_store(ROOT, settings), metrics=metrics, pause=no_pause)
    task = uploader.start("run-6/root/i.log", b"text")
    assert task is not None
    if mood == "slow":
        await door.asked.wait()
        await uploader.flush(0.01)
    else:
        await task

    assert metrics.value("kfp_driver_log_upload_failures_total") == 1
    printed = capsys.readouterr().out
    assert "driver log not uploaded" in printed
    assert "env-secret" not in printed
    assert "env-key" not in printed

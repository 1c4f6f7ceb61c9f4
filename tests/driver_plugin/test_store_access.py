"""Reaching a namespace's object store: spec PODSPEC 11.5, against a scripted Kubernetes API."""

import base64
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from driver_plugin.errors import is_retryable
from driver_plugin.kubernetes import KubernetesClient, KubernetesError, KubernetesForbiddenError
from driver_plugin.podspec.errors import LauncherConfigError
from driver_plugin.podspec.launcher_config import LauncherConfigReader
from driver_plugin.store_access import StaticKeys, StoreAccess
from kfp_api.session_info import S3Connection

KFP_OWN = S3Connection(endpoint="http://store:1", region="minio", path_style=True, max_retries=5)
PROVIDERS = """
s3:
  default:
    region: eu
    credentials: {fromEnv: false, secretRef: {secretName: own, accessKeyKey: a, secretKeyKey: s}}
  Overrides: [{bucketName: ambient, credentials: {fromEnv: true}}]
gs:
  default: {credentials: {fromEnv: true}}
"""


@dataclass
class Namespace:
    """Secrets and launcher configuration of one namespace, and what was read of them."""

    secrets: dict[str, dict[str, str]] = field(default_factory=dict)
    config: dict[str, str] = field(default_factory=dict)
    status: int = 200
    reads: list[str] = field(default_factory=list)
    now: float = 0.0

    async def handle(self, request: web.Request) -> web.Response:
        kind, name = request.match_info["kind"], request.match_info["name"]
        self.reads.append(f"{kind}/{name}")
        if kind == "configmaps":
            return web.json_response({"data": self.config})
        encoded = {
            key: base64.b64encode(text.encode()).decode() for key, text in self.secrets.get(name, {}).items()
        }
        return web.json_response({"data": encoded, "message": "no"}, status=self.status)


@pytest.fixture
def namespace() -> Namespace:
    return Namespace()


@pytest.fixture
async def access(namespace: Namespace) -> AsyncIterator[StoreAccess]:
    app = web.Application()
    app.router.add_get("/api/v1/namespaces/team-a/{kind}/{name}", namespace.handle)
    async with (
        TestServer(app) as server,
        KubernetesClient(str(server.make_url("")), retry_wait_seconds=0) as client,
    ):
        yield StoreAccess(
            launcher_config=LauncherConfigReader(directory=None, kubernetes=client),
            kubernetes=client,
            object_store="store:1",
            clock=lambda: namespace.now,
        )


async def test_store_of_kubeflow_is_reached_with_its_own_secret(
    namespace: Namespace, access: StoreAccess
) -> None:
    namespace.secrets["mlpipeline-minio-artifact"] = {"accesskey": "minio\n", "secretkey": "minio123"}
    found = await access.s3("minio://mlpipeline/v2/artifacts", namespace="team-a")
    assert (found.connection, found.keys) == (KFP_OWN, StaticKeys("minio", "minio123"))
    assert "minio123" not in repr(found)


async def test_keys_come_from_the_secret_that_the_provider_settings_name(
    namespace: Namespace, access: StoreAccess
) -> None:
    namespace.config["providers"] = PROVIDERS
    namespace.secrets["own"] = {"a": "A", "s": "S"}
    found = await access.s3("s3://bucket/x", namespace="team-a")
    assert found.keys == StaticKeys("A", "S")
    assert found.connection.region == "eu"


async def test_no_secret_is_read_where_the_environment_decides(
    namespace: Namespace, access: StoreAccess
) -> None:
    namespace.config["providers"] = PROVIDERS
    assert (await access.s3("s3://ambient/x", namespace="team-a")).keys is None
    assert (await access.s3("s3://bucket/x?region=us", namespace="team-a")).connection.region == "us"
    assert namespace.reads == ["configmaps/kfp-launcher"]


async def test_secret_is_read_once_a_minute(namespace: Namespace, access: StoreAccess) -> None:
    secret = namespace.secrets.setdefault("mlpipeline-minio-artifact", {"accesskey": "a", "secretkey": "1"})
    for now, key in ((0.0, "1"), (59.0, "1"), (61.0, "2")):
        namespace.now = now
        assert (await access.s3("minio://b/x", namespace="team-a")).keys == StaticKeys("a", key)
        secret["secretkey"] = "2"
    assert namespace.reads.count("secrets/mlpipeline-minio-artifact") == 2


async def test_secret_without_the_named_key_is_refused_by_name(
    namespace: Namespace, access: StoreAccess
) -> None:
    namespace.secrets["mlpipeline-minio-artifact"] = {"accesskey": "hidden", "secretkey": ""}
    with pytest.raises(LauncherConfigError, match='"mlpipeline-minio-artifact" holds no') as caught:
        await access.s3("minio://b/x", namespace="team-a")
    assert "hidden" not in str(caught.value)


async def test_refused_secret_is_an_error_of_its_own(namespace: Namespace, access: StoreAccess) -> None:
    namespace.status = 403
    with pytest.raises(KubernetesForbiddenError, match="secrets/mlpipeline-minio-artifact"):
        await access.s3("minio://b/x", namespace="team-a")
    namespace.status = 503
    with pytest.raises(KubernetesError) as caught:
        await access.s3("minio://b/x", namespace="team-a")
    assert is_retryable(caught.value)


@pytest.mark.parametrize("root", ["gs://b/x", "/data", "mem://b"])
async def test_root_on_no_s3_server_is_refused(namespace: Namespace, access: StoreAccess, root: str) -> None:
    namespace.config["providers"] = PROVIDERS
    with pytest.raises(LauncherConfigError):
        await access.s3(root, namespace="team-a")


async def test_outside_a_cluster_a_secret_cannot_be_read() -> None:
    access = StoreAccess(
        launcher_config=LauncherConfigReader(directory=None, kubernetes=None), kubernetes=None
    )
    with pytest.raises(LauncherConfigError, match="outside a cluster"):
        await access.s3("minio://b/x", namespace="team-a")

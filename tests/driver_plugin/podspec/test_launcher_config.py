"""The launcher configuration: rules of spec PODSPEC 11.1, against a scripted Kubernetes API."""

from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from driver_plugin.kubernetes import KubernetesClient, KubernetesUnavailableError
from driver_plugin.podspec.errors import LauncherConfigError
from driver_plugin.podspec.launcher_config import LauncherConfig, LauncherConfigReader


def mount(directory: Path, **files: str) -> Path:
    (directory / "..data").mkdir(parents=True)
    for name, text in files.items():
        (directory / "..data" / name).write_text(text)
        (directory / name).symlink_to(directory / "..data" / name)
    return directory


class Api:
    """Answers ConfigMap reads with one status and counts them."""

    def __init__(self, status: int = 200, data: dict[str, str] | None = None) -> None:
        self.status, self.data, self.reads = status, data or {}, 0

    async def handle(self, request: web.Request) -> web.Response:
        assert request.path == "/api/v1/namespaces/team-a/configmaps/kfp-launcher"
        self.reads += 1
        return web.json_response({"data": self.data, "message": "because"}, status=self.status)


async def client_of(api: Api) -> tuple[KubernetesClient, TestServer]:
    app = web.Application()
    app.router.add_get("/{path:.*}", api.handle)
    server = TestServer(app)
    await server.start_server()
    return KubernetesClient(str(server.make_url("")), retry_wait_seconds=0), server


async def test_mounted_files_are_keys_and_win_over_the_api(tmp_path: Path) -> None:
    directory = mount(tmp_path / "config", defaultPipelineRoot="s3://b/r\n", providers="s3: {}")
    reader = LauncherConfigReader(directory=directory, kubernetes=None)
    assert await reader.read("team-a") == LauncherConfig("s3://b/r", "s3: {}")


@pytest.mark.parametrize("exists", [True, False])
async def test_empty_or_missing_directory_asks_the_api(tmp_path: Path, exists: bool) -> None:
    directory = mount(tmp_path / "config") if exists else tmp_path / "none"
    client, server = await client_of(api := Api(data={"defaultPipelineRoot": "minio://m"}))
    async with client, server:
        reader = LauncherConfigReader(directory=directory, kubernetes=client)
        assert await reader.read("team-a") == LauncherConfig("minio://m")
    assert api.reads == 1


async def test_answer_of_the_api_is_kept_for_seconds_only() -> None:
    now = 100.0
    client, server = await client_of(api := Api(data={"defaultPipelineRoot": "minio://m"}))
    async with client, server:
        reader = LauncherConfigReader(directory=None, kubernetes=client, clock=lambda: now)
        assert await reader.read("team-a") == await reader.read("team-a")
        assert api.reads == 1
        now += 10
        api.data = {"defaultPipelineRoot": "s3://new"}
        assert (await reader.read("team-a")).default_pipeline_root == "s3://new"


async def test_missing_config_map_is_an_empty_configuration() -> None:
    client, server = await client_of(Api(status=404))
    async with client, server:
        reader = LauncherConfigReader(directory=None, kubernetes=client)
        assert await reader.read("team-a") == LauncherConfig()


async def test_refusal_is_an_error_and_an_outage_is_retryable() -> None:
    for status, expected in ((403, LauncherConfigError), (503, KubernetesUnavailableError)):
        client, server = await client_of(Api(status=status))
        async with client, server:
            reader = LauncherConfigReader(directory=None, kubernetes=client)
            with pytest.raises(expected):
                await reader.read("team-a")


async def test_no_cluster_means_an_empty_configuration() -> None:
    assert await LauncherConfigReader(directory=None, kubernetes=None).read("x") == LauncherConfig()

"""A real embedded KFP API server per test, and driver services that use it."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp.test_utils import TestServer

from driver_plugin.drivers.dispatch import DriverServices
from driver_plugin.hooks.loading import PluginLoader
from driver_plugin.kubernetes import KubernetesClient
from driver_plugin.metrics import Metrics
from driver_plugin.podspec.launcher_config import LauncherConfigReader
from driver_plugin.settings import Settings
from kfp_api.client import KfpApiClient
from kfp_api.run_view import RunCache
from kfp_api.transport import ApiCall
from local_stack.api_server.app import build_app
from local_stack.api_server.config import ServerConfig
from resolver.expressions import ExpressionEngine
from tests.driver_plugin.drivers.cluster import Cluster
from tests.driver_plugin.drivers.stack import Stack


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncIterator[Stack]:
    requests: list[ApiCall] = []
    async with TestServer(build_app(ServerConfig(database=tmp_path / "kfp.sqlite"))) as server:
        url = str(server.make_url("")).rstrip("/")
        settings = Settings.from_environ({"KFP_API_URL": url, "KFP_DRIVER_PLUGIN_HOSTS": "127.0.0.1"})
        async with (
            KfpApiClient(url, observer=requests.append) as client,
            PluginLoader(settings) as plugins,
        ):
            services = DriverServices(
                client=client,
                run_cache=RunCache(),
                settings=settings,
                expressions=ExpressionEngine(),
                kubernetes=None,
                launcher_config=LauncherConfigReader(directory=None, kubernetes=None),
                plugins=plugins,
                metrics=Metrics(),
            )
            yield Stack(client=client, services=services, requests=requests)


@pytest.fixture
async def cluster(stack: Stack) -> AsyncIterator[Cluster]:
    cluster = Cluster()
    async with (
        TestServer(cluster.app()) as server,
        KubernetesClient(str(server.make_url("")).rstrip("/"), retry_wait_seconds=0) as client,
    ):
        stack.services = replace(stack.services, kubernetes=client)
        yield cluster

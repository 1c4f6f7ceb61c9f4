"""Servers and clients for the tests of ``kfp_api``."""

from collections.abc import AsyncIterator
from typing import Any, Protocol

import pytest

from kfp_api.client import KfpApiClient
from tests.kfp_api.scripted_server import ScriptedServer


class ClientFactory(Protocol):
    def __call__(self, **options: Any) -> KfpApiClient: ...


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    scripted = ScriptedServer()
    await scripted.start()
    yield scripted
    await scripted.stop()


@pytest.fixture
async def make_client(server: ScriptedServer) -> AsyncIterator[ClientFactory]:
    """Clients of ``server`` with any options; closed after the test."""
    made: list[KfpApiClient] = []

    def make(**options: Any) -> KfpApiClient:
        made.append(server.client(**options))
        return made[-1]

    yield make
    for client in made:
        await client.aclose()


@pytest.fixture
def client(make_client: ClientFactory) -> KfpApiClient:
    return make_client()

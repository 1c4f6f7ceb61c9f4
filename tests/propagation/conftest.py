"""A client of the embedded API, which notes its calls."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from kfp_api.client import KfpApiClient
from kfp_api.transport import ApiCall
from tests.embedded_api import Rows, embedded_api

StartRun = Callable[[dict[str, Any]], Awaitable[Rows]]


@pytest.fixture
async def start_run(tmp_path: Path) -> AsyncIterator[StartRun]:
    """Creates a run of a pipeline spec on the embedded API."""
    calls: list[ApiCall] = []
    async with embedded_api(tmp_path) as url, KfpApiClient(url, observer=calls.append) as client:

        async def start(spec: dict[str, Any]) -> Rows:
            return await Rows.of(client, spec, calls)

        yield start

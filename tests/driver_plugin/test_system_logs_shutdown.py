"""A service that is told to stop while its log store is in trouble. Oracles: spec DEPLOY 9.4, moto's server.

The service is a process of its own, stopped as Kubernetes does it; the door before the S3 server says when
the store has been asked, and lets it answer.
"""

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import aiohttp
import pytest

from driver_plugin.http.execute import PATH
from driver_plugin.system_logs.s3_store import S3LogStore, S3Target
from tests.driver_plugin.calls import body, container_args
from tests.driver_plugin.test_serve import COMMAND, environment
from tests.object_store import BUCKET, s3_server, store_door

pytestmark = [
    pytest.mark.xdist_group("s3"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:botocore.*", "ignore::DeprecationWarning:moto.*"),
]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with s3_server() as url:
        yield url


@asynccontextmanager
async def serving(environ: dict[str, str]) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """`kfp-driver serve` as a process, and its address."""
    process = await asyncio.create_subprocess_exec(
        *COMMAND, "--port", "0", "--health-port", "0", env=environ, stdout=asyncio.subprocess.PIPE
    )
    try:
        yield process, (await said(process, "serving"))["url"]
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def said(process: asyncio.subprocess.Process, event: str) -> dict[str, Any]:
    """The next record of that name on standard output."""
    assert process.stdout is not None
    async with asyncio.timeout(60):
        while line := await process.stdout.readline():
            record: dict[str, Any] = json.loads(line)
            if record["event"] == event:
                return record
    raise AssertionError(f"the service ended and never said {event!r}")


@pytest.mark.parametrize("mood", ["slow", "down"])
async def test_a_log_that_the_store_has_not_taken_at_sigterm_arrives(
    mood: Literal["slow", "down"], server: str, tmp_path: Path
) -> None:
    async with store_door(server) as door, aiohttp.ClientSession() as agent:
        door.mood = mood
        host, port = door.host_and_port
        environ = environment(
            tmp_path,
            KFP_DRIVER_LOG_ROOT=f"minio://{BUCKET}/{mood}",
            KFP_DRIVER_LOG_UPLOAD_WAIT="10ms",
            OBJECT_STORE_HOST=host,
            OBJECT_STORE_PORT=port,
            KFP_DRIVER_S3_ACCESS_KEY="any",
            KFP_DRIVER_S3_SECRET_KEY="any",
        )
        async with serving(environ) as (process, url):
            # A call that is refused at once leaves a log like any other.
            call = body(container_args(iteration_index="nonsense"))
            headers = {"Authorization": f"Bearer {(tmp_path / 'token').read_text()}"}
            async with agent.post(f"{url}{PATH}", json=call, headers=headers) as answer:
                reply = await answer.json()
            assert reply["node"]["phase"] == "Failed"
            async with asyncio.timeout(60):
                await door.asked.wait()
            process.send_signal(signal.SIGTERM)
            await said(process, "stopping")
            door.mood = "well"
            door.released.set()
            assert await process.wait() == 143

    store = S3LogStore(
        S3Target(bucket=BUCKET, endpoint=server, region="us-east-1", access_key="any", secret_key="any")
    )
    (log,) = (await asyncio.to_thread(store.list, mood)).logs
    text = (await asyncio.to_thread(store.get, log.key)).decode()
    assert text.startswith("# kfp-driver-log v1 ")
    assert "# end outcome=failed" in text

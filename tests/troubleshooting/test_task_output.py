"""``explain`` shows how the output of a component that failed in its own code ends.

Oracle: what was printed. The output is a file of a local run, or an artifact in moto's S3 server.
"""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from yarl import URL

from driver_plugin.cli import main
from driver_plugin.system_logs.s3_store import S3LogStore, S3Target
from tests.driver_plugin.calls import WORKFLOW
from tests.driver_plugin.drivers.pipelines import constant, leaf, pipeline, task
from tests.object_store import BUCKET, s3_server
from tests.troubleshooting.stack import Driven, Stack, running

FAILED = "failed to execute component: exit status 1"
OUTPUT = "starts\nTraceback:\nRuntimeError: too big: 7.0, sk-canarycanarycanary, s3same\n"
SPEC = pipeline(
    {"train": task("comp-train", inputs={"api_token": constant("s3same")})},
    {"comp-train": leaf("exec-train", inputs={"api_token": "STRING"})},
)
EXPECTED = f"cause train: {FAILED} | starts | Traceback: | RuntimeError: too big: 7.0, ***, *** do this"


async def failed(stack: Stack, artifacts: dict[str, str] | None = None) -> Driven:
    run = await stack.start(SPEC)
    await run.finish(await run.container("train"), artifacts=artifacts, error=FAILED)
    return run


def local_log(stack: Stack) -> Path:
    """Where the local stack has the output of the pod that played the executor."""
    path = stack.directory / "runs" / WORKFLOW.name / "pods" / "demo-pod-1" / "main.log"
    path.parent.mkdir(parents=True)
    return path


async def explained(stack: Stack, capsys: pytest.CaptureFixture[str]) -> str:
    """What the command prints for the data directory."""
    capsys.readouterr()
    assert await asyncio.to_thread(main, ["explain", "latest", "--data-dir", str(stack.directory)]) == 0
    return " ".join(capsys.readouterr().out.split())


async def test_of_a_local_run_it_is_read_from_the_executors_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with running(tmp_path) as stack:
        await failed(stack)
        local_log(stack).write_text(OUTPUT)
        assert EXPECTED in await explained(stack, capsys)


async def test_without_the_executors_log_the_published_one_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with running(tmp_path) as stack:
        published = tmp_path / "artifacts" / "executor-logs"
        published.parent.mkdir()
        published.write_text(OUTPUT)
        await failed(stack, {"executor-logs": str(published)})
        assert EXPECTED in await explained(stack, capsys)


async def test_a_row_never_leads_to_a_file_outside_the_data_directory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (tmp_path / "private").write_text("canary")
    (data / "link").symlink_to(tmp_path / "private")
    for uri in (tmp_path / "private", data / ".." / "private", data / "link"):
        async with running(data) as stack:
            await failed(stack, {"executor-logs": str(uri)})
            told = await explained(stack, capsys)
            assert FAILED in told
            assert "canary" not in told


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    with s3_server() as url:
        yield url


@pytest.mark.xdist_group("s3")
@pytest.mark.filterwarnings("ignore::DeprecationWarning:botocore.*", "ignore::DeprecationWarning:moto.*")
async def test_in_a_bucket_the_end_of_the_artifact_is_read(tmp_path: Path, server: str) -> None:
    address = URL(server)
    store = S3LogStore(
        S3Target(bucket=BUCKET, endpoint=server, region="us-east-1", access_key="a", secret_key="s")
    )
    await asyncio.to_thread(store.put, "v2/train/executor-logs", b"x" * 100_000 + b"\n" + OUTPUT.encode())
    async with running(
        tmp_path,
        OBJECT_STORE_HOST=str(address.host),
        OBJECT_STORE_PORT=str(address.port),
        KFP_DRIVER_S3_ACCESS_KEY="a",
        KFP_DRIVER_S3_SECRET_KEY="s",
    ) as stack:
        run = await failed(stack, {"executor-logs": f"minio://{BUCKET}/v2/train/executor-logs"})
        assert EXPECTED in await stack.explain(run.run_id)

        gone = await failed(stack, {"executor-logs": f"minio://{BUCKET}/v2/none"})
        assert f"cause train: {FAILED} do this" in await stack.explain(gone.run_id)
    assert await asyncio.to_thread(store.end, "v2/train/executor-logs", limit=5) == (b"same\n", False)

"""The launcher: what a task costs beyond its command, and its memory with large artifacts.

Moto's S3 server is Python and takes minutes for 2 GiB. ``KFP_TEST_S3_URL`` names another server, as for the
tests (``tests/launcher/s3_server.py``), through which 2 GiB are moved as well.
"""

import asyncio
import json
import os
import re
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import boto3
from aiohttp import web
from botocore.config import Config
from measure import Rows, ms, timed

from kfp_api.client import KfpApiClient
from kfp_api.messages import PipelineTask, Run, TaskState, TaskType
from local_stack.api_server.app import build_app
from local_stack.api_server.config import ServerConfig

TASKS = 10
SIZES = {"1 byte": 1, "256 MiB": 256 * 1024**2}
BIG = {"2 GiB": 2 * 1024**3}
KEYS = {
    "AWS_ACCESS_KEY_ID": "test-key",
    "AWS_SECRET_ACCESS_KEY": "test-secret",
    "AWS_DEFAULT_REGION": "us-east-1",
}

S3_SERVER = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
"""
REPORTING = """
import sys
from pathlib import Path
from launcher.__main__ import main
status = main()
print(Path("/proc/self/status").read_text())
sys.exit(status)
"""
DATASET = {"schemaTitle": "system.Dataset"}
PIPELINE = {
    "schemaVersion": "2.1.0",
    "pipelineInfo": {"name": "bench"},
    "root": {"dag": {"tasks": {"copy": {"taskInfo": {"name": "copy"}, "componentRef": {"name": "comp"}}}}},
    "components": {
        "comp": {
            "executorLabel": "exec",
            "inputDefinitions": {"artifacts": {"data": {"artifactType": DATASET, "isOptional": True}}},
            "outputDefinitions": {"artifacts": {"model": {"artifactType": DATASET}}},
        }
    },
    "deploymentSpec": {"executors": {"exec": {"container": {"image": "alpine"}}}},
}


def measure(directory: Path) -> Rows:
    """Start-up, small tasks, one big artifact in and out."""
    return [*start_up(), *asyncio.run(tasks(directory))]


def start_up() -> Rows:
    """What every executor pays before its launcher does anything."""
    loaded = min(timed([sys.executable, "-c", "import launcher.__main__, launcher.task"]) for _ in range(5))
    bare = min(timed([sys.executable, "-c", "pass"]) for _ in range(5))
    return [
        ("launcher: import, best of 5", f"{loaded * 1000:.0f} ms"),
        ("for comparison: python -c pass", f"{bare * 1000:.0f} ms"),
    ]


async def tasks(directory: Path) -> Rows:
    """Launchers against an embedded API in this process."""
    runner = web.AppRunner(build_app(ServerConfig(database=directory / "kfp.sqlite")))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    async with KfpApiClient(f"http://{host}:{port}") as client:
        seconds = []
        for _ in range(TASKS):
            started = time.perf_counter()
            await launch(
                client, f"http://{host}:{port}", root=str(directory / "artifacts"), script=': > "$0"'
            )
            seconds.append(time.perf_counter() - started)
        rows = [
            (f"launcher: a task whose command does nothing, median of {TASKS}", f"{ms(seconds)} ms"),
            *(await artifacts(client, f"http://{host}:{port}", directory)),
        ]
    await runner.cleanup()
    return rows


async def artifacts(client: KfpApiClient, api_url: str, directory: Path) -> Rows:
    """Peak memory of a launcher that downloads and uploads one artifact."""
    rows: Rows = []
    other = os.environ.get("KFP_TEST_S3_URL", "")
    sizes = SIZES | (BIG if other else {})
    bucket = f"bench-{secrets.token_hex(6)}"
    with nullcontext(other) if other else s3_server() as endpoint:
        store: Any = boto3.session.Session().client(
            "s3",
            endpoint_url=endpoint,
            region_name="us-east-1",
            aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
            config=Config(s3={"addressing_style": "path"}),
        )
        store.create_bucket(Bucket=bucket)
        config = directory / "config"
        config.mkdir()
        root = f"s3://{bucket}/root"
        query = f"?endpoint={endpoint}&region=us-east-1&use_path_style=true"
        (config / "defaultPipelineRoot").write_text(root + query, encoding="utf-8")
        for name, size in sizes.items():
            source, local = directory / "source", directory / "data"
            with source.open("wb") as file:
                file.truncate(size)
            await asyncio.to_thread(store.upload_file, str(source), bucket, "root/data")
            started = time.perf_counter()
            output = await launch(
                client,
                api_url,
                root=root,
                script=f'cp {local} "$0"',
                data={"name": "data", "uri": f"{root}/data", "type": DATASET, "customPath": str(local)},
                model_path=str(directory / "model"),
                environment={**KEYS, "KFP_LAUNCHER_CONFIG_DIR": str(config)},
            )
            peak = re.search(r"VmHWM:\s*(\d+) kB", output)
            assert peak is not None
            rows.append(
                (
                    f"launcher: peak memory, {name} from and to {'S3' if other else 'moto'}",
                    f"{int(peak[1]) / 1024:.0f} MiB in {time.perf_counter() - started:.0f} s",
                )
            )
    return rows


async def launch(
    client: KfpApiClient,
    api_url: str,
    *,
    root: str,
    script: str,
    data: Mapping[str, Any] | None = None,
    model_path: str = "",
    environment: Mapping[str, str] | None = None,
) -> str:
    """One launcher on a run of its own; its output."""
    run = await client.create_run(Run(display_name="bench", pipeline_spec=PIPELINE))
    parent = await client.create_task(
        PipelineTask(
            name="ROOT", run_id=run.run_id, type=TaskType.ROOT, state=TaskState.RUNNING, scope_path="root"
        )
    )
    task = await client.create_task(
        PipelineTask(
            name="copy",
            run_id=run.run_id,
            type=TaskType.RUNTIME,
            state=TaskState.RUNNING,
            scope_path="root.copy",
            parent_task_id=parent.task_id,
        )
    )
    model = {"name": "model", "uri": f"{root}/model", "type": DATASET}
    if model_path:
        model["customPath"] = model_path
    executor_input = {
        "inputs": {"artifacts": {"data": {"artifacts": [data]}}} if data else {},
        "outputs": {"artifacts": {"model": {"artifacts": [model]}}},
    }
    flags = {
        "executor_type": "container",
        "pipeline_name": "bench",
        "run_id": run.run_id,
        "task_id": task.task_id,
        "parent_task_id": parent.task_id,
        "executor_input": json.dumps(executor_input),
        "namespace": "ns",
        "pod_name": "pod",
        "pod_uid": "uid",
        "ml_pipeline_server_address": "localhost",
        "ml_pipeline_server_port": "0",
        "publish_logs": "false",
        "fingerprint": "",
        "task_name": "copy",
        "ca_cert_path": "",
        "log_level": "1",
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", REPORTING, "--ml_pipeline_tls_enabled=false", "--cache_disabled=false"),
        *(part for name, value in flags.items() for part in (f"--{name}", value)),
        *("--", "sh", "-c", script, "{{$.outputs.artifacts['model'].path}}"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "KFP_API_URL": api_url, **(environment or {})},
    )
    output, errors = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"{errors.decode()}\n{output.decode()[:500]}")
    return output.decode()


@contextmanager
def s3_server() -> Iterator[str]:
    """Moto's S3 server in a process of its own; yields its URL."""
    process = subprocess.Popen(
        [sys.executable, "-c", S3_SERVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.kill()
        process.communicate()

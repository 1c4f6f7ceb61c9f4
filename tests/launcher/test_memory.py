"""The launcher's memory does not grow with an artifact.

Oracle: the kernel's high-water mark of the launcher process (``VmHWM``), with an artifact of one byte and
with one of many MiB, each downloaded from and uploaded to moto's S3 server.
"""

import re

import pytest

from tests.launcher.conftest import Bench
from tests.launcher.s3_server import S3Server
from tests.launcher.test_stored_artifacts import s3_by_query

REPORTING = """
import sys
from pathlib import Path
from launcher.__main__ import main
status = main()
print(Path("/proc/self/status").read_text())
sys.exit(status)
"""


async def peak_mib(bench: Bench, s3: S3Server, size: int) -> int:
    """The launcher's peak resident memory while it moves ``size`` bytes in and the same out again."""
    bucket, task = s3.new_bucket(), await bench.task()
    root = f"s3://{bucket}/root"
    s3.put(bucket, "root/data", b"x" * size)
    data = bench.artifact("data", "system.Dataset", root)
    process = await bench.start(
        task,
        f'cp {data["customPath"]} "$0"; echo 1 > "$1"',
        executor_input=bench.executor_input(root, artifacts={"data": {"artifacts": [data]}}),
        environment=s3_by_query(bench, s3, bucket),
        program=("-c", REPORTING),
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output
    assert s3.client.head_object(Bucket=bucket, Key="root/model")["ContentLength"] == size
    found = re.search(r"VmHWM:\s*(\d+) kB", output.decode())
    assert found is not None
    return int(found.group(1)) // 1024


@pytest.mark.parametrize("mib", [64, pytest.param(512, marks=pytest.mark.slow)])
async def test_memory_is_flat(mib: int, bench: Bench, s3: S3Server) -> None:
    small = await peak_mib(bench, s3, 1)
    large = await peak_mib(bench, s3, mib * 1024 * 1024)
    assert large - small < 48, (small, large)

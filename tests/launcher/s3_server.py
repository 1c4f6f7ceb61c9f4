"""moto's S3 server in a process of its own, on a free loopback port; it ends with us.

``KFP_TEST_S3_URL`` names another server to test against: one that takes the keys ``test-key`` and
``test-secret``, such as ``versitygw --access test-key --secret test-secret posix DIRECTORY``.
"""

import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
from botocore.config import Config

KEYS = {"AWS_ACCESS_KEY_ID": "test-key", "AWS_SECRET_ACCESS_KEY": "test-secret"}

_SERVE = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
"""


class S3Server:
    """A server, and a client that tests look into it with."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.client: Any = boto3.session.Session().client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
            config=Config(s3={"addressing_style": "path"}),
        )

    def new_bucket(self) -> str:
        """Create a bucket under a name of its own."""
        name = f"bucket-{secrets.token_hex(6)}"
        self.client.create_bucket(Bucket=name)
        return name

    def put(self, bucket: str, key: str, body: bytes) -> None:
        self.client.put_object(Bucket=bucket, Key=key, Body=body)

    def objects(self, bucket: str) -> dict[str, bytes]:
        """All objects of a bucket."""
        listed = self.client.list_objects_v2(Bucket=bucket).get("Contents", [])
        return {
            entry["Key"]: self.client.get_object(Bucket=bucket, Key=entry["Key"])["Body"].read()
            for entry in listed
        }


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """Serve until the block ends."""
    if other := os.environ.get("KFP_TEST_S3_URL"):
        yield S3Server(other)
        return
    process = subprocess.Popen(
        [sys.executable, "-c", _SERVE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        server = S3Server(f"http://127.0.0.1:{int(process.stdout.readline())}")
        yield server
        server.client.close()
    finally:
        process.stdin.close()
        process.stdout.close()
        process.kill()
        process.wait()

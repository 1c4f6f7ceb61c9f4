"""Names of logs. Oracle: the key layout, slug rules and example of spec DEPLOY 9.2."""

import hashlib
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driver_plugin.system_logs.location import derive_log_root, new_invocation_id, object_key, slug
from tests.driver_plugin.calls import PARENT, RUN_ID, container_args, root_args

INVOCATION = "20260102T030405678Z-1f2e3d4c"


def hashed(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


@pytest.mark.parametrize(
    ("args", "key"),
    [
        (root_args(), f"{RUN_ID}/root/{INVOCATION}.log"),
        (container_args(task_name="train-model", iteration_index="2"),
         f"{RUN_ID}/{PARENT}/train-model.2/{INVOCATION}.log"),
        (container_args(iteration_index=0), f"{RUN_ID}/{PARENT}/train.0/{INVOCATION}.log"),
        (container_args(iteration_index="-1"), f"{RUN_ID}/{PARENT}/train/{INVOCATION}.log"),
        (container_args(task_name="../x"), f"{RUN_ID}/{PARENT}/..-x-{hashed('../x')}/{INVOCATION}.log"),
        (container_args(iteration_index="nonsense"), f"{RUN_ID}/{PARENT}/train/{INVOCATION}.log"),
    ],
)  # fmt: skip
def test_the_key_follows_from_the_arguments(args: dict[str, Any], key: str) -> None:
    assert object_key(args, INVOCATION) == key


@pytest.mark.parametrize(
    "args",
    [{}, container_args(run_id="../x"), container_args(run_id=7), container_args(parent_task_id="a/b")],
)
def test_ids_that_are_not_uuid_like_name_no_object(args: dict[str, Any]) -> None:
    assert object_key(args, INVOCATION) is None


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("train-model", "train-model"),
        ("", "-" + hashed("")),
        (".", ".-" + hashed(".")),
        ("..", "..-" + hashed("..")),
        ("ä b", "--b-" + hashed("ä b")),
        ("x" * 81, "x" * 80 + "-" + hashed("x" * 81)),
    ],
)
def test_a_slug_is_changed_only_where_it_must_be_and_then_told_apart(name: str, expected: str) -> None:
    assert slug(name) == expected


@given(st.text())
def test_no_slug_is_a_path(name: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,89}", slug(name))
    assert slug(name) not in {".", ".."}


def test_an_invocation_id_is_the_time_in_utc_and_eight_hex_digits() -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, 678_900, tzinfo=UTC)

    assert re.fullmatch(r"20260102T030405678Z-[0-9a-f]{8}", new_invocation_id(moment))
    assert new_invocation_id() != new_invocation_id()


@pytest.mark.parametrize(
    ("configured", "default_root", "expected"),
    [
        ("", None, "minio://mlpipeline/v2/artifacts/_driver-logs"),
        ("", "minio://mlpipeline/private-artifacts/team-a/v2/artifacts/\n",
         "minio://mlpipeline/private-artifacts/team-a/v2/artifacts/_driver-logs"),
        ("", "s3://bucket/root?region=eu", "s3://bucket/root/_driver-logs"),
        ("", "gs://bucket/root", None),
        ("", "/data/artifacts", None),
        ("", "s3://bucket/../other", None),
        ("s3://bucket/logs/?endpoint=x", None, "s3://bucket/logs"),
        ("/data/logs/", "minio://ignored", "/data/logs"),
    ],
)  # fmt: skip
def test_the_log_root_is_configured_or_below_the_default_pipeline_root(
    tmp_path: Path, configured: str, default_root: str | None, expected: str | None
) -> None:
    if default_root is not None:
        (tmp_path / "defaultPipelineRoot").write_text(default_root)

    assert derive_log_root(configured, tmp_path) == expected

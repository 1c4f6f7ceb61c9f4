"""Placeholders in an importer's metadata. Oracle: what KFP's pipeline with dynamic metadata asks for."""

from typing import Any

import pytest

from launcher.importer import _fill
from tests.resolver.fixtures import given, load, made, simulate

NAME = "pipelines/pipeline_with_dynamic_importer_metadata"
IMAGE = "us-docker.pkg.dev/vertex-ai/prediction/tf2-gpu.2-5:latest"

pytestmark = pytest.mark.conformance


@pytest.mark.parametrize(
    ("task", "metadata"),
    [
        ("importer", {"containerSpec": {"imageUri": IMAGE}, "name": ["default-name", "alias-name"]}),
        (
            "importer-2",
            {
                "containerSpec": {"imageUri": IMAGE},
                "list-of-data": ["made", "default-name", 1],
                "name": "prefix-made",
                "made": "made",
                "default-name": IMAGE,
            },
        ),
    ],
)
async def test_importer_metadata_placeholders(task: str, metadata: dict[str, Any]) -> None:
    """D23: upstream substitutes nothing in metadata."""
    run = await simulate(NAME, made(Output="made"))
    executor = load(NAME).spec.executor(f"exec-{task}")
    assert executor is not None
    assert executor.importer is not None
    values = given(run, f"root.{task}")
    assert _fill(executor.importer.to_json()["metadata"], values) == metadata

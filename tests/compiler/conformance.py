"""Finds KFP's published pipelines and the Workflows that KFP compiles from them."""

from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

FOLDER = Path(__file__).parents[2].parent / "shared" / "conformance"

OPTIONS: dict[str, dict[str, Any]] = {
    "run_as_user_cache_disabled": {"run_as_user": 1001, "log_level": "3"},
    "run_as_user_cache_enabled": {"run_as_user": 1001, "log_level": "3"},
    "mounted_cabundle_configmap": {
        "ca_configmap": "test-configmap-name",
        "ca_key": "test-configmap-key",
    },
    "mounted_cabundle_secret": {"ca_secret": "test-secret-name"},
}
"""Options under which a golden was made, where they are not the defaults (spec COMPILER 15.1)."""


class Pair(NamedTuple):
    """A pipeline file and the Workflow that KFP makes of it."""

    source: Path
    golden: Path

    @property
    def options(self) -> dict[str, Any]:
        return OPTIONS.get(self.source.stem, {})

    def workflow(self) -> dict[str, Any]:
        """The golden, fresh for each caller."""
        return deepcopy(_yaml(self.golden))


@cache
def _yaml(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.load(path.read_text(), yaml.CSafeLoader)
    return loaded


def pairs() -> list[Any]:
    """All pairs as test parameters; one that skips where the fixtures are absent."""
    if not FOLDER.is_dir():
        skip = pytest.mark.skip(reason="the KFP fixtures are not beside the project")
        return [pytest.param(Pair(Path(), Path()), id="absent", marks=skip)]
    found = [
        Pair(source, golden)
        for source in sorted((FOLDER / "pipelines").rglob("*.yaml"))
        if (golden := FOLDER / "workflows" / f"{source.stem}.yaml").exists()
    ]
    return [
        pytest.param(pair, id=str(pair.source.relative_to(FOLDER / "pipelines").with_suffix("")))
        for pair in found
    ]

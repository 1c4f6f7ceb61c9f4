"""The Kubernetes configs of KFP's own fixture pipelines become pods that Kubernetes takes.

Oracles: what KFP's authors wrote, and the schemas that Kubernetes publishes. Names that other tasks produce
are replaced by constants, because no other task is here.
"""

from pathlib import Path
from typing import Any

import pytest

from compiler.loading import load_pipeline
from tests.compiler.conformance import FOLDER
from tests.driver_plugin.podspec.examples import RecordedLog, patch_text
from tests.driver_plugin.podspec.executor_pod import assert_api_server_takes, executor_pod
from tests.kubernetes_schema import assert_valid


def with_platform() -> list[Path]:
    files = sorted((FOLDER / "pipelines").rglob("*.yaml"))
    return [file for file in files if "platforms:" in file.read_text()]


def on_its_own(value: Any) -> Any:
    """``value`` with a constant for whatever another task or the caller gives."""
    if isinstance(value, dict):
        if "taskOutputParameter" in value:
            return {"runtimeValue": {"constant": "produced"}}
        return {key: on_its_own(item) for key, item in value.items()}
    return [on_its_own(item) for item in value] if isinstance(value, list) else value


def claimed(mount: dict[str, Any]) -> dict[str, Any]:
    """A mount with a claim by name: one whose parameter is null is an error."""
    return {"constant": "claim"} | {key: mount[key] for key in ("mountPath", "subPath") if key in mount}


@pytest.mark.conformance
@pytest.mark.skipif(not FOLDER.is_dir(), reason="the KFP fixtures are not beside the project")
async def test_every_config_of_kfps_fixtures_gives_a_valid_pod() -> None:
    checked = 0
    for file in with_platform():
        for config in load_pipeline(file).kubernetes_executors.values():
            log = RecordedLog()
            alone = {**on_its_own(config), "pvcMount": [claimed(one) for one in config.get("pvcMount", ())]}
            pod = executor_pod(await patch_text(config=alone, log=log))
            assert_valid(pod)
            assert_api_server_takes(
                pod, without_command={one["name"] for one in config.get("initContainers", ())}
            )
            assert not [warning for warning in log.warnings if "unknown fields" in warning]
            checked += 1
    assert checked > 10

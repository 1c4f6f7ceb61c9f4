"""Times and artifact root of a run as the drivers find them.

Oracle: the table of spec DRIVER 12.3, and spec PODSPEC 11.1 and 11.2.
"""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from driver_plugin.drivers.job_times import CREATE_TIME, SCHEDULE_TIME, JobTimes, job_times
from driver_plugin.drivers.pipeline_root import pipeline_root
from driver_plugin.errors import DriverError
from driver_plugin.kubernetes import KubernetesClient
from driver_plugin.podspec.launcher_config import LauncherConfigReader
from driver_plugin.system_logs.capture import InvocationLog
from kfp_api.ir.pipeline import TaskSpec
from kfp_api.messages import Run, RuntimeConfig
from kfp_api.wire import EPOCH
from tests.driver_plugin.podspec.examples import RecordedLog

CREATED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LABEL = "scheduledworkflows.kubeflow.org/workflowEpoch"


def asking(*placeholders: str) -> TaskSpec:
    inputs = {str(n): {"runtimeValue": {"constant": text}} for n, text in enumerate(placeholders)}
    return TaskSpec.parse({"inputs": {"parameters": inputs}})


class Cluster:
    """One Workflow and one ConfigMap; ``None`` is 404."""

    def __init__(self) -> None:
        self.workflow: dict[str, Any] | None = None
        self.configmap: dict[str, str] | None = None
        self.requests = 0

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/apis/argoproj.io/v1alpha1/namespaces/ns/workflows/wf", self._workflow)
        app.router.add_get("/api/v1/namespaces/ns/configmaps/kfp-launcher", self._configmap)
        return app

    async def _workflow(self, _: web.Request) -> web.Response:
        self.requests += 1
        if self.workflow is None:
            return web.json_response({}, status=404)
        return web.json_response({"metadata": self.workflow})

    async def _configmap(self, _: web.Request) -> web.Response:
        self.requests += 1
        if self.configmap is None:
            return web.json_response({}, status=404)
        return web.json_response({"data": self.configmap})


@pytest.fixture
async def cluster() -> AsyncIterator[tuple[Cluster, KubernetesClient]]:
    cluster = Cluster()
    async with (
        TestServer(cluster.app()) as server,
        KubernetesClient(str(server.make_url("")).rstrip("/"), retry_wait_seconds=0) as client,
    ):
        yield cluster, client


async def times(run: Run, task: TaskSpec, kubernetes: KubernetesClient | None) -> JobTimes:
    log = InvocationLog("inv-1")
    return await job_times(run, task, workflow=("ns", "wf"), kubernetes=kubernetes, log=log)


@pytest.mark.parametrize(
    ("created", "scheduled", "workflow", "expected"),
    [
        (CREATED, None, {}, ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z")),
        (
            None,
            None,
            {"creationTimestamp": "2026-01-02T03:04:05Z"},
            ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z"),
        ),
        (
            EPOCH,
            EPOCH,
            {"creationTimestamp": "2026-01-02T03:04:05Z"},
            ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z"),
        ),
        (
            CREATED,
            None,
            {"labels": {LABEL: "1767225600"}},
            ("2026-01-02T03:04:05Z", "2026-01-01T00:00:00Z"),
        ),
        *(
            (CREATED, None, {"labels": labels}, ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z"))
            for labels in (
                {LABEL: "invalid"},
                {LABEL: ""},
                {LABEL: "0"},
                {LABEL: "-1"},
                {LABEL: "9" * 30},
                {"other": "1767225600"},
                {},
                None,
            )
        ),
        (CREATED, None, None, ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z")),
    ],
)
async def test_times_come_from_the_run_then_the_workflow(
    cluster: tuple[Cluster, KubernetesClient],
    created: datetime | None,
    scheduled: datetime | None,
    workflow: dict[str, Any] | None,
    expected: tuple[str, str],
) -> None:
    cluster[0].workflow = workflow
    run = Run(created_at=created, scheduled_at=scheduled)
    found = await times(run, asking(CREATE_TIME, SCHEDULE_TIME), cluster[1])
    assert (found.create, found.schedule) == expected


async def test_the_workflow_is_not_read_when_nobody_asks(cluster: tuple[Cluster, KubernetesClient]) -> None:
    assert await times(Run(), asking("x"), cluster[1]) == JobTimes(create="", schedule="")
    await times(Run(created_at=CREATED), asking(CREATE_TIME), cluster[1])
    assert cluster[0].requests == 0


async def test_a_create_time_that_nobody_knows_is_an_error(cluster: tuple[Cluster, KubernetesClient]) -> None:
    with pytest.raises(DriverError, match="404"):
        await times(Run(), asking(CREATE_TIME), cluster[1])
    with pytest.raises(DriverError, match="create time of the run is not known"):
        await times(Run(), asking(CREATE_TIME), None)


async def root_of(
    own: str,
    kubernetes: KubernetesClient | None,
    directory: Path | None,
    *,
    log: RecordedLog | None = None,
) -> str:
    run = Run(runtime_config=RuntimeConfig(pipeline_root=own)) if own else Run()
    reader = LauncherConfigReader(directory=directory, kubernetes=kubernetes)
    return await pipeline_root(
        run,
        pipeline_name="p",
        run_id="run1",
        namespace="ns",
        launcher_config=reader,
        log=log or RecordedLog(),
    )


async def test_the_runs_own_root_wins(tmp_path: Path) -> None:
    assert await root_of("s3://b/r/?region=eu", None, tmp_path) == "s3://b/r/p/run1?region=eu"


async def test_the_mounted_default_wins_over_the_clusters(
    cluster: tuple[Cluster, KubernetesClient], tmp_path: Path
) -> None:
    (tmp_path / "..data").mkdir()
    cluster[0].configmap = {"defaultPipelineRoot": "s3://other"}
    assert await root_of("", cluster[1], tmp_path) == "s3://other/p/run1"
    (tmp_path / "defaultPipelineRoot").write_text("s3://mounted/r\n")
    assert await root_of("", cluster[1], tmp_path) == "s3://mounted/r/p/run1"


async def test_without_a_mount_the_namespaces_default_is_read(
    cluster: tuple[Cluster, KubernetesClient],
) -> None:
    cluster[0].configmap = {"defaultPipelineRoot": "s3://of-the-namespace"}
    assert await root_of("", cluster[1], None) == "s3://of-the-namespace/p/run1"


async def test_without_any_configuration_kfps_default_is_used(
    cluster: tuple[Cluster, KubernetesClient], tmp_path: Path
) -> None:
    expected = "minio://mlpipeline/v2/artifacts/p/run1"
    assert await root_of("", None, tmp_path / "absent") == expected
    assert await root_of("", cluster[1], tmp_path) == expected
    cluster[0].configmap = {"defaultPipelineRoot": ""}
    assert await root_of("", cluster[1], tmp_path) == expected


@pytest.mark.parametrize(
    ("own", "warned"),
    [
        ("s3://allowed/team", False),
        ("s3://allowed-other/team", True),
        ("minio://mlpipeline/v2/artifacts/mine", False),
        ("s3://overridden/x", False),
        ("/data/artifacts", False),
    ],
)
async def test_a_root_that_kfps_launcher_would_refuse_is_warned_of_and_used(
    cluster: tuple[Cluster, KubernetesClient], own: str, warned: bool
) -> None:
    cluster[0].configmap = {
        "defaultPipelineRoot": "s3://allowed" if own.startswith("s3://allowed") else "",
        "providers": "s3: {overrides: [{bucketName: overridden, credentials: {fromEnv: true}}]}",
    }
    log = RecordedLog()
    assert await root_of(own, cluster[1], None, log=log) == f"{own}/p/run1"
    assert [own in warning and "will refuse to upload" in warning for warning in log.warnings] == (
        [True] if warned else []
    )


@pytest.mark.parametrize("providers", ["[", "- a list"])
async def test_a_configuration_that_cannot_be_checked_does_not_stop_a_run_with_a_root(
    cluster: tuple[Cluster, KubernetesClient], providers: str
) -> None:
    cluster[0].configmap = {"providers": providers}
    log = RecordedLog()
    assert await root_of("s3://b", cluster[1], None, log=log) == "s3://b/p/run1"
    (warning,) = log.warnings
    assert "was not checked" in warning
    assert "invalid provider config" in warning

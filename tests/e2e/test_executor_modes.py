"""Executor modes, limits and accelerators through the command line.

Oracles: spec LAUNCHER E5.2 and E5.3; moto's S3 server; the kernel, which ends what uses too much memory.
Pipelines that hold in every mode are run in every mode by the other modules of this folder.
"""

from pathlib import Path
from typing import Any, cast

import boto3
import pytest

from compiler.loading import load_pipeline
from kfp_api.messages import Run, RuntimeConfig, RuntimeState, TaskState
from local_stack.executor_options import ExecutorMode
from local_stack.runner.limits import AddressSpaceEnforcer, find_enforcer
from tests.e2e.conftest import kfp_driver
from tests.e2e.pipelines import compile_to
from tests.e2e.stored import stored_runs
from tests.e2e.up import up
from tests.executor_modes import Mode
from tests.object_store import BUCKET, CREDENTIALS, s3_server


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("sandbox", ("bubblewrap", "no bwrap on PATH", "--executor process")),
        ("container", ("podman is not on PATH", "docker is not on PATH", "--executor sandbox or process")),
    ],
)
def test_a_mode_that_the_machine_does_not_have_is_refused_before_anything_starts(
    mode: str, words: tuple[str, ...], tmp_path: Path
) -> None:
    pipeline = compile_to(tmp_path, "sums")
    for command in (("run", str(pipeline)), ("up", "--port", "0")):
        refused = kfp_driver(
            *("local", *command, "--executor", mode, "--data-dir", "data"),
            cwd=tmp_path,
            environment={"PATH": str(tmp_path)},
        )
        assert refused.returncode == 2
        assert len(refused.complaint.splitlines()) == 1, refused.complaint
        for word in words:
            assert word in refused.complaint
    assert {path.name for path in tmp_path.iterdir()} == {pipeline.name}


def test_an_engine_that_does_not_work_is_named_with_its_own_words(tmp_path: Path) -> None:
    engine = tmp_path / "docker"
    engine.write_text("#!/bin/sh\necho 'Cannot connect to the Docker daemon' >&2; exit 1\n")
    engine.chmod(0o755)
    refused = kfp_driver(
        *("local", "run", compile_to(tmp_path, "sums"), "--executor", "container"),
        *("--container-engine", "docker"),
        cwd=tmp_path,
        environment={"PATH": f"{tmp_path}:/bin"},
    )
    assert refused.returncode == 2
    assert "docker does not work: Cannot connect to the Docker daemon" in refused.complaint


def test_modes_share_one_cache(sandbox_mode: Mode, tmp_path: Path) -> None:
    pipeline = compile_to(tmp_path, "artifacts")
    for how in (sandbox_mode.options(), ("--executor", "process")):
        finished = kfp_driver("local", "run", pipeline, "--data-dir", "data", *how, cwd=tmp_path)
        assert finished.returncode == 0, finished.stdout + finished.stderr
    first, second = stored_runs(tmp_path / "data")
    assert {row.state for row in first.rows("write") + first.rows("count")} == {TaskState.SUCCEEDED}
    assert {row.state for row in second.rows("write") + second.rows("count")} == {TaskState.CACHED}


@pytest.mark.slow
def test_artifacts_of_a_run_may_lie_in_an_object_store(
    mounting: Mode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name.upper(), value)
    with s3_server() as address:
        host = address.removeprefix("http://")
        root = f"minio://{BUCKET}/root?endpoint={host}&disable_https=true&use_path_style=true"
        config = data / "configmaps/kfp-launcher"
        config.mkdir(parents=True)
        (config / "defaultPipelineRoot").write_text(root)
        with up(data, *mounting.options()) as stack:
            run = Run(
                display_name="stored",
                pipeline_spec=load_pipeline(compile_to(tmp_path, "artifacts")).submission,
                runtime_config=RuntimeConfig(pipeline_root=root),
            )
            run_id = stack.ask(lambda client: client.create_run(run)).run_id
            ended = stack.wait_for_end(run_id)
            assert ended.state is RuntimeState.SUCCEEDED, stack.output.read_text()
            assert stack.stop() == 0
        client: Any = boto3.client(
            "s3", endpoint_url=address, region_name="us-east-1", **cast("Any", CREDENTIALS)
        )
        keys = [one["Key"] for one in client.list_objects_v2(Bucket=BUCKET)["Contents"]]
    (stored,) = stored_runs(data)
    assert stored.output("ROOT") == 7
    assert [key for key in keys if key.startswith("root/") and key.endswith("/data")]
    assert not Path("/minio", BUCKET).exists()


def test_tasks_wait_for_an_accelerator_and_do_not_overlap(tmp_path: Path) -> None:
    record = tmp_path / "record"
    finished = kfp_driver(
        *("local", "run", compile_to(tmp_path, "accelerated"), "-p", f"record={record}"),
        *("--accelerator", "nvidia.com/gpu=1", "--max-pods", "3", "--no-cache"),
        cwd=tmp_path,
        environment={"CUDA_VISIBLE_DEVICES": "5"},
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert record.read_text().splitlines() == ["begin 5", "end 5"] * 3


def test_a_task_that_asks_for_more_accelerators_than_there_are_fails_at_once(tmp_path: Path) -> None:
    finished = kfp_driver(
        *("local", "run", compile_to(tmp_path, "accelerated"), "-p", "record=/nowhere"),
        *("--accelerator", "nvidia.com/gpu=0"),
        cwd=tmp_path,
    )
    assert finished.returncode == 1
    message = "the task asks for 1 nvidia.com/gpu, and this machine has 0 (--accelerator nvidia.com/gpu=0)"
    assert message in finished.stdout + finished.stderr
    (stored,) = stored_runs(tmp_path / ".kfp-driver")
    told = {row.status_metadata.message for row in stored.rows("use") if row.status_metadata}
    assert told == {message}


@pytest.mark.parametrize("wrong", ["gpu=1", "nvidia.com/gpu", "nvidia.com/gpu=-1", "nvidia.com/gpu=many"])
def test_an_accelerator_without_name_or_number_is_explained(wrong: str, tmp_path: Path) -> None:
    refused = kfp_driver("local", "up", "--accelerator", wrong, cwd=tmp_path)
    assert refused.returncode == 2
    assert "NAME=N" in refused.complaint
    assert "nvidia.com/gpu=1" in refused.complaint


@pytest.mark.slow
def test_a_task_over_its_memory_limit_fails_and_the_message_names_the_limit(
    mode: Mode, tmp_path: Path
) -> None:
    finished = kfp_driver(
        *("local", "run", compile_to(tmp_path, "hungry"), "--data-dir", "data"),
        *(*mode.options(), "--enforce-limits"),
        cwd=tmp_path,
    )
    shown = finished.stdout + finished.stderr
    assert finished.returncode == 1, shown
    assert "memory limit 64Mi" in shown
    assert "enforced" in shown
    if mode.mode is not ExecutorMode.CONTAINER and not isinstance(find_enforcer(), AddressSpaceEnforcer):
        assert "OOMKilled" in shown
    (stored,) = stored_runs(tmp_path / "data")
    # The launcher outlives the command: it is the launcher's words that the row has.
    (row,) = stored.rows("eat")
    assert row.state is TaskState.FAILED
    assert row.status_metadata is not None
    assert row.status_metadata.message != "run ended while the task was running"


def test_a_mount_that_does_not_exist_is_named(tmp_path: Path) -> None:
    refused = kfp_driver("local", "up", "--mount", "no-such:ro", cwd=tmp_path)
    assert refused.returncode == 2
    assert f"{tmp_path}/no-such does not exist" in refused.complaint
